/**
 * Limits how often an event is logged.
 */
import type * as Clock from "effect/Clock"
import { monotonicMillis } from "./time.ts"

/** The minimum time between two log lines, in milliseconds. */
const pause = 60_000

export class OccasionalLog {
  private readonly clock: Clock.Clock
  private last = -Infinity
  private count = 0

  constructor(clock: Clock.Clock) {
    this.clock = clock
  }

  /** The event happened. Returns the number of events since the last log line if it should be logged now, and otherwise `undefined`. */
  note(): number | undefined {
    this.count++
    const now = monotonicMillis(this.clock)
    if (now - this.last < pause) return undefined
    const { count } = this
    this.last = now
    this.count = 0
    return count
  }
}
