/**
 * How the figures grow in a series of scenarios that differ in one parameter: no faster than the work, if all is well.
 */
import type { ClientName } from "./clients.ts"
import { scenarioNamed } from "./scenarios.ts"
import type { Figures, ScenarioSummary } from "./summary.ts"

/** One client's figures per operation, in the order of the scenarios, each relative to the first. */
export interface ClientGrowth {
  readonly client: ClientName
  readonly cpu: ReadonlyArray<number | undefined>
  readonly time: ReadonlyArray<number | undefined>
}

export interface SeriesGrowth {
  readonly name: string
  /** From the smallest to the largest. */
  readonly scenarios: ReadonlyArray<string>
  /** The work of an operation, relative to the first scenario. */
  readonly work: ReadonlyArray<number>
  readonly clients: ReadonlyArray<ClientGrowth>
}

const relative = (values: ReadonlyArray<number | undefined>): ReadonlyArray<number | undefined> => {
  const [first] = values
  return values.map((value) => value === undefined || first === undefined ? undefined : value / first)
}

/** Series of which at least two scenarios were measured. */
export const growthOf = (summaries: ReadonlyArray<ScenarioSummary>): ReadonlyArray<SeriesGrowth> => {
  const names = new Set(summaries.flatMap(({ scenario }) => scenarioNamed(scenario).series?.name ?? []))
  return [...names].flatMap((name) => {
    const rows = summaries.filter(({ scenario }) => scenarioNamed(scenario).series?.name === name)
    if (rows.length < 2) return []
    const work = rows.map(({ scenario }) => scenarioNamed(scenario).series?.work ?? 1)
    const clients = [...new Set(rows.flatMap(({ figures }) => figures.map(({ client }) => client)))]
    const valuesOf = (client: ClientName, value: (figures: Figures) => number) =>
      relative(rows.map(({ figures }) => {
        const ofClient = figures.find((of) => of.client === client)
        return ofClient && value(ofClient)
      }))
    return [{
      name,
      scenarios: rows.map(({ scenario }) => scenario),
      work: work.map((of) => of / work[0]),
      clients: clients.map((client) => ({
        client,
        cpu: valuesOf(client, ({ cpuMicrosecondsPerOperation }) => cpuMicrosecondsPerOperation),
        time: valuesOf(client, ({ operationsPerSecond }) => 1 / operationsPerSecond)
      }))
    }]
  })
}
