/**
 * Publishing with confirms: a publish succeeds when the broker has taken responsibility for the message (RabbitMQ,
 * "Publisher Confirms").
 *
 * A publisher owns a channel for as long as its scope lives. Any number of fibers may use it at once: their messages are
 * pipelined, so a fiber waits for its own confirm and not for those of others.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { PublishOptions } from "./AmqpChannel.ts"
import * as AmqpConnection from "./AmqpConnection.ts"
import { AmqpPublishAllError } from "./AmqpError.ts"
import type { AmqpChannelError, AmqpPublishError } from "./AmqpError.ts"
import * as AmqpMessage from "./AmqpMessage.ts"
import * as AmqpTelemetry from "./AmqpTelemetry.ts"
import type { Channel } from "./internal/channel.ts"
import type { Outcome, PublishOwner } from "./internal/confirms.ts"
import * as Instruments from "./internal/instruments.ts"
import * as Program from "./internal/program.ts"
import { startPublishing } from "./internal/publisherChannel.ts"
import { failureOf, notSent, resolveLimits, unencodable } from "./internal/publishing.ts"
import type { Publishing, PublishJob } from "./internal/publishing.ts"
import { sessionOf } from "./internal/session.ts"
import * as Stamp from "./internal/stamp.ts"
import * as Topology from "./internal/topology.ts"

/**
 * How a publisher limits itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The most messages that wait for their confirm at once, from 1. Further ones are not sent before. Default: 1024. */
  readonly maxInFlight?: number | undefined
  /** No message is sent while the bodies that wait for their confirm have this many bytes, from 1. Default: 16 MiB. */
  readonly maxInFlightBytes?: number | undefined
  /**
   * How long a message may wait until it is sent: while the limits are reached, the socket is full, an earlier message above
   * 256 KiB is not all in it, or the broker asks publishers to pause; from 0, in milliseconds. After that the publish fails with
   * `NotSent`, caused by a `SendTimeout` or a `ConnectionBlocked`. Default: without end.
   */
  readonly sendTimeout?: Duration.Input | undefined
  /**
   * How long the confirm of a message may take once it is sent, from 1 millisecond. After that the publish fails with `OutcomeUnknown`, caused by a
   * `ConfirmTimeout`. Default: as long as the connection lasts.
   */
  readonly confirmTimeout?: Duration.Input | undefined
  /**
   * What publishes do while the broker asks publishers to pause (`connection.blocked`, RabbitMQ "Blocked Connections"): `wait`, or
   * `fail` at once with `NotSent`, caused by a `ConnectionBlocked`. Default: `wait`.
   */
  readonly whenBlocked?: "wait" | "fail" | undefined
  /**
   * When `publish` tries again after an error that `isRetryable`, with the same message. After an `OutcomeUnknown` that may duplicate
   * it: the broker has it at least once. Default: it does not.
   */
  readonly retry?: Schedule.Schedule<unknown, AmqpPublishError> | undefined
  /** Whether messages get an id and a timestamp as they are published, where they have none; see `AmqpMessage.stamp`. Default: no. */
  readonly stamp?: AmqpMessage.StampOptions | undefined
}

/**
 * A publisher.
 *
 * @category services
 * @since 0.1.0
 */
export class AmqpPublisher extends Context.Service<AmqpPublisher, {
  /**
   * Publishes a message; succeeds when the broker has confirmed it.
   *
   * Waits while the limits are reached, the socket is full or the broker asks publishers to pause. A body above 256 KiB leaves in
   * pieces, so that other channels have their turn; what this publisher sends next waits for its end. Fails with an
   * `AmqpPublishError` whose reason tells whether the broker can have the message: `Nacked`, `Returned` and `NotSent`: it does
   * not; `OutcomeUnknown`: it may. An interruption before the message is sent withdraws it.
   *
   * Confirmed does not mean routed: a message that no queue takes is dropped, and the publish succeeds, unless it is `mandatory`.
   */
  readonly publish: (message: AmqpMessage.AmqpMessage, options: PublishOptions) => Effect.Effect<void, AmqpPublishError>
  /**
   * Publishes many messages in their order; succeeds when the broker has confirmed all of them.
   *
   * All go to the same place, or each to where the function says. The messages are taken from the iterable as they can be
   * sent. One that fails does not keep the others from being sent: the error names the failed ones by their index.
   */
  readonly publishAll: (
    messages: Iterable<AmqpMessage.AmqpMessage>,
    options: PublishOptions | ((message: AmqpMessage.AmqpMessage, index: number) => PublishOptions)
  ) => Effect.Effect<void, AmqpPublishAllError>
}>()("@effect-amqp/core/AmqpPublisher") {}

/**
 * Opens a publisher, for as long as the scope lives.
 *
 * **Details**
 *
 * Fails as `AmqpChannel.run` does when it opens a channel, and with `InvalidArgument` for limits out of their range. When the
 * broker closes the channel, which it does when a message goes to an exchange that does not exist, the messages in flight fail
 * with `OutcomeUnknown` and its reason, and the next publish opens another channel. Closing the scope waits for the confirms
 * of what was sent, at most for the connection's `closeTimeout`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<AmqpPublisher["Service"], AmqpChannelError, AmqpConnection.AmqpConnection | Scope.Scope> {
  const limits = yield* resolveLimits(options)
  const session = sessionOf(yield* AmqpConnection.AmqpConnection)
  const publishing = yield* startPublishing(session, limits)
  const stamped = yield* stamper(options.stamp)
  const publishOnce = (message: AmqpMessage.AmqpMessage, options: PublishOptions) =>
    Effect.callback<void, AmqpPublishError>((resume) => {
      Program.warnOfOutsider("AmqpPublisher.publish")
      const job = new PublishOne(publishing, stamped(message), options, resume)
      publishing.submit(job)
      return Effect.sync(() => publishing.withdraw(job))
    })
  const { retry } = options
  const publishMany = (
    messages: Iterable<AmqpMessage.AmqpMessage>,
    options: PublishOptions | ((message: AmqpMessage.AmqpMessage, index: number) => PublishOptions),
    prepare: (message: AmqpMessage.AmqpMessage) => AmqpMessage.AmqpMessage
  ) =>
    Effect.suspend(() => {
      Program.warnOfOutsider("AmqpPublisher.publishAll")
      const job = new PublishMany(publishing, messages, prepare, options)
      return Effect.onInterrupt(job.run, () => Effect.sync(() => job.stop()))
    })
  const publisher: AmqpPublisher["Service"] = {
    publish: retry === undefined
      ? publishOnce
      // Stamped before it is tried, and not again, so that each attempt has the same id.
      : (message, options) =>
        Effect.suspend(() =>
          Effect.retry(publishOnce(stamped(message), options), { schedule: retry, while: (error) => error.isRetryable })
        ),
    publishAll: (messages, options) => publishMany(messages, options, stamped)
  }
  const instruments = Instruments.make(yield* AmqpTelemetry.Telemetry, session.options)
  if (instruments === undefined) return publisher
  return {
    publish: (message, options) =>
      Effect.suspend(() =>
        instruments.send(
          Instruments.publish,
          stamped(message),
          Topology.routeOf(options),
          (message) => publisher.publish(message, options)
        )
      ),
    publishAll: (messages, options) =>
      Effect.suspend(() =>
        instruments.sendMany(
          Instruments.publish,
          typeof options === "function" ? undefined : Topology.routeOf(options),
          (prepare) => publishMany(messages, options, (message) => prepare(stamped(message)))
        )
      )
  }
})

/**
 * A publisher as a Layer; see {@link make} for the errors.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<AmqpPublisher, AmqpChannelError, AmqpConnection.AmqpConnection> =>
  Layer.effect(AmqpPublisher, make(options))

/** How messages are stamped, with the clock and the random numbers of whoever makes the publisher. */
const stamper = (options: AmqpMessage.StampOptions | undefined) =>
  Effect.gen(function*() {
    if (options === undefined) return (message: AmqpMessage.AmqpMessage) => message
    const clock = yield* Clock.Clock
    const random = yield* Random.Random
    return (message: AmqpMessage.AmqpMessage) => Stamp.stamp(message, options, clock, random)
  })

// -----------------------------------------------------------------------------
// the messages
// -----------------------------------------------------------------------------

const send = (
  channel: Channel,
  { body, properties }: AmqpMessage.AmqpMessage,
  route: PublishOptions,
  owner: PublishOwner,
  index: number
): void => channel.publish(Topology.routeOf(route), AmqpMessage.encodeProperties(properties), body, owner, index)

class PublishOne implements PublishJob, PublishOwner {
  waitingSince = 0
  private readonly publishing: Publishing
  private readonly message: AmqpMessage.AmqpMessage
  private readonly options: PublishOptions
  private readonly resume: (effect: Effect.Effect<void, AmqpPublishError>) => void

  constructor(
    publishing: Publishing,
    message: AmqpMessage.AmqpMessage,
    options: PublishOptions,
    resume: (effect: Effect.Effect<void, AmqpPublishError>) => void
  ) {
    this.publishing = publishing
    this.message = message
    this.options = options
    this.resume = resume
  }

  send(channel: Channel): boolean {
    try {
      send(channel, this.message, this.options, this, 0)
    } catch (thrown) {
      this.resume(Effect.suspend(() => Effect.fail(unencodable(thrown))))
    }
    return false
  }

  refuse(error: AmqpChannelError): void {
    this.resume(Effect.fail(notSent(error)))
  }

  settled(_index: number, outcome: Outcome): void {
    const failure = failureOf(outcome)
    this.resume(failure === undefined ? Effect.void : Effect.fail(failure))
    this.publishing.settled()
  }
}

/** After so many messages that can't be encoded a batch pauses: it waits for nothing, and there may be no end of them. */
const failuresPerTurn = 100

type Failure = AmqpPublishAllError["failures"][number]

class PublishMany implements PublishJob, PublishOwner {
  waitingSince = 0
  private readonly publishing: Publishing
  private readonly messages: Iterator<AmqpMessage.AmqpMessage>
  private readonly stamped: (message: AmqpMessage.AmqpMessage) => AmqpMessage.AmqpMessage
  private readonly options: PublishOptions | ((message: AmqpMessage.AmqpMessage, index: number) => PublishOptions)
  private resume: (effect: Effect.Effect<void, AmqpPublishAllError>) => void = () => {}
  private readonly failures: Array<Failure> = []
  private next = 0
  private isSent = false
  private inFlight = 0
  private confirmed = 0

  constructor(
    publishing: Publishing,
    messages: Iterable<AmqpMessage.AmqpMessage>,
    stamped: (message: AmqpMessage.AmqpMessage) => AmqpMessage.AmqpMessage,
    options: PublishOptions | ((message: AmqpMessage.AmqpMessage, index: number) => PublishOptions)
  ) {
    this.publishing = publishing
    this.messages = messages[Symbol.iterator]()
    this.stamped = stamped
    this.options = options
  }

  /** Sends the messages, or those that are left after a pause, and waits for the confirms. */
  readonly run: Effect.Effect<void, AmqpPublishAllError> = Effect.callback((resume) => {
    this.resume = resume
    this.publishing.submit(this)
  })

  send(channel: Channel): boolean {
    const { options } = this
    try {
      const { done, value: message } = this.messages.next()
      if (done === true) return this.finishSending()
      const index = this.next++
      const route = typeof options === "function" ? options(message, index) : options
      return this.sendOne(channel, this.stamped(message), route, index) || this.pause()
    } catch (thrown) {
      // The iterable or the function failed, so there is nothing to go on with.
      this.isSent = true
      this.resume(Effect.die(thrown))
      return false
    }
  }

  /** Answers whether the next one may follow without a pause. */
  private sendOne(channel: Channel, message: AmqpMessage.AmqpMessage, route: PublishOptions, index: number): boolean {
    try {
      send(channel, message, route, this, index)
      this.inFlight++
      return true
    } catch (thrown) {
      return this.failures.push({ index, error: unencodable(thrown) }) % failuresPerTurn !== 0
    }
  }

  /** Leaves the line, and comes back to it when other fibers had their turn. */
  private pause(): false {
    this.resume(Effect.andThen(Effect.yieldNow, this.run))
    return false
  }

  refuse(error: AmqpChannelError): void {
    try {
      // The others are not taken: there may be no end of them.
      if (this.messages.next().done !== true) this.failures.push({ index: this.next++, error: notSent(error) })
      this.finishSending()
      this.messages.return?.()
    } catch (thrown) {
      this.isSent = true
      this.resume(Effect.die(thrown))
    }
  }

  settled(index: number, outcome: Outcome): void {
    const failure = failureOf(outcome)
    this.inFlight--
    if (failure === undefined) this.confirmed++
    else this.failures.push({ index, error: failure })
    this.finish()
    this.publishing.settled()
  }

  /** Takes no more messages. */
  stop(): void {
    this.publishing.withdraw(this)
    if (!this.isSent) this.messages.return?.()
    this.isSent = true
  }

  private finishSending(): false {
    this.isSent = true
    this.finish()
    return false
  }

  private finish(): void {
    if (!this.isSent || this.inFlight > 0) return
    const { confirmed } = this
    const [first, ...rest] = this.failures.toSorted((a, b) => a.index - b.index)
    this.resume(
      first === undefined
        ? Effect.void
        : Effect.fail(new AmqpPublishAllError({ taken: this.next, confirmed, failures: [first, ...rest] }))
    )
  }
}
