/**
 * Fibers that wait for a channel while all channel numbers are in use, in the order in which they began to wait.
 */
import * as Effect from "effect/Effect"
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { Channel, ChannelMode } from "./channel.ts"

/** What a waiting fiber gets: the number of a channel to open, or an idle channel. */
export type Grant = number | Channel

export class Waiter {
  /** The mode of the idle channels that the fiber can use. `undefined`: it needs a new channel. */
  readonly mode: ChannelMode | undefined
  /** Set by a grant. The fiber may be interrupted before it gets that. */
  granted: Grant | undefined
  private outcome: Effect.Effect<Grant, AmqpChannelError> | undefined
  private resume: ((outcome: Effect.Effect<Grant, AmqpChannelError>) => void) | undefined

  constructor(mode: ChannelMode | undefined) {
    this.mode = mode
  }

  readonly await: Effect.Effect<Grant, AmqpChannelError> = Effect.callback((resume) => {
    if (this.outcome === undefined) this.resume = resume
    else resume(this.outcome)
  })

  complete(outcome: Effect.Effect<Grant, AmqpChannelError>): void {
    this.outcome = outcome
    this.resume?.(outcome)
  }
}

export class ChannelWaiters {
  private readonly waiters = new Set<Waiter>()

  /** The fiber that has waited longest. */
  get first(): Waiter | undefined {
    const [first] = this.waiters
    return first
  }

  add(mode: ChannelMode | undefined): Waiter {
    const waiter = new Waiter(mode)
    this.waiters.add(waiter)
    return waiter
  }

  remove(waiter: Waiter): void {
    this.waiters.delete(waiter)
  }

  grant(waiter: Waiter, granted: Grant): void {
    this.waiters.delete(waiter)
    waiter.granted = granted
    waiter.complete(Effect.succeed(granted))
  }

  /** Fails every fiber that waits. */
  fail(error: AmqpChannelError): void {
    const waiters = [...this.waiters]
    this.waiters.clear()
    for (const waiter of waiters) waiter.complete(Effect.fail(error))
  }
}
