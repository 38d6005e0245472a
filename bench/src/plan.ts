/**
 * The order of the runs: scenario after scenario, round after round, and within a round client after client. The order of the clients
 * rotates each round, so that none always runs first or after the same client, and a slow period of the machine affects all.
 */
import type { ClientName } from "./clients.ts"
import { clients } from "./clients.ts"
import { countsFor } from "./scenarios.ts"
import type { Scenario } from "./scenarios/scenario.ts"

export interface PlanOptions {
  readonly scenarios: ReadonlyArray<Scenario>
  readonly clients: ReadonlyArray<ClientName>
  /** Bytes in a message's body, in scenarios without a size of their own. */
  readonly size: number
  /** Operations per run. `undefined` means the default of the scenario. */
  readonly count: number | undefined
  readonly rounds: number
}

/** One process. */
export interface Planned {
  readonly scenario: string
  readonly client: ClientName
  /** From 1. */
  readonly round: number
  readonly size: number
  readonly warmUp: number
  readonly count: number
}

const supports = (client: ClientName, scenario: Scenario): boolean => clients[client].supports?.(scenario) ?? true

/** All runs, in order. */
export const plan = (options: PlanOptions): ReadonlyArray<Planned> =>
  options.scenarios.flatMap((scenario) => {
    const candidates = options.clients.filter((client) => supports(client, scenario))
    const size = scenario.size ?? options.size
    const counts = countsFor(scenario, size, options.count)
    return Array.from({ length: options.rounds }, (_, index) => {
      const first = index % Math.max(1, candidates.length)
      return [...candidates.slice(first), ...candidates.slice(0, first)].map((client) => ({
        scenario: scenario.name,
        client,
        round: index + 1,
        size,
        ...counts
      }))
    }).flat()
  })
