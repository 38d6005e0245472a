/**
 * What a client is asked to do in one process, and the clock that runs while it does the part that counts.
 */
import type { ScenarioName } from "./scenarios.ts"

/** The limit that every client gets, so that all have equally much on the way. */
export const prefetch = 1000
export const inFlight = 1000
export const batch = 1000

/** One pass over a queue of its own: the warm-up must not leave messages behind for the measured pass. */
export interface Pass {
  readonly queue: string
  readonly count: number
}

export interface Workload {
  readonly url: string
  readonly body: Buffer
  readonly warmUp: Pass
  readonly measured: Pass
  readonly stopwatch: Stopwatch
}

/** A client's own way to do every scenario. A client that leaves a scenario out is not run for it. */
export type Client = Readonly<Partial<Record<ScenarioName, (workload: Workload) => Promise<void>>>>

/** Wall clock and processor time (of all threads of the process, user and system) between `start` and `stop`. */
export class Stopwatch {
  private startedAt = 0n
  private startedCpu = process.cpuUsage()
  private measured: { readonly nanoseconds: number; readonly cpuMicroseconds: number } | undefined

  start(): void {
    this.startedCpu = process.cpuUsage()
    this.startedAt = process.hrtime.bigint()
  }

  stop(): void {
    const nanoseconds = Number(process.hrtime.bigint() - this.startedAt)
    const cpu = process.cpuUsage(this.startedCpu)
    this.measured = { nanoseconds, cpuMicroseconds: cpu.user + cpu.system }
  }

  result(): { readonly nanoseconds: number; readonly cpuMicroseconds: number } {
    if (this.measured === undefined) {
      throw new Error("the client ended without having stopped the stopwatch")
    }
    return this.measured
  }
}

/** Runs the same section twice, on the warm-up pass and then, with the stopwatch running, on the measured one. */
export const measure = async (workload: Workload, section: (pass: Pass) => Promise<void>): Promise<void> => {
  await section(workload.warmUp)
  workload.stopwatch.start()
  await section(workload.measured)
  workload.stopwatch.stop()
}

/**
 * Calls `publish` `count` times with at most `inFlight` unsettled promises: as many loops at once, each of which
 * awaits its own message. That is how concurrent users of one publisher look to a promise-based client.
 */
export const publishConcurrently = async (count: number, publish: () => Promise<unknown>): Promise<void> => {
  let left = count
  const awaiter = async () => {
    while (left > 0) {
      left--
      await publish()
    }
  }
  await Promise.all(Array.from({ length: Math.min(inFlight, count) }, awaiter))
}

/** Splits `count` into batches and runs them one after another. */
export const inBatches = async (count: number, publish: (size: number) => Promise<unknown>): Promise<void> => {
  for (let left = count; left > 0; left -= batch) {
    await publish(Math.min(batch, left))
  }
}

/** Runs `step` `count` times, one after another. */
export const sequentially = async (count: number, step: () => Promise<unknown>): Promise<void> => {
  for (let done = 0; done < count; done++) {
    await step()
  }
}
