/** `npm run chaos`: clients on real brokers, while connections and brokers fail. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import { kinds, kindsFor } from "./plan.ts"
import { describe } from "./report.ts"
import { run } from "./run.ts"

class ChaosFailed extends Data.TaggedError("ChaosFailed")<{ readonly message: string }> {}

const flags = {
  minutes: Flag.Finite("minutes").pipe(
    Flag.withDescription("How long faults are inflicted (default: 0.5)"),
    Flag.filter((minutes) => minutes > 0, () => "Expected a number above 0"),
    Flag.withDefault(0.5)
  ),
  seed: Flag.Int("seed").pipe(
    Flag.withDescription("Determines the sequence of faults (default: a random one, which is printed)"),
    Flag.optional
  ),
  json: Flag.String("json").pipe(
    Flag.withDescription("A file for the report as JSON"),
    Flag.optional
  ),
  nodes: Flag.Literals("nodes", ["1", "3"]).pipe(
    Flag.withDescription("A single broker, or a cluster of three (default: 1)"),
    Flag.withDefault("1")
  ),
  rate: Flag.Finite("rate").pipe(
    Flag.withDescription("How many messages each publisher publishes in a second (default: 50)"),
    Flag.filter((rate) => rate > 0, () => "Expected a number above 0"),
    Flag.withDefault(50)
  ),
  only: Flag.Literals("only", kinds).pipe(
    Flag.withDescription("Inflicts only faults of this kind; may be repeated"),
    Flag.atLeast(0)
  )
}

const chaos = Command.make(
  "chaos",
  flags,
  Effect.fnUntraced(function*({ json, minutes, nodes, only, rate, seed: given }) {
    const size = Number(nodes)
    const impossible = only.find((kind) => !kindsFor(size).includes(kind))
    if (impossible !== undefined) {
      return yield* new ChaosFailed({ message: `${impossible} needs a cluster: --nodes 3` })
    }
    const seed = Option.getOrElse(given, () => Math.floor(Math.random() * 1_000_000))
    yield* Console.log(`Seed ${seed}. Starting ${size === 1 ? "a broker" : "a cluster"} ...`)
    const report = yield* run({
      seed,
      seconds: minutes * 60,
      nodes: size,
      rate,
      kinds: only.length === 0 ? undefined : only,
      // oxlint-disable-next-line no-console
      onEvent: (text) => console.log(text)
    })
    yield* Console.log(`\n${describe(report)}`)
    if (Option.isSome(json)) {
      const files = yield* FileSystem.FileSystem
      yield* files.writeFileString(json.value, `${JSON.stringify(report, undefined, 2)}\n`)
    }
    if (report.violations.length > 0) {
      const faults = only.map((kind) => ` --only ${kind}`).join("")
      return yield* new ChaosFailed({
        message:
          `There were violations. Again: npm run chaos -- --minutes ${minutes} --seed ${seed} --nodes ${nodes} --rate ${rate}${faults}`
      })
    }
  })
).pipe(Command.withDescription("Runs clients on real brokers while connections and brokers fail"))

Command.run(chaos, { version: "0.0.0" }).pipe(Effect.provide(NodeServices.layer), NodeRuntime.runMain)
