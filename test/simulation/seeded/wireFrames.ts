/**
 * Splits a stream of bytes into AMQP frames, for observers of a simulated run. It shares no code with the client.
 *
 * Only the beginning of a large payload is kept: an observer needs no bodies.
 */

/** The types of frames that matter here. */
export const frameTypes = { method: 1, header: 2, body: 3 } as const

/** The type, the channel and the size of the payload. */
const headerSize = 7

/** How many bytes of a payload are kept. Every method that is observed fits. */
const keptBytes = 512

export type OnFrame = (type: number, channel: number, payload: Buffer) => void

export class WireFrames {
  private readonly onFrame: OnFrame
  /** How many bytes precede the first frame: those of the protocol header. */
  private toSkip: number
  private readonly kept = Buffer.alloc(headerSize + keptBytes)
  /** How many bytes of the current frame have passed. */
  private passed = 0
  /** The size of the current frame with its header and its end. Unknown at first. */
  private size = Infinity

  constructor(bytesBefore: number, onFrame: OnFrame) {
    this.toSkip = bytesBefore
    this.onFrame = onFrame
  }

  push(bytes: Uint8Array): void {
    let position = Math.min(this.toSkip, bytes.length)
    this.toSkip -= position
    while (position < bytes.length) {
      const wanted = this.passed < headerSize ? headerSize : this.size
      const end = Math.min(bytes.length, position + wanted - this.passed)
      if (this.passed < this.kept.length) {
        this.kept.set(bytes.subarray(position, Math.min(end, position + this.kept.length - this.passed)), this.passed)
      }
      this.passed += end - position
      position = end
      if (this.passed === headerSize) this.size = headerSize + this.kept.readUInt32BE(3) + 1
      if (this.passed === this.size) this.end()
    }
  }

  private end(): void {
    const payload = this.kept.subarray(headerSize, Math.min(this.size - 1, this.kept.length))
    this.passed = 0
    this.size = Infinity
    this.onFrame(this.kept.readUInt8(0), this.kept.readUInt16BE(1), payload)
  }
}
