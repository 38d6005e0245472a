/**
 * Monotonic time, for timeouts, heartbeats and pauses.
 *
 * The wall clock (`Date.now`) jumps when the system clock is set, possibly by hours. The monotonic clock does not: its origin is arbitrary,
 * and only the differences of its readings have a meaning. `Effect.sleep` uses the timers of the platform, which are monotonic too.
 */
import type * as Clock from "effect/Clock"

/** The monotonic time in milliseconds. */
export const monotonicMillis = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** The duration of a sleep of this many milliseconds, rounded up: timers drop fractions, and would fire too early. */
export const sleepMillis = (millis: number): number => Math.ceil(millis)

/**
 * Reads the monotonic clock once per synchronous turn. A reading costs a tenth of a publish.
 */
export class TurnClock {
  private readonly clock: Clock.Clock
  private now: number | undefined

  constructor(clock: Clock.Clock) {
    this.clock = clock
  }

  /** The monotonic time of the first use in this turn, in milliseconds. */
  get millis(): number {
    if (this.now === undefined) {
      this.now = monotonicMillis(this.clock)
      queueMicrotask(this.forget)
    }
    return this.now
  }

  private readonly forget = (): void => {
    this.now = undefined
  }
}
