/**
 * Large bodies that are sent in pieces, so that other channels and heartbeats do not wait for them.
 *
 * Each write contains the frames of other channels and heartbeats, and then frames of the large bodies in turn. Frames that a channel sends
 * after its large body are queued behind it, because nothing on that channel may come between the frames of a message (AMQP 0-9-1
 * specification, section 4.2.6).
 */
import { ByteWriter } from "../../protocol/ByteWriter.ts"
import { frameOverhead } from "../../protocol/constants.ts"
import { encodeBodyFrames } from "../../protocol/frames.ts"

/** How many bytes of large bodies one write contains. Bodies above this size are large. */
export const turnBytes = 256 * 1024

/** The largest frame of a large body, in bytes, even if the broker accepts larger ones: other channels wait for each frame. */
const maxFrameBytes = 128 * 1024

/** The initial size of the buffer for frames behind a large body, in bytes. Usually there are few. */
const slabBytes = 1024

/** A body that is being sent, and the frames that its channel sends after it. */
class LargeBody {
  readonly behind = new ByteWriter(slabBytes)
  /** Called when the body and the frames behind it are in the writer. */
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

  /** Moves the next frame into the writer. If it is the last one, moves the frames behind the body too, and returns `true`. */
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
  /** The bodies, the next to be sent first. */
  private readonly byChannel = new Map<number, LargeBody>()
  /** The channels with a message that cannot be completed. Their frames are dropped. */
  private readonly broken = new Map<number, ByteWriter>()

  /** Whether no body is being sent. */
  get isEmpty(): boolean {
    return this.byChannel.size === 0
  }

  /** Whether every channel writes directly to the output. */
  get isUnused(): boolean {
    return this.byChannel.size === 0 && this.broken.size === 0
  }

  /** Drops the body of a channel, and all further frames of the channel. */
  discard(channel: number): void {
    this.byChannel.delete(channel)
    this.broken.set(channel, new ByteWriter(slabBytes))
  }

  /** Whether the last message of a channel is not completely in the writer. */
  has(channel: number): boolean {
    return this.byChannel.has(channel) || this.broken.has(channel)
  }

  /** Calls `listener` when the body of a channel and the frames behind it are in the writer; at once if there is no body. */
  whenMoved(channel: number, listener: () => void): void {
    const body = this.byChannel.get(channel)
    if (body === undefined) return listener()
    const { onMoved } = body
    body.onMoved = onMoved === undefined ? listener : () => {
      onMoved()
      listener()
    }
  }

  /** Where a channel with a large body writes. `undefined`: directly to the output. */
  writerOf(channel: number): ByteWriter | undefined {
    return this.byChannel.get(channel)?.behind ?? this.broken.get(channel)
  }

  /**
   * Adds the body of a message whose method and header are in the writer. The channel must not have another large body. The bytes must not
   * change until the socket has accepted them. `onSent` is called when the last frame is in the writer.
   */
  add(channel: number, body: Uint8Array, frameMax: number, onSent?: () => void): void {
    this.byChannel.set(channel, new LargeBody(channel, body, frameMax, onSent))
  }

  /** Moves the frames of one write into the writer. Returns the channels whose body was detached. */
  moveTo(writer: ByteWriter): ReadonlyArray<number> {
    const detached: Array<number> = []
    const end = writer.pendingBytes + turnBytes
    for (const [channel, body] of this.byChannel) {
      if (writer.pendingBytes >= end) break
      if (body.isDetached) {
        detached.push(channel)
        continue
      }
      const isComplete = body.moveTo(writer)
      this.byChannel.delete(channel)
      // The bodies of all other channels come before its next turn.
      if (!isComplete) this.byChannel.set(channel, body)
    }
    return detached
  }
}
