/**
 * `npm run fuzz`: runs the fuzz tests with any seed and number of cases. The same number and seed give the same cases.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { startVitest } from "vitest/node"

const targets = {
  protocol: "test/unit/protocol/fuzz.test.ts",
  conversation: "test/simulation/wire/fuzz.test.ts"
}

const targetNames = ["protocol", "conversation"] as const

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
    Flag.withDescription("Cases of each test (default: 10000); 10000 conversations take some minutes"),
    Flag.withDefault(10_000)
  ),
  seed: integerFlag("seed", 0).pipe(
    Flag.withDescription("Seed of the cases (default: 1, as in npm test)"),
    Flag.withDefault(1)
  ),
  target: Flag.Literals("target", targetNames).pipe(
    Flag.withDescription(`Tests to run: ${targetNames.join(", ")} (default: both)`),
    Flag.atLeast(0)
  )
}

const fuzz = Command.make(
  "fuzz",
  flags,
  Effect.fnUntraced(function*({ runs, seed, target }) {
    const chosen = target.length === 0 ? targetNames : target
    process.env["FUZZ_RUNS"] = String(runs)
    process.env["FUZZ_SEED"] = String(seed)
    // Vitest sets the exit code.
    yield* Effect.promise(async () => {
      const files = chosen.map((name) => targets[name])
      const vitest = await startVitest("test", files, { run: true, watch: false, project: ["local"] })
      await vitest.close()
    })
  })
).pipe(Command.withDescription("Runs the fuzz tests with any seed and number of cases"))

fuzz.pipe(
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
