/**
 * Requeues messages that no handler has seen, at a pace that keeps them from being counted as delivery attempts.
 *
 * A channel of RabbitMQ passes at most 32 commands on to a quorum queue before the queue has handled the first of them, and the queue divides
 * commands with more than 32 messages. What is held back then is lost if the channel closes: acks too, and messages that were to be requeued
 * without counting an attempt count one. (Seen in RabbitMQ 4.3.)
 */
import * as Effect from "effect/Effect"
import type { Acknowledgements } from "../channel/acknowledgements.ts"

/** How many methods are sent before the broker gets time to handle them. */
const maxMethods = 16

/** How long the broker gets to handle them, in milliseconds. */
const pause = 100

/** How many messages one method requeues at most. */
const maxPerMethod = 32

export class Requeues {
  private readonly acknowledgements: Acknowledgements
  /** The tags of the messages that are still to be requeued. */
  private readonly left = new Set<number>()

  constructor(acknowledgements: Acknowledgements) {
    this.acknowledgements = acknowledgements
  }

  /** Requeues messages: at once as many as the broker handles at once, and the others in `rest`. */
  add(tags: Iterable<number>): void {
    for (const tag of tags) this.left.add(tag)
    this.next()
  }

  /** Requeues what is left. */
  readonly rest: Effect.Effect<void> = Effect.suspend(() =>
    this.left.size === 0 ? Effect.void : Effect.andThen(Effect.delay(Effect.sync(() => this.next()), pause), this.rest)
  )

  private next(): void {
    for (let count = 0; count < maxMethods && this.left.size > 0; count++) {
      const tags = this.taken(this.acknowledgements.openTags())
      if (tags.length > 1) this.acknowledgements.requeueUpTo(tags[tags.length - 1])
      else for (const tag of tags) this.acknowledgements.nack(tag, true)
    }
  }

  /** Takes messages that one method can requeue: several if they are the oldest open ones, as handlers may be running with others. */
  private taken(open: ReadonlyArray<number>): ReadonlyArray<number> {
    const end = open.findIndex((tag) => !this.left.has(tag))
    const tags = end === 0
      ? open.filter((tag) => this.left.has(tag)).slice(0, 1)
      : open.slice(0, Math.min(end === -1 ? open.length : end, maxPerMethod))
    for (const tag of tags) this.left.delete(tag)
    // Those that are not open any longer were settled.
    if (tags.length === 0) this.left.clear()
    return tags
  }
}
