/** `npm run compare`: the same random operations on RabbitMQ and on the embedded broker. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { startBrokers } from "./brokers.ts"
import { runBoth } from "./compare.ts"
import { compareSeeds, maxKinds } from "./compareSeeds.ts"
import { defaultSteps, makePlan } from "./plan.ts"
import { describeDifference, describeRun } from "./report.ts"

class BrokersDiffer extends Data.TaggedError("BrokersDiffer")<{ readonly message: string }> {}

const integerFlag = (flag: string, minimum: number) =>
  Flag.Int(flag).pipe(
    Flag.withSchema(
      Schema.Number.pipe(
        Schema.check(Schema.isGreaterThanOrEqualTo(minimum, { message: `Expected an integer from ${minimum}` }))
      )
    )
  )

const flags = {
  runs: integerFlag("runs", 1).pipe(
    Flag.withDescription("How many seeds to run (default: 300); a single one is shown with all replies"),
    Flag.withDefault(300)
  ),
  seed: integerFlag("seed", 0).pipe(
    Flag.withDescription("The first seed, an integer (default: 1)"),
    Flag.withDefault(1)
  ),
  steps: integerFlag("steps", 1).pipe(
    Flag.withDescription(`The number of operations in each run (default: ${defaultSteps})`),
    Flag.withDefault(defaultSteps)
  ),
  concurrency: integerFlag("concurrency", 1).pipe(
    Flag.withDescription("The number of concurrent runs (default: 12)"),
    Flag.withDefault(12)
  ),
  url: Flag.String("url").pipe(
    Flag.withDescription("The broker to compare with (default: AMQP_URL, otherwise RabbitMQ on this machine)"),
    Flag.withDefault(process.env["AMQP_URL"] || "amqp://guest:guest@127.0.0.1:5672")
  )
}

const compare = Command.make(
  "compare",
  flags,
  Effect.fnUntraced(function*({ concurrency, runs, seed, steps, url }) {
    const brokers = yield* startBrokers(url)
    yield* Console.log(
      `${brokers.names.reference} and the embedded broker, ${runs} runs of ${steps} from seed ${seed} on`
    )
    if (runs === 1) {
      const plan = makePlan(seed, steps)
      yield* Console.log(describeRun(yield* runBoth(plan, brokers), brokers.names))
    }
    const { compared, differences, timing } = yield* compareSeeds(brokers, {
      seed,
      runs,
      steps,
      concurrency,
      onProgress: (done, different) =>
        done % 100 === 0 ? Console.log(`${done} of ${runs} runs, ${different} differ`) : Effect.void,
      onDifference: ({ alsoSeeds, difference, planned }) =>
        Console.error([
          `Seed ${difference.plan.seed} differs (theme "${difference.plan.theme}", ${difference.plan.operations.length} operations left of ${planned}):`,
          describeDifference(difference, brokers.names),
          ...(alsoSeeds.length > 0 ? [`      seeds that differ in the same way: ${alsoSeeds.join(" ")}`] : []),
          `      again: npm run compare -- --runs 1 --seed ${difference.plan.seed} --steps ${steps}\n`
        ].join("\n"))
    })
    yield* Console.log(`${compared} runs: ${differences} differ, ${timing} differed only once`)
    if (differences > 0) {
      const ended = compared < runs ? `; ended after ${maxKinds} kinds of differences` : ""
      return yield* new BrokersDiffer({ message: `The brokers differ in ${differences} runs${ended}.` })
    }
  }, Effect.scoped)
).pipe(Command.withDescription("Runs the same random operations on RabbitMQ and on the embedded broker"))

compare.pipe(
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
