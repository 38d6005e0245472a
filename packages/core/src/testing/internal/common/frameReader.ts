/** Cuts the bytes of a client into frames, right or wrong, with RabbitMQ's idea of what is too large. */
import { frameEnd, frameHeaderSize, frameOverhead } from "../../../protocol/constants.ts"

export interface FrameReaderHandler {
  /** A frame of any type. The payload is a view into what was received. */
  onFrame(type: number, channel: number, payload: Uint8Array): void
  /** A frame that ends the reading: where the next one begins is unknown. `problem` is a tuple of RabbitMQ's. */
  onUnreadable(type: number, payload: Uint8Array, problem: ReadonlyArray<string | number>): void
}

const empty = new Uint8Array(0)

/**
 * The broker reads more than the client does, which refuses what it does not know: RabbitMQ takes a frame of any type for one, and
 * goes on after it.
 */
export class FrameReader {
  /**
   * The negotiated `frame-max`, in bytes; 0 sets no limit. As RabbitMQ does, it is compared with the payload alone, because many
   * clients forget the eight bytes around it.
   */
  frameMax: number
  private readonly handler: FrameReaderHandler
  /** Chunks that were pushed while another one was being read. */
  private readonly incoming: Array<Uint8Array> = []
  private isReading = false
  private isStopped = false
  /** The beginning of a frame, and how many bytes it takes until there is more to do with it. */
  private held: Array<Uint8Array> = []
  private heldBytes = 0
  private needed = 0

  constructor(frameMax: number, handler: FrameReaderHandler) {
    this.frameMax = frameMax
    this.handler = handler
  }

  /** Calls the handler for each frame that is complete with this chunk. The chunk belongs to the reader from now on. */
  push(chunk: Uint8Array): void {
    this.incoming.push(chunk)
    if (this.isReading) return
    this.isReading = true
    try {
      for (let next = this.incoming.shift(); next !== undefined; next = this.incoming.shift()) this.read(next)
    } finally {
      this.isReading = false
    }
  }

  /** Reads nothing more, not even what was pushed. */
  stop(): void {
    this.isStopped = true
    this.held = []
    this.heldBytes = 0
  }

  private read(chunk: Uint8Array): void {
    if (this.isStopped) return
    this.held.push(chunk)
    this.heldBytes += chunk.length
    if (this.heldBytes < this.needed) return
    const bytes = joined(this.held, this.heldBytes)
    let position = 0
    this.needed = frameHeaderSize
    while (bytes.length - position >= frameHeaderSize) {
      const type = bytes[position]
      const channel = bytes[position + 1] << 8 | bytes[position + 2]
      const size = (bytes[position + 3] << 24 | bytes[position + 4] << 16 | bytes[position + 5] << 8 |
        bytes[position + 6]) >>> 0
      if (this.frameMax !== 0 && size > this.frameMax) {
        this.stop()
        return this.handler.onUnreadable(type, empty, ["frame_too_large", size, this.frameMax - frameOverhead])
      }
      const next = position + size + frameOverhead
      if (next > bytes.length) {
        this.needed = next - position
        break
      }
      const payload = view(bytes, position + frameHeaderSize, next - 1)
      const end = bytes[next - 1]
      if (end !== frameEnd) {
        this.stop()
        return this.handler.onUnreadable(type, payload, ["invalid_frame_end_marker", end])
      }
      position = next
      this.handler.onFrame(type, channel, payload)
      if (this.isStopped) return
    }
    this.held = position < bytes.length ? [bytes.subarray(position)] : []
    this.heldBytes = bytes.length - position
  }
}

/** A part of the bytes, as a plain `Uint8Array` and several times faster than `subarray`. */
export const view = (bytes: Uint8Array, start: number, end: number): Uint8Array =>
  new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start)

/** All chunks as one. */
export const joined = (chunks: ReadonlyArray<Uint8Array>, length: number): Uint8Array => {
  if (chunks.length === 1) return chunks[0]
  const bytes = new Uint8Array(length)
  let position = 0
  for (const chunk of chunks) {
    bytes.set(chunk, position)
    position += chunk.length
  }
  return bytes
}
