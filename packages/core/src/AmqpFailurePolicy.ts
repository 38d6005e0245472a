/**
 * What becomes of a message whose handler failed: values for the option `onFailure` of `AmqpConsumer.serve`.
 *
 * {@link retryInPlace} calls the handler again after a pause, {@link retry} has the message come back after a delay, {@link deadLetter} and
 * {@link forward} send it somewhere else, {@link reject} leaves it to the broker, {@link stop} ends the consumer. Without a policy it is
 * {@link standard}. None of these drops a message but `reject`, where a queue has no dead-letter exchange, and none goes by `redelivered`,
 * which says that a message was sent before, and not that a handler had it.
 *
 * What is dead-lettered, forwarded or comes back after a delay is a copy. It is published mandatory and confirmed, and only then the original
 * is acknowledged. So the message is in some queue at any time. When the copy fails, or the program ends meanwhile, the original is still
 * there. It may come twice, when the broker has taken the copy and its answer was lost; it does not get lost.
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
 * What a policy knows besides the cause and the message.
 *
 * @category models
 * @since 0.1.0
 */
export interface FailedAttempt {
  /** How often the handler was called with this delivery, from 1: once more with each {@link retryAfter}. */
  readonly attempt: number
  /** The queue that the message came from, as it was described; `undefined` when the consumer was given its name only. */
  readonly queue: AmqpQueue.AmqpQueue | undefined
  /** Whether that is a stream, whose messages can be acknowledged and nothing else. `false` also where it is not known. */
  readonly isStream: boolean
  /** Publishes by a publisher of the consumer's own, which is opened with the first message. Succeeds when the broker has confirmed. */
  readonly publish: (
    message: AmqpMessage.AmqpMessage,
    options: AmqpChannel.PublishOptions
  ) => Effect.Effect<void, AmqpPublishError | AmqpChannelError>
}

/**
 * What a policy may decide besides a settlement: {@link retryAfter}, {@link requeueAfter} or {@link stopConsumer}. A `pause` is in
 * milliseconds. At run time a value of the same shape is not a decision.
 *
 * @category models
 * @since 0.1.0
 */
export type Decision =
  | { readonly _tag: "RetryAfter"; readonly pause: number }
  | { readonly _tag: "RequeueAfter"; readonly pause: number }
  | { readonly _tag: "StopConsumer" }

/**
 * Says what is to become of a message whose handler failed. On a stream whatever is not an acknowledgement, {@link retryAfter} or
 * {@link stopConsumer} skips the message.
 *
 * **Example** (A policy of one's own, made of others)
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
 * The handler is called with the same delivery again after a pause, from 0 to 24 days. Meanwhile the message keeps its slot, so with a
 * concurrency of 1 the order is kept. When the consumer stops, the pause ends and the message goes back. Throws an `InvalidArgument`.
 *
 * Stay below the time in which the broker wants a delivery settled, which is half an hour for RabbitMQ (`consumer_timeout`).
 *
 * @category decisions
 * @since 0.1.0
 */
export const retryAfter = (pause: Duration.Input): Decision =>
  Settlements.decide({ _tag: "RetryAfter", pause: Validation.timeout("pause", pause) })

/**
 * The message is held without a slot for a pause, from 0 to 24 days, and then handed back to its queue (`basic.nack` with `requeue`).
 * Meanwhile it counts towards the prefetch. When the consumer stops, it goes back with the others. Throws an `InvalidArgument`.
 *
 * @category decisions
 * @since 0.1.0
 */
export const requeueAfter = (pause: Duration.Input): Decision =>
  Settlements.decide({ _tag: "RequeueAfter", pause: Validation.timeout("pause", pause) })

/**
 * The consumer ends with an `AmqpConsumerStopped`, and the message goes back.
 *
 * @category decisions
 * @since 0.1.0
 */
export const stopConsumer: Decision = Settlements.decide({ _tag: "StopConsumer" })

// -----------------------------------------------------------------------------
// what a copy says of the failure
// -----------------------------------------------------------------------------

/**
 * The headers that a copy has besides those of the original.
 *
 * **Details**
 *
 * Headers exchanges don't compare what begins with `x-`, so these route nothing.
 *
 * @category constants
 * @since 0.1.0
 */
export const headers = Object.freeze({
  /** How often handling failed in the queue that `queue` names. */
  count: "x-failure-count",
  /** The queue whose consumer failed last. */
  queue: "x-failure-queue",
  /** The exchange of the first publish, by the original publisher. */
  exchange: "x-failure-exchange",
  /** The routing key of that publish. */
  routingKey: "x-failure-routing-key",
  /** What the last failure was, as `describe` puts it. */
  error: "x-failure-error"
})

/**
 * What is known of a message's failures.
 *
 * @category models
 * @since 0.1.0
 */
export interface History {
  /** How often handling it failed in the queue that it comes from now, and a copy was made. */
  readonly count: number
  /** The exchange that it was first published to; a retry comes through the default exchange. */
  readonly exchange: string
  /** The routing key that it was first published with; a retry comes with the name of its queue. */
  readonly routingKey: string
  /** What the last failure was, in this queue or in another one. */
  readonly error: string | undefined
}

/**
 * Reads what the {@link headers} of a message say. Throws a `ProtocolError` for malformed properties, as `delivery.properties` does.
 *
 * **Details**
 *
 * Only what this module counted counts: neither the broker's `x-death` nor the `x-delivery-count` of quorum queues, which also
 * count messages that were delivered and that nobody had begun with. So a message that ends the process each time is not
 * counted. Against those give a quorum queue a `deliveryLimit`.
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
  // Publishers can write what they like. In another queue the count begins anew.
  const isCount = text(headers.queue) === delivery.queue && typeof count === "number" && Number.isInteger(count) &&
    count > 0
  return {
    count: isCount ? count : 0,
    exchange: text(headers.exchange) ?? delivery.exchange,
    routingKey: text(headers.routingKey) ?? delivery.routingKey,
    error: text(headers.error)
  }
}

// -----------------------------------------------------------------------------
// strategies
// -----------------------------------------------------------------------------

/**
 * Logs the failure and rejects the message: the broker dead-letters it, or drops it when its queue has no dead-letter exchange. A message of
 * a stream is skipped.
 *
 * @category constructors
 * @since 0.1.0
 */
export const reject: AmqpFailurePolicy<unknown> = (cause, delivery, failed) =>
  failed.isStream
    ? skip(cause, delivery, failed)
    : Effect.as(logFailure(Effect.logError, "is rejected", cause, delivery, failed), AmqpDelivery.reject)

/**
 * Logs the failure and acknowledges the message. In a stream it stays, and the consumer goes on after it; from other queues it is gone.
 *
 * @category constructors
 * @since 0.1.0
 */
export const skip: AmqpFailurePolicy<unknown> = (cause, delivery, failed) =>
  Effect.as(
    logFailure(
      Effect.logError,
      failed.isStream ? "is skipped; it stays in the stream" : "is acknowledged, and thereby dropped",
      cause,
      delivery,
      failed
    ),
    AmqpDelivery.ack
  )

/**
 * Logs the failure and ends the consumer with an `AmqpConsumerStopped`. The message goes back to its queue.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stop: AmqpFailurePolicy<unknown> = (cause, delivery, failed) =>
  Effect.as(logFailure(Effect.logError, "ends the consumer", cause, delivery, failed), stopConsumer)

/**
 * How {@link retryInPlace} tries again.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryInPlaceOptions<in E, out R = never> {
  /**
   * The pauses between two calls of the handler, each from 0 to 24 days: there is one call more than there are pauses. A schedule may be
   * without end. Default: 100 ms, 400 ms, 1.6 s and 6.4 s, so five calls in 8.5 s.
   */
  readonly pauses?: ReadonlyArray<Duration.Input> | Schedule.Schedule<unknown> | undefined
  /** Whether another try may help. Default: not for a cause that contains an `AmqpDecodeError`. */
  readonly while?: ((cause: Cause.Cause<E>) => boolean) | undefined
  /** What is done after the last try. Default: {@link deadLetter}. */
  readonly otherwise?: AmqpFailurePolicy<E, R> | undefined
}

/**
 * Calls the handler again, after pauses, and then does something else. The message keeps its slot meanwhile, so with a concurrency of 1
 * the order is kept; see {@link retryAfter}. Each failure is logged. Throws an `InvalidArgument`.
 *
 * **Details**
 *
 * The tries are counted in this process, for this delivery. When the consumer stops the message goes back to its queue, and the
 * next one begins to count anew.
 *
 * **Example** (Three tries, and then into a queue of what has failed)
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
        const fate = `is tried again in ${Duration.format(pause)} (try ${failed.attempt}${count} failed)`
        return Effect.as(logFailure(Effect.logWarning, fate, cause, delivery, failed), retryAfter(pause))
      })
    )
}

/** What timers take. */
const maxPauseMillis = 0x7fffffff

const standardPauses: ReadonlyArray<Duration.Input> = [100, 400, 1600, 6400]

/** A message that can't be read will not be readable later, and a stream takes none back later either. */
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
 * How {@link deadLetterWith} gives a message up.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetterOptions<in E> {
  /**
   * How long a message that can't be given up is held before it is handed back to its queue, from 1 ms to 24 days. Default: 1 minute.
   */
  readonly holdFor?: Duration.Input | undefined
  /** What the header `x-failure-error` says; see {@link CopyOptions}. */
  readonly describe?: ((cause: Cause.Cause<E>) => string) | undefined
}

/**
 * Gives a message up, but only to a place that is known to be there.
 *
 * **Details**
 *
 * Where the queue is described with a dead-letter exchange, a copy goes there, with the `deadLetterRoutingKey` or the routing key that the
 * message was first published with, made as {@link retry} makes it. The copy is mandatory and confirmed, and then the original is
 * acknowledged.
 *
 * Where no target is known, or it leads back to the same queue, or no queue takes the copy, or the copy fails, the message stays in its queue: it is held unsettled for
 * `holdFor` without a slot, and then handed back, so that it is tried again. While it is held it counts towards the prefetch: a consumer
 * that holds as many as its prefetch gets no others until the first goes back. The log says so each time.
 *
 * A message of a stream is skipped: it stays in the stream. Throws an `InvalidArgument`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const deadLetterWith = <E = unknown>(options: DeadLetterOptions<E> = {}): AmqpFailurePolicy<E> => {
  Validation.knownKeys(options, ["holdFor", "describe"], "options of deadLetterWith")
  const { describe = describeCause, holdFor = Settlements.defaultHoldMillis } = options
  const pause = Validation.timeout("holdFor", holdFor)
  if (pause < 1) {
    throw Validation.invalid("holdFor: must be at least 1 millisecond, or a message would go round without a pause")
  }
  const kept = requeueAfter(pause)
  const stays = `stays in its queue, and is handed back in ${Duration.format(Duration.millis(pause))}`
  return (cause, delivery, failed) =>
    Effect.suspend((): Effect.Effect<AmqpDelivery.Settlement | Decision> => {
      if (failed.isStream) return skip(cause, delivery, failed)
      const keep = (why: string) =>
        Effect.as(logFailure(Effect.logError, `${stays}. ${why}`, cause, delivery, failed), kept)
      const target = deadLetterTarget(delivery, failed)
      if (target === undefined) {
        return keep(
          "No dead-letter target is known: describe the queue with a deadLetterExchange, or decide with onFailure"
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
        // Not before it is true.
        Effect.tap((decision) =>
          decision === AmqpDelivery.ack
            ? logFailure(Effect.logError, `is dead-lettered (${where})`, cause, delivery, failed)
            : Effect.void
        )
      )
    })
}

/** Where messages of a queue go when they are given up, if its description says it. */
const deadLetterTarget = (
  delivery: AmqpDelivery.ReceivedMessage,
  { queue }: FailedAttempt
): { readonly exchange: string; readonly routingKey: string } | undefined => {
  if (queue === undefined) return undefined
  const exchange = fieldOf(queue.arguments, "x-dead-letter-exchange")
  if (typeof exchange !== "string") return undefined
  const key = fieldOf(queue.arguments, "x-dead-letter-routing-key")
  const routingKey = typeof key === "string" ? key : originalRoutingKey(delivery)
  // Back into the queue that it came from it would fail again, and that without a pause.
  return exchange === "" && (routingKey === delivery.queue || routingKey === "") ? undefined : { exchange, routingKey }
}

/** Whether a message that failed in this queue was sent to the target and came back: the next copy would, too, and that without a pause. */
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

/** Properties may be malformed, and then nothing of an earlier failure is known. */
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
 * What `AmqpConsumer.serve` does unless told otherwise: {@link retryInPlace} with its defaults. The handler is called up to five times,
 * and then the message is given up, see {@link deadLetterWith}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const standard: AmqpFailurePolicy<unknown> = (cause, delivery, failed) =>
  retryingInPlace(cause, delivery, failed)

/**
 * How copies are made, and what is done when one can't be.
 *
 * @category models
 * @since 0.1.0
 */
export interface CopyOptions<in E, out R = never> {
  /**
   * What the header `x-failure-error` says, of which the first 512 characters are sent. Default: the name and the message of the
   * first error. It can be read by all who may read the queue, so it must not hold secrets.
   */
  readonly describe?: ((cause: Cause.Cause<E>) => string) | undefined
  /**
   * What becomes of the original when its copy failed: no queue took it (`Returned`), the broker refused it or gave no word within a
   * minute, or the delay queue could not be declared. Default: it is logged, and a second later the original is handed back, so
   * that nothing gets lost; a minute later when the copy is not a valid message (`InvalidArgument`), mostly as its headers do not fit a
   * frame, since the next copy will not be either.
   */
  readonly onCopyFailure?:
    | ((
      error: AmqpPublishError | AmqpChannelError,
      delivery: AmqpDelivery.ReceivedMessage
    ) => Effect.Effect<AmqpDelivery.Settlement | Decision, never, R>)
    | undefined
}

/**
 * How {@link retry} tries again.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryOptions<in E, out R = never, out R2 = never> extends CopyOptions<E, R> {
  /**
   * How long the message waits before it is handled again: after its first failure, after its second, and so on, each from 0
   * to 49 days in whole milliseconds. As many as there are, so many times it is tried again. A schedule may be without end; its
   * delays are cut to that range. It is asked for a thousand at most: after that the last one is repeated, without end.
   */
  readonly delays: ReadonlyArray<Duration.Input> | Schedule.Schedule<unknown>
  /** What is done after the last one. Default: {@link deadLetter}. */
  readonly otherwise?: AmqpFailurePolicy<E, R2> | undefined
  /** The queue in which messages of a queue wait for a time. Default: {@link delayQueue}. */
  readonly delayQueue?:
    | ((queue: string, delay: Duration.Duration) => AmqpQueue.AmqpQueue<"classic" | "quorum">)
    | undefined
}

/**
 * Has a message handled again after a delay, a number of times.
 *
 * **Details**
 *
 * The copy goes into a delay queue, which is declared each time and dead-letters what it holds back to the queue that the message came
 * from. For a delay of 0 it goes to the end of that queue at once. Meanwhile the consumer handles other messages: the order of the
 * messages is not kept. Where it matters, use {@link retryInPlace}.
 *
 * The copy has the body, the properties and the headers of the original, and the {@link headers} of this module. Left out are the
 * `expiration`, as dead letters have none; the `userId`, as brokers take only that of who publishes; the headers `CC` and `BCC`, which would
 * send the copy elsewhere too; and those that the broker writes, such as `x-death`, by which it would drop what seems to it to go
 * round in circles.
 *
 * A handler sees the name of the queue as the `routingKey` of a copy, and `""` as its `exchange`; {@link historyOf} knows the original ones.
 *
 * **Gotchas**
 *
 * The user of the connection needs the permissions to configure and to read the delay queues, and to write to the default exchange
 * (RabbitMQ, "Access Control"). Each different delay has a queue of its own: a schedule with `Schedule.jittered` makes many. Not for
 * streams: all who read one would see the copy.
 *
 * Throws an `InvalidArgument` for delays out of their range.
 *
 * **Example** (Three times, and then into a queue of what has failed)
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
      // A copy would come to all who read the stream.
      const delay = failed.isStream ? undefined : yield* delayAfter(historyOf(delivery).count + 1)
      if (delay === undefined) return yield* otherwise(cause, delivery, failed)
      yield* logFailure(Effect.logWarning, `is tried again in ${Duration.format(delay)}`, cause, delivery, failed)
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
  /** The exchange, which has to be there, also when it is described; `""` is the default exchange. */
  readonly exchange: string | AmqpExchange
  /** Default: the routing key that the message was first published with. */
  readonly routingKey?: string | undefined
}

/**
 * Sends a message somewhere else, to one place or where the failure says, and logs the failure.
 *
 * **Details**
 *
 * The copy is made as {@link retry} makes it. With the header `x-failure-error` it says why it is there, which a dead letter can't.
 *
 * **Example** (By what went wrong)
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
      // Not before it is true.
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

/** How much longer than its messages an unused delay queue stays, in milliseconds. */
const leaseMillis = 10 * 60 * 1000

/** What RabbitMQ takes as a time is 32 bits of milliseconds, and the queue is to stay for longer. */
const maxDelayMillis = 0xffffffff - leaseMillis

/**
 * The queue in which {@link retry} has messages of a queue wait: `retry.`, the queue's name and the milliseconds of the delay.
 *
 * **Details**
 *
 * A durable classic queue whose messages live for the delay (RabbitMQ, "Time-To-Live and Expiration") and are then dead-lettered to the
 * queue, over the default exchange. All of them wait equally long, so that none has to wait for another. The delay queue expires by
 * itself, ten minutes after its last messages have left at the latest: {@link retry} declares it for each message, which prolongs its stay, and
 * gives a message up that it could not send within a minute.
 *
 * Throws an `InvalidArgument` for a name that is too long, and a delay that is not from 1 ms to 49 days.
 *
 * **Gotchas**
 *
 * A classic queue drops what it can't dead-letter, as when the queue it came from was deleted, and a cluster may lose a dead letter on
 * its way. A quorum queue with the strategy `at-least-once` does neither. It must not have `expires`: RabbitMQ prolongs the stay of a
 * classic queue that is declared again, and not that of a quorum queue, which would go with its messages.
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
  // The name of the queue may be the broker's, and no other one may begin like those.
  return AmqpQueue.classic(`retry.${queue}.${millis}`, {
    messageTtl: Duration.millis(millis),
    deadLetterExchange: "",
    deadLetterRoutingKey: queue,
    expires: Duration.millis(millis + leaseMillis)
  })
}

/** How long a message waits after so many failures, if it is tried again. */
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

/** The count is whatever the message says, and each step costs time. */
const maxSteps = 1000

/** A schedule keeps no state between messages: it is stepped from its beginning, as if nothing but its delays took time. */
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

/** Well below the time for which a delay queue stays. */
const copyTimeout = Duration.minutes(1)

/** All headers together have to fit a frame. */
const maxErrorLength = 512

/** Publishes the copy, when it is known where to, and settles the original by what became of the copy. */
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

/** Headers that the broker routes by or writes itself. */
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
  // At once it would be handled, fail and be copied again as fast as it can.
  const pause = isInvalid ? Settlements.defaultHoldMillis : 1000
  const fate = `stays in its queue, and is handed back in ${Duration.format(Duration.millis(pause))}`
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
  // An error that can't be printed must not decide what becomes of the message.
  return Effect.annotateLogs(log(text, cause), { ...annotations, attempt }).pipe(
    Effect.catchCause(() => Effect.ignoreCause(log(`${text}, by an error that can't be printed`)))
  )
}

// Made once, and below what they are made of.
const deadLettering = deadLetterWith()
const retryingInPlace = retryInPlace()
