/**
 * `--check`: compares the ratios to the best peer with those of an earlier run, in `bench/baseline.json`. Ratios, because absolute figures
 * vary between machines and days.
 *
 * Each round gives a ratio, as the clients run one after another in it. A row is worse only if its median ratio is worse than the
 * baseline's by more than the tolerance: 10 %, or the largest deviation from the median in the baseline plus that in this run, if that is
 * more. Simulated with normally distributed ratios, and with outliers, chance alone exceeds that once in 35,000 times with 7 rounds each, once
 * in 1,250 with 5, and once in 50 with 3: fewer than 7 are refused.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import { fileURLToPath } from "node:url"
import { clients } from "./clients.ts"
import type { ClientName } from "./clients.ts"
import { Environment } from "./results.ts"
import type { Run } from "./results.ts"
import type { MetricName, ScenarioSummary } from "./summary.ts"
import { isBetter, median, metricNames, metrics, runFigures } from "./summary.ts"

/** Fewer rounds say too little about the spread. There are about 150 comparisons in a check. */
export const minimumRounds = 7

const minimumTolerance = 0.1

const Ratios = Schema.Array(Schema.Number)

const Row = Schema.Struct({
  count: Schema.Number,
  size: Schema.Number,
  /** The ratio of each round, by metric. */
  ratios: Schema.Struct({
    throughput: Schema.optionalKey(Ratios),
    cpu: Schema.optionalKey(Ratios),
    memory: Schema.optionalKey(Ratios),
    p99: Schema.optionalKey(Ratios),
    eventLoopDelay: Schema.optionalKey(Ratios),
    settledMemory: Schema.optionalKey(Ratios)
  })
})

export type Row = typeof Row.Type

export const Baseline = Schema.Struct({
  /** Of the last run that wrote rows. */
  environment: Environment,
  rows: Schema.Record(Schema.String, Row)
})

export type Baseline = typeof Baseline.Type

const rounded = (ratio: number): number => Number(ratio.toPrecision(4))

/** The ratio of each round in which both took part. */
const ratiosOf = (metric: MetricName, runs: ReadonlyArray<Run>, peer: ClientName) =>
  runs.flatMap((run) => {
    const other = runs.find(({ client, round }) => client === peer && round === run.round)
    if (clients[run.client].kind !== "ours" || other === undefined) return []
    const value = metrics[metric](runFigures(run))
    const otherValue = metrics[metric](runFigures(other))
    return value === undefined || otherValue === undefined ? [] : [rounded(value / otherValue)]
  })

/** The rows of the scenarios in which this client and a peer took part. */
export const rowsOf = (
  summaries: ReadonlyArray<ScenarioSummary>,
  runs: ReadonlyArray<Run>
): Baseline["rows"] =>
  Object.fromEntries(summaries.flatMap(({ comparison, scenario }) => {
    const ofScenario = runs.filter((run) => run.scenario === scenario)
    const ratios = metricNames.flatMap((metric) => {
      const against = comparison[metric]
      return against === undefined ? [] : [[metric, ratiosOf(metric, ofScenario, against.peer)] as const]
    })
    const [{ count, size }] = ofScenario
    return ratios.length === 0 ? [] : [[scenario, { count, size, ratios: Object.fromEntries(ratios) }] as const]
  }))

export interface Checked {
  readonly scenario: string
  readonly metric: MetricName
  readonly baseline: number
  readonly now: number
  /** The factor by which the ratio may be worse. */
  readonly tolerance: number
  readonly verdict: "worse" | "better" | "same"
}

/** The largest deviation from the median, as a factor. */
const spread = (ratios: ReadonlyArray<number>): number => {
  const middle = median(ratios)
  return Math.max(...ratios.map((ratio) => Math.max(ratio / middle, middle / ratio)))
}

const checkOne = (
  scenario: string,
  metric: MetricName,
  before: ReadonlyArray<number>,
  after: ReadonlyArray<number>
): Checked => {
  const baseline = median(before)
  const now = median(after)
  const tolerance = Math.max(1 + minimumTolerance, spread(before) * spread(after))
  const difference = Math.max(now / baseline, baseline / now)
  const verdict = difference <= tolerance ? "same" : isBetter(metric, now, baseline) ? "better" : "worse"
  return { scenario, metric, baseline, now, tolerance, verdict }
}

export interface CheckResult {
  readonly checked: ReadonlyArray<Checked>
  /** Scenarios that can't be compared, with the reason. */
  readonly skipped: ReadonlyArray<{ readonly scenario: string; readonly reason: string }>
}

/** Compares each measured row with the baseline's. */
export const check = (baseline: Baseline, rows: Baseline["rows"]): CheckResult => {
  const checked: Array<Checked> = []
  const skipped: Array<CheckResult["skipped"][number]> = []
  for (const [scenario, row] of Object.entries(rows)) {
    const before = Object.hasOwn(baseline.rows, scenario) ? baseline.rows[scenario] : undefined
    if (before === undefined) {
      skipped.push({ scenario, reason: "not in the baseline" })
    } else if (before.count !== row.count || before.size !== row.size) {
      skipped.push({ scenario, reason: `the baseline has ${before.count} operations of ${before.size} bytes` })
    } else {
      for (const metric of metricNames) {
        const { [metric]: ratiosBefore = [] } = before.ratios
        const { [metric]: ratios = [] } = row.ratios
        const rounds = Math.min(ratiosBefore.length, ratios.length)
        if (rounds >= minimumRounds) checked.push(checkOne(scenario, metric, ratiosBefore, ratios))
        else if (rounds > 0) skipped.push({ scenario, reason: `only ${rounds} rounds have figures (${metric})` })
      }
    }
  }
  return { checked, skipped }
}

const baselineFile = fileURLToPath(new URL("../baseline.json", import.meta.url))

const BaselineJson = Schema.fromJsonString(Baseline)

export const readBaseline = Effect.gen(function*() {
  const fileSystem = yield* FileSystem.FileSystem
  const text = yield* fileSystem.readFileString(baselineFile)
  return yield* Schema.decodeEffect(BaselineJson)(text)
}).pipe(
  Effect.mapError((cause) => new Error(`Cannot read ${baselineFile}; --write-baseline writes it: ${cause.message}`))
)

/** Replaces the rows that were measured, and keeps the others. */
export const writeBaseline = Effect.fnUntraced(function*(environment: Baseline["environment"], rows: Baseline["rows"]) {
  const fileSystem = yield* FileSystem.FileSystem
  const rowsBefore = (yield* fileSystem.exists(baselineFile)) ? (yield* readBaseline).rows : {}
  const baseline: Baseline = { environment, rows: { ...rowsBefore, ...rows } }
  yield* fileSystem.writeFileString(baselineFile, `${JSON.stringify(baseline, null, 2)}\n`)
  return baselineFile
})
