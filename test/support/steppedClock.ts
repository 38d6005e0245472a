/**
 * A `TestClock` whose wall clock can be set, and whose process can be blocked, without time passing for timers.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** The times that are added to that of the `TestClock`, in milliseconds. */
export interface Steps {
  /** To the wall clock, as when an operator or NTP sets it. */
  wall: number
  /** To both clocks, as when the event loop was blocked and timers are late. */
  blocked: number
}

/** Runs an effect on such a clock. */
export const steppedClock = <A, E, R>(body: (steps: Steps) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Clock.Clock, (clock) => {
    const steps: Steps = { wall: 0, blocked: 0 }
    const millis = () => clock.currentTimeMillisUnsafe() + steps.wall + steps.blocked
    const nanos = (value: number) => BigInt(value * 1_000_000)
    const wall = () => clock.currentTimeNanosUnsafe() + nanos(steps.wall + steps.blocked)
    const monotonic = () => clock.monotonicTimeNanosUnsafe() + nanos(steps.blocked)
    // Inherits the other methods of the `TestClock`.
    const stepped: Clock.Clock = Object.assign(Object.create(clock), {
      currentTimeMillisUnsafe: millis,
      currentTimeMillis: Effect.sync(millis),
      currentTimeNanosUnsafe: wall,
      currentTimeNanos: Effect.sync(wall),
      monotonicTimeNanosUnsafe: monotonic,
      monotonicTimeNanos: Effect.sync(monotonic)
    })
    return Effect.provideService(Effect.suspend(() => body(steps)), Clock.Clock, stepped)
  })
