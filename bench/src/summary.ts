/**
 * Computes the figures that are compared: medians per scenario and client, and ratios to the best peer.
 */
import type { ClientName } from "./clients.ts"
import { clientNames, clients } from "./clients.ts"
import type { Run } from "./results.ts"
import { scenarios } from "./scenarios.ts"
import type { Latencies } from "./task.ts"

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
  /** In microseconds. */
  readonly latencies: Latencies | undefined
  /** In milliseconds. */
  readonly eventLoopDelay: number | undefined
  /** Of the stand-in, in scenarios against it. */
  readonly standInCpuMicrosecondsPerOperation: number | undefined
  /** Messages that a neighbour on the same connection published. */
  readonly besidePerSecond: number | undefined
  readonly settledRssBytes: number | undefined
}

/** Our figure over that of the best peer, which may be a different one for each metric. */
export interface Against {
  readonly peer: ClientName
  readonly ratio: number
}

/** What is compared. More throughput is better; of all else, less is. */
export const metricNames = ["throughput", "cpu", "memory", "p99", "eventLoopDelay", "settledMemory"] as const

export type MetricName = typeof metricNames[number]

/** The metrics that this client and at least one peer have. */
export type Comparison = Readonly<Partial<Record<MetricName, Against>>>

export interface ScenarioSummary {
  readonly scenario: string
  readonly count: number
  readonly figures: ReadonlyArray<Figures>
  /** Empty unless this client and a peer took part. */
  readonly comparison: Comparison
}

/** The middle value, or the mean of the two middle values. NaN for an empty list. */
export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

const throughput = (run: Run): number => run.count / (run.nanoseconds / 1e9)

/** The median of what all runs have. */
const medianIfPresent = (values: ReadonlyArray<number | undefined>): number | undefined => {
  const present = values.filter((value) => value !== undefined)
  return present.length < values.length ? undefined : median(present)
}

const latenciesOf = (runs: ReadonlyArray<Run>): Latencies | undefined => {
  const latencies = runs.flatMap(({ latencies }) => latencies === undefined ? [] : [latencies])
  return latencies.length < runs.length ? undefined : {
    p50: median(latencies.map(({ p50 }) => p50)),
    p99: median(latencies.map(({ p99 }) => p99)),
    p999: median(latencies.map(({ p999 }) => p999)),
    max: median(latencies.map(({ max }) => max))
  }
}

/** The figures of one run. */
export const runFigures = (run: Run): Figures => figuresOf(run.client, [run])

const figuresOf = (client: ClientName, runs: ReadonlyArray<Run>): Figures => {
  const throughputs = runs.map(throughput)
  return {
    client,
    rounds: runs.length,
    operationsPerSecond: median(throughputs),
    slowest: Math.min(...throughputs),
    fastest: Math.max(...throughputs),
    cpuMicrosecondsPerOperation: median(runs.map((run) => run.cpuMicroseconds / run.count)),
    peakRssBytes: median(runs.map((run) => run.peakRssBytes)),
    latencies: latenciesOf(runs),
    eventLoopDelay: medianIfPresent(runs.map(({ eventLoopDelay }) => eventLoopDelay)),
    standInCpuMicrosecondsPerOperation: medianIfPresent(
      runs.map(({ standInCpuMicrosecondsPerOperation }) => standInCpuMicrosecondsPerOperation)
    ),
    besidePerSecond: medianIfPresent(runs.map(({ beside, nanoseconds }) => beside && beside / (nanoseconds / 1e9))),
    settledRssBytes: medianIfPresent(runs.map(({ settledRssBytes }) => settledRssBytes))
  }
}

/** The figure of each metric. */
export const metrics: Readonly<Record<MetricName, (figures: Figures) => number | undefined>> = {
  throughput: ({ operationsPerSecond }) => operationsPerSecond,
  cpu: ({ cpuMicrosecondsPerOperation }) => cpuMicrosecondsPerOperation,
  memory: ({ peakRssBytes }) => peakRssBytes,
  p99: ({ latencies }) => latencies?.p99,
  eventLoopDelay: ({ eventLoopDelay }) => eventLoopDelay,
  settledMemory: ({ settledRssBytes }) => settledRssBytes
}

/** Whether the ratio `a` of a metric is better than `b`. */
export const isBetter = (metric: MetricName, a: number, b: number): boolean => metric === "throughput" ? a > b : a < b

const against = (
  metric: MetricName,
  ours: Figures,
  peers: ReadonlyArray<Figures>
): Partial<Record<MetricName, Against>> => {
  const value = metrics[metric](ours)
  const others = peers.flatMap((figures) => {
    const value = metrics[metric](figures)
    return value === undefined ? [] : [{ peer: figures.client, value }]
  })
  if (value === undefined || others.length === 0) return {}
  const best = others.reduce((a, b) => isBetter(metric, b.value, a.value) ? b : a)
  return { [metric]: { peer: best.peer, ratio: value / best.value } }
}

const compare = (figures: ReadonlyArray<Figures>): Comparison => {
  const ours = figures.find(({ client }) => clients[client].kind === "ours")
  const peers = figures.filter(({ client }) => clients[client].kind === "peer")
  if (ours === undefined) return {}
  return Object.assign({}, ...metricNames.map((metric) => against(metric, ours, peers))) as Comparison
}

/** Scenarios and clients in the order of the report, without those that have no run. */
export const summarise = (runs: ReadonlyArray<Run>): ReadonlyArray<ScenarioSummary> =>
  scenarios.flatMap(({ name }) => {
    const ofScenario = runs.filter((run) => run.scenario === name)
    if (ofScenario.length === 0) {
      return []
    }
    const figures = clientNames.flatMap((client) => {
      const ofClient = ofScenario.filter((run) => run.client === client)
      return ofClient.length === 0 ? [] : [figuresOf(client, ofClient)]
    })
    return [{ scenario: name, count: ofScenario[0].count, figures, comparison: compare(figures) }]
  })
