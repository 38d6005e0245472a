/** One direction of a connection in memory: passes bytes on in order, after the latency and unless they are held back. */
import type { Timers } from "../common/timers.ts"

/** Why bytes are held back: by a fault, or because the broker does not read. */
export type Hold = "stall" | "pause"

export interface PipeOptions {
  readonly timers: Timers
  readonly latencyMillis: number
  /** How many bytes may pass until the connection is cut. */
  readonly budget: number
  readonly onBytes: (bytes: Uint8Array) => void
  readonly onCut: () => void
}

export class Pipe {
  /** The number of bytes that were pushed and have not passed. */
  pending = 0
  private readonly options: PipeOptions
  private budget: number
  private readonly holds = new Set<Hold>()
  /** The bytes that are held back, in order. */
  private readonly held: Array<Uint8Array> = []
  private isReleasing = false
  private hasEnded = false

  constructor(options: PipeOptions) {
    this.options = options
    this.budget = options.budget
  }

  push(bytes: Uint8Array): void {
    if (this.hasEnded) return
    const { latencyMillis, timers } = this.options
    this.pending += bytes.length
    if (latencyMillis === 0) this.arrive(bytes)
    else timers.schedule(latencyMillis, () => this.arrive(bytes))
  }

  hold(hold: Hold): void {
    this.holds.add(hold)
  }

  release(hold: Hold): void {
    this.holds.delete(hold)
    if (this.isReleasing) return
    this.isReleasing = true
    // What passes may cause another hold, or a reply that more is pushed after.
    while (this.holds.size === 0) {
      const bytes = this.held.shift()
      if (bytes === undefined) break
      this.pass(bytes)
    }
    this.isReleasing = false
  }

  /** Cuts the connection after this many more bytes. */
  cutAfter(bytes: number): void {
    this.budget = bytes
    if (bytes <= 0) this.options.onCut()
  }

  end(): void {
    this.hasEnded = true
    this.pending = 0
  }

  private arrive(bytes: Uint8Array): void {
    if (this.hasEnded) return
    if (this.holds.size > 0 || this.held.length > 0) this.held.push(bytes)
    else this.pass(bytes)
  }

  private pass(bytes: Uint8Array): void {
    if (this.hasEnded) return
    this.pending -= bytes.length
    const passing = bytes.length <= this.budget ? bytes : bytes.subarray(0, this.budget)
    this.budget -= passing.length
    if (passing.length > 0) this.options.onBytes(passing)
    if (this.budget <= 0) this.options.onCut()
  }
}
