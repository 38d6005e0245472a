/**
 * The messages of a publisher that are published again.
 *
 * - `lost`: it was in flight when its channel was lost, and its schedule has not decided yet whether it is published again.
 * - `ready`: it is published again as soon as there is room, before everything that was published after it.
 * - `paused`: it failed in another way, and waits again like a new message when its pause has ended.
 */
import * as Effect from "effect/Effect"
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { PublishJob } from "./publishJob.ts"

/** A message that may be published again. */
export interface Resend {
  readonly job: PublishJob
  /** The place of its last attempt among all that were sent. */
  readonly place: number
  /** Whether the schedule allows another attempt. If not, the publish has ended. */
  readonly mayGoOn: Effect.Effect<boolean>
  /** Ends the publish, since no further attempt is possible. */
  refuse(error: AmqpChannelError): void
}

export class ResendLine {
  private readonly lost = new Set<Resend>()
  private ready = new Set<Resend>()
  private readonly paused = new Set<Resend>()
  private lastPlace = 0

  /** The place of a message that is about to be sent. */
  nextPlace(): number {
    return ++this.lastPlace
  }

  /** Whether no message has to be sent before new ones. */
  get isEmpty(): boolean {
    return this.ready.size === 0 && this.lost.size === 0
  }

  addLost(resend: Resend): void {
    this.lost.add(resend)
  }

  addPaused(resend: Resend): void {
    this.paused.add(resend)
  }

  /** The message is in flight or waits like a new one, or its publish has ended. */
  delete(resend: Resend): void {
    this.lost.delete(resend)
    this.ready.delete(resend)
    this.paused.delete(resend)
  }

  /** The message was sent. */
  sent(resend: Resend): void {
    this.ready.delete(resend)
  }

  /**
   * Makes lost messages ready, as far as their schedules allow. Those that are ready already come after them: they were sent before only if
   * these were too.
   */
  readonly decide: Effect.Effect<void> = Effect.gen({ self: this }, function*() {
    const { lost } = this
    if (lost.size === 0) return
    const inOrder = [...lost].toSorted((a, b) => a.place - b.place)
    for (const resend of inOrder) {
      // A publish may end at any time, for example because its caller is interrupted.
      if (lost.has(resend) && !(yield* resend.mayGoOn)) lost.delete(resend)
    }
    this.ready = new Set([...inOrder.filter((resend) => lost.has(resend)), ...this.ready])
    for (const resend of inOrder) lost.delete(resend)
  })

  /** Removes all messages, and returns them. */
  takeAll(): ReadonlyArray<Resend> {
    const all = [...this.lost, ...this.ready, ...this.paused]
    for (const resend of all) this.delete(resend)
    return all
  }

  /** Those that are ready, in their order. Each may be deleted meanwhile. */
  [Symbol.iterator](): Iterator<Resend> {
    return this.ready.values()
  }
}
