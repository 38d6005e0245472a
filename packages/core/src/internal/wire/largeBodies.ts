/**
 * Large bodies on their way into the socket, in turns.
 *
 * While the body of a channel's message is sent piece by piece, whatever else the channel sends is queued behind it, since nothing of a
 * channel may come between the frames of its message (AMQP 0-9-1 specification, section 4.2.6). Each write takes some frames from the
 * bodies in turn, after everything that other channels and the heartbeat have to send.
 */
import { ByteWriter } from "../../protocol/ByteWriter.ts"
import { frameOverhead } from "../../protocol/constants.ts"
import { encodeBodyFrames } from "../../protocol/frames.ts"

/** How many bytes of large bodies go into one write. A larger body is a large one. */
export const turnBytes = 256 * 1024

/** The largest frame of a large body, in bytes, whatever the broker accepts: the other channels wait for each frame. */
const maxFrameBytes = 128 * 1024

/** Small, since little is sent behind most large messages. */
const slabBytes = 1024

/** The rest of a body, and what its channel sends behind it. */
class LargeBody {
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

  /** Whether the buffer of the body was transferred, so that the rest of it cannot be sent. */
  get isDetached(): boolean {
    return this.body.length !== this.size
  }

  /** Moves the next frame into the writer, and what is queued behind the last one with it. Returns whether that was all. */
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

export class LargeBodies {
  /** The one whose turn is next is the first. */
  private readonly byChannel = new Map<number, LargeBody>()
  /** Channels with a message that can never be completed: nothing more of them can be sent. */
  private readonly broken = new Map<number, ByteWriter>()

  /** Whether there is nothing to send. */
  get isEmpty(): boolean {
    return this.byChannel.size === 0
  }

  /** Whether every channel may write to the output itself. */
  get isUnused(): boolean {
    return this.byChannel.size === 0 && this.broken.size === 0
  }

  /** From now on nothing that the channel writes is sent. */
  discard(channel: number): void {
    this.byChannel.delete(channel)
    this.broken.set(channel, new ByteWriter(slabBytes))
  }

  /** Whether a channel has a message that is not completely in a write. */
  has(channel: number): boolean {
    return this.byChannel.has(channel) || this.broken.has(channel)
  }

  /** Calls `listener` when everything of a channel has left this queue, or at once. */
  whenMoved(channel: number, listener: () => void): void {
    const body = this.byChannel.get(channel)
    if (body === undefined) return listener()
    const { onMoved } = body
    body.onMoved = onMoved === undefined ? listener : () => {
      onMoved()
      listener()
    }
  }

  /** Where a channel writes that has a large body here. */
  writerOf(channel: number): ByteWriter | undefined {
    return this.byChannel.get(channel)?.behind ?? this.broken.get(channel)
  }

  /**
   * Adds the body of a message whose other frames are written, of a channel that has none here. It must not change until it has left
   * through the socket. `onSent` is called when its last frame goes into a write.
   */
  add(channel: number, body: Uint8Array, frameMax: number, onSent?: () => void): void {
    this.byChannel.set(channel, new LargeBody(channel, body, frameMax, onSent))
  }

  /** Moves what goes with this write into the writer. Adds the channels whose body was detached to `detached`. */
  moveTo(writer: ByteWriter, detached: Set<number>): void {
    const end = writer.pendingBytes + turnBytes
    for (const [channel, body] of this.byChannel) {
      if (writer.pendingBytes >= end) return
      if (body.isDetached) {
        detached.add(channel)
        continue
      }
      const isComplete = body.moveTo(writer)
      this.byChannel.delete(channel)
      // Its next turn comes after those of all others, in this write or a later one.
      if (!isComplete) this.byChannel.set(channel, body)
    }
  }
}
