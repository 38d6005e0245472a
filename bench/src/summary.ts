/**
 * Computes the figures that are compared: medians per scenario and client, and ratios to the best peer.
 */
import type { ClientName } from "./clients.ts"
import { clients } from "./clients.ts"
import type { Run } from "./runner.ts"
import type { ScenarioName } from "./scenarios.ts"

/** The medians of a client's rounds in one scenario. */
export interface Figures {
  readonly client: ClientName
  readonly rounds: number
  readonly operationsPerSecond: number
  /** The slowest and the fastest round show how reliable the median is. */
  readonly slowest: number
  readonly fastest: number
  readonly cpuMicrosecondsPerOperation: number
  readonly peakRssBytes: number
}

/** This client compared with the fastest and the leanest peer, which may differ. */
export interface Comparison {
  readonly fastestPeer: ClientName
  /** Our throughput over the fastest peer's: more than 1 is better. */
  readonly throughputRatio: number
  readonly leanestPeer: ClientName
  /** Our CPU time per operation over the leanest peer's: less than 1 is better. */
  readonly cpuRatio: number
}

export interface ScenarioSummary {
  readonly scenario: ScenarioName
  readonly count: number
  readonly figures: ReadonlyArray<Figures>
  /** Absent unless this client and a peer took part. */
  readonly comparison: Comparison | undefined
}

/** The middle value, or the mean of the two middle values. NaN for an empty list. */
export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

const throughput = (run: Run): number => run.count / (run.nanoseconds / 1e9)

const figuresOf = (client: ClientName, runs: ReadonlyArray<Run>): Figures => {
  const throughputs = runs.map(throughput)
  return {
    client,
    rounds: runs.length,
    operationsPerSecond: median(throughputs),
    slowest: Math.min(...throughputs),
    fastest: Math.max(...throughputs),
    cpuMicrosecondsPerOperation: median(runs.map((run) => run.cpuMicroseconds / run.count)),
    peakRssBytes: median(runs.map((run) => run.peakRssBytes))
  }
}

const compare = (figures: ReadonlyArray<Figures>): Comparison | undefined => {
  const ours = figures.find(({ client }) => clients[client].kind === "ours")
  const peers = figures.filter(({ client }) => clients[client].kind === "peer")
  if (ours === undefined || peers.length === 0) {
    return undefined
  }
  const fastest = peers.reduce((a, b) => b.operationsPerSecond > a.operationsPerSecond ? b : a)
  const leanest = peers.reduce((a, b) => b.cpuMicrosecondsPerOperation < a.cpuMicrosecondsPerOperation ? b : a)
  return {
    fastestPeer: fastest.client,
    throughputRatio: ours.operationsPerSecond / fastest.operationsPerSecond,
    leanestPeer: leanest.client,
    cpuRatio: ours.cpuMicrosecondsPerOperation / leanest.cpuMicrosecondsPerOperation
  }
}

/** Scenarios and clients in the given order, without those that have no run. */
export const summarise = (
  runs: ReadonlyArray<Run>,
  order: { readonly scenarios: ReadonlyArray<ScenarioName>; readonly clients: ReadonlyArray<ClientName> }
): ReadonlyArray<ScenarioSummary> =>
  order.scenarios.flatMap((scenario) => {
    const ofScenario = runs.filter((run) => run.scenario === scenario)
    if (ofScenario.length === 0) {
      return []
    }
    const figures = order.clients.flatMap((client) => {
      const ofClient = ofScenario.filter((run) => run.client === client)
      return ofClient.length === 0 ? [] : [figuresOf(client, ofClient)]
    })
    return [{ scenario, count: ofScenario[0].count, figures, comparison: compare(figures) }]
  })
