/**
 * The delay of the event loop: how much later than it should a timer of one millisecond runs.
 */
import { monitorEventLoopDelay } from "node:perf_hooks"
import type { Stopwatch } from "./workload.ts"

/** In milliseconds. Node's histogram holds the time between two runs of its timer, so the interval itself is subtracted. */
const resolution = 1

/** Observes the measured section. The result is the longest delay in milliseconds. */
export const observeEventLoop = (stopwatch: Stopwatch) => {
  const histogram = monitorEventLoopDelay({ resolution })
  stopwatch.observe({ start: () => histogram.enable(), stop: () => histogram.disable() })
  return {
    result: () => ({ eventLoopDelay: Math.max(0, histogram.max / 1e6 - resolution) })
  }
}
