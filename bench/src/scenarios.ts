/**
 * All rows of the benchmark. Each module in `scenarios` has the rows of one or several families.
 */
import { basic } from "./scenarios/basic.ts"
import { bodies } from "./scenarios/bodies.ts"
import { eventLoop, largeBody, latency } from "./scenarios/latency.ts"
import { memory } from "./scenarios/memory.ts"
import type { Scenario } from "./scenarios/scenario.ts"
import { channels, consumers, publishers } from "./scenarios/split.ts"
import { standIn } from "./scenarios/standIn.ts"
import { start } from "./scenarios/start.ts"

/** In the order of the report. */
export const scenarios: ReadonlyArray<Scenario> = [
  ...basic,
  ...bodies,
  ...channels,
  ...consumers,
  ...publishers,
  ...standIn,
  ...latency,
  ...largeBody,
  ...eventLoop,
  ...memory,
  ...start
]

const byName: ReadonlyMap<string, Scenario> = new Map(scenarios.map((scenario) => [scenario.name, scenario]))

export const familyNames: ReadonlyArray<string> = [...new Set(scenarios.map(({ family }) => family))]

/** The family that is measured by default. */
export const defaultFamily = "basic"

/** What `--scenario` takes: the name of a scenario or a family, or `all`. */
export const selectors: ReadonlyArray<string> = ["all", ...familyNames, ...byName.keys()]

/** The scenarios that the selectors name, each once, in the order of the report. */
export const selectScenarios = (selected: ReadonlyArray<string>): ReadonlyArray<Scenario> =>
  scenarios.filter(({ family, name }) => ["all", family, name].some((selector) => selected.includes(selector)))

export const scenarioNamed = (name: string): Scenario => {
  const scenario = byName.get(name)
  if (scenario === undefined) throw new Error(`There is no scenario ${name}`)
  return scenario
}

const defaultMaximumBytes = 256 * 2 ** 20

const limitedBySize = (count: number, size: number, bytes: number): number =>
  Math.max(1, Math.min(count, Math.floor(bytes / Math.max(1, size))))

/** How many operations a run measures and, before that, warms up with, for bodies of `size` bytes. */
export const countsFor = (
  scenario: Scenario,
  size: number,
  count: number | undefined
): { readonly count: number; readonly warmUp: number } => {
  const maximumBytes = scenario.maximumBytes ?? defaultMaximumBytes
  const measured = count ?? limitedBySize(scenario.defaultCount, size, maximumBytes)
  return { count: measured, warmUp: Math.min(measured, limitedBySize(scenario.warmUp, size, maximumBytes / 10)) }
}
