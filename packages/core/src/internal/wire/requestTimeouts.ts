/**
 * One timer for all requests of a session, and one for all closes of its channels.
 *
 * All requests have the same timeout, so they expire in the order in which they were sent, and one sleeping fiber is enough. A request costs
 * an array entry instead of a timer and two fibers.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { Signal } from "../common/signal.ts"
import { monotonicMillis, sleepMillis } from "../common/time.ts"

/** A request that was sent. */
export interface Expiring {
  /** Whether the request has its reply, or no longer needs one. */
  readonly isDone: boolean
  expire(): void
}

export class RequestTimeouts {
  private readonly timeoutMillis: number
  private readonly clock: Clock.Clock
  private entries: Array<{ readonly at: number; readonly request: Expiring }> = []
  private head = 0
  private readonly added = new Signal()

  constructor(timeoutMillis: number, clock: Clock.Clock) {
    this.timeoutMillis = timeoutMillis
    this.clock = clock
  }

  /** Calls `request.expire` after the timeout, unless the request is done by then. */
  add(request: Expiring): void {
    this.dropDone()
    this.entries.push({ at: monotonicMillis(this.clock) + this.timeoutMillis, request })
    this.added.notify()
  }

  /** The loop of the timer fiber. */
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
      first.request.expire()
    }
  })

  private readonly awaitEntry: Effect.Effect<void> = this.added.until(() => this.head < this.entries.length)

  private dropDone(): void {
    while (this.head < this.entries.length && this.entries[this.head].request.isDone) this.head++
    if (this.head > 1024 || this.head === this.entries.length) {
      this.entries = this.entries.slice(this.head)
      this.head = 0
    }
  }
}
