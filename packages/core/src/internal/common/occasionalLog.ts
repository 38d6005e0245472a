/**
 * Things that are worth a line in the log, and not one each time.
 */
import type * as Clock from "effect/Clock"
import { monotonicMillis } from "./time.ts"

/** At least so long passes between two lines, in milliseconds. */
const pause = 60_000

export class OccasionalLog {
  private readonly clock: Clock.Clock
  private last = -Infinity
  private count = 0

  constructor(clock: Clock.Clock) {
    this.clock = clock
  }

  /** Notes that it happened. Returns how often it did since the last line, if now is the time for another one. */
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
