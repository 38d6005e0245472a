/** `npm run simulate`: runs the simulation of one seed, or of many. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { make, makeWithoutRecovery } from "./makePlan.ts"
import type { Plan } from "./plan.ts"
import { plantAll, tableOf } from "./planted/plant.ts"
import { run, runPlan } from "./run.ts"

class SimulationFailed extends Data.TaggedError("SimulationFailed")<{ readonly message: string }> {}

const flags = {
  seed: Flag.String("seed").pipe(
    Flag.withDescription("Runs this seed alone, and shows its plan"),
    Flag.optional
  ),
  runs: Flag.Int("runs").pipe(
    Flag.withDescription("How many seeds to run"),
    Flag.withDefault(1000)
  ),
  withoutRecovery: Flag.Boolean("without-recovery").pipe(
    Flag.withDescription("With --seed: the plan of this seed in which no client recovers"),
    Flag.withDefault(false)
  ),
  from: Flag.Int("from").pipe(
    Flag.withDescription("The first of the seeds, a whole number"),
    Flag.withDefault(0)
  ),
  planted: Flag.Boolean("planted").pipe(
    Flag.withDescription("Breaks one line of the built client at a time, and shows how many seeds find it"),
    Flag.withDefault(false)
  ),
  only: Flag.String("only").pipe(
    Flag.withDescription("With --planted: only the breaks whose names contain this"),
    Flag.optional
  )
}

const runOne = (plan: Plan) =>
  Effect.gen(function*() {
    yield* Console.log(JSON.stringify(plan, undefined, 2))
    const { published, received, violations } = yield* runPlan(plan)
    yield* Console.log(`${published} messages published, ${received} received`)
    if (violations.length > 0) return yield* new SimulationFailed({ message: violations.join("\n") })
    yield* Console.log(`Seed ${plan.seed} passed.`)
  })

const runMany = (from: number, runs: number) =>
  Effect.gen(function*() {
    const failed: Array<string> = []
    let published = 0
    let received = 0
    for (let seed = from; seed < from + runs; seed++) {
      const report = yield* run(String(seed))
      published += report.published
      received += report.received
      if (report.violations.length > 0) {
        failed.push(String(seed))
        yield* Console.error(`Seed ${seed}:\n  ${report.violations.slice(0, 5).join("\n  ")}`)
      }
      const done = seed - from + 1
      if (done % 500 === 0) yield* Console.log(`${done} of ${runs} seeds, ${failed.length} failed`)
    }
    yield* Console.log(
      `${runs} seeds: ${published} messages published, ${received} received, ${failed.length} seeds failed`
    )
    if (failed.length > 0) {
      return yield* new SimulationFailed({
        message: `Replay one with: npm run simulate -- --seed ${failed[0]}\nThese failed: ${failed.join(" ")}`
      })
    }
  })

/** How many seeds a planted fault may take. */
const plantedRuns = 2000

const runPlanted = (from: number, name: Option.Option<string>) =>
  Effect.gen(function*() {
    const found = yield* plantAll(
      from,
      plantedRuns,
      (planted) => Option.match(name, { onNone: () => true, onSome: (part) => planted.name.includes(part) }),
      ({ planted, seed, seeds, violation }) =>
        Console.log(
          seed === undefined
            ? `NOT FOUND in ${seeds} seeds: ${planted.name}`
            : `${planted.name}: found after ${seeds} seeds (${seed}): ${violation}`
        )
    )
    yield* Console.log(tableOf(found))
    const missed = found.filter(({ seed }) => seed === undefined).length
    if (missed > 0) return yield* new SimulationFailed({ message: `${missed} planted faults were not found` })
  })

const command = Command.make(
  "simulate",
  flags,
  ({ from, only, planted, runs, seed, withoutRecovery }) =>
    planted
      ? runPlanted(from, only)
      : Option.match(seed, {
        onNone: () => runMany(from, runs),
        onSome: (seed) => runOne(withoutRecovery ? makeWithoutRecovery(seed) : make(seed))
      })
).pipe(Command.withDescription("Runs the client against the embedded broker with random programs and faults"))

Command.run(command, { version: "0.1.0" }).pipe(Effect.provide(NodeServices.layer), NodeRuntime.runMain)
