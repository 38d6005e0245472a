/**
 * Time for whatever is compared with time: timeouts, heartbeats, pauses.
 *
 * The wall clock (`Date.now`) jumps when the system clock is set, by hours in either direction. The monotonic clock does not:
 * its origin is arbitrary, and only differences of its readings mean something. `Effect.sleep` runs on the platform's timers,
 * which are monotonic too.
 */
import type * as Clock from "effect/Clock"

/** The monotonic time in milliseconds. */
export const monotonicMillis = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** How long to sleep for this many milliseconds: timers run for whole ones, and a part of one would be a wake-up too early. */
export const sleepMillis = (millis: number): number => Math.ceil(millis)

/**
 * A reading of the monotonic clock that is shared by everything that happens in one synchronous turn, since a reading costs as
 * much as a tenth of a publish.
 */
export class TurnClock {
  private readonly clock: Clock.Clock
  private now: number | undefined

  constructor(clock: Clock.Clock) {
    this.clock = clock
  }

  /** The monotonic time at which the current turn began, or was first asked for, in milliseconds. */
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
