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
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { PublishOptions } from "./AmqpChannel.ts"
import * as AmqpConnection from "./AmqpConnection.ts"
import { AmqpPublishAllError } from "./AmqpError.ts"
import type { AmqpChannelError, AmqpPublishError } from "./AmqpError.ts"
import type * as AmqpMessage from "./AmqpMessage.ts"
import * as AmqpTelemetry from "./AmqpTelemetry.ts"
import type { Channel } from "./internal/channel/channel.ts"
import type { Outcome, PublishOwner } from "./internal/channel/confirmLedger.ts"
import * as Program from "./internal/channel/program.ts"
import { sessionOf } from "./internal/connection/sessionRegistry.ts"
import type { Route } from "./internal/message/route.ts"
import { routeIfValid, routeOf } from "./internal/message/route.ts"
import * as Stamp from "./internal/message/stamp.ts"
import * as Validation from "./internal/options/validation.ts"
import { addDefaults } from "./internal/publishing/publisherDefaults.ts"
import { startPublishing } from "./internal/publishing/publisherFiber.ts"
import { failureOf, notSent, resolveLimits, targetOf, unencodable } from "./internal/publishing/publishQueue.ts"
import type { Progress, Publishing, PublishJob, PublishTarget } from "./internal/publishing/publishQueue.ts"
import * as Instruments from "./internal/telemetry/spans.ts"

/**
 * How a publisher limits itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The most messages that wait for their confirm at once, from 1. Further ones are not sent before. Default: 1024. */
  readonly maxInFlight?: number | undefined
  /**
   * No message is sent while those that wait for their confirm hold this many bytes, from 1: their bodies and encoded properties.
   * Default: 16 MiB.
   */
  readonly maxInFlightBytes?: number | undefined
  /**
   * How long a message may wait until it is sent: while the limits are reached, the socket is full, an earlier message above
   * 256 KiB is not all in it, or the broker asks publishers to pause; from 0. After that the publish fails with `NotSent`, caused
   * by a `SendTimeout` or a `ConnectionBlocked`. Default: `Infinity`, no limit.
   */
  readonly sendTimeout?: Duration.Input | undefined
  /**
   * How long the confirm of a message may take once it is handed to the transport, from 1 millisecond; `Infinity` sets no limit.
   * After that the publish fails with `OutcomeUnknown`, caused by a `ConfirmTimeout`. Default: 60 seconds, not counting the time in
   * which the broker blocks the connection and reads nothing, nor that in which a body above 256 KiB leaves. Quorum queues and
   * streams without a majority of their nodes confirm nothing.
   */
  readonly confirmTimeout?: Duration.Input | undefined
  /**
   * What publishes do while the broker asks publishers to pause (`connection.blocked`, RabbitMQ "Blocked Connections"): `wait`, or
   * `fail` at once with `NotSent`, caused by a `ConnectionBlocked`. Default: `wait`.
   */
  readonly whenBlocked?: "wait" | "fail" | undefined
  /**
   * When `publish` tries again after an error that `isRetryable`, with the same message. After an `OutcomeUnknown` that may duplicate
   * it: the broker has it at least once. When the attempts end and one of them had an unknown outcome, so has the publish.
   *
   * It stops when the connection is lost, since this publisher can't publish any more, and pauses for at least 50 ms where the
   * message was not even sent, or was refused (`Nacked`). Default: it does not try again.
   */
  readonly retry?: Schedule.Schedule<unknown, AmqpPublishError> | undefined
  /** Whether messages get an id and a timestamp as they are published, where they have none; see `AmqpMessage.stamp`. Default: no. */
  readonly stamp?: AmqpMessage.StampOptions | undefined
  /**
   * Properties that messages get where they have none themselves, and whether publishes are `mandatory` where they don't say;
   * headers are merged. `{ deliveryMode: "persistent" }` makes messages survive a restart of the broker in durable queues: by
   * default messages are transient, also there. Default: none.
   */
  readonly defaults?: Defaults | undefined
}

/**
 * Properties for all messages of a publisher, and whether they are mandatory. What a message or its publish says itself wins;
 * headers are merged, name by name.
 *
 * @category models
 * @since 0.1.0
 */
export interface Defaults extends Omit<AmqpMessage.Properties, "messageId" | "timestamp" | "correlationId" | "raw"> {
  /** Whether publishes fail with the reason `Returned` when no queue takes the message. */
  readonly mandatory?: boolean | undefined
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
 * Fails as `AmqpChannel.run` does when it opens a channel, and with `InvalidArgument` for options that are out of their range or
 * unknown. When the broker closes the channel, which it does when a message goes to an exchange that does not exist, the messages
 * in flight fail with `OutcomeUnknown`, and the next publish opens another channel. The message that caused it has the broker's
 * reason; the others have `ChannelLost`, and may be tried again. What goes to such an exchange later is sent alone, so that it takes
 * nothing else down. Closing the scope waits for the confirms of what was sent, at most for the connection's `closeTimeout`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<AmqpPublisher["Service"], AmqpChannelError, AmqpConnection.AmqpConnection | Scope.Scope> {
  const { defaults, limits } = yield* Validation.attempt(() => {
    const known = Validation.knownKeys(options, optionKeys, "AmqpPublisher options")
    Stamp.check(known.stamp)
    if (known.retry !== undefined && !Schedule.isSchedule(known.retry)) {
      throw Validation.invalid("retry: must be a Schedule")
    }
    return { limits: resolveLimits(known), defaults: addDefaults(known.defaults) }
  })
  const session = sessionOf(yield* AmqpConnection.AmqpConnection)
  const publishing = yield* startPublishing(session, limits)
  const stamped = yield* stamper(options.stamp)
  const prepare = (message: AmqpMessage.AmqpMessage) => stamped(defaults.toMessage(message))
  const publishPrepared = (message: AmqpMessage.AmqpMessage, options: PublishOptions) =>
    Effect.callback<void, AmqpPublishError>((resume) => {
      Program.warnOfOutsider("AmqpPublisher.publish")
      const job = new PublishOne(publishing, message, options, resume)
      publishing.submit(job)
      return Effect.sync(() => publishing.withdraw(job))
    })
  // As the former, without an Effect around it that prepares the message.
  const publishOnce = (message: AmqpMessage.AmqpMessage, options: PublishOptions) =>
    Effect.callback<void, AmqpPublishError>((resume) => {
      Program.warnOfOutsider("AmqpPublisher.publish")
      const job = new PublishOne(publishing, prepare(message), defaults.toOptions(options), resume)
      publishing.submit(job)
      return Effect.sync(() => publishing.withdraw(job))
    })
  const schedule = options.retry && unhurried(options.retry)
  const publishRetried = schedule === undefined
    ? publishPrepared
    : (message: AmqpMessage.AmqpMessage, options: PublishOptions) => {
      let unknown: AmqpPublishError | undefined
      return publishPrepared(message, options).pipe(
        Effect.retry({
          schedule,
          // A publisher that has ended stays ended: its connection is lost, or its scope has closed.
          while: (error) => {
            if (error.reason._tag === "OutcomeUnknown") unknown = error
            return error.isRetryable && !publishing.isOver
          }
        }),
        // That the last attempt came to nothing does not mean that the broker has nothing.
        Effect.mapError((error) => tellsLess.has(error.reason._tag) ? unknown ?? error : error)
      )
    }
  const publishMany = (
    messages: Iterable<AmqpMessage.AmqpMessage>,
    options: PublishOptions | ((message: AmqpMessage.AmqpMessage, index: number) => PublishOptions),
    prepare: (message: AmqpMessage.AmqpMessage) => AmqpMessage.AmqpMessage
  ) =>
    Effect.suspend(() => {
      Program.warnOfOutsider("AmqpPublisher.publishAll")
      const optionsOf = typeof options === "function"
        ? (message: AmqpMessage.AmqpMessage, index: number) => defaults.toOptions(options(message, index))
        : constant(defaults.toOptions(options))
      const job = new PublishMany(publishing, messages, prepare, optionsOf)
      return Effect.onInterrupt(job.run, () => Effect.sync(() => job.stop()))
    })
  const telemetry = yield* AmqpTelemetry.Telemetry
  const instruments = yield* Validation.attempt(() => Instruments.make(telemetry, session.options))
  if (instruments === undefined) {
    return {
      publish: schedule === undefined
        ? publishOnce
        // Prepared before it is tried, and not again, so that each attempt has the same id.
        : (message, options) => Effect.suspend(() => publishRetried(prepare(message), defaults.toOptions(options))),
      publishAll: (messages, options) => publishMany(messages, options, prepare)
    }
  }
  return {
    publish: (message, given) =>
      Effect.suspend(() => {
        const options = defaults.toOptions(given)
        const route = routeIfValid(options)
        const publish = (message: AmqpMessage.AmqpMessage) => publishRetried(message, options)
        const prepared = prepare(message)
        return route === undefined
          ? publish(prepared)
          : instruments.send(Instruments.publish, prepared, route, publish)
      }),
    publishAll: (messages, options) =>
      Effect.suspend(() =>
        instruments.sendMany(
          Instruments.publish,
          typeof options === "function" ? undefined : routeIfValid(options),
          (toSpan) => publishMany(messages, options, (message) => toSpan(prepare(message)))
        )
      )
  }
})

/** Reasons that say that the broker does not have the message: of one attempt, and not of those before it. */
const tellsLess: ReadonlySet<string> = new Set(["NotSent", "Nacked"])

const constant = <A>(value: A) => (): A => value

/** The shortest pause before a message that the broker does not have is tried again, in milliseconds. */
const leastPause = 50

/**
 * A schedule with a pause where nothing else takes time: one without delays would keep this process busy, and for a full queue that
 * refuses messages the broker too.
 */
const unhurried = (schedule: Schedule.Schedule<unknown, AmqpPublishError>) =>
  Schedule.modifyDelay(
    schedule,
    ({ duration, input }) =>
      Effect.succeed(tellsLess.has(input.reason._tag) ? Duration.max(duration, Duration.millis(leastPause)) : duration)
  )

const optionKeys = Validation.keysOf<Options>({
  maxInFlight: true,
  maxInFlightBytes: true,
  sendTimeout: true,
  confirmTimeout: true,
  whenBlocked: true,
  retry: true,
  stamp: true,
  defaults: true
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
  route: Route,
  owner: PublishOwner,
  index: number
): void => channel.publish(route, properties, body, owner, index)

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

  private get target(): PublishTarget {
    return targetOf(this.options, this.message.properties)
  }

  send(channel: Channel): Progress {
    try {
      const route = routeOf(this.options)
      if (!this.publishing.admits(channel, route)) return "Waits"
      send(channel, this.message, route, this, 0)
    } catch (thrown) {
      this.resume(Effect.suspend(() => Effect.fail(unencodable(thrown, this.target))))
    }
    return "Done"
  }

  refuse(error: AmqpChannelError): void {
    this.resume(Effect.fail(notSent(error, this.target)))
  }

  settled(_index: number, outcome: Outcome): void {
    this.resume(outcome === "Acked" ? Effect.void : Effect.fail(failureOf(outcome, this.target)))
    this.publishing.settled()
  }
}

/** After so many messages that can't be encoded a batch pauses: it waits for nothing, and there may be no end of them. */
const failuresPerTurn = 100

type Failure = AmqpPublishAllError["failures"][number]

/** A message that was taken from a batch, with where it goes. */
interface Taken {
  readonly message: AmqpMessage.AmqpMessage
  readonly options: PublishOptions
  readonly index: number
}

class PublishMany implements PublishJob, PublishOwner {
  waitingSince = 0
  private readonly publishing: Publishing
  private readonly messages: Iterator<AmqpMessage.AmqpMessage>
  private readonly prepare: (message: AmqpMessage.AmqpMessage) => AmqpMessage.AmqpMessage
  private readonly optionsOf: (message: AmqpMessage.AmqpMessage, index: number) => PublishOptions
  private resume: (effect: Effect.Effect<void, AmqpPublishAllError>) => void = () => {}
  private readonly failures: Array<Failure> = []
  private next = 0
  /** Taken, and to be sent when nothing else is in flight. */
  private held: Taken | undefined
  private isSent = false
  private inFlight = 0
  private confirmed = 0

  constructor(
    publishing: Publishing,
    messages: Iterable<AmqpMessage.AmqpMessage>,
    prepare: (message: AmqpMessage.AmqpMessage) => AmqpMessage.AmqpMessage,
    optionsOf: (message: AmqpMessage.AmqpMessage, index: number) => PublishOptions
  ) {
    this.publishing = publishing
    this.messages = messages[Symbol.iterator]()
    this.prepare = prepare
    this.optionsOf = optionsOf
  }

  /** Sends the messages, or those that are left after a pause, and waits for the confirms. */
  readonly run: Effect.Effect<void, AmqpPublishAllError> = Effect.callback((resume) => {
    this.resume = resume
    this.publishing.submit(this)
  })

  send(channel: Channel): Progress {
    try {
      const { held } = this
      if (held !== undefined) {
        this.held = undefined
        return this.sendOne(channel, held.message, held.options, held.index)
      }
      const { done, value: message } = this.messages.next()
      if (done === true) return this.finishSending()
      const index = this.next++
      return this.sendOne(channel, this.prepare(message), this.optionsOf(message, index), index)
    } catch (thrown) {
      // The iterable or the function failed, so there is nothing to go on with.
      this.isSent = true
      this.resume(Effect.die(thrown))
      return "Done"
    }
  }

  private sendOne(
    channel: Channel,
    message: AmqpMessage.AmqpMessage,
    options: PublishOptions,
    index: number
  ): Progress {
    try {
      const route = routeOf(options)
      if (!this.publishing.admits(channel, route)) {
        this.held = { message, options, index }
        return "Waits"
      }
      send(channel, message, route, this, index)
      this.inFlight++
      return "More"
    } catch (thrown) {
      const error = unencodable(thrown, targetOf(options, message.properties))
      return this.failures.push({ index, error }) % failuresPerTurn === 0 ? this.pause() : "More"
    }
  }

  /** Leaves the line, and comes back to it when other fibers had their turn. */
  private pause(): "Done" {
    this.resume(Effect.andThen(Effect.yieldNow, this.run))
    return "Done"
  }

  refuse(error: AmqpChannelError): void {
    try {
      // The others are not taken: there may be no end of them.
      if (this.held !== undefined) this.failures.push({ index: this.held.index, error: notSent(error) })
      else if (this.messages.next().done !== true) this.failures.push({ index: this.next++, error: notSent(error) })
      this.finishSending()
      this.messages.return?.()
    } catch (thrown) {
      this.isSent = true
      this.resume(Effect.die(thrown))
    }
  }

  settled(index: number, outcome: Outcome): void {
    this.inFlight--
    if (outcome === "Acked") this.confirmed++
    else this.failures.push({ index, error: failureOf(outcome) })
    this.finish()
    this.publishing.settled()
  }

  /** Takes no more messages. */
  stop(): void {
    this.publishing.withdraw(this)
    if (!this.isSent) this.messages.return?.()
    this.isSent = true
  }

  private finishSending(): "Done" {
    this.isSent = true
    this.finish()
    return "Done"
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
