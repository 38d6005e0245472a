/**
 * The work of a client in one process, and the stopwatch for the measured part.
 */
import type { ScenarioName } from "./scenarios.ts"

/** Limits for every client, so that all have the same number of messages in flight. */
export const prefetch = 1000
export const inFlight = 1000
export const batch = 1000

/** A pass has its own queue, so that the warm-up leaves no messages for the measured pass. */
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

/** A client's implementation of each scenario that it supports. */
export type Client = Readonly<Partial<Record<ScenarioName, (workload: Workload) => Promise<void>>>>

/** Wall-clock and CPU time (user and system, of all threads) between `start` and `stop`. */
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
      throw new Error("the client did not stop the stopwatch")
    }
    return this.measured
  }
}

/** Runs the section on the warm-up pass, and then, with the stopwatch running, on the measured pass. */
export const measure = async (workload: Workload, section: (pass: Pass) => Promise<void>): Promise<void> => {
  await section(workload.warmUp)
  workload.stopwatch.start()
  await section(workload.measured)
  workload.stopwatch.stop()
}

/**
 * Calls `publish` `count` times with at most `inFlight` pending promises, in that many concurrent loops that each await
 * their own message, like concurrent users of one publisher.
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
