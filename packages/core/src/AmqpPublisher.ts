/**
 * Publishing with confirms: a publish succeeds when the broker has taken responsibility for the message (RabbitMQ,
 * "Publisher Confirms").
 *
 * A publisher owns a channel for as long as its scope lives. Any number of fibers may use it at the same time. Their messages are
 * pipelined: each fiber waits only for its own confirm.
 *
 * When the connection is lost, the publisher goes on with the next one. What was in flight fails with an unknown outcome, or is published
 * again (option `retry`); what was not sent yet waits.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constant } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { PublishOptions } from "./AmqpChannel.ts"
import * as AmqpConnection from "./AmqpConnection.ts"
import type { AmqpChannelError, AmqpPublishAllError, AmqpPublishError } from "./AmqpError.ts"
import type * as AmqpMessage from "./AmqpMessage.ts"
import * as AmqpTelemetry from "./AmqpTelemetry.ts"
import * as Program from "./internal/channel/program.ts"
import { supervisorOf } from "./internal/connection/connectionRegistry.ts"
import { routeIfValid } from "./internal/message/route.ts"
import * as Stamp from "./internal/message/stamp.ts"
import * as Validation from "./internal/options/validation.ts"
import { checkRetry, withPauses } from "./internal/publishing/attempts.ts"
import type { Retry } from "./internal/publishing/attempts.ts"
import { addDefaults, unprepared } from "./internal/publishing/publisherDefaults.ts"
import type { Preparation } from "./internal/publishing/publisherDefaults.ts"
import { startPublisher } from "./internal/publishing/publisherFiber.ts"
import { resolveLimits } from "./internal/publishing/publishLimits.ts"
import { publishMany } from "./internal/publishing/publishMany.ts"
import { PublishOne, PublishWithRetry } from "./internal/publishing/publishOne.ts"
import * as Instruments from "./internal/telemetry/spans.ts"

/**
 * The options of a publisher.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The most messages that wait for their confirm at the same time, from 1. Further messages wait to be sent. Default: 1024. */
  readonly maxInFlight?: number | undefined
  /**
   * No message is sent while the messages that wait for their confirm have this size in bytes, from 1: the sum of their bodies and
   * encoded properties. Default: 16 MiB.
   */
  readonly maxInFlightBytes?: number | undefined
  /**
   * The most publishes that wait to be sent, from 1: because the limits above are reached, the socket is full, the broker blocks the
   * connection, or there is no connection. A further publish fails at once with `NotSent`, caused by a `TooManyPublishes`. A batch counts as
   * one, as it takes each message when it can be sent. Messages that pause before they are published again (`retry`) count too, those
   * that were in flight when their connection was lost do not. While half as many pause, batches take no more messages. Default: 100,000.
   */
  readonly maxWaiting?: number | undefined
  /**
   * No further publish waits while the bodies of those that wait have this size in bytes, from 1; it fails in the same way. Default:
   * 128 MiB.
   */
  readonly maxWaitingBytes?: number | undefined
  /**
   * How long a message may wait until it is sent, from 0: while the limits are reached, the socket is full, an earlier message above
   * 256 KiB is still being sent, the broker blocks the connection, or there is no connection. After that the publish fails with `NotSent`,
   * caused by a `SendTimeout`, a `ConnectionBlocked` or a `ConnectionLost`. Does not apply to a message that was in flight when its
   * connection was lost and is published again. Default: `Infinity`, no limit.
   */
  readonly sendTimeout?: Duration.Input | undefined
  /**
   * How long the confirm of a message may take after the message was handed to the transport, from 1 millisecond; `Infinity` sets no
   * limit. After that the publish fails with `OutcomeUnknown`, caused by a `ConfirmTimeout`. Quorum queues and streams without a
   * majority of their nodes never confirm.
   *
   * If no publisher of the connection has got a confirm since the message was sent, the connection is taken for dead and replaced, once
   * for each endpoint: a node that is cut off from its cluster may still send heartbeats.
   *
   * Default: 60 seconds. The default does not count the time in which the broker blocks the connection and reads nothing, nor the time
   * in which a body above 256 KiB is being sent.
   */
  readonly confirmTimeout?: Duration.Input | undefined
  /**
   * What publishes do while the broker blocks the connection (`connection.blocked`, RabbitMQ "Blocked Connections"): `wait`, or `fail`
   * at once with `NotSent`, caused by a `ConnectionBlocked`. Default: `wait`.
   */
  readonly whenBlocked?: "wait" | "fail" | undefined
  /**
   * What publishes do while there is no connection: `wait` for the next one, or `fail` at once with `NotSent`, caused by a
   * `ConnectionLost`. Default: `wait`.
   */
  readonly whenDisconnected?: "wait" | "fail" | undefined
  /**
   * When the same message is published again after an error that `isRetryable`. After an `OutcomeUnknown` this may duplicate the
   * message. If the last attempt fails and an earlier one had an unknown outcome, the publish fails with `OutcomeUnknown`. Default: no
   * retries.
   *
   * Messages that were in flight when their channel or connection was lost are published again before anything newer and in their old order,
   * as soon as the publisher has another channel. The schedule counts the loss, and its pauses do not apply: recovery has its own. With
   * `Schedule.recurs(3)`, a message is published again after up to three losses. A message that made the broker close the channel is not
   * published again.
   *
   * After other errors (`Nacked`, `ConfirmTimeout`, `NotSent`) the message pauses as the schedule says, at least 50 ms if the broker does not
   * have it, and is then sent after those that wait already. A `TooManyPublishes` fails at once, and so does `Returned`, as a wrong routing
   * key would be returned for ever.
   *
   * `publishAll` does the same with each of its messages that was sent. If its next message can't be sent, it ends with `NotSent` as without
   * `retry`.
   */
  readonly retry?: Schedule.Schedule<unknown, AmqpPublishError> | undefined
  /** Whether messages without an id and a timestamp get them when they are published; see `AmqpMessage.stamp`. Default: no. */
  readonly stamp?: AmqpMessage.StampOptions | undefined
  /**
   * Properties for messages that don't set them, and `mandatory` for publishes that don't set it; headers are merged.
   * `{ deliveryMode: "persistent" }` makes messages in durable queues survive a restart of the broker: messages are transient by
   * default, also in durable queues. Default: none.
   */
  readonly defaults?: Defaults | undefined
}

/**
 * Properties for all messages of a publisher, and whether they are mandatory. The properties of a message and the options of a
 * publish take precedence; headers are merged by name.
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
   * Publishes a message. Succeeds when the broker has confirmed it.
   *
   * Waits while the limits are reached, the socket is full, the broker blocks the connection, or there is no connection. A body above 256
   * KiB is sent in pieces, so that other channels get their turn; the next message of this publisher waits for the last piece. An
   * interruption before the message is sent withdraws it, and later it is not published again.
   *
   * The reason of the `AmqpPublishError` shows whether the broker has the message: not with `Nacked`, `Returned` or `NotSent`, possibly
   * with `OutcomeUnknown`.
   *
   * Confirmed does not mean routed: a message that no queue takes is dropped, and the publish succeeds, unless it is `mandatory`. That
   * happens to queues that exist, too: RabbitMQ routes to a stream only when it has a leader, which takes some seconds after a start.
   */
  readonly publish: (message: AmqpMessage.AmqpMessage, options: PublishOptions) => Effect.Effect<void, AmqpPublishError>
  /**
   * Publishes many messages in their order. Succeeds when the broker has confirmed all of them.
   *
   * The options apply to all messages, or a function returns them for each one. Each message is taken from the iterable when it can be
   * sent. If a message fails, the others are still sent: the error names the failed ones by their index. With `retry` each message is
   * kept until it is confirmed.
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
 * While there is no connection, waits for one like a channel program. Fails like `AmqpChannel.run` when no channel can be opened, and with
 * `InvalidArgument` for options that are unknown or out of range. Closing the scope waits for the confirms of the messages that were sent,
 * up to the connection's `closeTimeout`.
 *
 * When the connection is lost, all messages in flight fail with `OutcomeUnknown` at once, unless they are published again (`retry`).
 * Others wait for the next connection (`whenDisconnected`, `sendTimeout`, `maxWaiting`). When the connection has closed for good, all fail.
 *
 * The broker closes the channel when, for example, a message goes to an exchange that does not exist. All messages in flight then fail
 * with `OutcomeUnknown`, and the next publish opens another channel. The cause is the broker's reason for the message that caused the
 * close, and a retryable `ChannelLost` for the others. Further messages to such an exchange are sent separately, while nothing else is
 * in flight. If the channel can't be opened again for a reason that may pass, messages wait, and the publisher tries again after a pause.
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
    checkRetry(known.retry)
    return { limits: resolveLimits(known), defaults: addDefaults(known.defaults) }
  })
  const supervisor = supervisorOf(yield* AmqpConnection.AmqpConnection)
  const queue = yield* startPublisher(supervisor, limits)
  const stamp = yield* stamper(options.stamp)
  const preparation: Preparation = {
    toMessage: (message) => stamp(defaults.toMessage(message)),
    toOptions: defaults.toOptions
  }

  const publishOnce = (message: AmqpMessage.AmqpMessage, options: PublishOptions, prepare: Preparation) =>
    Effect.callback<void, AmqpPublishError>((resume) => {
      Program.warnOfOutsider("AmqpPublisher.publish")
      const { body, properties } = prepare.toMessage(message)
      const job = new PublishOne(body, properties, prepare.toOptions(options), resume)
      queue.submit(job)
      return Effect.sync(() => queue.withdraw(job))
    })
  const schedule = options.retry && withPauses(options.retry)
  const retryOf = (services: Context.Context<never>): Retry | undefined => schedule && { queue, schedule, services }
  // For messages that are prepared already, so that each attempt has the same id.
  const publishPrepared = (message: AmqpMessage.AmqpMessage, options: PublishOptions) =>
    schedule === undefined ? publishOnce(message, options, unprepared) : publishAgain(message, options)
  const publishAgain = ({ body, properties }: AmqpMessage.AmqpMessage, options: PublishOptions) =>
    Effect.contextWith((services: Context.Context<never>) =>
      Effect.callback<void, AmqpPublishError>((resume) => {
        Program.warnOfOutsider("AmqpPublisher.publish")
        const job = new PublishWithRetry(retryOf(services), body, properties, options, resume)
        queue.submit(job)
        return Effect.sync(() => job.stop())
      })
    )
  const publishAll = (
    messages: Iterable<AmqpMessage.AmqpMessage>,
    options: BatchOptions,
    prepare: (message: AmqpMessage.AmqpMessage) => AmqpMessage.AmqpMessage
  ) =>
    Effect.contextWith((services: Context.Context<never>) => {
      Program.warnOfOutsider("AmqpPublisher.publishAll")
      const optionsOf = typeof options === "function"
        ? (message: AmqpMessage.AmqpMessage, index: number) => preparation.toOptions(options(message, index))
        : constant(preparation.toOptions(options))
      return publishMany(queue, { messages, prepare, optionsOf, retry: retryOf(services) })
    })

  const telemetry = yield* AmqpTelemetry.Telemetry
  const instruments = yield* Validation.attempt(() => Instruments.make(telemetry, supervisor))
  if (instruments === undefined) {
    return {
      publish: schedule === undefined
        ? (message, options) => publishOnce(message, options, preparation)
        : (message, options) =>
          Effect.suspend(() => publishPrepared(preparation.toMessage(message), preparation.toOptions(options))),
      publishAll: (messages, options) => publishAll(messages, options, preparation.toMessage)
    }
  }
  return {
    publish: (message, given) =>
      Effect.suspend(() => {
        const options = preparation.toOptions(given)
        const route = routeIfValid(options)
        const publish = (message: AmqpMessage.AmqpMessage) => publishPrepared(message, options)
        const prepared = preparation.toMessage(message)
        return route === undefined
          ? publish(prepared)
          : instruments.send(Instruments.publish, prepared, route, publish)
      }),
    publishAll: (messages, options) =>
      Effect.suspend(() =>
        instruments.sendMany(
          Instruments.publish,
          typeof options === "function" ? undefined : routeIfValid(options),
          (toSpan) => publishAll(messages, options, (message) => toSpan(preparation.toMessage(message)))
        )
      )
  }
})

type BatchOptions = PublishOptions | ((message: AmqpMessage.AmqpMessage, index: number) => PublishOptions)

const optionKeys = Validation.keysOf<Options>({
  maxInFlight: true,
  maxInFlightBytes: true,
  sendTimeout: true,
  confirmTimeout: true,
  maxWaiting: true,
  maxWaitingBytes: true,
  whenBlocked: true,
  whenDisconnected: true,
  retry: true,
  stamp: true,
  defaults: true
})

/**
 * A publisher as a Layer; see {@link make}.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<AmqpPublisher, AmqpChannelError, AmqpConnection.AmqpConnection> =>
  Layer.effect(AmqpPublisher, make(options))

/** Stamps messages, with the clock and the random numbers of the fiber that makes the publisher. */
const stamper = (options: AmqpMessage.StampOptions | undefined) =>
  Effect.gen(function*() {
    if (options === undefined) return (message: AmqpMessage.AmqpMessage) => message
    const clock = yield* Clock.Clock
    const random = yield* Random.Random
    return (message: AmqpMessage.AmqpMessage) => Stamp.stamp(message, options, clock, random)
  })
