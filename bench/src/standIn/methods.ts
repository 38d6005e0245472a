/**
 * The methods that the stand-in knows, as numbers (class << 16 | method), and the frames that it sends, made by hand: it uses no client
 * library, so it shares no code and no faults with what is measured.
 */

export const Method = {
  connectionStart: 10 << 16 | 10,
  connectionStartOk: 10 << 16 | 11,
  connectionTune: 10 << 16 | 30,
  connectionTuneOk: 10 << 16 | 31,
  connectionOpen: 10 << 16 | 40,
  connectionOpenOk: 10 << 16 | 41,
  connectionClose: 10 << 16 | 50,
  connectionCloseOk: 10 << 16 | 51,
  channelOpen: 20 << 16 | 10,
  channelOpenOk: 20 << 16 | 11,
  channelClose: 20 << 16 | 40,
  channelCloseOk: 20 << 16 | 41,
  queueDeclare: 50 << 16 | 10,
  queueDeclareOk: 50 << 16 | 11,
  queueDelete: 50 << 16 | 40,
  queueDeleteOk: 50 << 16 | 41,
  basicQos: 60 << 16 | 10,
  basicQosOk: 60 << 16 | 11,
  basicConsume: 60 << 16 | 20,
  basicConsumeOk: 60 << 16 | 21,
  basicCancel: 60 << 16 | 30,
  basicCancelOk: 60 << 16 | 31,
  basicPublish: 60 << 16 | 40,
  basicDeliver: 60 << 16 | 60,
  basicAck: 60 << 16 | 80,
  confirmSelect: 85 << 16 | 10,
  confirmSelectOk: 85 << 16 | 11
} as const

export const FrameType = { method: 1, header: 2, body: 3, heartbeat: 8 } as const

export const frameEnd = 0xce
/** Type, channel and size before the payload. */
export const frameHeaderSize = 7
/** The bytes of a frame besides its payload. */
export const frameOverhead = frameHeaderSize + 1

const integer = (bytes: number, value: number): Buffer => {
  const buffer = Buffer.alloc(bytes)
  buffer.writeUIntBE(value, Math.max(0, bytes - 6), Math.min(bytes, 6))
  return buffer
}

export const octet = (value: number): Buffer => integer(1, value)
export const short = (value: number): Buffer => integer(2, value)
export const long = (value: number): Buffer => integer(4, value)
/** Up to 2 ** 48, which is enough for delivery tags and body sizes. */
export const longLong = (value: number): Buffer => integer(8, value)

export const shortString = (text: string): Buffer => {
  const bytes = Buffer.from(text)
  return Buffer.concat([octet(bytes.length), bytes])
}

export const longString = (text: string | Buffer): Buffer => {
  const bytes = Buffer.from(text)
  return Buffer.concat([long(bytes.length), bytes])
}

/** A field table of strings, booleans and tables. */
interface Table {
  readonly [key: string]: string | boolean | Table
}

export const table = (fields: Table): Buffer =>
  longString(Buffer.concat(
    Object.entries(fields).flatMap(([key, value]) => [
      shortString(key),
      ...(typeof value === "string"
        ? [Buffer.from("S"), longString(value)]
        : typeof value === "boolean"
        ? [Buffer.from("t"), octet(value ? 1 : 0)]
        : [Buffer.from("F"), table(value)])
    ])
  ))

export const frame = (type: number, channel: number, payload: Buffer): Buffer =>
  Buffer.concat([octet(type), short(channel), long(payload.length), payload, octet(frameEnd)])

export const method = (channel: number, id: number, ...args: ReadonlyArray<Buffer>): Buffer =>
  frame(FrameType.method, channel, Buffer.concat([long(id), ...args]))

/** An acknowledgement of all messages up to the tag. Sent once per read, so it is not put together from parts. */
export const ackAll = (channel: number, tag: number): Buffer => {
  const bytes = Buffer.allocUnsafe(frameOverhead + 13)
  bytes[0] = FrameType.method
  bytes.writeUInt16BE(channel, 1)
  bytes.writeUInt32BE(13, 3)
  bytes.writeUInt32BE(Method.basicAck, 7)
  bytes.writeUInt32BE(Math.floor(tag / 2 ** 32), 11)
  bytes.writeUInt32BE(tag >>> 0, 15)
  bytes[19] = 1
  bytes[20] = frameEnd
  return bytes
}
