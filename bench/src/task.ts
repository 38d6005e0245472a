/**
 * The task that the runner sends to the process of a client, and the measurement that it returns, both as JSON. There is no codec:
 * the process must load only the client, or the memory of `effect` would count against clients that do not use it.
 */
/** The task is in an environment variable, not in the arguments, because the URL may contain a password. */
export const taskVariable = "EFFECT_AMQP_BENCH_TASK"

/** What clients do. `Split` and the size of the bodies are parameters of it. */
export type WorkloadName =
  | "publish"
  | "publish-confirmed"
  | "publish-confirmed-batch"
  | "consume-ack"
  | "consume-auto-ack"
  | "serve"
  | "rpc"
  | "rpc-sequential"
  | "declare"
  | "channel"
  | "latency"
  | "latency-beside-publisher"
  | "large-body"
  | "through"
  | "consumers-settled"
  | "idle"
  | "start"

/** Into how many the work of a scenario is split. The amount of work stays the same. */
export interface Split {
  readonly channels: number
  readonly consumers: number
  readonly publishers: number
}

/** A pass has its own queue, so that the warm-up leaves no messages for the measured pass. */
export interface Pass {
  readonly queue: string
  readonly count: number
}

export interface Task {
  readonly client: string
  readonly scenario: string
  readonly workload: WorkloadName
  readonly url: string
  /** Bytes in a message's body. */
  readonly size: number
  /** How many messages are in flight: published and not confirmed, or delivered and not acknowledged. */
  readonly window: number
  readonly split: Split
  /** Whether the measurement has the delay of the event loop. */
  readonly observeEventLoop: boolean
  /** When the process was spawned, on the clock of `process.hrtime`, in nanoseconds. */
  readonly spawnedAt: number
  readonly warmUp: Pass
  readonly measured: Pass
}

/** In microseconds. */
export interface Latencies {
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** What only some scenarios measure. */
export interface Observations {
  readonly latencies?: Latencies
  /** The longest delay of the event loop, in milliseconds. */
  readonly eventLoopDelay?: number
  /** How many messages a neighbour on the same connection published in the measured section. */
  readonly beside?: number
  /** Resident set size after the work and a full collection, in bytes. */
  readonly settledRssBytes?: number
}

export interface Measurement extends Observations {
  /** Wall-clock time of the measured section. */
  readonly nanoseconds: number
  /** CPU time of the process, user and system, in the measured section. */
  readonly cpuMicroseconds: number
  /** Peak resident set size of the process, in bytes. */
  readonly peakRssBytes: number
}
