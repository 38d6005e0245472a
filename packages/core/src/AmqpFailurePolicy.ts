/**
 * Failure policies: what happens to a message whose handler failed. For the option `onFailure` of `AmqpConsumer.serve`.
 *
 * {@link retryInPlace} calls the handler again after a pause, {@link retry} redelivers the message after a delay,
 * {@link deadLetter} and {@link forward} send it elsewhere, {@link reject} leaves it to the broker, {@link stop} stops
 * the consumer. The default policy is {@link standard}. Only `reject` can drop a message, if its queue has no
 * dead-letter exchange. No policy depends on `redelivered`, which means that a message was sent before, but not that a
 * handler received it.
 *
 * A message is dead-lettered, forwarded or delayed as a copy, which is published as mandatory and confirmed before the
 * original is acknowledged. The message is therefore in a queue at any time: if the copy fails, or the program ends
 * meanwhile, the original is still there. It may be duplicated if the broker has the copy and its confirm was lost, but
 * it is never lost.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import * as AmqpChannel from "./AmqpChannel.ts"
import type { AmqpConnection } from "./AmqpConnection.ts"
import * as AmqpDelivery from "./AmqpDelivery.ts"
import { AmqpChannelError, AmqpDecodeError, AmqpPublishError, ConfirmTimeout, OutcomeUnknown } from "./AmqpError.ts"
import type { AmqpExchange } from "./AmqpExchange.ts"
import * as AmqpMessage from "./AmqpMessage.ts"
import { AmqpPublisher } from "./AmqpPublisher.ts"
import * as AmqpQueue from "./AmqpQueue.ts"
import { annotationsOf } from "./internal/consuming/delivery.ts"
import * as Settlements from "./internal/consuming/settlement.ts"
import * as Validation from "./internal/options/validation.ts"
import * as Descriptions from "./internal/topology/descriptions.ts"
import { fieldOf } from "./protocol/fieldTable.ts"

// -----------------------------------------------------------------------------
// policies
// -----------------------------------------------------------------------------

/**
 * What a policy gets besides the cause and the message.
 *
 * @category models
 * @since 0.1.0
 */
export interface FailedAttempt {
  /** How often the handler was called with this delivery, from 1; each {@link retryAfter} adds one. */
  readonly attempt: number
  /** The description of the message's queue; `undefined` if the consumer was only given its name. */
  readonly queue: AmqpQueue.AmqpQueue | undefined
  /** Whether the queue is a stream, whose messages can only be acknowledged. `false` if this is not known. */
  readonly isStream: boolean
  /**
   * Publishes with the consumer's own publisher, which is opened for the first message. Succeeds when the broker has
   * confirmed the message.
   */
  readonly publish: (
    message: AmqpMessage.AmqpMessage,
    options: AmqpChannel.PublishOptions
  ) => Effect.Effect<void, AmqpPublishError | AmqpChannelError>
}

/**
 * What a policy may decide instead of a settlement: {@link retryAfter}, {@link requeueAfter} or {@link stopConsumer}. A
 * `pause` is in milliseconds. At run time, a value of the same shape is refused.
 *
 * @category models
 * @since 0.1.0
 */
export type Decision =
  | { readonly _tag: "RetryAfter"; readonly pause: number }
  | { readonly _tag: "RequeueAfter"; readonly pause: number }
  | { readonly _tag: "StopConsumer" }

/**
 * Decides what happens to a message whose handler failed. A message of a stream is skipped unless the decision is an
 * acknowledgement, {@link retryAfter} or {@link stopConsumer}.
 *
 * **Example** (A custom policy, made of others)
 *
 * ```ts
 * import { AmqpFailurePolicy } from "@effect-amqp/core"
 * import * as Cause from "effect/Cause"
 * import * as Effect from "effect/Effect"
 *
 * const onFailure: AmqpFailurePolicy.AmqpFailurePolicy<Error> = (cause, delivery, failed) =>
 *   Cause.hasDies(cause)
 *     ? AmqpFailurePolicy.deadLetter(cause, delivery, failed)
 *     : Effect.succeed(AmqpFailurePolicy.retryAfter("5 seconds"))
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpFailurePolicy<in E, out R = never> {
  (
    cause: Cause.Cause<E>,
    delivery: AmqpDelivery.ReceivedMessage,
    failed: FailedAttempt
  ): Effect.Effect<AmqpDelivery.Settlement | Decision, never, R>
}

/**
 * Calls the handler again with the same delivery after a pause, from 0 to 24 days. The message keeps its slot
 * meanwhile, so that a concurrency of 1 keeps the order. When the consumer stops, the pause ends and the message is
 * requeued. Throws an `InvalidArgument`.
 *
 * The pause should be shorter than the broker's timeout for acknowledgements, which is half an hour in RabbitMQ
 * (`consumer_timeout`).
 *
 * @category decisions
 * @since 0.1.0
 */
export const retryAfter = (pause: Duration.Input): Decision =>
  Settlements.decide({ _tag: "RetryAfter", pause: Validation.timeout("pause", pause) })

/**
 * Holds the message without a slot for a pause, from 0 to 24 days, and then requeues it (`basic.nack` with `requeue`).
 * Meanwhile it counts towards the prefetch. When the consumer stops, the message is requeued at once. Throws an
 * `InvalidArgument`.
 *
 * @category decisions
 * @since 0.1.0
 */
export const requeueAfter = (pause: Duration.Input): Decision =>
  Settlements.decide({ _tag: "RequeueAfter", pause: Validation.timeout("pause", pause) })

/**
 * Ends the consumer with an `AmqpConsumerStopped`, and requeues the message.
 *
 * @category decisions
 * @since 0.1.0
 */
export const stopConsumer: Decision = Settlements.decide({ _tag: "StopConsumer" })

// -----------------------------------------------------------------------------
// headers of a copy
// -----------------------------------------------------------------------------

/**
 * The headers that describe the failure in a copy.
 *
 * **Details**
 *
 * Headers exchanges ignore headers that begin with `x-`, so that these do not affect routing.
 *
 * @category constants
 * @since 0.1.0
 */
export const headers = Object.freeze({
  /** How often handling failed in the queue `x-failure-queue`. */
  count: "x-failure-count",
  /** The queue of the consumer that failed last. */
  queue: "x-failure-queue",
  /** The exchange that the original publisher used. */
  exchange: "x-failure-exchange",
  /** The routing key that the original publisher used. */
  routingKey: "x-failure-routing-key",
  /** The last failure, as formatted by the option `describe`. */
  error: "x-failure-error"
})

/**
 * The known failures of a message.
 *
 * @category models
 * @since 0.1.0
 */
export interface History {
  /** How often handling failed in the message's present queue and led to a copy. */
  readonly count: number
  /** The exchange of the original publish. A retried message arrives through the default exchange. */
  readonly exchange: string
  /** The routing key of the original publish. A retried message arrives with the name of its queue. */
  readonly routingKey: string
  /** The last failure, in this queue or another one. */
  readonly error: string | undefined
}

/**
 * Reads the {@link headers} of a message. Throws a `ProtocolError` for malformed properties, as `delivery.properties`
 * does.
 *
 * **Details**
 *
 * Only failures that this module counted are included. The broker's `x-death` and the `x-delivery-count` of quorum
 * queues are ignored, as they also count messages that no handler received. A message that crashes the process is
 * therefore not counted; to limit those, give a quorum queue a `deliveryLimit`.
 *
 * @category decoding
 * @since 0.1.0
 */
export const historyOf = (delivery: AmqpDelivery.ReceivedMessage): History => {
  const table = delivery.properties.headers ?? {}
  const text = (name: string): string | undefined => {
    const value = table[name]
    return typeof value === "string" ? value : undefined
  }
  const count = table[headers.count]
  // Publishers can write any value. In another queue the count starts anew.
  return {
    count: text(headers.queue) === delivery.queue && Validation.isWholeNumber(count, 1) ? count : 0,
    exchange: text(headers.exchange) ?? delivery.exchange,
    routingKey: text(headers.routingKey) ?? delivery.routingKey,
    error: text(headers.error)
  }
}

// -----------------------------------------------------------------------------
// strategies
// -----------------------------------------------------------------------------

/**
 * Logs the failure and rejects the message: the broker dead-letters it, or drops it if its queue has no dead-letter
 * exchange. A message of a stream is skipped.
 *
 * @category constructors
 * @since 0.1.0
 */
export const reject: AmqpFailurePolicy<unknown> = (cause, delivery, failed) =>
  failed.isStream
    ? skip(cause, delivery, failed)
    : Effect.as(logFailure(Effect.logError, "is rejected", cause, delivery, failed), AmqpDelivery.reject)

/**
 * Logs the failure and acknowledges the message. A stream keeps it, and the consumer continues after it; other queues
 * delete it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const skip: AmqpFailurePolicy<unknown> = (cause, delivery, failed) =>
  Effect.as(
    logFailure(
      Effect.logError,
      failed.isStream ? "is skipped; it stays in the stream" : "is acknowledged, and so dropped",
      cause,
      delivery,
      failed
    ),
    AmqpDelivery.ack
  )

/**
 * Logs the failure and ends the consumer with an `AmqpConsumerStopped`. The message is requeued.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stop: AmqpFailurePolicy<unknown> = (cause, delivery, failed) =>
  Effect.as(logFailure(Effect.logError, "stops the consumer", cause, delivery, failed), stopConsumer)

/**
 * Options of {@link retryInPlace}.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryInPlaceOptions<in E, out R = never> {
  /**
   * The pauses between calls of the handler, each from 0 to 24 days: the handler is called once more than there are
   * pauses. A schedule may be endless. Default: 100 ms, 400 ms, 1.6 s and 6.4 s, that is, five calls in 8.5 s.
   */
  readonly pauses?: ReadonlyArray<Duration.Input> | Schedule.Schedule<unknown> | undefined
  /** Whether another attempt may help. Default: unless the cause contains an `AmqpDecodeError`. */
  readonly while?: ((cause: Cause.Cause<E>) => boolean) | undefined
  /** The policy after the last attempt. Default: {@link deadLetter}. */
  readonly otherwise?: AmqpFailurePolicy<E, R> | undefined
}

/**
 * Calls the handler again after pauses, and then applies another policy. The message keeps its slot meanwhile, so that
 * a concurrency of 1 keeps the order; see {@link retryAfter}. Each failure is logged. Throws an `InvalidArgument`.
 *
 * **Details**
 *
 * Attempts are counted per delivery, in this process. When the consumer stops, the message is requeued, and its next
 * delivery starts counting anew.
 *
 * **Example** (Three attempts, then another queue)
 *
 * ```ts
 * import { AmqpFailurePolicy, AmqpQueue } from "@effect-amqp/core"
 *
 * const onFailure = AmqpFailurePolicy.retryInPlace({
 *   pauses: ["1 second", "10 seconds"],
 *   otherwise: AmqpFailurePolicy.forward(AmqpQueue.route("orders.failed"))
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const retryInPlace = <E = unknown, R = never>(
  options: RetryInPlaceOptions<E, R> = {}
): AmqpFailurePolicy<E, R> => {
  Validation.knownKeys(options, ["pauses", "while", "otherwise"], "options of retryInPlace")
  const { otherwise = deadLetter, pauses = standardPauses, while: isWorthwhile = mayHeal } = options
  Validation.callable("otherwise", otherwise)
  Validation.callable("while", isWorthwhile)
  const pauseAfter = Schedule.isSchedule(pauses) ? delayOfSchedule(pauses, maxPauseMillis) : pauseOfList(pauses)
  const count = Schedule.isSchedule(pauses) ? "" : ` of ${pauses.length + 1}`
  return (cause, delivery, failed) =>
    Effect.suspend(() => isWorthwhile(cause) ? pauseAfter(failed.attempt) : Effect.succeed(undefined)).pipe(
      Effect.flatMap((pause) => {
        if (pause === undefined) return otherwise(cause, delivery, failed)
        const fate = `is retried in ${Duration.format(pause)} (attempt ${failed.attempt}${count} failed)`
        return Effect.as(logFailure(Effect.logWarning, fate, cause, delivery, failed), retryAfter(pause))
      })
    )
}

/** The limit of timers. */
const maxPauseMillis = 0x7fffffff

const standardPauses: ReadonlyArray<Duration.Input> = [100, 400, 1600, 6400]

/** Another attempt neither decodes a message that can't be decoded, nor settles a message of a stream otherwise. */
const mayHeal = (cause: Cause.Cause<unknown>): boolean =>
  !cause.reasons.some((reason) =>
    (reason._tag === "Fail" && reason.error instanceof AmqpDecodeError) ||
    (reason._tag === "Die" && reason.defect instanceof Settlements.StreamSettlement)
  )

const pauseOfList = (pauses: ReadonlyArray<Duration.Input>): DelayAfter => {
  if (!Array.isArray(pauses)) throw Validation.invalid("pauses: must be a list or a Schedule")
  const checked = pauses.map((pause) => Duration.millis(Validation.timeout("pauses", pause)))
  return (failures) => Effect.succeed(checked[failures - 1])
}

/**
 * Options of {@link deadLetterWith}.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetterOptions<in E> {
  /**
   * How long a message that can't be dead-lettered is held before it is requeued, from 1 ms to 24 days. Default: 1
   * minute.
   */
  readonly holdFor?: Duration.Input | undefined
  /** Formats the header `x-failure-error`; see {@link CopyOptions}. */
  readonly describe?: ((cause: Cause.Cause<E>) => string) | undefined
}

/**
 * Dead-letters the message by publishing a copy, if the target is known.
 *
 * **Details**
 *
 * If the queue is described with a dead-letter exchange, a copy is published there as {@link retry} makes it, with the
 * `deadLetterRoutingKey` or the routing key of the original publish. The copy is mandatory and confirmed before the
 * original is acknowledged.
 *
 * If no target is known, the target leads back to the same queue, no queue takes the copy, or the copy fails, the
 * message stays in its queue: it is held unsettled for `holdFor` without a slot, and then requeued. Meanwhile it counts
 * towards the prefetch: a consumer that holds as many messages as its prefetch gets no others until the first is
 * requeued. This is logged each time.
 *
 * A message of a stream is skipped and stays in the stream. Throws an `InvalidArgument`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const deadLetterWith = <E = unknown>(options: DeadLetterOptions<E> = {}): AmqpFailurePolicy<E> => {
  Validation.knownKeys(options, ["holdFor", "describe"], "options of deadLetterWith")
  const { describe = describeCause, holdFor = Settlements.defaultHoldMillis } = options
  const pause = Validation.timeout("holdFor", holdFor)
  if (pause < 1) {
    throw Validation.invalid("holdFor: must be at least 1 millisecond, or a message would be requeued without a pause")
  }
  const kept = requeueAfter(pause)
  const stays = `stays in its queue, and is requeued in ${Duration.format(Duration.millis(pause))}`
  return (cause, delivery, failed) =>
    Effect.suspend((): Effect.Effect<AmqpDelivery.Settlement | Decision> => {
      if (failed.isStream) return skip(cause, delivery, failed)
      const keep = (why: string) =>
        Effect.as(logFailure(Effect.logError, `${stays}. ${why}`, cause, delivery, failed), kept)
      const target = deadLetterTarget(delivery, failed)
      if (target === undefined) {
        return keep(
          "No dead-letter target is known: describe the queue with a deadLetterExchange, or set onFailure"
        )
      }
      const where = `exchange ${JSON.stringify(target.exchange)}, routing key ${JSON.stringify(target.routingKey)}`
      if (cameBy(target, delivery)) return keep(`Its dead-letter target leads back to the same queue (${where})`)
      return settleByCopy(failed.publish, Effect.succeed(target), cause, delivery, {
        describe,
        onCopyFailure: (error) => {
          const fate = `could not be dead-lettered (${where}: ${error.message}), and ${stays}`
          return Effect.as(logFailure(Effect.logError, fate, cause, delivery, failed), kept)
        }
      }).pipe(
        // Logged only once it is true.
        Effect.tap((decision) =>
          decision === AmqpDelivery.ack
            ? logFailure(Effect.logError, `is dead-lettered (${where})`, cause, delivery, failed)
            : Effect.void
        )
      )
    })
}

/** The dead-letter target of a queue, if its description has one. */
const deadLetterTarget = (
  delivery: AmqpDelivery.ReceivedMessage,
  { queue }: FailedAttempt
): { readonly exchange: string; readonly routingKey: string } | undefined => {
  if (queue === undefined) return undefined
  const exchange = fieldOf(queue.arguments, "x-dead-letter-exchange")
  if (typeof exchange !== "string") return undefined
  const key = fieldOf(queue.arguments, "x-dead-letter-routing-key")
  const routingKey = typeof key === "string" ? key : originalRoutingKey(delivery)
  // Back in the same queue it would fail again, without a pause.
  return exchange === "" && (routingKey === delivery.queue || routingKey === "") ? undefined : { exchange, routingKey }
}

/**
 * Whether a message that failed in this queue was sent to the target and came back: the next copy would too, without a
 * pause.
 */
const cameBy = (
  target: { readonly exchange: string; readonly routingKey: string },
  delivery: AmqpDelivery.ReceivedMessage
): boolean => {
  if (delivery.exchange !== target.exchange || delivery.routingKey !== target.routingKey) return false
  try {
    return historyOf(delivery).count > 0
  } catch {
    return false
  }
}

/** If the properties are malformed, no earlier failure is known. */
const originalRoutingKey = (delivery: AmqpDelivery.ReceivedMessage): string => {
  try {
    return historyOf(delivery).routingKey
  } catch {
    return delivery.routingKey
  }
}

/**
 * {@link deadLetterWith} with its defaults.
 *
 * @category constructors
 * @since 0.1.0
 */
export const deadLetter: AmqpFailurePolicy<unknown> = (cause, delivery, failed) =>
  deadLettering(cause, delivery, failed)

/**
 * The default policy of `AmqpConsumer.serve`: {@link retryInPlace} with its defaults. The handler is called up to five
 * times, and then the message is dead-lettered, see {@link deadLetterWith}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const standard: AmqpFailurePolicy<unknown> = (cause, delivery, failed) =>
  retryingInPlace(cause, delivery, failed)

/**
 * Options of policies that publish a copy.
 *
 * @category models
 * @since 0.1.0
 */
export interface CopyOptions<in E, out R = never> {
  /**
   * Formats the header `x-failure-error`, of which the first 512 characters are sent. Anyone who may read the queue can
   * read it, so it must not contain secrets. Default: the name and the message of the first error.
   */
  readonly describe?: ((cause: Cause.Cause<E>) => string) | undefined
  /**
   * What happens to the original if its copy failed: no queue took it (`Returned`), the broker refused it or did not
   * confirm it within a minute, or the delay queue could not be declared. Default: the failure is logged and the
   * original is requeued after a second. If the copy is not a valid message (`InvalidArgument`), usually because its
   * headers do not fit into a frame, it is requeued after a minute, as the next copy fails too.
   */
  readonly onCopyFailure?:
    | ((
      error: AmqpPublishError | AmqpChannelError,
      delivery: AmqpDelivery.ReceivedMessage
    ) => Effect.Effect<AmqpDelivery.Settlement | Decision, never, R>)
    | undefined
}

/**
 * Options of {@link retry}.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryOptions<in E, out R = never, out R2 = never> extends CopyOptions<E, R> {
  /**
   * The delays after the first failure, the second, and so on, each from 0 to 49 days in whole milliseconds: there are
   * as many retries as delays. A schedule may be endless; its delays are limited to that range. It is stepped at most a
   * thousand times, after which its last delay is repeated.
   */
  readonly delays: ReadonlyArray<Duration.Input> | Schedule.Schedule<unknown>
  /** The policy after the last retry. Default: {@link deadLetter}. */
  readonly otherwise?: AmqpFailurePolicy<E, R2> | undefined
  /** Describes the queue in which messages of a queue wait for a delay. Default: {@link delayQueue}. */
  readonly delayQueue?:
    | ((queue: string, delay: Duration.Duration) => AmqpQueue.AmqpQueue<"classic" | "quorum">)
    | undefined
}

/**
 * Redelivers a message after a delay, a number of times.
 *
 * **Details**
 *
 * A copy is published to a delay queue, which is declared each time, and which dead-letters its messages back to the
 * original queue. With a delay of 0, the copy is published to the end of the original queue. Meanwhile the consumer
 * handles other messages, so that the order is not kept. Use {@link retryInPlace} where the order matters.
 *
 * The copy has the body, properties and headers of the original, and the {@link headers} of this module, except for:
 * `expiration`, which dead letters do not have; `userId`, as brokers only accept that of the publisher; the headers
 * `CC` and `BCC`, which would route the copy to other queues too; and headers that the broker sets, such as `x-death`,
 * because of which it would drop the copy as part of a cycle.
 *
 * In a handler, the `routingKey` of a copy is the name of the queue, and its `exchange` is `""`; {@link historyOf}
 * returns the original ones.
 *
 * **Gotchas**
 *
 * The connection's user needs permissions to configure and read the delay queues, and to write to the default exchange
 * (RabbitMQ, "Access Control"). Each distinct delay has its own queue: a schedule with `Schedule.jittered` creates
 * many. Not for streams, where all consumers would get the copy: there `otherwise` applies at once.
 *
 * Throws an `InvalidArgument` for delays out of range.
 *
 * **Example** (Three retries, then another queue)
 *
 * ```ts
 * import { AmqpConsumer, AmqpDelivery, AmqpFailurePolicy, AmqpPublisher, AmqpQueue } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * declare const store: (text: string) => Effect.Effect<void, Error>
 *
 * const onFailure = AmqpFailurePolicy.retry({
 *   delays: ["1 second", "10 seconds", "1 minute"],
 *   otherwise: AmqpFailurePolicy.forward(AmqpQueue.route("orders.failed"))
 * })
 *
 * const worker = AmqpConsumer.serve("orders", ({ text }) => Effect.as(store(text), AmqpDelivery.ack), { onFailure }).pipe(
 *   Effect.provide(AmqpPublisher.layer())
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const retry = <E = unknown, R = never, R2 = never>(
  options: RetryOptions<E, R, R2>
): AmqpFailurePolicy<E, R | R2 | AmqpPublisher | AmqpConnection> => {
  Validation.knownKeys(
    options,
    ["delays", "otherwise", "delayQueue", "describe", "onCopyFailure"],
    "options of retry"
  )
  const { delayQueue: delayQueueOf = delayQueue, delays, otherwise = deadLetter } = options
  Validation.callable("otherwise", otherwise)
  Validation.callable("delayQueue", delayQueueOf)
  const delayAfter = Schedule.isSchedule(delays) ? delayOfSchedule(delays, maxDelayMillis) : delayOfList(delays)
  return (cause, delivery, failed) =>
    Effect.gen(function*() {
      // All consumers of the stream would get the copy.
      const delay = failed.isStream ? undefined : yield* delayAfter(historyOf(delivery).count + 1)
      if (delay === undefined) return yield* otherwise(cause, delivery, failed)
      yield* logFailure(Effect.logWarning, `is retried in ${Duration.format(delay)}`, cause, delivery, failed)
      const route = Duration.isZero(delay)
        ? Effect.succeed(AmqpQueue.route(delivery.queue))
        : Effect.flatMap(
          Validation.attempt(() => delayQueueOf(delivery.queue, delay)),
          (queue) => Effect.as(AmqpChannel.run(AmqpQueue.declare(queue)), AmqpQueue.route(queue))
        )
      const { publish } = yield* AmqpPublisher
      return yield* settleByCopy(publish, route, cause, delivery, options)
    })
}

/**
 * Where a message is forwarded to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Destination {
  /** The exchange, by name or description; `""` is the default exchange. It has to exist: it is not declared. */
  readonly exchange: string | AmqpExchange
  /** Default: the routing key of the original publish. */
  readonly routingKey?: string | undefined
}

/**
 * Logs the failure and publishes a copy elsewhere, to a fixed destination or to one that depends on the failure.
 *
 * **Details**
 *
 * The copy is made as {@link retry} makes it. Its header `x-failure-error` describes the failure, which a dead letter
 * lacks.
 *
 * **Example** (Depending on the failure)
 *
 * ```ts
 * import { AmqpFailurePolicy, AmqpQueue } from "@effect-amqp/core"
 * import * as Cause from "effect/Cause"
 *
 * const onFailure = AmqpFailurePolicy.forward((cause) =>
 *   AmqpQueue.route(Cause.hasDies(cause) ? "orders.bugs" : "orders.failed")
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const forward = <E = unknown, R = never>(
  destination: Destination | ((cause: Cause.Cause<E>, delivery: AmqpDelivery.ReceivedMessage) => Destination),
  options: CopyOptions<E, R> = {}
): AmqpFailurePolicy<E, R | AmqpPublisher> => {
  Validation.knownKeys(options, ["describe", "onCopyFailure"], "options of forward")
  if (typeof destination !== "function") Descriptions.exchangeName(destination.exchange)
  return (cause, delivery, failed) =>
    Effect.suspend(() => {
      const { exchange, routingKey = historyOf(delivery).routingKey } = typeof destination === "function"
        ? destination(cause, delivery)
        : destination
      const where = `exchange ${JSON.stringify(Descriptions.exchangeName(exchange))}, routing key ${
        JSON.stringify(routingKey)
      }`
      const { onCopyFailure = requeueLater } = options
      // Logged only once it is true.
      const log = (fate: string) => logFailure(Effect.logError, fate, cause, delivery, failed)
      return Effect.flatMap(AmqpPublisher, ({ publish }) =>
        settleByCopy<E, R, never>(
          (copy, route) => Effect.tap(publish(copy, route), () => log(`is forwarded (${where})`)),
          Effect.succeed({ exchange, routingKey }),
          cause,
          delivery,
          {
            ...options,
            onCopyFailure: (error, delivery) =>
              Effect.andThen(log(`could not be forwarded (${where})`), onCopyFailure(error, delivery))
          }
        ))
    })
}

// -----------------------------------------------------------------------------
// delays
// -----------------------------------------------------------------------------

/** How much longer than its messages an unused delay queue exists, in milliseconds. */
const leaseMillis = 10 * 60 * 1000

/** RabbitMQ's limit of durations is 32 bits of milliseconds, and the queue has to exist longer than its messages. */
const maxDelayMillis = 0xffffffff - leaseMillis

/**
 * The queue in which messages wait for {@link retry}: its name is `retry.`, the queue's name, a dot and the delay in
 * milliseconds.
 *
 * **Details**
 *
 * A durable classic queue whose messages expire after the delay (RabbitMQ, "Time-To-Live and Expiration") and are then
 * dead-lettered to the original queue, through the default exchange. All its messages wait equally long, so that none
 * waits for another. It is deleted at the latest ten minutes after its last message has left: each declaration by
 * {@link retry} restarts that time, and {@link retry} stops trying to publish a message after a minute.
 *
 * Throws an `InvalidArgument` for a name that is too long, and for a delay that is not from 1 ms to 49 days.
 *
 * **Gotchas**
 *
 * A classic queue drops messages that it can't dead-letter, for example because the original queue was deleted, and a
 * cluster may lose dead letters. A quorum queue with the strategy `at-least-once` does neither. It must not have
 * `expires`: RabbitMQ restarts the expiry of a classic queue when it is declared again, but not that of a quorum queue,
 * which would be deleted with its messages.
 *
 * **Example** (Delay queues that are replicated)
 *
 * ```ts
 * import { AmqpFailurePolicy, AmqpQueue } from "@effect-amqp/core"
 * import * as Duration from "effect/Duration"
 *
 * const onFailure = AmqpFailurePolicy.retry({
 *   delays: ["5 seconds", "1 minute"],
 *   delayQueue: (queue, delay) =>
 *     AmqpQueue.quorum(`${queue}.retry.${Duration.toMillis(delay)}`, {
 *       messageTtl: delay,
 *       deadLetterExchange: "",
 *       deadLetterRoutingKey: queue,
 *       deadLetterStrategy: "at-least-once",
 *       overflow: "reject-publish"
 *     })
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const delayQueue = (queue: string, delay: Duration.Input): AmqpQueue.AmqpQueue<"classic"> => {
  const millis = Validation.millis("delay", delay, 1)
  // The name of the queue may be generated by the broker, and other names may not begin like those.
  return AmqpQueue.classic(`retry.${queue}.${millis}`, {
    messageTtl: Duration.millis(millis),
    deadLetterExchange: "",
    deadLetterRoutingKey: queue,
    expires: Duration.millis(millis + leaseMillis)
  })
}

/** The delay after so many failures, if there is another retry. */
type DelayAfter = (failures: number) => Effect.Effect<Duration.Duration | undefined>

const delayOfList = (delays: ReadonlyArray<Duration.Input>): DelayAfter => {
  if (!Array.isArray(delays)) throw Validation.invalid("delays: must be a list or a Schedule")
  const checked = delays.map((delay) => {
    const millis = Validation.millis("delays", delay, 0)
    if (millis > maxDelayMillis) throw Validation.invalid(`delays: must be at most ${maxDelayMillis} milliseconds`)
    return Duration.millis(millis)
  })
  return (failures) => Effect.succeed(checked[failures - 1])
}

/** The count comes from the message, and each step takes time. */
const maxSteps = 1000

/** No state is kept between messages: the schedule is stepped from its beginning, as if only its delays took time. */
const delayOfSchedule = (schedule: Schedule.Schedule<unknown>, maximum: number): DelayAfter => (failures) =>
  Effect.gen(function*() {
    const step = yield* Schedule.toStep(schedule)
    let now = yield* Clock.currentTimeMillis
    let delay = 0
    for (let count = Math.min(failures, maxSteps); count > 0; count--) {
      now += delay
      const [, duration] = yield* step(now, undefined)
      delay = Math.min(Math.ceil(Duration.toMillis(duration)), maximum)
    }
    return Duration.millis(delay)
  }).pipe(Pull.catchDone(() => Effect.succeed(undefined)))

// -----------------------------------------------------------------------------
// copies
// -----------------------------------------------------------------------------

/** Well below the lifetime of an unused delay queue. */
const copyTimeout = Duration.minutes(1)

/** All headers together have to fit into a frame. */
const maxErrorLength = 512

/** Publishes the copy once its route is known, and settles the original according to the outcome. */
const settleByCopy = <E, R, R2>(
  publish: FailedAttempt["publish"],
  route: Effect.Effect<AmqpChannel.PublishOptions, AmqpChannelError, R2>,
  cause: Cause.Cause<E>,
  delivery: AmqpDelivery.ReceivedMessage,
  { describe = describeCause, onCopyFailure = requeueLater }: CopyOptions<E, R>
): Effect.Effect<AmqpDelivery.Settlement | Decision, never, R | R2> =>
  Effect.gen(function*() {
    const copy = copyOf(delivery, describe(cause).slice(0, maxErrorLength))
    yield* publish(copy, { ...(yield* route), mandatory: true })
    return AmqpDelivery.ack
  }).pipe(
    Effect.timeoutOrElse({ duration: copyTimeout, orElse: () => Effect.fail(noWordInTime()) }),
    Effect.catch((error) => onCopyFailure(error, delivery))
  )

const noWordInTime = () =>
  new AmqpPublishError({
    reason: new OutcomeUnknown({ cause: new AmqpChannelError({ reason: new ConfirmTimeout() }) })
  })

const copyOf = (delivery: AmqpDelivery.ReceivedMessage, error: string): AmqpMessage.AmqpMessage => {
  const { properties, queue } = delivery
  const { count, exchange, routingKey } = historyOf(delivery)
  const kept = Object.entries(properties.headers ?? {}).filter(([name]) => !isForBroker(name))
  return AmqpMessage.make(delivery.body, {
    ...properties,
    expiration: undefined,
    userId: undefined,
    raw: properties.raw === undefined ? undefined : { ...properties.raw, expiration: undefined },
    headers: {
      ...Object.fromEntries(kept),
      [headers.count]: count + 1,
      [headers.queue]: queue,
      [headers.exchange]: exchange,
      [headers.routingKey]: routingKey,
      [headers.error]: error
    }
  })
}

/** Headers that the broker routes by or sets itself. */
const isForBroker = (name: string): boolean =>
  /^(?:CC|BCC|x-death|x-(?:first|last)-death-.*|x-delivery-count|x-acquired-count|x-stream-offset)$/.test(name)

const describeCause = (cause: Cause.Cause<unknown>): string => {
  try {
    const [first] = Cause.prettyErrors(cause)
    return first === undefined ? "" : `${first.name}: ${first.message}`
  } catch {
    return "an error that can't be printed"
  }
}

const requeueLater = (
  error: AmqpPublishError | AmqpChannelError,
  delivery: AmqpDelivery.ReceivedMessage
): Effect.Effect<Decision> => {
  const isInvalid = error._tag === "AmqpPublishError" && error.reason._tag === "NotSent" &&
    error.reason.cause.reason._tag === "InvalidArgument"
  // Without a pause it would be handled, fail and be copied again at full speed.
  const pause = isInvalid ? Settlements.defaultHoldMillis : 1000
  const fate = `stays in its queue, and is requeued in ${Duration.format(Duration.millis(pause))}`
  return Effect.logError(`The copy of a message failed, and the original ${fate}`, error).pipe(
    Effect.annotateLogs(annotationsOf(delivery)),
    Effect.as(requeueAfter(pause))
  )
}

const logFailure = (
  log: typeof Effect.logError,
  fate: string,
  cause: Cause.Cause<unknown>,
  delivery: AmqpDelivery.ReceivedMessage,
  { attempt }: FailedAttempt
): Effect.Effect<void> => {
  const annotations = annotationsOf(delivery)
  const { messageId } = annotations
  const which = messageId === undefined ? "" : ` ${JSON.stringify(messageId)}`
  const text = `The message${which} from the queue ${JSON.stringify(delivery.queue)} was not handled and ${fate}`
  // An error that can't be printed must not affect the decision.
  return Effect.annotateLogs(log(text, cause), { ...annotations, attempt }).pipe(
    Effect.catchCause(() => Effect.ignoreCause(log(`${text}, because of an error that can't be printed`)))
  )
}

// Made once, after everything that they use.
const deadLettering = deadLetterWith()
const retryingInPlace = retryInPlace()
