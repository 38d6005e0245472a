/**
 * Runs the comparison, each run in a new process, and checks after each that the work was done.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Broker } from "./broker.ts"
import { clients } from "./clients.ts"
import type { Program } from "./clients/entry.ts"
import { MeasurementJson } from "./measurement.ts"
import type { Planned, PlanOptions } from "./plan.ts"
import { plan } from "./plan.ts"
import type { Prepared } from "./programs.ts"
import { startCommand } from "./programs.ts"
import type { Run } from "./results.ts"
import { scenarioNamed } from "./scenarios.ts"
import type { StandIn } from "./standIn/start.ts"
import type { Measurement, Task } from "./task.ts"
import { taskVariable } from "./task.ts"
import { windowFor } from "./workload.ts"

export interface Options extends Omit<PlanOptions, "clients"> {
  readonly clients: ReadonlyArray<Prepared>
  /** The timeout of one process. */
  readonly timeout: Duration.Duration
}

/** Those that the scenarios need. */
export interface Brokers {
  readonly broker: Broker | undefined
  readonly standIn: StandIn | undefined
}

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

const work = Effect.fnUntraced(function*([program, ...args]: Program["command"], task: Task) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const worker = yield* spawner.spawn(
    ChildProcess.make(program, args, {
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

/** Adds the CPU time that the stand-in has used meanwhile, if there is one. */
const withStandInCpu = Effect.fnUntraced(function*<E, R>(
  standIn: StandIn | undefined,
  operations: number,
  measure: Effect.Effect<Measurement, E, R>
) {
  if (standIn === undefined) return yield* measure
  const before = yield* standIn.cpuMicroseconds
  const measurement = yield* measure
  const used = (yield* standIn.cpuMicroseconds) - before
  return { ...measurement, standInCpuMicrosecondsPerOperation: used / operations }
})

const runOne = Effect.fnUntraced(function*(brokers: Brokers, options: Options, planned: Planned) {
  const prepared = options.clients.find(({ client }) => client === planned.client)
  if (prepared === undefined) {
    return yield* Effect.die(new Error(`${planned.client} is not prepared`))
  }
  const scenario = scenarioNamed(planned.scenario)
  const standIn = scenario.broker === "stand-in" ? brokers.standIn : undefined
  const broker = standIn?.broker ?? brokers.broker
  if (broker === undefined) {
    return yield* Effect.die(new Error(`there is no broker for ${scenario.name}`))
  }
  const warmUp = { queue: yield* broker.queue, count: planned.warmUp }
  const measured = { queue: yield* broker.queue, count: planned.count }
  if (scenario.prefilled) {
    yield* broker.fill(warmUp.queue, warmUp.count, planned.size)
    yield* broker.fill(measured.queue, measured.count, planned.size)
  }
  const command = scenario.workload === "start" ? startCommand(planned.client) : prepared.command
  const task: Task = {
    client: planned.client,
    scenario: scenario.name,
    workload: scenario.workload,
    url: broker.url,
    size: planned.size,
    window: windowFor(planned.size),
    split: { channels: 1, consumers: 1, publishers: 1, ...scenario.split },
    observeEventLoop: scenario.observeEventLoop ?? false,
    spawnedAt: Number(process.hrtime.bigint()),
    warmUp,
    measured
  }
  const measurement = yield* withStandInCpu(standIn, warmUp.count + measured.count, work(command, task)).pipe(
    Effect.timeoutOrElse({
      duration: options.timeout,
      orElse: () => Effect.fail(`no result within ${Duration.format(options.timeout)}`)
    })
  )
  // A figure counts only if the work was done: no message lost, left over or requeued.
  const expected = scenario.leaves === "nothing" || clients[planned.client].isEmpty === true ? 0 : measured.count
  const found = yield* broker.messageCount(measured.queue)
  if (found !== expected) {
    return yield* Effect.fail(`the queue has ${found} messages instead of ${expected}`)
  }
  const run: Run = { ...planned, ...measurement }
  return run
}, Effect.scoped)

const describe = (cause: unknown): string =>
  typeof cause === "string" ? cause : cause instanceof Error ? cause.message : String(cause)

/** Runs everything in turn. A run that fails is reported in the outcome and does not stop the others. */
export const runAll = Effect.fnUntraced(function*(
  brokers: Brokers,
  options: Options,
  onResult: (planned: Planned, result: Result.Result<Run, RunFailed>) => Effect.Effect<void>
) {
  const runs: Array<Run> = []
  const failures: Array<RunFailed> = []
  for (const planned of plan({ ...options, clients: options.clients.map(({ client }) => client) })) {
    const result = yield* runOne(brokers, options, planned).pipe(
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
