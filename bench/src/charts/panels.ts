/**
 * What the charts of each family show: two figures of each row.
 */
import type { Figures } from "../summary.ts"

export interface Panel {
  /** With the unit. */
  readonly title: string
  readonly better: "more" | "less"
  readonly valueOf: (figures: Figures) => number | undefined
}

const throughput: Panel = {
  title: "Operations per second",
  better: "more",
  valueOf: ({ operationsPerSecond }) => operationsPerSecond
}

const cpu: Panel = {
  title: "CPU time per operation, µs",
  better: "less",
  valueOf: ({ cpuMicrosecondsPerOperation }) => cpuMicrosecondsPerOperation
}

const milliseconds = (microseconds: number | undefined): number | undefined =>
  microseconds === undefined ? undefined : microseconds / 1000

const mebibytes = (bytes: number | undefined): number | undefined => bytes === undefined ? undefined : bytes / 2 ** 20

const p50: Panel = {
  title: "Latency p50, ms",
  better: "less",
  valueOf: ({ latencies }) => milliseconds(latencies?.p50)
}

const p99: Panel = {
  title: "Latency p99, ms",
  better: "less",
  valueOf: ({ latencies }) => milliseconds(latencies?.p99)
}

const eventLoopDelay: Panel = {
  title: "Longest delay of the event loop, ms",
  better: "less",
  valueOf: ({ eventLoopDelay }) => eventLoopDelay
}

const peakRss: Panel = {
  title: "Peak resident set, MiB",
  better: "less",
  valueOf: ({ peakRssBytes }) => mebibytes(peakRssBytes)
}

const settledRss: Panel = {
  title: "Resident set after a collection, MiB",
  better: "less",
  valueOf: ({ settledRssBytes }) => mebibytes(settledRssBytes)
}

const startTime: Panel = {
  title: "Time, ms",
  better: "less",
  valueOf: ({ operationsPerSecond }) => 1000 / operationsPerSecond
}

const startCpu: Panel = {
  title: "CPU time, ms",
  better: "less",
  valueOf: ({ cpuMicrosecondsPerOperation }) => milliseconds(cpuMicrosecondsPerOperation)
}

type Panels = readonly [Panel, Panel]

const special: Readonly<Record<string, Panels>> = {
  latency: [p50, p99],
  "large-body": [p99, peakRss],
  "event-loop": [eventLoopDelay, cpu],
  memory: [peakRss, settledRss],
  start: [startTime, startCpu]
}

export const panelsOf = (family: string): Panels => Object.hasOwn(special, family) ? special[family] : [throughput, cpu]

export const overviewPanels: Panels = [throughput, cpu]
