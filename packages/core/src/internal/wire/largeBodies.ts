/**
 * Large messages that take turns on their way into the socket.
 *
 * A channel whose message is large has a lane: the rest of the body, and behind it whatever else the channel sends meanwhile, as
 * nothing of a channel may come between the frames of its message (section 4.2.6 of the AMQP 0-9-1 specification). Each
 * write takes some frames from the lanes in turn, after all that the other channels and the heartbeat have to say.
 */
import { ByteWriter } from "../../protocol/ByteWriter.ts"
import { frameOverhead } from "../../protocol/constants.ts"
import { encodeBodyFrames } from "../../protocol/frames.ts"

/** So much of large messages goes into one write, in bytes, and a body beyond it is large. */
export const turnBytes = 256 * 1024

/** The largest frame of a large body, in bytes, whatever the broker takes: a frame is what others have to wait for. */
const maxFrameBytes = 128 * 1024

/** Small, since little is said behind most large messages. */
const slabBytes = 1024

/** What a channel has still to send: a body, and what comes behind it. */
class Lane {
  readonly behind = new ByteWriter(slabBytes)
  /** Called when everything is in the writer. */
  onMoved: (() => void) | undefined
  private readonly channel: number
  private readonly body: Uint8Array
  private readonly size: number
  private readonly pieceSize: number
  private readonly onSent: (() => void) | undefined
  private sent = 0

  constructor(channel: number, body: Uint8Array, frameMax: number, onSent: (() => void) | undefined) {
    this.channel = channel
    this.body = body
    this.size = body.length
    this.onSent = onSent
    this.pieceSize = Math.min(frameMax === 0 ? Infinity : frameMax, maxFrameBytes) - frameOverhead
  }

  /** Whether the buffer of the body was transferred, so that the rest of it can't be sent. */
  get isLost(): boolean {
    return this.body.length !== this.size
  }

  /** Moves the next frame into the writer, and what is behind the last one with it. Answers whether that was all. */
  moveTo(writer: ByteWriter): boolean {
    const end = Math.min(this.sent + this.pieceSize, this.body.length)
    encodeBodyFrames(writer, this.channel, this.body.subarray(this.sent, end), 0)
    writer.commit()
    this.sent = end
    if (end < this.body.length) return false
    this.onSent?.()
    for (const bytes of this.behind.take()) writer.appendReference(bytes)
    this.onMoved?.()
    return true
  }
}

export class Lanes {
  /** The one whose turn is next is the first. */
  private readonly byChannel = new Map<number, Lane>()
  /** Channels with a message that will never be all sent: nothing of theirs can be sent any more. */
  private readonly lost = new Map<number, ByteWriter>()

  /** Whether there is nothing to send. */
  get isEmpty(): boolean {
    return this.byChannel.size === 0
  }

  /** Whether every channel may write to the output itself. */
  get isUnused(): boolean {
    return this.byChannel.size === 0 && this.lost.size === 0
  }

  /** From now on what the channel writes is not sent. */
  lose(channel: number): void {
    this.byChannel.delete(channel)
    this.lost.set(channel, new ByteWriter(slabBytes))
  }

  /** Whether a channel has a message that is not all in a write. */
  has(channel: number): boolean {
    return this.byChannel.has(channel) || this.lost.has(channel)
  }

  /** Calls `listener` when nothing of a channel is left here, or at once. */
  whenMoved(channel: number, listener: () => void): void {
    const lane = this.byChannel.get(channel)
    if (lane === undefined) listener()
    else lane.onMoved = listener
  }

  /** Where a channel with a lane writes. */
  writerOf(channel: number): ByteWriter | undefined {
    return this.byChannel.get(channel)?.behind ?? this.lost.get(channel)
  }

  /**
   * Takes the body of a message whose other frames are written, of a channel that has no lane. It must not change until it
   * left the socket. `onSent` is called when its last frame goes into a write.
   */
  add(channel: number, body: Uint8Array, frameMax: number, onSent?: () => void): void {
    this.byChannel.set(channel, new Lane(channel, body, frameMax, onSent))
  }

  /** Moves what is to go with this write into the writer. Adds the channels whose message is lost to `lost`. */
  moveTo(writer: ByteWriter, lost: Set<number>): void {
    const end = writer.pendingBytes + turnBytes
    for (const [channel, lane] of this.byChannel) {
      if (writer.pendingBytes >= end) return
      if (lane.isLost) {
        lost.add(channel)
        continue
      }
      const isOver = lane.moveTo(writer)
      this.byChannel.delete(channel)
      // Its next turn comes after those of all others, in this write or a later one.
      if (!isOver) this.byChannel.set(channel, lane)
    }
  }
}
