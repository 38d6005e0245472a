import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

/** Counts the fibers that run within an Effect. */
export const countingFibers = () => {
  const fibers = {
    running: 0,
    counted: <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.provideService(self, Metric.FiberRuntimeMetrics, {
        recordFiberStart: () => void fibers.running++,
        recordFiberEnd: () => void fibers.running--
      })
  }
  return fibers
}
