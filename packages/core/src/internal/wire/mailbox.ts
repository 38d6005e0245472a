/**
 * The inbox of one owner fiber. Many may offer, one fiber takes.
 *
 * `effect/Queue` wakes its taker on the next turn of the scheduler. Here offers collect without waking anyone until
 * `flush`, which resumes the taker inline with everything: a socket read wakes each channel at most once.
 */
import type { NonEmptyArray } from "effect/Array"
import * as Effect from "effect/Effect"

export class Mailbox<A, E = never> {
  private items: Array<A> = []
  /** Those who take, in their order. Mostly there is one. */
  private waiters: Array<(effect: Effect.Effect<NonEmptyArray<A>, E>) => void> = []
  private failure: Effect.Effect<never, E> | undefined

  /** Adds an item; `flush` makes the owner see it. */
  offer(item: A): void {
    if (this.failure === undefined) this.items.push(item)
  }

  /** Hands what was offered to the owner, if it waits. */
  flush(): void {
    if (this.items.length === 0) return
    const resume = this.waiters.shift()
    if (resume !== undefined) resume(Effect.succeed(this.drain()))
  }

  /** Takes back what the owner has taken and leaves to its next take. */
  putBack(items: ReadonlyArray<A>): void {
    this.items = [...items, ...this.items]
  }

  /** How many items were offered and not taken. */
  get size(): number {
    return this.items.length
  }

  /** Whether nothing more can be offered. */
  get isOver(): boolean {
    return this.failure !== undefined
  }

  /** Forgets what was offered and not taken yet, and returns it. */
  clear(): ReadonlyArray<A> {
    const { items } = this
    this.items = []
    return items
  }

  /** What was offered before is still taken; after that every take fails. */
  fail(error: E): void {
    this.end(Effect.fail(error))
  }

  /** As `fail`, with a failure that is an Effect already. */
  end(failure: Effect.Effect<never, E>): void {
    if (this.failure !== undefined) return
    this.failure = failure
    this.flush()
    const waiters = this.waiters
    this.waiters = []
    for (const resume of waiters) resume(failure)
  }

  /** Everything that was offered, at least one item. */
  readonly takeAll: Effect.Effect<NonEmptyArray<A>, E> = Effect.callback((resume) => {
    if (this.items.length > 0) return resume(Effect.succeed(this.drain()))
    if (this.failure !== undefined) return resume(this.failure)
    this.waiters.push(resume)
    return Effect.sync(() => {
      this.waiters = this.waiters.filter((waiter) => waiter !== resume)
    })
  })

  /** To be called when there are some. */
  private drain(): NonEmptyArray<A> {
    const items = this.items as NonEmptyArray<A>
    this.items = []
    return items
  }
}
