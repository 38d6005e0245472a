/**
 * A consumer: encoded once, its deliveries are a few buffers of many, in which only the delivery tags change. Several are written at a time, so
 * that the kernel always has one to take: with one, the stand-in and not the client would be the limit.
 */
import type { Socket } from "node:net"
import type { Channel } from "./channel.ts"
import { frame, frameOverhead, FrameType, longLong, Method, method, octet, shortString } from "./methods.ts"
import type { Queue } from "./queues.ts"

/** Large enough that the writes of the stand-in cost less than the reads of a client, and small enough for the cache. */
const bufferSize = 128 * 1024

const buffers = 4

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
  /** Buffers of one delivery after another, that do not belong to the socket. */
  private readonly free: Array<Buffer>
  private readonly deliverySize: number
  private readonly tagOffset: number
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
    const size = delivery.length * Math.max(1, Math.floor(bufferSize / delivery.length))
    this.free = Array.from({ length: buffers }, () => Buffer.alloc(size, delivery))
  }

  /** Sends what the queue has and the prefetch allows, until the socket has all buffers. */
  readonly deliver = (): void => {
    for (const buffer of this.free.splice(0)) {
      const size = this.cancelled ? 0 : this.next(buffer)
      if (size === 0) this.free.push(buffer)
      else {
        this.socket.write(buffer.subarray(0, size), () => {
          this.free.push(buffer)
          this.deliver()
        })
      }
    }
  }

  /** Puts the next delivery tags into a buffer. Returns how many of its bytes are to be sent. */
  private next(buffer: Buffer): number {
    const { channel, deliverySize, queue } = this
    const allowed = this.noAck ? Infinity : channel.allowed
    const count = Math.max(0, Math.min(queue.ready, allowed, buffer.length / deliverySize))
    for (let index = 0, at = this.tagOffset; index < count; index++, at += deliverySize) {
      const tag = ++channel.delivered
      buffer.writeUInt32BE(Math.floor(tag / 2 ** 32), at)
      buffer.writeUInt32BE(tag >>> 0, at + 4)
    }
    if (this.noAck) channel.acknowledged += count
    queue.ready -= count
    return count * deliverySize
  }

  cancel(): void {
    this.cancelled = true
  }
}
