/** The methods that an observer of a simulated run looks at, decoded from their bytes. */

/** Reads the arguments of a method. */
class Arguments {
  private readonly bytes: Buffer
  private position: number

  constructor(bytes: Buffer, position: number) {
    this.bytes = bytes
    this.position = position
  }

  skip(count: number): this {
    this.position += count
    return this
  }

  text(): string {
    const start = this.position + 1
    this.position = start + this.bytes.readUInt8(this.position)
    return this.bytes.toString("latin1", start, this.position)
  }

  short(): number {
    this.position += 2
    return this.bytes.readUInt16BE(this.position - 2)
  }

  tag(): number {
    this.position += 8
    return Number(this.bytes.readBigUInt64BE(this.position - 8))
  }

  /** A bit of the next byte. */
  bit(index: number): boolean {
    return (this.bytes.readUInt8(this.position) & (1 << index)) !== 0
  }
}

export type WireMethod =
  | { readonly _tag: "connection.open-ok" }
  | { readonly _tag: "connection.close" }
  | { readonly _tag: "channel.open" }
  | { readonly _tag: "exchange.declare"; readonly exchange: string }
  | { readonly _tag: "queue.declare"; readonly queue: string; readonly passive: boolean }
  | { readonly _tag: "basic.qos"; readonly prefetch: number; readonly global: boolean }
  | { readonly _tag: "basic.consume"; readonly queue: string; readonly consumerTag: string; readonly noAck: boolean }
  | { readonly _tag: "basic.publish" }
  | { readonly _tag: "basic.return" }
  | { readonly _tag: "basic.deliver"; readonly consumerTag: string; readonly deliveryTag: number }
  | { readonly _tag: "basic.get"; readonly noAck: boolean }
  | { readonly _tag: "basic.get-ok"; readonly deliveryTag: number }
  | { readonly _tag: "basic.ack"; readonly deliveryTag: number; readonly multiple: boolean }
  | { readonly _tag: "basic.nack"; readonly deliveryTag: number; readonly multiple: boolean; readonly requeue: boolean }
  | { readonly _tag: "basic.reject"; readonly deliveryTag: number; readonly requeue: boolean }
  | { readonly _tag: "basic.recover-ok" }
  | { readonly _tag: "confirm.select" }
  | { readonly _tag: "tx.select" }
  | { readonly _tag: "other"; readonly classId: number; readonly methodId: number }

/** The class is in the hundreds, the method in the rest: `queue.declare` is 50,010. */
const decoders: Readonly<Record<number, (of: Arguments) => WireMethod>> = {
  10_041: () => ({ _tag: "connection.open-ok" }),
  10_050: () => ({ _tag: "connection.close" }),
  20_010: () => ({ _tag: "channel.open" }),
  40_010: (of) => ({ _tag: "exchange.declare", exchange: of.skip(2).text() }),
  50_010: (of) => ({ _tag: "queue.declare", queue: of.skip(2).text(), passive: of.bit(0) }),
  60_010: (of) => ({ _tag: "basic.qos", prefetch: of.skip(4).short(), global: of.bit(0) }),
  60_020: (of) => ({ _tag: "basic.consume", queue: of.skip(2).text(), consumerTag: of.text(), noAck: of.bit(1) }),
  60_040: () => ({ _tag: "basic.publish" }),
  60_050: () => ({ _tag: "basic.return" }),
  60_060: (of) => ({ _tag: "basic.deliver", consumerTag: of.text(), deliveryTag: of.tag() }),
  60_070: (of) => {
    of.skip(2).text()
    return { _tag: "basic.get", noAck: of.bit(0) }
  },
  60_071: (of) => ({ _tag: "basic.get-ok", deliveryTag: of.tag() }),
  60_080: (of) => ({ _tag: "basic.ack", deliveryTag: of.tag(), multiple: of.bit(0) }),
  60_090: (of) => ({ _tag: "basic.reject", deliveryTag: of.tag(), requeue: of.bit(0) }),
  60_111: () => ({ _tag: "basic.recover-ok" }),
  60_120: (of) => ({ _tag: "basic.nack", deliveryTag: of.tag(), multiple: of.bit(0), requeue: of.bit(1) }),
  85_010: () => ({ _tag: "confirm.select" }),
  90_010: () => ({ _tag: "tx.select" })
}

/** Reads the payload of a method frame. */
export const wireMethodOf = (payload: Buffer): WireMethod => {
  const classId = payload.readUInt16BE(0)
  const methodId = payload.readUInt16BE(2)
  return decoders[classId * 1000 + methodId]?.(new Arguments(payload, 4)) ?? { _tag: "other", classId, methodId }
}

/** Whether a message follows the method. */
export const hasContent = ({ _tag }: WireMethod): boolean =>
  _tag === "basic.publish" || _tag === "basic.return" || _tag === "basic.deliver" || _tag === "basic.get-ok"
