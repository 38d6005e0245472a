/**
 * Runs the comparison: scenario after scenario, round after round, and within a round client after client, each in a
 * new process. The order of the clients rotates each round, so that none always runs first or after the same client, and
 * a slow period of the machine affects all of them.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import type { Broker } from "./broker.ts"
import type { ClientName } from "./clients.ts"
import { clients } from "./clients.ts"
import type { ScenarioName } from "./scenarios.ts"
import { scenarios } from "./scenarios.ts"
import type { Measurement, Task } from "./task.ts"
import { taskVariable } from "./task.ts"

export interface Options {
  readonly scenarios: ReadonlyArray<ScenarioName>
  readonly clients: ReadonlyArray<ClientName>
  /** Bytes in a message body. */
  readonly size: number
  /** Operations per run. `undefined` means the default of the scenario. */
  readonly count: number | undefined
  readonly rounds: number
  readonly url: Redacted.Redacted<string>
  /** The timeout of one process. */
  readonly timeout: Duration.Duration
}

/** One process: its client, its scenario and its measurement. */
export interface Run extends Measurement {
  readonly scenario: ScenarioName
  readonly client: ClientName
  /** From 1. */
  readonly round: number
  readonly count: number
}

type Planned = Omit<Run, keyof Measurement>

/** A run without figures: the client failed, hung, or did not do the work. */
export class RunFailed extends Schema.TaggedError<RunFailed>()("RunFailed", {
  scenario: Schema.String,
  client: Schema.String,
  round: Schema.Int,
  reason: Schema.String
}) {
  override get message() {
    return `${this.scenario}, ${this.client}, round ${this.round}: ${this.reason}`
  }
}

export interface Outcome {
  readonly runs: ReadonlyArray<Run>
  readonly failures: ReadonlyArray<RunFailed>
}

/** All runs, in order. */
export const plan = (options: Pick<Options, "clients" | "count" | "rounds" | "scenarios">): ReadonlyArray<Planned> =>
  options.scenarios.flatMap((scenario) => {
    const candidates = options.clients.filter((client) => clients[client].scenarios?.includes(scenario) ?? true)
    return Array.from({ length: options.rounds }, (_, index) => {
      const first = index % Math.max(1, candidates.length)
      return [...candidates.slice(first), ...candidates.slice(0, first)].map((client) => ({
        scenario,
        client,
        round: index + 1,
        count: options.count ?? scenarios[scenario].defaultCount
      }))
    }).flat()
  })

// a process may have printed anything
const MeasurementJson: Schema.ConstraintDecoder<Measurement> = Schema.fromJsonString(Schema.Struct({
  nanoseconds: Schema.Number,
  cpuMicroseconds: Schema.Number,
  peakRssBytes: Schema.Number
}))

const workerFile = fileURLToPath(new URL("./worker.ts", import.meta.url))

const work = Effect.fnUntraced(function*(task: Task) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const worker = yield* spawner.spawn(
    ChildProcess.make(process.execPath, [workerFile], {
      env: { [taskVariable]: Redacted.make(JSON.stringify(task)) },
      extendEnv: true,
      stdin: "ignore",
      // a client that hangs may ignore SIGTERM
      killSignal: "SIGKILL"
    })
  )
  const [stdout, stderr, exitCode] = yield* Effect.all([
    Stream.mkString(Stream.decodeText(worker.stdout)),
    Stream.mkString(Stream.decodeText(worker.stderr)),
    worker.exitCode
  ], { concurrency: "unbounded" })
  if (exitCode !== 0) {
    return yield* Effect.fail(`the process ended with exit code ${exitCode}\n${stderr.trim()}`)
  }
  // a library may have printed something before
  const lastLine = stdout.trimEnd().split("\n").at(-1) ?? ""
  return yield* Schema.decodeEffect(MeasurementJson)(lastLine)
}, Effect.scoped)

const runOne = Effect.fnUntraced(function*(broker: Broker, options: Options, planned: Planned) {
  const scenario = scenarios[planned.scenario]
  const warmUp = { queue: yield* broker.queue, count: Math.min(scenario.warmUp, planned.count) }
  const measured = { queue: yield* broker.queue, count: planned.count }
  if (scenario.prefilled) {
    yield* broker.fill(warmUp.queue, warmUp.count, options.size)
    yield* broker.fill(measured.queue, measured.count, options.size)
  }
  const measurement = yield* work({
    client: planned.client,
    scenario: planned.scenario,
    url: Redacted.value(options.url),
    size: options.size,
    warmUp,
    measured
  }).pipe(
    Effect.timeoutOrElse({
      duration: options.timeout,
      orElse: () => Effect.fail(`no result within ${Duration.format(options.timeout)}`)
    })
  )
  // A figure counts only if the work was done: no message lost, left over or requeued.
  const expected = scenario.leaves === "nothing" ? 0 : measured.count
  const found = yield* broker.messageCount(measured.queue)
  if (found !== expected) {
    return yield* Effect.fail(`the queue has ${found} messages instead of ${expected}`)
  }
  return { ...planned, ...measurement }
}, Effect.scoped)

const describe = (cause: unknown): string =>
  typeof cause === "string" ? cause : cause instanceof Error ? cause.message : String(cause)

/** Runs everything in turn. A run that fails is reported in the outcome and does not stop the others. */
export const runAll = Effect.fnUntraced(function*(
  broker: Broker,
  options: Options,
  onResult: (planned: Planned, result: Result.Result<Run, RunFailed>) => Effect.Effect<void>
) {
  const runs: Array<Run> = []
  const failures: Array<RunFailed> = []
  for (const planned of plan(options)) {
    const result = yield* runOne(broker, options, planned).pipe(
      Effect.mapError((cause) => {
        const { client, round, scenario } = planned
        return new RunFailed({ scenario, client, round, reason: describe(cause) })
      }),
      Effect.result
    )
    if (Result.isSuccess(result)) {
      runs.push(result.success)
    } else {
      failures.push(result.failure)
    }
    yield* onResult(planned, result)
  }
  const outcome: Outcome = { runs, failures }
  return outcome
})
