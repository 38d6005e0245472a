/**
 * A connection to the stand-in: finds the frames in what was read, and replies. Of a message only its target and its size are looked at.
 */
import type { Socket } from "node:net"
import type { Channel } from "./channel.ts"
import { ackAll, frame, frameEnd, frameHeaderSize, frameOverhead, FrameType, Method } from "./methods.ts"
import type { Queues } from "./queues.ts"
import { protocolHeader, replyTo, start } from "./replies.ts"
import type { Session } from "./replies.ts"

const heartbeat = frame(FrameType.heartbeat, 0, Buffer.alloc(0))
const heartbeatInterval = 25_000

export class Connection implements Session {
  readonly socket: Socket
  readonly queues: Queues
  readonly channels: Array<Channel | undefined> = []
  frameMax = 131_072
  /** An incomplete frame at the end of a read. */
  private rest: Buffer | undefined
  /** The bytes of a body frame that are still to come. */
  private skip = 0
  private opened = false
  /** What is sent at the end of this read. */
  private readonly replies: Array<Buffer> = []
  /** Channels with messages to confirm, or with room for deliveries, at the end of this read. */
  private readonly changed = new Set<Channel>()

  constructor(socket: Socket, queues: Queues) {
    this.socket = socket
    this.queues = queues
    const timer = setInterval(() => socket.write(heartbeat), heartbeatInterval)
    socket.on("data", (chunk: Buffer) => this.read(chunk))
    socket.on("error", () => socket.destroy())
    socket.on("close", () => {
      clearInterval(timer)
      for (const channel of this.channels) channel?.close()
    })
  }

  reply(bytes: Buffer): void {
    this.replies.push(bytes)
  }

  change(channel: Channel): void {
    this.changed.add(channel)
  }

  private read(chunk: Buffer): void {
    const { rest } = this
    this.rest = undefined
    try {
      this.parse(rest === undefined ? chunk : Buffer.concat([rest, chunk]))
    } catch (error) {
      console.error("The stand-in closes a connection:", error)
      this.socket.destroy()
      return
    }
    for (const channel of this.changed) {
      if (channel.confirmed < channel.published) {
        channel.confirmed = channel.published
        this.replies.push(ackAll(channel.number, channel.confirmed))
      }
    }
    if (this.replies.length > 0) {
      this.socket.write(this.replies.length === 1 ? this.replies[0] : Buffer.concat(this.replies))
      this.replies.length = 0
    }
    for (const channel of this.changed) {
      for (const consumer of channel.consumers.values()) consumer.deliver()
    }
    this.changed.clear()
  }

  private parse(chunk: Buffer): void {
    let offset = 0
    if (!this.opened) {
      if (chunk.length < protocolHeader.length) {
        this.rest = chunk
        return
      }
      this.opened = true
      offset = protocolHeader.length
      this.reply(start)
    }
    if (this.skip > 0) {
      offset = Math.min(this.skip, chunk.length)
      this.skip -= offset
    }
    while (chunk.length - offset >= frameHeaderSize) {
      const type = chunk[offset]
      const number = chunk[offset + 1] << 8 | chunk[offset + 2]
      const size = chunk.readUInt32BE(offset + 3)
      const end = offset + size + frameOverhead
      if (type === FrameType.body) {
        this.body(number, size)
        if (end > chunk.length) {
          this.skip = end - chunk.length
          return
        }
      } else {
        if (end > chunk.length) break
        if (chunk[end - 1] !== frameEnd) throw new Error("a frame does not end with frame-end")
        if (type === FrameType.method) this.method(number, chunk, offset + frameHeaderSize, end - 1)
        else if (type === FrameType.header) this.header(number, chunk, offset + frameHeaderSize, end - 1)
      }
      offset = end
    }
    if (offset < chunk.length) this.rest = chunk.subarray(offset)
  }

  private method(number: number, chunk: Buffer, at: number, end: number): void {
    const id = chunk.readUInt32BE(at)
    const channel = this.channels[number]
    if (id === Method.basicPublish && channel !== undefined) {
      this.publish(channel, chunk, at + 6)
    } else if (id === Method.basicAck && channel !== undefined) {
      channel.acknowledge(chunk.readUInt32BE(at + 4) * 2 ** 32 + chunk.readUInt32BE(at + 8), chunk[at + 12] === 1)
      this.changed.add(channel)
    } else {
      replyTo(this, number, id, chunk.subarray(at + 4, end))
    }
  }

  /** Finds the queue, which is mostly that of the channel's last message. */
  private publish(channel: Channel, chunk: Buffer, at: number): void {
    const key = at + 1 + chunk[at]
    const length = chunk[key]
    const name = channel.target?.nameBytes
    if (name !== undefined && name.length === length) {
      let same = 0
      while (same < length && chunk[key + 1 + same] === name[same]) same++
      if (same === length) return
    }
    channel.target = this.queues.get(chunk.toString("utf8", key + 1, key + 1 + length))
  }

  private header(number: number, chunk: Buffer, at: number, end: number): void {
    const channel = this.channels[number]
    if (channel === undefined) return
    const { target } = channel
    if (target !== undefined) target.header ??= Buffer.from(chunk.subarray(at, end))
    channel.remaining = chunk.readUInt32BE(at + 4) * 2 ** 32 + chunk.readUInt32BE(at + 8)
    if (channel.remaining === 0) this.published(channel)
  }

  private body(number: number, size: number): void {
    const channel = this.channels[number]
    if (channel === undefined) return
    channel.remaining -= size
    if (channel.remaining === 0) this.published(channel)
  }

  private published(channel: Channel): void {
    if (channel.target !== undefined) channel.target.ready++
    if (channel.confirms) {
      channel.published++
      this.changed.add(channel)
    }
  }
}
