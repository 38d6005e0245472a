/**
 * The task that the runner sends to a worker process, and the measurement that it returns, both as JSON. There is no codec:
 * the worker must load only the client, or the memory of `effect` would count against clients that do not use it.
 */
import type { ClientName } from "./clients.ts"
import type { ScenarioName } from "./scenarios.ts"
import type { Pass } from "./workload.ts"

/** The task is in an environment variable, not in the arguments, because the URL may contain a password. */
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
  /** Wall-clock time of the measured section. */
  readonly nanoseconds: number
  /** CPU time of the process, user and system, in the measured section. */
  readonly cpuMicroseconds: number
  /** Peak resident set size of the process, in bytes. */
  readonly peakRssBytes: number
}
