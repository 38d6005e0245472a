/**
 * The confirmed publishes of one publisher, in the order in which its callers made them.
 *
 * A message is sent in the synchronous step that submits its job if there is room. Otherwise the job waits, and is sent by the event that
 * makes room: a confirm, the socket, a new channel. No fiber runs here.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as AmqpError from "../../AmqpError.ts"
import type { Channel } from "../channel/channel.ts"
import type { CloseCause } from "../channel/closeCause.ts"
import type { ConfirmLedger, PublishSender } from "../channel/confirmLedger.ts"
import { Signal } from "../common/signal.ts"
import { monotonicMillis, sleepMillis } from "../common/time.ts"
import { routeOf } from "../message/route.ts"
import type { Outbound } from "../wire/outbound.ts"
import { FailingRoutes } from "./failingRoutes.ts"
import type { PublishJob } from "./publishJob.ts"
import type { PublishLimits } from "./publishLimits.ts"

/**
 * How far a job was sent: to its end (`Done`), until there was no more room (`Full`), or until a message that has to wait for all
 * others in flight (`Held`).
 */
type Progress = "Done" | "Full" | "Held"

/** A channel in confirm mode. */
interface Target {
  readonly channel: Channel
  readonly ledger: ConfirmLedger
}

export class PublishQueue implements PublishSender {
  private readonly limits: PublishLimits
  private readonly outbound: Outbound
  private readonly clock: Clock.Clock
  private target: Target | undefined
  /** Set when the queue is closed. */
  private failure: AmqpError.AmqpChannelError | undefined
  private readonly waiting = new Set<PublishJob>()
  private readonly added = new Signal()
  private readonly failingRoutes = new FailingRoutes()
  private cancelRoom: (() => void) | undefined
  private isPumping = false
  private pumpAgain = false

  constructor(limits: PublishLimits, outbound: Outbound, clock: Clock.Clock) {
    this.limits = limits
    this.outbound = outbound
    this.clock = clock
    if (limits.failWhenBlocked) outbound.blockedListeners.add(this.onBlocked)
  }

  // ---------------------------------------------------------------------------
  // for callers
  // ---------------------------------------------------------------------------

  /** Sends the messages of a job, now or when it is their turn. */
  submit(job: PublishJob): void {
    const { refusal } = this
    if (refusal !== undefined) return job.refuse(refusal)
    const target = this.waiting.size === 0 ? this.openTarget() : undefined
    if (target !== undefined) {
      if (this.send(job, target) === "Done") return
      // The queue may have closed within that step, and this job did not wait yet.
      const { refusal } = this
      if (refusal !== undefined) return job.refuse(refusal)
    }
    this.wait(job)
    this.added.notify()
    this.pumpWhenRoom()
  }

  /** Sends no more messages of a job. */
  withdraw(job: PublishJob): void {
    this.waiting.delete(job)
  }

  /** Whether every further publish fails. */
  get isClosed(): boolean {
    return this.failure !== undefined || this.target?.channel.failure?.reason._tag === "ConnectionLost"
  }

  // ---------------------------------------------------------------------------
  // for the publisher's fiber
  // ---------------------------------------------------------------------------

  /** Sends messages on this channel from now on. */
  attach(channel: Channel, ledger: ConfirmLedger): void {
    ledger.sender = this
    this.target = { channel, ledger }
    this.pump()
  }

  /** Sends no more messages on the channel. Jobs wait for the next one. */
  detach(): void {
    this.target = undefined
    this.failingRoutes.reset()
    this.cancelRoom?.()
    this.cancelRoom = undefined
  }

  /** Fails every job that waits. */
  refuseWaiting(error: AmqpError.AmqpChannelError): void {
    // A caller may publish again at once, and that job is not refused here.
    const jobs = [...this.waiting]
    this.waiting.clear()
    for (const job of jobs) job.refuse(error)
  }

  /** Fails every job that waits, and every further one. */
  close(error: AmqpError.AmqpChannelError): void {
    this.outbound.blockedListeners.delete(this.onBlocked)
    this.failure = error
    this.refuseWaiting(error)
  }

  /** Waits until at least one job is waiting. */
  readonly awaitWaiting: Effect.Effect<void> = this.added.until(() => this.waiting.size > 0)

  /** Fails each job that waits for longer than `sendTimeout`, until it is interrupted. */
  readonly expireWaiting: Effect.Effect<never> = Effect.gen({ self: this }, function*() {
    while (true) {
      yield* this.awaitWaiting
      // A job that had a turn waits at the end, so the first one has waited longest.
      const [first] = this.waiting
      const left = first.waitingSince + this.limits.sendTimeout - monotonicMillis(this.clock)
      if (left > 0) yield* Effect.sleep(sleepMillis(left))
      else if (this.waiting.delete(first)) first.refuse(this.waitError())
    }
  })

  // ---------------------------------------------------------------------------
  // for the ledger
  // ---------------------------------------------------------------------------

  channelClosed(cause: CloseCause): void {
    this.failingRoutes.add(cause)
  }

  publishesSettled(): void {
    if (this.failingRoutes.isSeparate && this.target?.ledger.count === 0) {
      this.failingRoutes.settled(this.target.channel.failure === undefined)
    }
    if (this.waiting.size > 0) this.pump()
  }

  // ---------------------------------------------------------------------------
  // sending
  // ---------------------------------------------------------------------------

  /** Sends messages of a job for as long as there is room. */
  private send(job: PublishJob, first: Target): Progress {
    for (let target: Target | undefined = first; target !== undefined; target = this.openTarget()) {
      if (!job.next()) return "Done"
      try {
        const route = routeOf(job.options)
        if (!this.failingRoutes.admits(route, target.ledger.count)) {
          job.hold()
          return "Held"
        }
        target.channel.publish(route, job.properties, job.body, job, job.index)
      } catch (thrown) {
        job.failed(thrown)
      }
      if (!job.hasMore) return "Done"
    }
    return "Full"
  }

  /** Sends jobs that wait for as long as there is room. */
  private pump(): void {
    // A peer in this process may confirm within the write, before the job that is being sent has left the queue.
    if (this.isPumping) {
      this.pumpAgain = true
      return
    }
    this.isPumping = true
    do {
      this.pumpAgain = false
      this.sendWaiting()
    } while (this.pumpAgain)
    this.isPumping = false
    this.pumpWhenRoom()
  }

  private sendWaiting(): void {
    for (const job of this.waiting) {
      const target = this.openTarget()
      if (target === undefined) return
      const progress = this.send(job, target)
      // The job keeps its place, and so do those behind it.
      if (progress === "Held") return
      // The job may have been refused or withdrawn within that step.
      const isWaiting = this.waiting.delete(job)
      if (progress === "Done" || !isWaiting) continue
      // The job had its turn for some of its messages: the other jobs have theirs before it has another.
      return this.wait(job)
    }
  }

  /** Why no job may wait. */
  private get refusal(): AmqpError.AmqpChannelError | undefined {
    if (this.failure !== undefined) return this.failure
    return this.limits.failWhenBlocked && this.outbound.blocked !== undefined ? this.waitError() : undefined
  }

  private wait(job: PublishJob): void {
    job.waitingSince = monotonicMillis(this.clock)
    this.waiting.add(job)
  }

  /** The channel, if a message may be sent on it now. */
  private openTarget(): Target | undefined {
    const { target } = this
    if (target === undefined || target.channel.failure !== undefined || !target.channel.maySend) return undefined
    const { bytes, count } = target.ledger
    if (count > 0 && this.failingRoutes.isSeparate) return undefined
    return count < this.limits.maxInFlight && bytes < this.limits.maxInFlightBytes ? target : undefined
  }

  /** Waits for room in the socket, if jobs wait for that. Confirms and `attach` call `pump`. */
  private pumpWhenRoom(): void {
    if (this.waiting.size === 0 || this.target === undefined) return
    const { channel } = this.target
    if (channel.failure === undefined && !channel.maySend) this.cancelRoom ??= channel.onceRoom(this.onRoom)
  }

  private readonly onRoom = (): void => {
    this.cancelRoom = undefined
    this.pump()
  }

  private readonly onBlocked = (reason: string | undefined): void => {
    if (reason !== undefined) this.refuseWaiting(this.waitError())
  }

  /** The error of a job that waits no longer. */
  private waitError(): AmqpError.AmqpChannelError {
    const { blocked } = this.outbound
    const reason = blocked === undefined
      ? new AmqpError.SendTimeout()
      : new AmqpError.ConnectionBlocked({ description: blocked })
    return new AmqpError.AmqpChannelError({ reason })
  }
}
