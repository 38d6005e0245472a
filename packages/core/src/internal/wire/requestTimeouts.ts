/**
 * One timer for all requests of a session.
 *
 * All requests have the same timeout, so they expire in the order in which they were sent and one sleeping fiber is enough:
 * a request costs an array slot instead of a timer and two fibers.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { monotonicMillis, sleepMillis } from "../common/time.ts"

export interface Deadline {
  readonly done: boolean
  expire(): void
}

export class Deadlines {
  private readonly timeoutMillis: number
  private readonly clock: Clock.Clock
  private entries: Array<{ readonly at: number; readonly deadline: Deadline }> = []
  private head = 0
  private wake: (() => void) | undefined

  constructor(timeoutMillis: number, clock: Clock.Clock) {
    this.timeoutMillis = timeoutMillis
    this.clock = clock
  }

  /** Has `deadline.expire` called after the timeout unless it is `done` by then. */
  add(deadline: Deadline): void {
    this.dropDone()
    this.entries.push({ at: monotonicMillis(this.clock) + this.timeoutMillis, deadline })
    const wake = this.wake
    this.wake = undefined
    wake?.()
  }

  /** The loop of the fiber that owns the timer. */
  readonly run: Effect.Effect<never> = Effect.gen({ self: this }, function*() {
    while (true) {
      this.dropDone()
      const first = this.entries[this.head]
      if (first === undefined) {
        yield* this.awaitEntry
        continue
      }
      const wait = first.at - monotonicMillis(this.clock)
      if (wait > 0) {
        yield* Effect.sleep(sleepMillis(wait))
        continue
      }
      this.head++
      first.deadline.expire()
    }
  })

  private readonly awaitEntry: Effect.Effect<void> = Effect.callback((resume) => {
    this.wake = () => resume(Effect.void)
    return Effect.sync(() => {
      this.wake = undefined
    })
  })

  private dropDone(): void {
    while (this.head < this.entries.length && this.entries[this.head].deadline.done) this.head++
    if (this.head > 1024 || this.head === this.entries.length) {
      this.entries = this.entries.slice(this.head)
      this.head = 0
    }
  }
}
