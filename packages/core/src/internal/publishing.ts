/**
 * The confirmed publishes of one publisher, in the order in which they were made.
 *
 * A publish is sent in the synchronous step that makes it while the window has room; else it waits in line, and is sent by
 * whatever makes room: a confirm, the socket, a new channel. Nothing here runs on a fiber of its own.
 */
import * as Effect from "effect/Effect"
import * as AmqpError from "../AmqpError.ts"
import { EncodeError } from "../protocol/ProtocolError.ts"
import type { Channel } from "./channel.ts"
import type { Outcome } from "./confirms.ts"

/** One or many messages of one caller. */
export interface PublishJob {
  /** Sends the next message that it has. Answers whether it has more. Throws nothing. */
  send(channel: Channel): boolean
  /** Nothing more of it can be sent. */
  refuse(error: AmqpError.AmqpChannelError): void
}

export interface PublishLimits {
  readonly maxInFlight: number
  readonly maxInFlightBytes: number
}

export class Publishing {
  private readonly limits: PublishLimits
  private channel: Channel | undefined
  /** Why nothing can be published any more. */
  private failure: AmqpError.AmqpChannelError | undefined
  private readonly line = new Set<PublishJob>()
  private forgetRoom: (() => void) | undefined
  private onWaiting: (() => void) | undefined

  constructor(limits: PublishLimits) {
    this.limits = limits
  }

  /** From now on messages go to this channel. */
  attach(channel: Channel): void {
    this.channel = channel
    this.pump()
  }

  /** The channel is gone; what is in line waits for the next one. */
  detach(): void {
    this.channel = undefined
    this.forgetRoom?.()
    this.forgetRoom = undefined
  }

  /** Nothing in line can be sent. */
  refuseLine(error: AmqpError.AmqpChannelError): void {
    for (const job of this.line) {
      this.line.delete(job)
      job.refuse(error)
    }
  }

  /** Nothing can be published any more. */
  close(error: AmqpError.AmqpChannelError): void {
    this.failure = error
    this.refuseLine(error)
  }

  /** Waits until something is in line. */
  readonly awaitWaiting: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.line.size > 0) return resume(Effect.void)
    this.onWaiting = () => resume(Effect.void)
    return Effect.sync(() => {
      this.onWaiting = undefined
    })
  })

  /** Sends the messages of a job, now or when it is their turn. */
  submit(job: PublishJob): void {
    if (this.failure !== undefined) return job.refuse(this.failure)
    if (this.line.size === 0) {
      let channel = this.openChannel()
      while (channel !== undefined) {
        if (!job.send(channel)) return
        channel = this.openChannel()
      }
    }
    this.line.add(job)
    this.wakeWhenOpen()
  }

  /** What is not sent yet won't be. */
  withdraw(job: PublishJob): void {
    this.line.delete(job)
  }

  /** To be called when a publish was settled. */
  settled(): void {
    if (this.line.size > 0) this.pump()
  }

  private readonly pump = (): void => {
    this.forgetRoom = undefined
    for (const job of this.line) {
      let channel = this.openChannel()
      while (channel !== undefined && job.send(channel)) channel = this.openChannel()
      if (channel === undefined) break
      this.line.delete(job)
    }
    if (this.line.size > 0) this.wakeWhenOpen()
  }

  /** The channel, if a message may be sent on it now. */
  private openChannel(): Channel | undefined {
    const { channel } = this
    if (channel?.confirms === undefined || channel.failure !== undefined || !channel.hasRoom) return undefined
    const { bytes, count } = channel.confirms
    return count < this.limits.maxInFlight && bytes < this.limits.maxInFlightBytes ? channel : undefined
  }

  /** A full window opens with a confirm, a full socket by its own word, an absent channel with `attach`. */
  private wakeWhenOpen(): void {
    this.onWaiting?.()
    this.onWaiting = undefined
    const { channel } = this
    if (channel === undefined || channel.hasRoom || this.forgetRoom !== undefined) return
    this.forgetRoom = channel.onceRoom(this.pump)
  }
}

const publishError = (reason: AmqpError.AmqpPublishError["reason"]) => new AmqpError.AmqpPublishError({ reason })

/** The message did not leave. */
export const notSent = (cause: AmqpError.AmqpChannelError): AmqpError.AmqpPublishError =>
  publishError(new AmqpError.NotSent({ cause }))

/** What became of a message that left, as an error; `undefined` when it is confirmed. */
export const failureOf = (outcome: Outcome): AmqpError.AmqpPublishError | undefined =>
  outcome === "Acked"
    ? undefined
    : publishError(outcome === "Nacked" ? new AmqpError.Nacked() : new AmqpError.OutcomeUnknown({ cause: outcome }))

/** The error for a message that can't be encoded. Throws what is no such error. */
export const unencodable = (thrown: unknown): AmqpError.AmqpPublishError => {
  if (!(thrown instanceof EncodeError)) throw thrown
  const reason = new AmqpError.InvalidArgument({ description: thrown.message })
  return notSent(new AmqpError.AmqpChannelError({ reason }))
}
