/**
 * A consumer: encoded once, its deliveries are one buffer of many, in which only the delivery tags change. While the kernel takes what was
 * written, nothing is encoded, and the next buffer is ready as soon as it has.
 */
import type { Socket } from "node:net"
import type { Channel } from "./channel.ts"
import { frame, frameOverhead, FrameType, longLong, Method, method, octet, shortString } from "./methods.ts"
import type { Queue } from "./queues.ts"

/** Large enough that the writes of the stand-in cost less than the reads of a client, and small enough for the cache. */
const bufferSize = 128 * 1024

const bodyFrames = (channel: number, size: number, frameMax: number): ReadonlyArray<Buffer> => {
  const body = Buffer.alloc(size, "x")
  const payload = frameMax - frameOverhead
  return Array.from(
    { length: Math.ceil(size / payload) },
    (_, index) => frame(FrameType.body, channel, body.subarray(index * payload, (index + 1) * payload))
  )
}

export class Consumer {
  readonly queue: Queue
  private readonly channel: Channel
  private readonly socket: Socket
  private readonly noAck: boolean
  /** One delivery after another. */
  private readonly buffer: Buffer
  private readonly deliverySize: number
  private readonly tagOffset: number
  /** The buffer belongs to the socket until it has been written. */
  private writing = false
  private cancelled = false

  constructor(
    channel: Channel,
    socket: Socket,
    options: { readonly queue: Queue; readonly tag: string; readonly noAck: boolean; readonly frameMax: number }
  ) {
    this.channel = channel
    this.socket = socket
    this.queue = options.queue
    this.noAck = options.noAck
    const { header = Buffer.alloc(0), name } = options.queue
    const tag = shortString(options.tag)
    const delivery = Buffer.concat([
      method(channel.number, Method.basicDeliver, tag, longLong(0), octet(0), shortString(""), shortString(name)),
      frame(FrameType.header, channel.number, header),
      ...(header.length === 0 ? [] : bodyFrames(channel.number, header.readUIntBE(6, 6), options.frameMax))
    ])
    this.deliverySize = delivery.length
    this.tagOffset = frameOverhead - 1 + 4 + tag.length
    this.buffer = Buffer.alloc(delivery.length * Math.max(1, Math.floor(bufferSize / delivery.length)), delivery)
  }

  /** Sends what the queue has and the prefetch allows, until the socket takes no more. */
  readonly deliver = (): void => {
    if (this.writing || this.cancelled) return
    const { buffer, channel, deliverySize, queue } = this
    const allowed = this.noAck ? Infinity : channel.allowed
    const count = Math.min(queue.ready, allowed, buffer.length / deliverySize)
    if (count <= 0) return
    for (let index = 0, at = this.tagOffset; index < count; index++, at += deliverySize) {
      const tag = ++channel.delivered
      buffer.writeUInt32BE(Math.floor(tag / 2 ** 32), at)
      buffer.writeUInt32BE(tag >>> 0, at + 4)
    }
    if (this.noAck) channel.acknowledged += count
    queue.ready -= count
    this.writing = true
    this.socket.write(buffer.subarray(0, count * deliverySize), () => {
      this.writing = false
      this.deliver()
    })
  }

  cancel(): void {
    this.cancelled = true
  }
}
