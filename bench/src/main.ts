/**
 * `npm run bench`: compares this client with the other AMQP clients for Node.js on the same broker.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import { check, minimumRounds, readBaseline, rowsOf, writeBaseline } from "./baseline.ts"
import { connect } from "./broker.ts"
import { charts } from "./charts/command.ts"
import { clientNames } from "./clients.ts"
import { embedded } from "./embedded.ts"
import { describeEnvironment } from "./environment.ts"
import { integerFlag, size } from "./flags.ts"
import { growthOf } from "./growth.ts"
import { prepare } from "./programs.ts"
import { toMarkdown, toText } from "./report.ts"
import { readResults } from "./results.ts"
import type { Results } from "./results.ts"
import { runAll } from "./runner.ts"
import { defaultFamily, familyNames, selectors, selectScenarios } from "./scenarios.ts"
import type { Scenario } from "./scenarios/scenario.ts"
import { startStandIn } from "./standIn/start.ts"
import { summarise } from "./summary.ts"

const defaultUrl = "amqp://guest:guest@127.0.0.1:5672"

/** A comma-separated list of the given names, without duplicates. */
const namesFlag = <const Names extends ReadonlyArray<string>>(
  flag: string,
  names: Names,
  byDefault: ReadonlyArray<Names[number]>
) =>
  Flag.String(flag).pipe(
    Flag.withSchema(
      Schema.String.pipe(
        Schema.decodeTo(
          Schema.Array(Schema.Literals(names)),
          SchemaTransformation.transform({
            decode: (text): ReadonlyArray<string> => [...new Set(text.split(",").map((name) => name.trim()))],
            encode: (list) => list.join(",")
          })
        )
      )
    ),
    Flag.withMetavar("a,b"),
    Flag.withDefault(byDefault)
  )

const flags = {
  scenario: namesFlag("scenario", selectors, [defaultFamily]).pipe(
    Flag.withDescription(
      `Scenarios, or families of them: ${familyNames.join(", ")}, all (default: ${defaultFamily}). ` +
        "The README lists the scenarios"
    )
  ),
  client: namesFlag("client", clientNames, clientNames).pipe(
    Flag.withDescription(`Clients to measure: ${clientNames.join(", ")} (default: all)`)
  ),
  size,
  count: integerFlag("count", 1, 100_000_000).pipe(
    Flag.withDescription("Operations per run (default: as many as the scenario needs)"),
    Flag.optional
  ),
  rounds: integerFlag("rounds", 1, 1000).pipe(
    Flag.withDescription(
      "Runs per client and scenario; the median is reported " +
        `(default: 5; with --check or --write-baseline at least and by default ${minimumRounds})`
    ),
    Flag.optional
  ),
  timeout: integerFlag("timeout", 1, 86_400).pipe(
    Flag.withDescription("Timeout of a run in seconds (default: 300)"),
    Flag.withDefault(300)
  ),
  url: Flag.Redacted("url").pipe(
    Flag.withDescription(`The broker (default: $AMQP_URL, otherwise ${defaultUrl})`),
    Flag.withFallbackConfig(Config.Redacted("AMQP_URL")),
    Flag.withDefault(Redacted.make(defaultUrl))
  ),
  json: Flag.String("json").pipe(
    Flag.withMetavar("FILE"),
    Flag.withDescription("Write all runs, their summary and the environment to this file"),
    Flag.optional
  ),
  from: Flag.String("from").pipe(
    Flag.withMetavar("FILE"),
    Flag.withDescription("Measure nothing; report on what --json wrote to this file"),
    Flag.optional
  ),
  check: Flag.Boolean("check").pipe(
    Flag.withDescription("Compare the ratios with bench/baseline.json, and fail if one is worse beyond its tolerance"),
    Flag.withDefault(false)
  ),
  writeBaseline: Flag.Boolean("write-baseline").pipe(
    Flag.withDescription("Write the ratios to bench/baseline.json; scenarios that were not measured keep theirs"),
    Flag.withDefault(false)
  ),
  markdown: Flag.Boolean("markdown").pipe(
    Flag.withDescription("Print Markdown"),
    Flag.withDefault(false)
  )
}

type Input = Command.Command.Config.Infer<typeof flags>

/** Runs everything, and writes the file of `--json`. */
const measure = Effect.fnUntraced(function*(input: Input, rounds: number) {
  const fileSystem = yield* FileSystem.FileSystem
  if (Option.isSome(input.json)) {
    // fail now, not after the work, if the path can't be written
    const file = input.json.value
    yield* Effect.mapError(
      fileSystem.writeFileString(file, ""),
      (cause) => new Error(`Cannot write ${file}: ${cause.message}`)
    )
  }
  const scenarios = selectScenarios(input.scenario)
  const needs = (broker: Scenario["broker"]) => scenarios.some((scenario) => scenario.broker === broker)
  const broker = needs("broker") ? yield* connect(Redacted.value(input.url)) : undefined
  const standIn = needs("stand-in") ? yield* startStandIn : undefined
  const { prepared, unavailable } = yield* prepare(input.client)
  for (const { client, reason } of unavailable) {
    yield* Console.error(`${client} is left out: ${reason}`)
  }
  const environment = yield* describeEnvironment([broker, standIn?.broker], prepared)
  const { failures, runs } = yield* runAll(
    { broker, standIn },
    {
      scenarios,
      clients: prepared,
      size: input.size,
      count: Option.getOrUndefined(input.count),
      rounds,
      timeout: Duration.seconds(input.timeout)
    },
    ({ client, round, scenario }, result) =>
      Console.error(
        `${scenario} ${round}/${rounds} ${client}: ${
          Result.isSuccess(result)
            ? `${Math.round(result.success.count / (result.success.nanoseconds / 1e9))} /s`
            : "failed"
        }`
      )
  )
  const results: Results = { environment, size: input.size, rounds, runs }
  if (Option.isSome(input.json)) {
    const summaries = summarise(runs)
    const content = { ...results, summaries, series: growthOf(summaries), failures }
    yield* fileSystem.writeFileString(input.json.value, `${JSON.stringify(content, null, 2)}\n`)
  }
  return { results, failures }
}, Effect.scoped)

const bench = Command.make(
  "bench",
  flags,
  Effect.fnUntraced(
    function*(input) {
      const usesBaseline = input.check || input.writeBaseline
      const rounds = Option.getOrElse(input.rounds, () => usesBaseline ? minimumRounds : 5)
      const earlier = Option.isSome(input.from) ? yield* readResults(input.from.value) : undefined
      if (usesBaseline && (earlier?.rounds ?? rounds) < minimumRounds) {
        return yield* Effect.fail(new Error(`--check and --write-baseline need at least ${minimumRounds} rounds`))
      }
      const { failures, results } = earlier === undefined
        ? yield* measure(input, rounds)
        : { results: earlier, failures: [] }
      const summaries = summarise(results.runs)
      const rows = rowsOf(summaries, results.runs)
      const { checked, skipped } = input.check ? check(yield* readBaseline, rows) : { checked: [], skipped: [] }
      const report = { ...results, summaries, checked }
      yield* Console.log(input.markdown ? toMarkdown(report) : `\n${toText(report)}`)
      for (const { reason, scenario } of skipped) {
        yield* Console.error(`${scenario} is not checked: ${reason}`)
      }
      if (failures.length > 0) {
        return yield* Effect.fail(
          new Error(`Failed runs: ${failures.length}\n${failures.map((failure) => failure.message).join("\n")}`)
        )
      }
      if (input.writeBaseline) {
        yield* Console.error(`Written: ${yield* writeBaseline(results.environment, rows)}`)
      }
      const worse = checked.filter(({ verdict }) => verdict === "worse")
      if (worse.length > 0) {
        const names = worse.map(({ metric, scenario }) => `${scenario} (${metric})`)
        return yield* Effect.fail(new Error(`Worse than the baseline: ${names.join(", ")}`))
      }
      if (input.check && checked.length === 0) {
        return yield* Effect.fail(new Error("Nothing could be checked"))
      }
      // for a user error only the message is printed, and the exit code is 1
    },
    Effect.mapError((cause) => new CliError.UserError({ cause }))
  )
).pipe(Command.withDescription("Compares effect-amqp with amqplib, rabbitmq-client and @cloudamqp/amqp-client"))

bench.pipe(
  Command.withSubcommands([charts, embedded]),
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
