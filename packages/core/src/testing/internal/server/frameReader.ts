/** Splits the bytes from a client into frames, with RabbitMQ's limit of their size. */
import { frameEnd, frameHeaderSize, frameOverhead } from "../../../protocol/constants.ts"
import { joined, noBytes, view } from "../common/bytes.ts"

export interface FrameReaderHandler {
  /** A frame of any type. The payload is a view into what was received. */
  onFrame(type: number, channel: number, payload: Uint8Array): void
  /** A frame after which nothing is read, because it is unknown where the next one begins. `problem` is a tuple of RabbitMQ's. */
  onUnreadable(type: number, payload: Uint8Array, problem: ReadonlyArray<string | number>): void
}

/** Unlike the client's own parser it accepts frames of unknown types, as RabbitMQ does. */
export class FrameReader {
  /**
   * The negotiated `frame-max`, in bytes; 0 sets no limit. As in RabbitMQ, it limits the payload alone, because many clients do not
   * count the eight bytes around it.
   */
  frameMax: number
  private readonly handler: FrameReaderHandler
  /** Chunks that were pushed while another one was being read. */
  private readonly incoming: Array<Uint8Array> = []
  private isReading = false
  private isStopped = false
  /** The beginning of an incomplete frame. */
  private held: Array<Uint8Array> = []
  private heldBytes = 0
  /** The number of bytes that are needed to read on. */
  private needed = 0

  constructor(frameMax: number, handler: FrameReaderHandler) {
    this.frameMax = frameMax
    this.handler = handler
  }

  /** Calls the handler for each frame that this chunk completes. The chunk belongs to the reader from now on. */
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

  /** Reads nothing more, not even chunks that were pushed before. */
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
    const bytes = joined(this.held)
    let position = 0
    this.needed = frameHeaderSize
    while (bytes.length - position >= frameHeaderSize) {
      const type = bytes[position]
      const channel = bytes[position + 1] << 8 | bytes[position + 2]
      const size = (bytes[position + 3] << 24 | bytes[position + 4] << 16 | bytes[position + 5] << 8 |
        bytes[position + 6]) >>> 0
      if (this.frameMax !== 0 && size > this.frameMax) {
        this.stop()
        return this.handler.onUnreadable(type, noBytes, ["frame_too_large", size, this.frameMax - frameOverhead])
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
