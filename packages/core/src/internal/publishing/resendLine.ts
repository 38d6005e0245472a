/**
 * The messages of a publisher that are published again.
 *
 * - `lost`: it was in flight when its channel was lost, and its schedule has not decided yet whether it is published again.
 * - `ready`: it is published again as soon as there is room, before everything that was published after it.
 * - `paused`: it failed in another way, and waits again like a new message when its pause has ended (`resumed`).
 *
 * The first two were in flight, so there are never more than may be in flight. The others are limited: batches take no more messages while
 * there are half as many as may wait, so that there is room for others, and nothing more is accepted when there are as many.
 */
import * as Effect from "effect/Effect"
import type { AmqpChannelError } from "../../AmqpError.ts"
import { Signal } from "../common/signal.ts"
import type { PublishJob } from "./publishJob.ts"
import type { PublishLimits } from "./publishLimits.ts"

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
  /** With the size of each body. */
  private readonly paused = new Map<Resend, number>()
  private readonly resumed = new Map<Resend, number>()
  private pausedSum = 0
  private resumedSum = 0
  private lastPlace = 0
  private readonly limits: Pick<PublishLimits, "maxWaiting" | "maxWaitingBytes">
  private readonly roomMade = new Signal()

  constructor(limits: Pick<PublishLimits, "maxWaiting" | "maxWaitingBytes">) {
    this.limits = limits
  }

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
    const bytes = resend.job.waitingBytes
    this.paused.set(resend, bytes)
    this.pausedSum += bytes
  }

  /** The pause of a message has ended: it waits like a new one. */
  resume(resend: Resend): void {
    const bytes = this.paused.get(resend)
    if (bytes === undefined) return
    this.paused.delete(resend)
    this.pausedSum -= bytes
    this.resumed.set(resend, bytes)
    this.resumedSum += bytes
  }

  /** How many messages pause. */
  get pausedSize(): number {
    return this.paused.size
  }

  /** The size of their bodies. */
  get pausedBytes(): number {
    return this.pausedSum
  }

  /** Whether a batch may take another message. */
  get hasRoom(): boolean {
    const { maxWaiting, maxWaitingBytes } = this.limits
    return (this.paused.size + this.resumed.size) * 2 < maxWaiting &&
      (this.pausedSum + this.resumedSum) * 2 < maxWaitingBytes
  }

  readonly awaitRoom: Effect.Effect<void> = this.roomMade.until(() => this.hasRoom)

  /** The message is about to be sent, or its publish has ended. */
  delete(resend: Resend): void {
    this.lost.delete(resend)
    this.ready.delete(resend)
    this.release(resend)
  }

  /** The message no longer pauses nor waits after a pause. */
  release(resend: Resend): void {
    if (this.paused.size === 0 && this.resumed.size === 0) return
    const hadRoom = this.hasRoom
    const pausedBytes = this.paused.get(resend)
    if (pausedBytes !== undefined) {
      this.paused.delete(resend)
      this.pausedSum -= pausedBytes
    }
    const resumedBytes = this.resumed.get(resend)
    if (resumedBytes !== undefined) {
      this.resumed.delete(resend)
      this.resumedSum -= resumedBytes
    }
    if (!hadRoom && this.hasRoom) this.roomMade.notify()
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
    // Those that wait like new ones are refused with these.
    const all = [...this.lost, ...this.ready, ...this.paused.keys()]
    for (const resend of [...all, ...this.resumed.keys()]) this.delete(resend)
    return all
  }

  /** Those that are ready, in their order. Each may be deleted meanwhile. */
  [Symbol.iterator](): Iterator<Resend> {
    return this.ready.values()
  }
}
