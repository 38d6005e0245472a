/**
 * Large messages that take turns on their way into the socket.
 *
 * A channel whose message is large has a lane: the rest of the body, and behind it whatever else the channel sends meanwhile, as
 * nothing of a channel may come between the frames of its message (section 4.2.6 of the AMQP 0-9-1 specification). Each
 * write takes some frames from the lanes in turn, after all that the other channels and the heartbeat have to say.
 */
import { ByteWriter } from "../protocol/ByteWriter.ts"
import { frameOverhead } from "../protocol/constants.ts"
import { encodeBodyFrames } from "../protocol/frames.ts"

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
  private readonly pieceSize: number
  private sent = 0

  constructor(channel: number, body: Uint8Array, frameMax: number) {
    this.channel = channel
    this.body = body
    this.pieceSize = Math.min(frameMax === 0 ? Infinity : frameMax, maxFrameBytes) - frameOverhead
  }

  /** Moves the next frame into the writer, and what is behind the last one with it. Answers whether that was all. */
  moveTo(writer: ByteWriter): boolean {
    const end = Math.min(this.sent + this.pieceSize, this.body.length)
    encodeBodyFrames(writer, this.channel, this.body.subarray(this.sent, end), 0)
    writer.commit()
    this.sent = end
    if (end < this.body.length) return false
    for (const bytes of this.behind.take()) writer.appendReference(bytes)
    this.onMoved?.()
    return true
  }
}

export class Lanes {
  /** The one whose turn is next is the first. */
  private readonly byChannel = new Map<number, Lane>()

  get isEmpty(): boolean {
    return this.byChannel.size === 0
  }

  /** Whether a channel has a message that is not all in a write. */
  has(channel: number): boolean {
    return this.byChannel.has(channel)
  }

  /** Calls `listener` when nothing of a channel is left here, or at once. */
  whenMoved(channel: number, listener: () => void): void {
    const lane = this.byChannel.get(channel)
    if (lane === undefined) listener()
    else lane.onMoved = listener
  }

  /** Where a channel with a lane writes. */
  writerOf(channel: number): ByteWriter | undefined {
    return this.byChannel.get(channel)?.behind
  }

  /**
   * Takes the body of a message whose other frames are written, of a channel that has no lane. It must not change until it
   * left the socket.
   */
  add(channel: number, body: Uint8Array, frameMax: number): void {
    this.byChannel.set(channel, new Lane(channel, body, frameMax))
  }

  /** Moves what is to go with this write into the writer. */
  moveTo(writer: ByteWriter): void {
    const end = writer.pendingBytes + turnBytes
    for (const [channel, lane] of this.byChannel) {
      if (writer.pendingBytes >= end) return
      const isOver = lane.moveTo(writer)
      this.byChannel.delete(channel)
      // Its next turn comes after those of all others, in this write or a later one.
      if (!isOver) this.byChannel.set(channel, lane)
    }
  }
}
