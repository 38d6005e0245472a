import type { Run } from "../../../bench/src/results.ts"

/** A run of 1000 operations with a throughput per second and a CPU time per operation, in microseconds. */
export const runOf = (
  scenario: string,
  client: Run["client"],
  round: number,
  figures: { readonly throughput?: number; readonly cpu?: number } & Partial<Run> = {}
): Run => {
  const { cpu = 10, throughput = 1000, ...others } = figures
  return {
    scenario,
    client,
    round,
    size: 16,
    warmUp: 100,
    count: 1000,
    nanoseconds: 1000 / throughput * 1e9,
    cpuMicroseconds: cpu * 1000,
    peakRssBytes: 2 ** 27,
    ...others
  }
}
