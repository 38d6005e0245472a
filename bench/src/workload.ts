/**
 * The work of a client in one process, and the stopwatch for the measured part.
 */
import type { Observations, Pass, Task, WorkloadName } from "./task.ts"

const largestWindow = 1000
const largestWindowBytes = 16 * 2 ** 20

/** The same for every client, so that all have the same number of messages in flight. */
export const windowFor = (size: number): number =>
  Math.max(1, Math.min(largestWindow, Math.floor(largestWindowBytes / Math.max(1, size))))

/** How many calls of `rpc` wait for their reply. */
export const callsAtOnce = 100

/** The rate of `latency`. */
export const messagesPerSecond = 5000

/** The rate of the small messages of `large-body`. */
export const smallPerSecond = 1000

/** The heartbeat of `large-body`: a client that misses two of them is disconnected in the middle of it. */
export const heartbeatSeconds = 2

/** How many messages each consumer of `consumers-settled` handles. */
export const messagesPerConsumer = 10

/** A routing key of no queue: the broker drops the messages, and confirms them if it is asked to. */
export const nowhere = "effect-amqp-bench-nowhere"

export interface Workload extends Pick<Task, "measured" | "split" | "url" | "warmUp" | "window"> {
  readonly body: Buffer
  readonly stopwatch: Stopwatch
}

export type Run = (workload: Workload) => Promise<Observations | void>

/** A client's implementation of each workload that it supports. */
export type Client = Readonly<Partial<Record<WorkloadName, Run>>>

/** Wall-clock and CPU time (user and system, of all threads) between `start` and `stop`. */
export class Stopwatch {
  private startedAt = 0n
  private startedCpu = process.cpuUsage()
  private readonly listeners: Array<{ readonly start: () => void; readonly stop: () => void }> = []
  private measured: { readonly nanoseconds: number; readonly cpuMicroseconds: number } | undefined

  /** Calls the listener around the measured section. */
  observe(listener: { readonly start: () => void; readonly stop: () => void }): void {
    this.listeners.push(listener)
  }

  start(): void {
    for (const { start } of this.listeners) start()
    this.startedCpu = process.cpuUsage()
    this.startedAt = process.hrtime.bigint()
  }

  stop(): void {
    const nanoseconds = Number(process.hrtime.bigint() - this.startedAt)
    const cpu = process.cpuUsage(this.startedCpu)
    this.measured = { nanoseconds, cpuMicroseconds: cpu.user + cpu.system }
    for (const { stop } of this.listeners) stop()
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

/** Splits `count` among `parts`, as evenly as possible. */
export const shares = (count: number, parts: number): ReadonlyArray<number> =>
  Array.from({ length: parts }, (_, index) => Math.floor(count / parts) + (index < count % parts ? 1 : 0))

/** Splits the work of a pass among channels, consumers or publishers, and does all parts at once. */
export const amongAll = async <A>(
  all: ReadonlyArray<A>,
  count: number,
  window: number,
  part: (each: A, count: number, window: number) => Promise<unknown>
): Promise<void> => {
  const counts = shares(count, all.length)
  const windows = shares(window, all.length)
  const parts = all.map((each, index) =>
    counts[index] === 0 ? Promise.resolve() : part(each, counts[index], Math.max(1, windows[index]))
  )
  await Promise.all(parts)
}

/**
 * Calls `send` `count` times with at most `window` pending promises, in that many concurrent loops that each await
 * their own message, like concurrent users of one publisher.
 */
export const concurrently = async (count: number, window: number, send: () => Promise<unknown>): Promise<void> => {
  let left = count
  const awaiter = async () => {
    while (left > 0) {
      left--
      await send()
    }
  }
  await Promise.all(Array.from({ length: Math.min(window, count) }, awaiter))
}

/** Splits `count` into batches and runs them one after another. */
export const inBatches = async (
  count: number,
  batch: number,
  publish: (size: number) => Promise<unknown>
): Promise<void> => {
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
