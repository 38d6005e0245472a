/**
 * The confirmed publishes of one publisher, in the order in which its callers made them.
 *
 * A message is sent in the synchronous step that submits its job if there is room. Otherwise the job waits, and is sent by the event that
 * makes room: a confirm, the socket, a new channel. Messages that are published again come first. No fiber runs here.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as AmqpError from "../../AmqpError.ts"
import type { Channel } from "../channel/channel.ts"
import { channelError } from "../channel/channelErrors.ts"
import type { CloseCause } from "../channel/closeCause.ts"
import type { ConfirmLedger, PublishSender } from "../channel/confirmLedger.ts"
import { Signal } from "../common/signal.ts"
import { monotonicMillis, sleepMillis } from "../common/time.ts"
import type { Supervisor } from "../connection/supervisor.ts"
import { routeOf } from "../message/route.ts"
import type { Outbound } from "../wire/outbound.ts"
import { FailingRoutes } from "./failingRoutes.ts"
import type { PublishJob } from "./publishJob.ts"
import type { PublishLimits } from "./publishLimits.ts"
import { ResendLine } from "./resendLine.ts"
import { WaitingLine } from "./waitingLine.ts"

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

/** What the queue needs of its connection. */
export type QueueHost = Pick<Supervisor, "session" | "failure" | "notConnected">

export class PublishQueue implements PublishSender {
  /** The messages that are published again. */
  readonly resends: ResendLine

  private readonly limits: PublishLimits
  private readonly host: QueueHost
  private readonly clock: Clock.Clock
  private target: Target | undefined
  /** Set while the publisher uses a session. */
  private outbound: Outbound | undefined
  /** Set when the queue is closed. */
  private failure: AmqpError.AmqpChannelError | undefined
  private readonly waiting = new WaitingLine()
  private readonly added = new Signal()
  private readonly failingRoutes = new FailingRoutes()
  private cancelRoom: (() => void) | undefined
  private isPumping = false
  private pumpAgain = false

  constructor(limits: PublishLimits, host: QueueHost, clock: Clock.Clock) {
    this.limits = limits
    this.resends = new ResendLine(limits)
    this.host = host
    this.clock = clock
  }

  // ---------------------------------------------------------------------------
  // for callers
  // ---------------------------------------------------------------------------

  /** Sends the messages of a job, now or when it is their turn. */
  submit(job: PublishJob): void {
    const { refusal } = this
    if (refusal !== undefined) return job.refuse(refusal)
    const target = this.isIdle && !(this.resends.pausedSize > 0 && this.isFull) ? this.openTarget() : undefined
    if (target !== undefined) {
      if (this.send(job, target) === "Done") return
      // The queue may have closed within that step, and this job did not wait yet.
      const { refusal } = this
      if (refusal !== undefined) return job.refuse(refusal)
    } else if (this.isFull) {
      const { kept: waiting, keptBytes: waitingBytes } = this
      return job.refuse(channelError(new AmqpError.TooManyPublishes({ waiting, waitingBytes })))
    }
    this.append(job)
  }

  /** Sends a message again that the queue has accepted before: after all others, and even if too many wait. */
  submitAgain(job: PublishJob): void {
    const { refusal } = this
    if (refusal !== undefined) return job.refuse(refusal)
    this.append(job)
    this.pump()
  }

  /** Sends no more messages of a job. */
  withdraw(job: PublishJob): void {
    this.waiting.delete(job)
  }

  /** Whether every further publish fails. */
  get isClosed(): boolean {
    return this.failure !== undefined || this.host.failure !== undefined
  }

  /** Whether what was in flight is lost, as opposed to a failure of one message on a channel that is in use. */
  get hasLostChannel(): boolean {
    return this.target === undefined || this.target.channel.failure !== undefined
  }

  // ---------------------------------------------------------------------------
  // for the publisher's fiber
  // ---------------------------------------------------------------------------

  /** The publisher uses this session from now on. */
  useSession(outbound: Outbound): void {
    this.outbound = outbound
    if (this.limits.failWhenBlocked) outbound.blockedListeners.add(this.onBlocked)
  }

  /** The session has ended, or is about to. Jobs wait for the next one, unless they are to fail. */
  leaveSession(): void {
    this.outbound?.blockedListeners.delete(this.onBlocked)
    this.outbound = undefined
    if (this.limits.failWhenDisconnected && this.host.session === undefined) this.refuseWaiting(this.waitError())
  }

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

  /** Fails every job that waits, and every message that would be published again. */
  refuseAll(error: AmqpError.AmqpChannelError): void {
    const resends = this.resends.takeAll()
    for (const resend of resends) resend.refuse(error)
    this.refuseWaiting(error)
  }

  /** Fails every job that waits, and every further one. */
  close(error: AmqpError.AmqpChannelError): void {
    this.outbound?.blockedListeners.delete(this.onBlocked)
    this.failure = error
    this.refuseAll(error)
  }

  /** Waits until at least one message can be sent. */
  readonly awaitWork: Effect.Effect<void> = this.added.until(() => !this.isIdle)

  /** Fails each job that waits for longer than `sendTimeout`, until it is interrupted. */
  readonly expireWaiting: Effect.Effect<never> = Effect.gen({ self: this }, function*() {
    while (true) {
      const { first } = this.waiting
      if (first === undefined) {
        yield* this.added.until(() => this.waiting.size > 0)
        continue
      }
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
    if (!this.isIdle) this.pump()
  }

  // ---------------------------------------------------------------------------
  // sending
  // ---------------------------------------------------------------------------

  /** Whether no message is to be sent before a new one. */
  private get isIdle(): boolean {
    return this.waiting.size === 0 && this.resends.isEmpty
  }

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
        target.channel.publish(route, job.properties, job.body, job.owner, job.index)
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
      if (this.sendAgain()) this.sendWaiting()
    } while (this.pumpAgain)
    this.isPumping = false
    this.pumpWhenRoom()
  }

  /** Sends messages that were lost. Returns whether none is left, and others may follow. */
  private sendAgain(): boolean {
    if (this.resends.isEmpty) return true
    for (const resend of this.resends) {
      const target = this.openTarget()
      if (target === undefined || this.send(resend.job, target) === "Held") return false
      this.resends.sent(resend)
    }
    return this.resends.isEmpty
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
    const { failWhenBlocked, failWhenDisconnected } = this.limits
    if (failWhenBlocked && this.outbound?.blocked !== undefined) return this.waitError()
    return failWhenDisconnected && this.host.session === undefined ? this.waitError() : undefined
  }

  /** How many jobs wait or pause, and the size of the bodies that they keep. */
  private get kept(): number {
    return this.waiting.size + this.resends.pausedSize
  }

  private get keptBytes(): number {
    return this.waiting.bytes + this.resends.pausedBytes
  }

  /** Whether no further job may begin to wait. */
  private get isFull(): boolean {
    return this.kept >= this.limits.maxWaiting || this.keptBytes >= this.limits.maxWaitingBytes
  }

  private append(job: PublishJob): void {
    this.wait(job)
    this.added.notify()
    this.pumpWhenRoom()
  }

  private wait(job: PublishJob): void {
    this.waiting.add(job, monotonicMillis(this.clock))
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
    if (this.isIdle || this.target === undefined) return
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

  private refuseWaiting(error: AmqpError.AmqpChannelError): void {
    // A caller may publish again at once, and that job is not refused here.
    for (const job of this.waiting.takeAll()) job.refuse(error)
  }

  /** The error of a job that waits no longer. */
  private waitError(): AmqpError.AmqpChannelError {
    const blocked = this.outbound?.blocked
    if (blocked !== undefined) return channelError(new AmqpError.ConnectionBlocked({ description: blocked }))
    return this.host.session === undefined ? this.host.notConnected() : channelError(new AmqpError.SendTimeout())
  }
}
