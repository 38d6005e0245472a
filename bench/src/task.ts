/**
 * What the runner tells a worker process and what the worker answers, both as JSON. Plain types without a codec: the
 * worker must load nothing but the client, or the memory of `effect` would count against clients that don't use it.
 */
import type { ClientName } from "./clients.ts"
import type { ScenarioName } from "./scenarios.ts"
import type { Pass } from "./workload.ts"

/** The worker takes its task from here and not from its arguments: the URL may hold a password. */
export const taskVariable = "EFFECT_AMQP_BENCH_TASK"

export interface Task {
  readonly client: ClientName
  readonly scenario: ScenarioName
  readonly url: string
  readonly size: number
  readonly warmUp: Pass
  readonly measured: Pass
}

export interface Measurement {
  /** Wall clock over the measured section. */
  readonly nanoseconds: number
  /** Processor time of the process, user and system, over the measured section. */
  readonly cpuMicroseconds: number
  /** Largest resident set of the process in its whole life, in bytes. */
  readonly peakRssBytes: number
}
