/**
 * What becomes of a message whose handler failed: values for the option `onFailure` of `AmqpConsumer.serve`.
 *
 * {@link retry} has the message handled again after a delay, {@link forward} sends it somewhere else, {@link reject} leaves it to
 * the dead-letter exchange of its queue.
 *
 * What is tried again or forwarded is a copy. It is published mandatory and confirmed, by the `AmqpPublisher` that is provided to the
 * consumer, and only then the original is acknowledged. So the message is in some queue at any time. When the copy fails, or the
 * program ends meanwhile, the original is still there. It may come twice, when the broker has taken the copy and its word was
 * lost; it does not get lost.
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
import type { OnFailure } from "./AmqpConsumer.ts"
import * as AmqpDelivery from "./AmqpDelivery.ts"
import { AmqpChannelError, AmqpPublishError, ConfirmTimeout, OutcomeUnknown } from "./AmqpError.ts"
import type { AmqpExchange } from "./AmqpExchange.ts"
import * as AmqpMessage from "./AmqpMessage.ts"
import { AmqpPublisher } from "./AmqpPublisher.ts"
import * as AmqpQueue from "./AmqpQueue.ts"
import * as Topology from "./internal/topology.ts"
import * as Validation from "./internal/validation.ts"

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
 * Logs the failure and rejects the message: the broker dead-letters it, or drops it when its queue has no dead-letter exchange.
 *
 * @category constructors
 * @since 0.1.0
 */
export const reject: OnFailure<unknown> = (cause, delivery) =>
  Effect.as(logFailure(Effect.logError, "is rejected", cause, delivery), AmqpDelivery.reject)

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
   * minute, or the delay queue could not be declared. Default: it is logged, and a second later the original is requeued, so
   * that nothing gets lost. A copy that is no valid message (`InvalidArgument`), mostly as its headers do not fit a frame, would
   * fail for ever: then the original is rejected.
   */
  readonly onCopyFailure?:
    | ((
      error: AmqpPublishError | AmqpChannelError,
      delivery: AmqpDelivery.ReceivedMessage
    ) => Effect.Effect<AmqpDelivery.Settlement, never, R>)
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
  /** What is done after the last one. Default: {@link reject}. */
  readonly otherwise?: OnFailure<E, R2> | undefined
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
 * messages is not kept. Where it matters, have the handler try again, with `Effect.retry`.
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
 * import { AmqpConsumer, AmqpDelivery, AmqpFailure, AmqpPublisher, AmqpQueue } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * declare const store: (text: string) => Effect.Effect<void, Error>
 *
 * const onFailure = AmqpFailure.retry({
 *   delays: ["1 second", "10 seconds", "1 minute"],
 *   otherwise: AmqpFailure.forward(AmqpQueue.route("orders.failed"))
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
): OnFailure<E, R | R2 | AmqpPublisher | AmqpConnection> => {
  const { delayQueue: delayQueueOf = delayQueue, delays, otherwise = reject } = options
  const delayAfter = Schedule.isSchedule(delays) ? delayOfSchedule(delays) : delayOfList(delays)
  return (cause, delivery) =>
    Effect.gen(function*() {
      const delay = yield* delayAfter(historyOf(delivery).count + 1)
      if (delay === undefined) return yield* otherwise(cause, delivery)
      yield* logFailure(Effect.logWarning, `is tried again in ${Duration.format(delay)}`, cause, delivery)
      const route = Duration.isZero(delay)
        ? Effect.succeed(AmqpQueue.route(delivery.queue))
        : Effect.flatMap(
          Validation.attempt(() => delayQueueOf(delivery.queue, delay)),
          (queue) => Effect.as(AmqpChannel.run(AmqpQueue.declare(queue)), AmqpQueue.route(queue))
        )
      return yield* settleByCopy(route, cause, delivery, options)
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
 * import { AmqpFailure, AmqpQueue } from "@effect-amqp/core"
 * import * as Cause from "effect/Cause"
 *
 * const onFailure = AmqpFailure.forward((cause) =>
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
): OnFailure<E, R | AmqpPublisher> =>
(cause, delivery) =>
  Effect.suspend(() => {
    const { exchange, routingKey = historyOf(delivery).routingKey } = typeof destination === "function"
      ? destination(cause, delivery)
      : destination
    const where = `is forwarded to ${JSON.stringify(Topology.nameOf(exchange))} as ${JSON.stringify(routingKey)}`
    return Effect.andThen(
      logFailure(Effect.logError, where, cause, delivery),
      settleByCopy(Effect.succeed({ exchange, routingKey }), cause, delivery, options)
    )
  })

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
 * import { AmqpFailure, AmqpQueue } from "@effect-amqp/core"
 * import * as Duration from "effect/Duration"
 *
 * const onFailure = AmqpFailure.retry({
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
const delayOfSchedule = (schedule: Schedule.Schedule<unknown>): DelayAfter => (failures) =>
  Effect.gen(function*() {
    const step = yield* Schedule.toStep(schedule)
    let now = yield* Clock.currentTimeMillis
    let delay = 0
    for (let count = Math.min(failures, maxSteps); count > 0; count--) {
      now += delay
      const [, duration] = yield* step(now, undefined)
      delay = Math.min(Math.ceil(Duration.toMillis(duration)), maxDelayMillis)
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
  route: Effect.Effect<AmqpChannel.PublishOptions, AmqpChannelError, R2>,
  cause: Cause.Cause<E>,
  delivery: AmqpDelivery.ReceivedMessage,
  { describe = describeCause, onCopyFailure = requeueLater }: CopyOptions<E, R>
): Effect.Effect<AmqpDelivery.Settlement, never, R | R2 | AmqpPublisher> =>
  Effect.gen(function*() {
    const publisher = yield* AmqpPublisher
    const copy = copyOf(delivery, describe(cause).slice(0, maxErrorLength))
    yield* publisher.publish(copy, { ...(yield* route), mandatory: true })
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
  const [first] = Cause.prettyErrors(cause)
  return first === undefined ? "" : `${first.name}: ${first.message}`
}

const requeueLater = (
  error: AmqpPublishError | AmqpChannelError,
  delivery: AmqpDelivery.ReceivedMessage
): Effect.Effect<AmqpDelivery.Settlement> => {
  const isInvalid = error._tag === "AmqpPublishError" && error.reason._tag === "NotSent" &&
    error.reason.cause.reason._tag === "InvalidArgument"
  const log = Effect.annotateLogs(
    Effect.logError(`The copy of a message failed, and the original is ${isInvalid ? "rejected" : "requeued"}`, error),
    placeOf(delivery)
  )
  return isInvalid
    ? Effect.as(log, AmqpDelivery.reject)
    // At once it would be handled, fail and be copied again as fast as it can.
    : Effect.as(Effect.andThen(log, Effect.sleep("1 second")), AmqpDelivery.requeue)
}

const placeOf = ({ exchange, queue, routingKey }: AmqpDelivery.ReceivedMessage) => ({ queue, exchange, routingKey })

const logFailure = (
  log: typeof Effect.logError,
  fate: string,
  cause: Cause.Cause<unknown>,
  delivery: AmqpDelivery.ReceivedMessage
): Effect.Effect<void> => Effect.annotateLogs(log(`A message was not handled and ${fate}`, cause), placeOf(delivery))
