/**
 * What is drawn.
 */
import * as Effect from "effect/Effect"
import type { Results } from "../results.ts"
import { readResults } from "../results.ts"
import type { ScenarioSummary } from "../summary.ts"
import { summarise } from "../summary.ts"

export interface ChartInput extends Pick<Results, "environment" | "rounds"> {
  readonly summaries: ReadonlyArray<ScenarioSummary>
}

/** From a file that `--json` wrote. */
export const readInput = (file: string) =>
  Effect.map(readResults(file), (results): ChartInput => ({ ...results, summaries: summarise(results.runs) }))

/** The line at the foot of each chart: figures mean little without it. */
export const footnote = ({ environment, rounds }: ChartInput): string =>
  [
    environment.date.slice(0, 10),
    environment.broker,
    `Node ${environment.node}`,
    `${environment.cpu}, ${environment.cores} cores`,
    rounds === 1 ? "one round" : `medians of ${rounds} rounds`
  ].join(" · ")
