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

/** The frames of a body when the broker sets no limit, in bytes: a frame is what others have to wait for. */
const pieceBytes = 128 * 1024

/** Small, since little is said behind most large messages. */
const slabBytes = 1024

interface Body {
  readonly bytes: Uint8Array
  sent: number
}

/** What a channel has still to send, in its order. */
class Lane {
  private readonly channel: number
  private readonly pieceSize: number
  private readonly parts: Array<Body | ByteWriter> = []

  constructor(channel: number, frameMax: number) {
    this.channel = channel
    this.pieceSize = (frameMax === 0 ? pieceBytes : frameMax) - frameOverhead
  }

  add(bytes: Uint8Array): void {
    this.parts.push({ bytes, sent: 0 })
  }

  /** For what comes behind all that is there. */
  get writer(): ByteWriter {
    const last = this.parts.at(-1)
    if (last instanceof ByteWriter) return last
    const writer = new ByteWriter(slabBytes)
    this.parts.push(writer)
    return writer
  }

  get pendingBytes(): number {
    let bytes = 0
    for (const part of this.parts) {
      bytes += part instanceof ByteWriter ? part.pendingBytes : part.bytes.length - part.sent
    }
    return bytes
  }

  get isEmpty(): boolean {
    return this.parts.length === 0
  }

  /** Moves the next frames into the writer. */
  moveTo(writer: ByteWriter): void {
    const [part] = this.parts
    if (part instanceof ByteWriter) {
      for (const bytes of part.take()) writer.appendReference(bytes)
      this.parts.shift()
      return
    }
    const end = Math.min(part.sent + this.pieceSize, part.bytes.length)
    encodeBodyFrames(writer, this.channel, part.bytes.subarray(part.sent, end), 0)
    writer.commit()
    part.sent = end
    if (end === part.bytes.length) this.parts.shift()
  }
}

export class Lanes {
  /** The one whose turn is next is the first. */
  private readonly byChannel = new Map<number, Lane>()

  get isEmpty(): boolean {
    return this.byChannel.size === 0
  }

  /** Where a channel with a lane writes. */
  writerOf(channel: number): ByteWriter | undefined {
    return this.byChannel.get(channel)?.writer
  }

  /** What a channel has in its lane, in bytes. */
  pendingBytesOf(channel: number): number {
    return this.byChannel.get(channel)?.pendingBytes ?? 0
  }

  /** Takes the body of a message whose other frames are written. It must not change until it left the socket. */
  add(channel: number, body: Uint8Array, frameMax: number): void {
    let lane = this.byChannel.get(channel)
    if (lane === undefined) this.byChannel.set(channel, lane = new Lane(channel, frameMax))
    lane.add(body)
  }

  /** Moves what is to go with this write into the writer. */
  moveTo(writer: ByteWriter): void {
    const end = writer.pendingBytes + turnBytes
    for (const [channel, lane] of this.byChannel) {
      if (writer.pendingBytes >= end) return
      lane.moveTo(writer)
      this.byChannel.delete(channel)
      // Its next turn comes after those of all others, in this write or a later one.
      if (!lane.isEmpty) this.byChannel.set(channel, lane)
    }
  }
}
