/**
 * The confirmed publishes of one publisher, in the order in which they were made.
 *
 * A publish is sent in the synchronous step that makes it while the window has room; else it waits in line, and is sent by
 * whatever makes room: a confirm, the socket, a new channel. Nothing here runs on a fiber of its own.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as AmqpError from "../../AmqpError.ts"
import type { Properties } from "../../AmqpMessage.ts"
import { EncodeError } from "../../protocol/ProtocolError.ts"
import type { Channel } from "../channel/channel.ts"
import type { Outcome } from "../channel/confirmLedger.ts"
import { monotonicMillis, sleepMillis } from "../common/time.ts"
import type { Route } from "../message/route.ts"
import * as Validation from "../options/validation.ts"
import type { Outbound } from "../wire/outbound.ts"
import { Suspicion } from "./suspectRoutes.ts"

/** One or many messages of one caller. */
export interface PublishJob {
  /** Since when it is waiting for its turn, in milliseconds of the monotonic clock. */
  waitingSince: number
  /**
   * Sends the next message that it has, if `Publishing.admits` it. Returns whether that was the last one (`Done`), there are `More`,
   * or the next one `Waits` until nothing else is in flight. Throws nothing.
   */
  send(channel: Channel): Progress
  /** Nothing more of it can be sent. */
  refuse(error: AmqpError.AmqpChannelError): void
}

export type Progress = "Done" | "More" | "Waits"

export interface PublishLimits {
  readonly maxInFlight: number
  readonly maxInFlightBytes: number
  /** How long a job may wait for its turn, in milliseconds. */
  readonly sendTimeout: number
  /** How long a confirm may take, in milliseconds. */
  readonly confirmTimeout: number
  /** Whether that goes on while the broker asks publishers to pause and reads nothing, and while a large message leaves. */
  readonly countsBlocked: boolean
  /** Whether jobs fail while the broker asks publishers to pause. */
  readonly failWhenBlocked: boolean
}

interface LimitOptions {
  readonly maxInFlight?: number | undefined
  readonly maxInFlightBytes?: number | undefined
  readonly sendTimeout?: Duration.Input | undefined
  readonly confirmTimeout?: Duration.Input | undefined
  readonly whenBlocked?: "wait" | "fail" | undefined
}

/** How long a confirm may take by default, in milliseconds. A quorum queue without a majority confirms nothing. */
const defaultConfirmTimeout = 60_000

const timeout = (what: string, input: Duration.Input, minimum: number): number =>
  Duration.toMillis(Validation.duration(what, input, minimum))

/** What the options say of limits, checked. */
export const resolveLimits = (options: LimitOptions): PublishLimits => {
  const { confirmTimeout, maxInFlight = 1024, maxInFlightBytes = 16 * 1024 * 1024, sendTimeout, whenBlocked } = options
  return {
    maxInFlight: Validation.wholeNumber("maxInFlight", maxInFlight, 1),
    maxInFlightBytes: Validation.wholeNumber("maxInFlightBytes", maxInFlightBytes, 1),
    sendTimeout: sendTimeout === undefined ? Infinity : timeout("sendTimeout", sendTimeout, 0),
    confirmTimeout: confirmTimeout === undefined
      ? defaultConfirmTimeout
      : timeout("confirmTimeout", confirmTimeout, 1),
    countsBlocked: confirmTimeout !== undefined,
    failWhenBlocked: Validation.oneOf("whenBlocked", whenBlocked ?? "wait", ["wait", "fail"]) === "fail"
  }
}

const channelError = (reason: AmqpError.ChannelErrorReason) => new AmqpError.AmqpChannelError({ reason })

export class Publishing {
  private readonly limits: PublishLimits
  private readonly outbound: Outbound
  private readonly clock: Clock.Clock
  private channel: Channel | undefined
  /** Why nothing can be published any more. */
  private failure: AmqpError.AmqpChannelError | undefined
  private readonly line = new Set<PublishJob>()
  private forgetRoom: (() => void) | undefined
  private isPumping = false
  private pumpAgain = false
  private readonly waitingListeners = new Set<() => void>()
  private readonly suspicion = new Suspicion()

  constructor(limits: PublishLimits, outbound: Outbound, clock: Clock.Clock) {
    this.limits = limits
    this.outbound = outbound
    this.clock = clock
    if (limits.failWhenBlocked) outbound.blockedListeners.add(this.onBlocked)
  }

  /** Why nothing can be published any more, if so: nothing that was refused for that is worth trying again. */
  get isOver(): boolean {
    return this.failure !== undefined || this.channel?.failure?.reason._tag === "ConnectionLost"
  }

  /** From now on messages go to this channel. */
  attach(channel: Channel): void {
    this.channel = channel
    if (channel.confirms !== undefined) channel.confirms.onJudged = (judgement) => this.suspicion.note(judgement)
    this.pump()
  }

  /** The channel is gone; what is in line waits for the next one. */
  detach(): void {
    this.channel = undefined
    this.suspicion.forgetAlone()
    this.forgetRoom?.()
    this.forgetRoom = undefined
  }

  /** Nothing in line can be sent. */
  refuseLine(error: AmqpError.AmqpChannelError): void {
    // Whoever is refused may come back at once, and is not refused again by this.
    const jobs = [...this.line]
    this.line.clear()
    for (const job of jobs) job.refuse(error)
  }

  /** Nothing can be published any more. */
  close(error: AmqpError.AmqpChannelError): void {
    this.outbound.blockedListeners.delete(this.onBlocked)
    this.failure = error
    this.refuseLine(error)
  }

  /** Waits until something is in line. */
  readonly awaitWaiting: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.line.size > 0) return resume(Effect.void)
    const listener = () => resume(Effect.void)
    this.waitingListeners.add(listener)
    return Effect.sync(() => {
      this.waitingListeners.delete(listener)
    })
  })

  /** The loop of the fiber that ends the waiting of those who waited for too long. */
  readonly expireLine: Effect.Effect<never> = Effect.gen({ self: this }, function*() {
    while (true) {
      yield* this.awaitWaiting
      // Whoever had a turn is at the end, so the first has waited for longest.
      const [first] = this.line
      const left = first.waitingSince + this.limits.sendTimeout - monotonicMillis(this.clock)
      if (left > 0) yield* Effect.sleep(sleepMillis(left))
      else if (this.line.delete(first)) first.refuse(this.waitError())
    }
  })

  /** Sends the messages of a job, now or when it is their turn. */
  submit(job: PublishJob): void {
    if (this.failure !== undefined) return job.refuse(this.failure)
    if (this.limits.failWhenBlocked && this.outbound.blocked !== undefined) return job.refuse(this.waitError())
    if (this.line.size === 0) {
      let channel = this.openChannel()
      while (channel !== undefined) {
        const progress = job.send(channel)
        if (progress === "Done") return
        channel = progress === "More" ? this.openChannel() : undefined
      }
    }
    job.waitingSince = monotonicMillis(this.clock)
    this.line.add(job)
    const listeners = [...this.waitingListeners]
    this.waitingListeners.clear()
    for (const listener of listeners) listener()
    this.wakeWhenOpen()
  }

  /** What is not sent yet won't be. */
  withdraw(job: PublishJob): void {
    this.line.delete(job)
  }

  /**
   * Whether a message may go to this route now. One that may close the channel goes alone, so that it takes nothing else down: it
   * waits until nothing is in flight, and others wait until it is settled.
   */
  admits(channel: Channel, route: Route): boolean {
    return !this.suspicion.has(route) || this.suspicion.goesAlone(route, channel.confirms?.count ?? 0)
  }

  /** To be called when a publish was settled. */
  settled(): void {
    if (this.suspicion.isAlone && this.channel?.confirms?.count === 0) {
      this.suspicion.settled(this.channel.failure === undefined)
    }
    if (this.line.size > 0) this.pump()
  }

  /**
   * Sends what is in line, as far as there is room. A peer in this process may answer within a write, and what makes room then
   * must not begin with the job that is being sent.
   */
  private readonly pump = (): void => {
    this.forgetRoom = undefined
    if (this.isPumping) {
      this.pumpAgain = true
      return
    }
    this.isPumping = true
    do {
      this.pumpAgain = false
      this.sendLine()
    } while (this.pumpAgain)
    this.isPumping = false
    this.wakeWhenOpen()
  }

  private sendLine(): void {
    for (const job of this.line) {
      let channel = this.openChannel()
      if (channel === undefined) return
      let progress: Progress = "More"
      while (progress === "More" && channel !== undefined) {
        progress = job.send(channel)
        channel = this.openChannel()
      }
      // It keeps its place, and those behind it theirs.
      if (progress === "Waits") return
      this.line.delete(job)
      if (progress === "Done") continue
      // It got its turn for some of its messages, and the others get theirs before it has another.
      job.waitingSince = monotonicMillis(this.clock)
      this.line.add(job)
      return
    }
  }

  /** The channel, if a message may be sent on it now. */
  private openChannel(): Channel | undefined {
    const { channel } = this
    if (channel?.confirms === undefined || channel.failure !== undefined || !channel.maySend) return undefined
    const { bytes, count } = channel.confirms
    if (count > 0 && this.suspicion.isAlone) return undefined
    return count < this.limits.maxInFlight && bytes < this.limits.maxInFlightBytes ? channel : undefined
  }

  /** A full window opens with a confirm, a full socket by its own word, an absent channel with `attach`. */
  private wakeWhenOpen(): void {
    const { channel } = this
    if (this.line.size === 0 || channel === undefined || channel.failure !== undefined) return
    if (!channel.maySend) this.forgetRoom ??= channel.onceRoom(this.pump)
  }

  private readonly onBlocked = (reason: string | undefined): void => {
    if (reason !== undefined) this.refuseLine(this.waitError())
  }

  /** Why there was no turn. */
  private waitError(): AmqpError.AmqpChannelError {
    const { blocked } = this.outbound
    return channelError(
      blocked === undefined ? new AmqpError.SendTimeout() : new AmqpError.ConnectionBlocked({ description: blocked })
    )
  }
}

/** Which message an error is about. */
export type PublishTarget = NonNullable<AmqpError.AmqpPublishError["target"]>

/** For errors: what can be said of where a message was to go, also when that is what is wrong. */
export const targetOf = (
  { exchange, routingKey }: { readonly exchange: unknown; readonly routingKey: unknown },
  { messageId }: Properties
): PublishTarget => ({
  exchange: String(Predicate.hasProperty(exchange, "name") ? exchange.name : exchange),
  routingKey: String(routingKey),
  ...(typeof messageId === "string" ? { messageId } : {})
})

const publishError = (reason: AmqpError.AmqpPublishError["reason"], target: PublishTarget | undefined) =>
  new AmqpError.AmqpPublishError({ reason, ...(target === undefined ? {} : { target }) })

/** The message did not leave. */
export const notSent = (cause: AmqpError.AmqpChannelError, target?: PublishTarget): AmqpError.AmqpPublishError =>
  publishError(new AmqpError.NotSent({ cause }), target)

/** What became of a message that left and was not confirmed. */
export const failureOf = (outcome: Exclude<Outcome, "Acked">, target?: PublishTarget): AmqpError.AmqpPublishError => {
  if (outcome === "Nacked") return publishError(new AmqpError.Nacked(), target)
  return publishError(
    outcome._tag === "AmqpChannelError" ? new AmqpError.OutcomeUnknown({ cause: outcome }) : outcome,
    target
  )
}

/** The error for a message that can't be encoded, or whose channel was closed meanwhile. Throws anything else. */
export const unencodable = (thrown: unknown, target?: PublishTarget): AmqpError.AmqpPublishError => {
  if (thrown instanceof AmqpError.AmqpChannelError) return notSent(thrown, target)
  if (!(thrown instanceof EncodeError)) throw thrown
  return notSent(channelError(new AmqpError.InvalidArgument({ description: thrown.message })), target)
}
