/**
 * A client that sends valid or invalid bytes in any state of a connection, and records what the broker sends, and whether and when
 * it closes the socket.
 */
import { ByteReader } from "@effect-amqp/core/protocol/ByteReader"
import { ByteWriter } from "@effect-amqp/core/protocol/ByteWriter"
import { FrameType, protocolHeader } from "@effect-amqp/core/protocol/constants"
import { encodeMethodFrame } from "@effect-amqp/core/protocol/frames"
import { decodeMethod } from "@effect-amqp/core/protocol/methods.generated"
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import * as net from "node:net"
import { setTimeout as sleep } from "node:timers/promises"

/** The state of the connection when the bytes are sent: RabbitMQ's names of the states, and `channel` with channel 1 open. */
export type WireState = "connected" | "starting" | "tuning" | "opening" | "running" | "channel"

const states: ReadonlyArray<WireState> = ["connected", "starting", "tuning", "opening", "running", "channel"]

export interface WireTalk {
  readonly state: WireState
  /** Bytes, methods on their channel (0 or 1), pauses in milliseconds, and `answer`, which waits for another line. */
  readonly send: ReadonlyArray<Uint8Array | Method | number | "answer">
  /** The values in `connection.tune-ok`. */
  readonly tune?: { readonly frameMax?: number; readonly channelMax?: number; readonly heartbeat?: number }
  /** The number of lines to wait for. */
  readonly lines: number
}

/** The time to wait for the lines, and for unexpected ones after them, in milliseconds. */
const lineTimeout = 20_000
const grace = 200

/** A valid or invalid frame of any type. */
export const frame = (type: number, channel: number, payload: Uint8Array, end = 206): Uint8Array => {
  const bytes = Buffer.alloc(payload.length + 8)
  bytes[0] = type
  bytes.writeUInt16BE(channel, 1)
  bytes.writeUInt32BE(payload.length, 3)
  bytes.set(payload, 7)
  bytes[payload.length + 7] = end
  return bytes
}

/** A method's frame. */
export const methodFrame = (channel: number, method: Method): Uint8Array => {
  const writer = new ByteWriter()
  encodeMethodFrame(writer, channel, method)
  writer.commit()
  return Buffer.concat(writer.take())
}

/** The byte that a lone surrogate represents, in hexadecimal. */
const byteOf = (surrogate: string): string => `<${(surrogate.charCodeAt(0) & 0xff).toString(16)}>`

const shown = (type: number, channel: number, payload: Uint8Array): string => {
  if (type === FrameType.heartbeat) return "heartbeat"
  if (type !== FrameType.method) return `${type === FrameType.header ? "header" : "body"} ${payload.length}`
  const ids = Buffer.from(payload.subarray(0, 4)).toString("hex")
  if (ids === "001e000b") return `${channel}: access.request-ok ${payload[5]}`
  const reader = new ByteReader()
  reader.reset(payload)
  const method = decodeMethod(reader)
  const on = channel === 0 ? "" : `${channel}: `
  switch (method._tag) {
    case "connection.close":
    case "channel.close":
      return `${on}${method._tag} ${method.replyCode} ${method.replyText} [${method.classId}, ${method.methodId}]`
    case "connection.start":
      return `connection.start ${method.versionMajor}-${method.versionMinor}`
    case "basic.return":
      // Bytes of a key that are not UTF-8 are shown as bytes: they must be returned unchanged.
      return `${on}${Object.values(method).join(" ").replace(/[\uDC80-\uDCFF]/g, byteOf)}`
    default:
      return `${on}${Object.values(method).join(" ")}`
  }
}

class WireClient {
  private readonly socket: net.Socket
  private readonly lines: Array<string> = []
  private received: Buffer = Buffer.alloc(0)
  private isClosed = false
  private since = performance.now()

  constructor(port: number, host: string) {
    this.socket = net.connect({ port, host, noDelay: true })
    this.socket.on("data", (bytes) => this.read(bytes))
    // A close event follows.
    this.socket.on("error", () => {})
    this.socket.on("close", () => {
      const seconds = (performance.now() - this.since) / 1000
      this.lines.push(seconds < 1.5 ? "closed at once" : seconds < 2.5 ? "closed after 2 s" : "closed after 3 s")
      this.isClosed = true
    })
  }

  send(each: Uint8Array | Method): void {
    const bytes = each instanceof Uint8Array ? each : methodFrame(each._tag.startsWith("connection") ? 0 : 1, each)
    this.socket.write(bytes)
  }

  /** Waits for this number of lines, or until the socket has closed. */
  async lineCount(count: number): Promise<void> {
    const deadline = performance.now() + lineTimeout
    while (!this.isClosed && this.lines.length < count && performance.now() < deadline) await sleep(10)
  }

  /** Drops the lines so far. */
  begin(): void {
    this.lines.length = 0
    this.since = performance.now()
  }

  end(): ReadonlyArray<string> {
    this.socket.removeAllListeners("close").destroy()
    return this.isClosed ? this.lines : [...this.lines, "open"]
  }

  private read(bytes: Buffer): void {
    this.received = Buffer.concat([this.received, bytes])
    while (this.received.length >= 8) {
      const isHeader = this.received.toString("latin1", 0, 4) === "AMQP"
      const size = isHeader ? 0 : this.received.readUInt32BE(3)
      if (this.received.length < size + 8) return
      const [type] = this.received
      const payload = this.received.subarray(7, 7 + size)
      // Bytes that are not UTF-8 are shown as U+FFFD, however the codec keeps them.
      const line = isHeader
        ? `AMQP ${this.received.subarray(4, 8).join(" ")}`
        : shown(type, this.received.readUInt16BE(1), payload).replaceAll(/\p{Surrogate}/gu, "\uFFFD")
      // The number of heartbeats depends on the load of the machine.
      if (line !== "heartbeat" || this.lines.at(-1) !== line) this.lines.push(line)
      this.received = this.received.subarray(size + 8)
    }
  }
}

/**
 * Records what the broker does once the state is reached: a line for each frame (successive heartbeats count as one), and when it
 * closes the socket, or `open`.
 */
export const wireTalk = async (url: string, talk: WireTalk): Promise<ReadonlyArray<string>> => {
  const { hostname, password, pathname, port, username } = new URL(url)
  const { channelMax = 2047, frameMax = 131_072, heartbeat = 0 } = talk.tune ?? {}
  const client = new WireClient(Number(port) || 5672, hostname)
  const steps: ReadonlyArray<{ readonly send: Uint8Array | Method; readonly isAnswered: boolean }> = [
    { send: protocolHeader, isAnswered: true },
    {
      send: {
        _tag: "connection.start-ok",
        clientProperties: {},
        mechanism: "PLAIN",
        response: new TextEncoder().encode(`\0${decodeURIComponent(username)}\0${decodeURIComponent(password)}`),
        locale: "en_US"
      },
      isAnswered: true
    },
    { send: { _tag: "connection.tune-ok", channelMax, frameMax, heartbeat }, isAnswered: false },
    {
      send: { _tag: "connection.open", virtualHost: decodeURIComponent(pathname.slice(1)) || "/" },
      isAnswered: true
    },
    { send: { _tag: "channel.open" }, isAnswered: true }
  ]
  for (const { isAnswered, send } of steps.slice(0, states.indexOf(talk.state))) {
    client.begin()
    client.send(send)
    if (isAnswered) await client.lineCount(1)
  }
  client.begin()
  let answers = 0
  for (const each of talk.send) {
    if (typeof each === "number") await sleep(each)
    else if (each === "answer") await client.lineCount(++answers)
    else client.send(each)
  }
  await client.lineCount(talk.lines)
  // For lines that should not arrive.
  await sleep(grace)
  return client.end()
}
