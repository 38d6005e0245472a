/**
 * Hands items to the fiber that owns the mailbox.
 *
 * `effect/Queue` resumes its taker on the next turn of the scheduler, once per offer. Here offers collect until `flush` resumes the taker
 * inline with all of them, so a socket read resumes the fiber of each channel at most once.
 */
import type { NonEmptyArray } from "effect/Array"
import * as Effect from "effect/Effect"

export class Mailbox<A, E = never> {
  private items: Array<A> = []
  /** The fibers that wait in `takeAll`, in their order. Usually there is at most one. */
  private waiters: Array<(effect: Effect.Effect<NonEmptyArray<A>, E>) => void> = []
  private failure: Effect.Effect<never, E> | undefined

  /** Adds an item. `flush` hands it over. */
  offer(item: A): void {
    if (this.failure === undefined) this.items.push(item)
  }

  /** Resumes a waiting fiber with all items. */
  flush(): void {
    if (this.items.length === 0) return
    const resume = this.waiters.shift()
    if (resume !== undefined) resume(Effect.succeed(this.drain()))
  }

  /** Returns items to the mailbox, ahead of all others, for the next `takeAll`. */
  putBack(items: ReadonlyArray<A>): void {
    this.items = [...items, ...this.items]
  }

  /** How many items were not taken. */
  get size(): number {
    return this.items.length
  }

  /** Whether further offers are ignored. */
  get hasEnded(): boolean {
    return this.failure !== undefined
  }

  /** Removes and returns the items that were not taken. */
  clear(): ReadonlyArray<A> {
    const { items } = this
    this.items = []
    return items
  }

  /** Ends the mailbox: items that were offered can still be taken, and then `takeAll` fails. */
  fail(error: E): void {
    if (this.failure !== undefined) return
    const failure = Effect.fail(error)
    this.failure = failure
    this.flush()
    const { waiters } = this
    this.waiters = []
    for (const resume of waiters) resume(failure)
  }

  /** Waits for at least one item, and takes all. */
  readonly takeAll: Effect.Effect<NonEmptyArray<A>, E> = Effect.callback((resume) => {
    if (this.items.length > 0) return resume(Effect.succeed(this.drain()))
    if (this.failure !== undefined) return resume(this.failure)
    this.waiters.push(resume)
    return Effect.sync(() => {
      this.waiters = this.waiters.filter((waiter) => waiter !== resume)
    })
  })

  /** Requires that there are items. */
  private drain(): NonEmptyArray<A> {
    const items = this.items as NonEmptyArray<A>
    this.items = []
    return items
  }
}
