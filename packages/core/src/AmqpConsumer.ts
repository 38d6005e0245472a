/**
 * Consumers: messages that the broker delivers from queues.
 *
 * Each consumer owns a channel for as long as it runs. When its connection is lost, or the broker closes the channel or
 * cancels the consumer, it goes on with another channel, see {@link RecoveryOptions}. {@link serve} calls a handler, whose result settles the message,
 * and applies a failure policy when a handler fails; {@link serveTransaction} has handlers that publish and settle in
 * one transaction. {@link stream} emits deliveries that the program settles; {@link make} returns a handle, to stop the
 * consumer or to change its prefetch from another fiber. When the scope closes, the stream ends or the fiber is
 * interrupted, the consumer stops in order and closes its channel, and the broker requeues what was not settled.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { AmqpChannel, PublishOptions } from "./AmqpChannel.ts"
import * as AmqpConnection from "./AmqpConnection.ts"
import type * as AmqpDelivery from "./AmqpDelivery.ts"
import { AmqpChannelError } from "./AmqpError.ts"
import type { AmqpConsumerCancelled, AmqpConsumerStopped } from "./AmqpError.ts"
import * as AmqpFailurePolicy from "./AmqpFailurePolicy.ts"
import type * as AmqpMessage from "./AmqpMessage.ts"
import * as AmqpPublisher from "./AmqpPublisher.ts"
import type { AmqpQueue } from "./AmqpQueue.ts"
import * as AmqpTelemetry from "./AmqpTelemetry.ts"
import { supervisorOf } from "./internal/connection/connectionRegistry.ts"
import { ancestry } from "./internal/connection/fiberAncestry.ts"
import { startConsumer } from "./internal/consuming/consumerFiber.ts"
import * as ConsumerOptions from "./internal/consuming/consumerOptions.ts"
import { Delivery, Received } from "./internal/consuming/delivery.ts"
import { checked } from "./internal/consuming/handlerResult.ts"
import { Serving } from "./internal/consuming/serving.ts"
import { StreamInbox } from "./internal/consuming/streamInbox.ts"
import type { Decode } from "./internal/consuming/subscription.ts"
import * as Transactions from "./internal/consuming/transactionHandlers.ts"
import * as Validation from "./internal/options/validation.ts"
import * as Instruments from "./internal/telemetry/spans.ts"
import type { FieldTable } from "./protocol/fieldTable.ts"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/**
 * Where a consumer of a stream begins (RabbitMQ, "Streams"): at the oldest message (`first`), at the last chunk
 * (`last`), at the next message to be published (`next`), at the message with an offset (a number or bigint), at a time
 * (`Date`), or that long ago (`Duration`, in whole seconds).
 *
 * @category models
 * @since 0.1.0
 */
export type StreamOffset = "first" | "last" | "next" | number | bigint | Date | Duration.Duration

/**
 * Options of all consumers.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * How many unsettled messages of each queue the broker sends ahead (RabbitMQ, "Consumer Prefetch"): 0 to 65535. The
   * client holds that many messages in memory, of any size. 0 is no limit: the connection then stops reading while 16
   * MiB of messages wait to be handled.
   *
   * Default: twice the concurrency for consumers with handlers (100 for `unbounded`), 100 for others.
   *
   * When the consumer stops, the messages sent ahead return to the queue. Quorum queues count each return as a delivery
   * attempt, and from RabbitMQ 4.0 on drop or dead-letter a message after 20 of them, unless `deliveryLimit` says
   * otherwise. A large prefetch and many restarts can therefore use up the attempts of messages that no handler has
   * seen.
   */
  readonly prefetch?: number | undefined
  /** Whether no other consumer may consume the queue at the same time. Default: `false`. */
  readonly exclusive?: boolean | undefined
  /**
   * The priority of the consumer: consumers with a higher number get messages first (RabbitMQ, "Consumer Priorities").
   * A 32-bit integer. Default: 0.
   */
  readonly priority?: number | undefined
  /**
   * The consumer tag. With several queues `-1`, `-2`, … are appended, and `.2`, `.3`, … each time the consumer is
   * started again on the same channel. Default: a generated tag.
   */
  readonly consumerTag?: string | undefined
  /**
   * Where to begin in a stream. Brokers refuse it for other queues. When the consumer is started again, it continues after
   * the last message that was handled. Default: `next`.
   */
  readonly offset?: StreamOffset | undefined
  /** Further arguments of the broker, by their own names. */
  readonly arguments?: FieldTable | undefined
  /**
   * What happens to a message whose body is larger than the connection's `maxBodySize`. Each is logged with its size
   * and the limit; no handler or stream gets it.
   *
   * - `deadLetter`: the message is rejected if the queue is described with a dead-letter queue (`deadLetterExchange:
   *   ""`) that exists, which is checked with the broker. Otherwise it stays in the queue: it is held unsettled for a
   *   minute and then requeued. The broker drops it if the dead-letter queue is full and rejects publishes (`overflow:
   *   "reject-publish"`).
   * - `keep`: the message stays in the queue.
   * - `reject`: the message is rejected: the broker dead-letters it, or drops it if the queue has no dead-letter
   *   exchange.
   *
   * A message of a stream is skipped, and stays in the stream. Default: `deadLetter`.
   */
  readonly onOversized?: "deadLetter" | "keep" | "reject" | undefined
  /**
   * Whether the consumer goes on when it was lost, see {@link RecoveryOptions}. `false`: it ends with the error. Default:
   * as the connection, whose `recovery` is on by default.
   */
  readonly recovery?: boolean | RecoveryOptions | undefined
  /** Only {@link stream} and {@link make} can acknowledge automatically, see {@link AutoAckOptions}. */
  readonly autoAck?: false | undefined
}

/**
 * How a consumer goes on when it was lost.
 *
 * **Details**
 *
 * After the loss of its connection, a consumer starts again as soon as the connection is back. When the broker has
 * closed its channel or cancelled it, it starts again after a pause. Each time, the queues are consumed with the same
 * options and the prefetch that was set last; described queues are declared first, once on each connection. After a
 * cancel they are not declared again, since they may have been deleted on purpose.
 *
 * The broker delivers again what was not settled. Messages that have arrived and were not begun are dropped; settling
 * an earlier delivery has no effect.
 *
 * A stream continues after the last message that was handled. If several are handled at the same time, it continues at
 * the first that was not, so that some may be delivered again. If none was delivered yet, it begins as `offset` says.
 *
 * The broker's reason is logged as a warning, once, and when the consumer has started again, a line says so.
 *
 * @category models
 * @since 0.1.0
 */
export interface RecoveryOptions {
  /**
   * The pauses before a consumer starts again on the same connection, and how many there are; its input is the error.
   * When it ends, so does the consumer. Default: exponential from 250 ms to 30 seconds with full jitter (each pause is a
   * random part of that), and at most 2 seconds while another connection holds the queue (405), without end.
   */
  readonly schedule?: Schedule.Schedule<unknown, AmqpChannelError | AmqpConsumerCancelled> | undefined
  /**
   * How long a consumer has to last before the schedule starts again, from 0 to 24 days, or `Infinity`. Default: 10
   * seconds.
   */
  readonly stableAfter?: Duration.Input | undefined
  /**
   * Whether to go on after an error. Default: yes after the loss of the connection, and if the error `isRetryable`, as an
   * `AmqpConsumerCancelled` is. When a consumer starts again, its queue may seem to be missing because a node is down:
   * `NotFound` is tried again until it has come three times in a row, at pauses of at least a second; while a topology of
   * the connection is still trying to declare the queue, it does not count.
   */
  readonly isRecoverable?: ((error: AmqpChannelError | AmqpConsumerCancelled) => boolean) | undefined
}

/**
 * Options of consumers without acknowledgements. The broker deletes each message as it sends it: messages that have
 * arrived but were not handled are lost when the program ends, and so are messages larger than the connection's
 * `maxBodySize`, which are logged.
 *
 * @category models
 * @since 0.1.0
 */
export interface AutoAckOptions extends Omit<Options, "prefetch" | "offset" | "onOversized" | "autoAck"> {
  readonly autoAck: true
}

/**
 * One or several queues, by name or by description. A described queue is declared before it is consumed, once on each
 * connection, with its bindings and everything that it refers to.
 *
 * @category models
 * @since 0.1.0
 */
export type Queues<Queue extends AmqpQueue = AmqpQueue> = string | Queue | ReadonlyArray<string | Queue>

/** The elements of {@link Queues} that are descriptions of streams. */
type StreamsIn<Q extends Queues> = Extract<Q extends ReadonlyArray<infer Element> ? Element : Q, AmqpQueue<"stream">>

/**
 * The tags of settlements that messages of these queues allow: those of a described stream can only be acknowledged.
 *
 * @category models
 * @since 0.1.0
 */
export type SettlementTagOf<Q extends Queues> = [StreamsIn<Q>] extends [never] ? AmqpDelivery.SettlementTag : "Ack"

/**
 * The type of deliveries of these queues: those of a described stream can only be acknowledged.
 *
 * @category models
 * @since 0.1.0
 */
export type DeliveryOf<Q extends Queues> = [StreamsIn<Q>] extends [never] ? AmqpDelivery.AmqpDelivery
  : AmqpDelivery.StreamDelivery

/**
 * The options that consumers of these queues can't have: those of a described stream have no priority.
 *
 * @category models
 * @since 0.1.0
 */
export type QueueRestrictions<Q extends Queues> = [StreamsIn<Q>] extends [never] ? unknown
  : { readonly priority?: undefined }

// -----------------------------------------------------------------------------
// consumers
// -----------------------------------------------------------------------------

/**
 * A running consumer.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpConsumer<out Delivery> {
  /**
   * The names of the queues that it consumes. A name that the broker generated is another one on each connection: while
   * there is none, waits for as long as the connection's `waitTimeout`, and then fails with a `ConnectionLost`. Fails with
   * the error of the consumer if that has ended.
   */
  readonly queues: Effect.Effect<ReadonlyArray<string>, AmqpChannelError | AmqpConsumerCancelled>
  /**
   * The deliveries, in the chunks in which they arrive, also those of later connections. Run it once: concurrent runs share the deliveries, and
   * deliveries that an operator such as `Stream.take` cuts off a chunk reach no other run. The broker requeues those
   * when the scope closes, and the stream ends.
   */
  readonly stream: Stream.Stream<Delivery, AmqpChannelError | AmqpConsumerCancelled>
  /**
   * Cancels the consumer (`basic.cancel`): the broker delivers nothing more, and the stream ends after the messages
   * that have arrived. The channel stays open until the scope closes, so that they can be settled. A consumer that was
   * cancelled is not started again.
   */
  readonly cancel: Effect.Effect<void>
}

/**
 * A running consumer whose deliveries the program settles (RabbitMQ, "Manual acknowledgement mode").
 *
 * @category models
 * @since 0.1.0
 */
export interface ManualAckConsumer<out Delivery = AmqpDelivery.AmqpDelivery> extends AmqpConsumer<Delivery> {
  /**
   * Changes the prefetch, 0 to 65535, for this connection and later ones. As brokers apply a prefetch to later consumers only, the consumers are started
   * again on the same channel, with other consumer tags: earlier deliveries stay valid, a stream continues where it
   * was, and a single active consumer may lose its turn. Fails with the error of the consumer if that has ended, or with
   * `ChannelClosed` if the broker has cancelled it.
   */
  readonly setPrefetch: (prefetch: number) => Effect.Effect<void, AmqpChannelError>
}

const makeDelivery: Decode = (content, source) => new Delivery(content, source)

const makeReceived: Decode = (content, source) => new Received(content, source)

const open = (queues: Queues, options: ConsumerOptions.ConsumerOptions) =>
  Effect.gen(function*() {
    const supervisor = supervisorOf(yield* AmqpConnection.AmqpConnection)
    const { recovery, subscription } = yield* Validation.attempt(() => ConsumerOptions.resolve(queues, options))
    const inbox = new StreamInbox()
    const decode = subscription.noAck ? makeReceived : makeDelivery
    const consumer = yield* startConsumer(
      supervisor,
      subscription,
      recovery,
      decode,
      inbox,
      (consumer) => consumer.stop
    )
    const takeAll = Effect.suspend(() => {
      consumer.takenAll()
      return inbox.takeAll
    })
    return {
      queues: consumer.queues,
      stream: Stream.fromPull(Effect.succeed(takeAll)),
      setPrefetch: (prefetch: number) => consumer.setPrefetch(prefetch),
      cancel: consumer.cancel
    }
  })

/**
 * Starts a consumer that runs until the scope closes; see {@link stream} for its errors.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  <const Q extends Queues>(queues: Q, options?: Options & QueueRestrictions<Q>): Effect.Effect<
    ManualAckConsumer<DeliveryOf<Q>>,
    AmqpChannelError,
    AmqpConnection.AmqpConnection | Scope.Scope
  >
  (queues: Queues<AmqpQueue<"classic" | "quorum">>, options: AutoAckOptions): Effect.Effect<
    AmqpConsumer<AmqpDelivery.ReceivedMessage>,
    AmqpChannelError,
    AmqpConnection.AmqpConnection | Scope.Scope
  >
} = (
  queues: Queues,
  options: Options | AutoAckOptions = {}
): Effect.Effect<
  ManualAckConsumer<never>,
  AmqpChannelError,
  AmqpConnection.AmqpConnection | Scope.Scope
> =>
  // The queues and the options determine the type of deliveries, as the signatures state.
  open(queues, options) as Effect.Effect<
    ManualAckConsumer<never>,
    AmqpChannelError,
    AmqpConnection.AmqpConnection | Scope.Scope
  >

/**
 * The deliveries of one or several queues, in the chunks in which they arrive.
 *
 * **Details**
 *
 * Each run of the stream is a separate consumer. It does not end when the connection is lost, but goes on with the
 * deliveries of the next one; a delivery of an earlier connection answers `false` when it is settled, and the broker
 * delivers its message again. The same holds when the broker closes the channel or cancels the consumer for a reason that
 * may pass: {@link RecoveryOptions} says which, and when the consumer starts again.
 *
 * Otherwise, and when the consumer can't be started at all, the stream fails with an `AmqpChannelError` with the reason
 *
 * - `NotFound` if the queue does not exist;
 * - `AccessRefused` if the user may not read it, or, at the first start, another consumer has it exclusively;
 * - `PreconditionFailed` if a described queue exists with other properties;
 * - `ConnectionLost` if there is no connection, or it is not established again;
 * - `InvalidArgument` for invalid options;
 * - `NotSupported` for a priority if the broker has no consumer priorities.
 *
 * With `recovery: false`, of the consumer or its connection, it also fails with `ConnectionLost` when the connection is
 * lost, with an `AmqpConsumerCancelled` when the broker cancels the consumer, and with `PreconditionFailed` if a delivery
 * was not settled within the broker's timeout (RabbitMQ, "Delivery Acknowledgement Timeout").
 *
 * **Gotchas**
 *
 * With automatic acknowledgements (`autoAck: true`) the broker sends as fast as it can and deletes what it sent:
 * messages that have arrived but were not handled are lost when the program ends. Their deliveries can't be settled.
 * When 16 MiB of them wait to be handled, the connection stops reading, unless another fiber waits for a reply on it.
 * Give a slow consumer a connection of its own, and let no handler wait for a message of another consumer on the same
 * connection.
 *
 * Settle every delivery: a stream stalls once the broker has sent as many unsettled messages as the prefetch.
 *
 * To publish to a queue of your own subscriber, start the consumer with {@link make} first: when it returns, the queue
 * exists and is bound.
 *
 * Operators on single elements, such as `Stream.mapEffect`, break up chunks; `Stream.runForEach` does not.
 *
 * **Example** (Acknowledging each message)
 *
 * ```ts
 * import { AmqpConsumer } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 *
 * const program = AmqpConsumer.stream("orders", { prefetch: 50 }).pipe(
 *   Stream.runForEach((delivery) => Effect.andThen(Effect.log(delivery.text), delivery.ack))
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const stream: {
  <const Q extends Queues>(queues: Q, options?: Options & QueueRestrictions<Q>): Stream.Stream<
    DeliveryOf<Q>,
    AmqpChannelError | AmqpConsumerCancelled,
    AmqpConnection.AmqpConnection
  >
  (queues: Queues<AmqpQueue<"classic" | "quorum">>, options: AutoAckOptions): Stream.Stream<
    AmqpDelivery.ReceivedMessage,
    AmqpChannelError | AmqpConsumerCancelled,
    AmqpConnection.AmqpConnection
  >
} = (
  queues: Queues,
  options: Options | AutoAckOptions = {}
): Stream.Stream<
  never,
  AmqpChannelError | AmqpConsumerCancelled,
  AmqpConnection.AmqpConnection
> =>
  // As in `make`.
  Stream.unwrap(Effect.map(open(queues, options), ({ stream }) => stream)) as Stream.Stream<
    never,
    AmqpChannelError | AmqpConsumerCancelled,
    AmqpConnection.AmqpConnection
  >

// -----------------------------------------------------------------------------
// serving
// -----------------------------------------------------------------------------

/**
 * Why {@link serve} ends: the channel or the connection was lost or the broker cancelled the consumer, and it does not
 * go on; or a failure policy stopped it.
 *
 * @category models
 * @since 0.1.0
 */
export type ServeError = AmqpChannelError | AmqpConsumerCancelled | AmqpConsumerStopped

/**
 * Options of {@link serveTransaction}.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServeTransactionOptions<in E, out R = never> extends Options {
  /**
   * What happens to a message whose handler fails, dies, is interrupted, or returns anything but an Effect of a
   * settlement. Each failure is logged. If the policy itself fails, that is logged and the default policy decides.
   *
   * Default: `AmqpFailurePolicy.retryInPlace()`: the handler is called up to five times, with pauses of 100 ms to 6.4
   * s. Then the message goes to the dead-letter target that its queue is described with. If there is no target, or it
   * can't be reached, the message is requeued after a minute.
   */
  readonly onFailure?: AmqpFailurePolicy.AmqpFailurePolicy<E, R> | undefined
  /**
   * How long running handlers may continue once the consumer stops or has ended, from 0 to 24 days, or `Infinity`.
   * After that they are interrupted. Default: 10 seconds.
   */
  readonly drainTimeout?: Duration.Input | undefined
}

/**
 * Options of {@link serve}.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServeOptions<in E, out R = never> extends ServeTransactionOptions<E, R> {
  /**
   * How many messages are handled at the same time: a whole number from 1, or `unbounded`, up to the prefetch. With 1,
   * messages are handled in order. Default: 1.
   */
  readonly concurrency?: number | "unbounded" | undefined
}

/**
 * The settlement that a handler of {@link serve} returns. The compiler prints `Hint` where a handler returns something
 * else.
 *
 * @category models
 * @since 0.1.0
 */
export interface HandlerSettlement<
  _Hint extends string,
  out Tag extends AmqpDelivery.SettlementTag = AmqpDelivery.SettlementTag
> extends AmqpDelivery.Settlement<void, Tag> {}

/**
 * Handles a message; the settlement that it returns settles the message. `Tag` limits it: a handler of a stream can
 * only return `ack`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Handler<
  out E,
  out R,
  out Tag extends AmqpDelivery.SettlementTag = AmqpDelivery.SettlementTag
> {
  (
    delivery: AmqpDelivery.ReceivedMessage
  ): Effect.Effect<HandlerSettlement<"A handler returns AmqpDelivery.ack, reject or requeue", Tag>, E, R>
}

/**
 * Handles a message with a program on the consumer's channel; the settlement that the program yields settles the
 * message.
 *
 * @category models
 * @since 0.1.0
 */
export interface TransactionHandler<out E, out R> {
  (
    delivery: AmqpDelivery.ReceivedMessage
  ): AmqpChannel<HandlerSettlement<"A handler returns AmqpDelivery.ack, reject or requeue">, E, R>
}

/**
 * Handles the messages of one or several queues until the fiber is interrupted or the consumer ends. Fails as {@link
 * stream} does, and with an `AmqpConsumerStopped` when a failure policy stops the consumer.
 *
 * **Details**
 *
 * The handler settles its message by the value that it returns: `AmqpDelivery.ack`, `reject` or `requeue`. A handler
 * that returns no settlement does not compile, and any other value at run time counts as a failure. What a handler
 * acquires in its scope is released when it has ended, before the settlement is sent.
 *
 * A handler that fails does not end the consumer, see `onFailure`.
 *
 * With a prefetch of 1, each message goes to a worker that is free (fair dispatch).
 *
 * When the fiber is interrupted, the consumer stops in order: no further handler starts, running handlers may finish
 * within `drainTimeout` and their settlements are sent, and the remaining messages are requeued. For a queue with a
 * single active consumer, and for an exclusive consumer, the next consumer gets the messages in their old order, and
 * only after the handlers have ended.
 *
 * When the connection or the channel is lost, or the broker cancels the consumer, it goes on as {@link stream} does.
 * Running handlers continue, but their settlements can no longer be sent, which is logged: the broker delivers their
 * messages again, also while they still run. Messages that were not begun, or that wait for another attempt, are dropped
 * here. If the consumer does not go on, no further handler starts, running ones may finish within `drainTimeout`, and
 * then `serve` fails with the cause.
 *
 * **Example** (A worker that handles ten orders at once)
 *
 * ```ts
 * import { AmqpConsumer, AmqpDelivery } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * const worker = AmqpConsumer.serve(
 *   "orders",
 *   (delivery) => Effect.as(Effect.log(delivery.text), AmqpDelivery.ack),
 *   { concurrency: 10 }
 * )
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const serve = <E, R, R2 = never, const Q extends Queues = Queues>(
  queues: Q,
  handler: Handler<E, R, SettlementTagOf<Q>>,
  options?: ServeOptions<E, R2> & QueueRestrictions<Q>
): Effect.Effect<never, ServeError, AmqpConnection.AmqpConnection | Exclude<R, Scope.Scope> | R2> =>
  untilEnd(startServing(queues, handler, options))

/** A consumer ends only with an error or by interruption. */
const untilEnd = <R>(
  start: Effect.Effect<Effect.Effect<void, ServeError>, AmqpChannelError, R>
): Effect.Effect<never, ServeError, Exclude<R, Scope.Scope>> =>
  Effect.scoped(Effect.flatMap(start, (ended) => Effect.andThen(ended, Effect.never)))

/**
 * Starts to serve, until the scope closes. Succeeds when the broker has accepted the consumers, and fails as {@link
 * stream} does if it refuses them at first. Yields an effect that waits for the consumer to end: it fails with the reason, and
 * succeeds when the scope has closed.
 *
 * **Details**
 *
 * See {@link serve} for how messages are handled, and for how the consumer stops when the scope closes. A handler may
 * close that scope: its own completion is not waited for.
 *
 * **Gotchas**
 *
 * If nothing waits for the yielded effect, a consumer that ends is not noticed.
 *
 * **Example** (Work that begins when the consumer has)
 *
 * ```ts
 * import { AmqpConsumer, AmqpDelivery } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * declare const work: Effect.Effect<void>
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const ended = yield* AmqpConsumer.startServing("orders", ({ text }) => Effect.as(Effect.log(text), AmqpDelivery.ack))
 *   yield* Effect.raceFirst(work, ended)
 * }))
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const startServing = <E, R, R2 = never, const Q extends Queues = Queues>(
  queues: Q,
  handler: Handler<E, R, SettlementTagOf<Q>>,
  options?: ServeOptions<E, R2> & QueueRestrictions<Q>
): Effect.Effect<
  Effect.Effect<void, ServeError>,
  AmqpChannelError,
  AmqpConnection.AmqpConnection | Scope.Scope | Exclude<R, Scope.Scope> | R2
> =>
  start(
    queues,
    options === undefined ? {} : options,
    ["onFailure"],
    () => ({ handle: handler, commit: undefined }),
    false
  )

/**
 * Like {@link serve}, with handlers that are channel programs. Each runs in a transaction on the consumer's own
 * channel, one at a time: what it publishes and its settlement are committed together, or not at all.
 *
 * **When to use**
 *
 * Use to forward messages to classic queues without losing or duplicating any: a message is settled if and only if everything that its
 * handler published is in its queues (section 1.9 of the AMQP 0-9-1 reference; RabbitMQ, "Transactions"). Each message
 * costs one round trip for its commit.
 *
 * **Details**
 *
 * When a handler fails, its publishes are rolled back, and `onFailure` decides; the resulting settlement has a commit
 * of its own. If the program ends or the connection is lost before the commit, the message is delivered again, and none
 * of the publishes took effect. If it is lost during the commit, the broker may have committed everything, and then does
 * not deliver the message again.
 *
 * A mandatory message that no queue takes fails the handler with the reason `Returned`. RabbitMQ finds out at the
 * commit, when everything else is already in its queues. Therefore mandatory messages are committed before the
 * settlement, and are duplicated if the connection is lost between the two commits.
 *
 * **Gotchas**
 *
 * Do not publish to quorum queues: RabbitMQ commits even if such a queue has refused the message, which is lost (see
 * `AmqpChannel.transaction`). Use {@link serve} instead, publish with an `AmqpPublisher`, and acknowledge after the confirm.
 *
 * RabbitMQ commits atomically per queue: a broker that fails during a commit across several queues may have committed
 * only a part. Publishers and other runners that a handler uses have channels of their own, and are not part of the
 * transaction.
 *
 * **Example** (Splitting an order without losing or doubling an item)
 *
 * ```ts
 * import { AmqpChannel, AmqpConsumer, AmqpDelivery, AmqpMessage, AmqpQueue } from "@effect-amqp/core"
 *
 * const worker = AmqpConsumer.serveTransaction("orders", ({ text }) =>
 *   AmqpChannel.forEach(text.split(","), (item) => AmqpChannel.publish(AmqpMessage.text(item), AmqpQueue.route("items"))).pipe(
 *     AmqpChannel.as(AmqpDelivery.ack)
 *   ))
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const serveTransaction = <E, R, R2 = never>(
  queues: Queues<AmqpQueue<"classic" | "quorum">>,
  handler: TransactionHandler<E, R>,
  options: ServeTransactionOptions<NoInfer<E> | AmqpChannelError, R2> = {}
): Effect.Effect<never, ServeError, AmqpConnection.AmqpConnection | Exclude<R, Scope.Scope> | R2> =>
  untilEnd(startServingTransaction(queues, handler, options))

/**
 * Like {@link startServing}, with the handlers of {@link serveTransaction}.
 *
 * @category running
 * @since 0.1.0
 */
export const startServingTransaction = <E, R, R2 = never>(
  queues: Queues<AmqpQueue<"classic" | "quorum">>,
  handler: TransactionHandler<E, R>,
  options: ServeTransactionOptions<NoInfer<E> | AmqpChannelError, R2> = {}
): Effect.Effect<
  Effect.Effect<void, ServeError>,
  AmqpChannelError,
  AmqpConnection.AmqpConnection | Scope.Scope | Exclude<R, Scope.Scope> | R2
> => start(queues, options, ["onFailure"], () => Transactions.make(handler), true)

/** Starts any kind of serving; the signatures above state which handlers go with which options. */
const start = <E, R, R2>(
  queues: Queues,
  options: ServeOptions<E, R2> = {},
  moreKeys: ReadonlyArray<string>,
  makeHandling: () => Transactions.Handling<R>,
  isTransactional: boolean
): Effect.Effect<
  Effect.Effect<void, ServeError>,
  AmqpChannelError,
  AmqpConnection.AmqpConnection | Scope.Scope | Exclude<R, Scope.Scope> | R2
> =>
  Effect.gen(function*() {
    const supervisor = supervisorOf(yield* AmqpConnection.AmqpConnection)
    const { concurrency, drainTimeout, recovery, subscription } = yield* Validation.attempt(() =>
      ConsumerOptions.resolveServing(queues, options, moreKeys, isTransactional)
    )
    const operation = yield* Instruments.ServedOperation
    const telemetry = yield* AmqpTelemetry.Telemetry
    const instruments = yield* Validation.attempt(() => Instruments.make(telemetry, supervisor))
    const publish = yield* lazyPublisher
    const handling = makeHandling()
    let queueName: string | undefined
    const policy =
      (onFailure: AmqpFailurePolicy.AmqpFailurePolicy<E, R2>) =>
      (cause: Cause.Cause<unknown>, delivery: Received, attempt: number) => {
        const { description, kind } = Received.sourceOf(delivery)
        // Handlers fail with `E`.
        return onFailure(cause as Cause.Cause<E>, delivery, {
          attempt,
          queue: description,
          isStream: kind?.isStream === true,
          publish
        })
      }
    const context = Context.add(yield* Effect.context<R | R2>(), Instruments.ServedOperation, Instruments.process)
    const serving = new Serving<R | R2>({
      concurrency,
      drainTimeout,
      handle: handling.handle,
      commit: handling.commit,
      onFailure: policy(options.onFailure ?? AmqpFailurePolicy.standard),
      fallback: policy(AmqpFailurePolicy.standard),
      onBegin: ({ channel, queues }) => {
        handling.channel = channel
        queueName = queues.length === 1 ? queues[0] : undefined
      },
      inSpan: instruments &&
        ((delivery, handled, settle) => instruments.handle(operation, delivery, queueName, handled, settle))
    }, context)
    yield* startConsumer(supervisor, subscription, recovery, makeReceived, serving, () => serving.stop)
    return Deferred.await(serving.ended)
    // `Serving` provides the scope of each message.
  }) as ReturnType<typeof start<E, R, R2>>

/**
 * Publishes with a publisher that is opened for the first message, and closed after the consumer. Without a connection it fails at once: the
 * broker delivers the message again that a policy would forward, so a copy would be a duplicate.
 */
const lazyPublisher = Effect.gen(function*() {
  const connection = yield* AmqpConnection.AmqpConnection
  const scope = yield* Scope.fork(yield* Effect.scope)
  const opening = Semaphore.makeUnsafe(1)
  let opened: AmqpPublisher.AmqpPublisher["Service"] | undefined
  const open = Effect.suspend(() => {
    if (opened !== undefined) return Effect.succeed(opened)
    return AmqpPublisher.make({ whenDisconnected: "fail" }).pipe(
      Effect.provideService(AmqpConnection.AmqpConnection, connection),
      Scope.provide(scope),
      Effect.tap((publisher) =>
        Effect.sync(() => {
          opened = publisher
        })
      )
    )
  })
  return (message: AmqpMessage.AmqpMessage, options: PublishOptions) =>
    Effect.flatMap(opening.withPermits(1)(open), (publisher) => publisher.publish(message, options))
})

/**
 * Options of {@link layerServe}.
 *
 * @category models
 * @since 0.1.0
 */
export interface LayerServeOptions<in E, out R = never, out R2 = never> extends ServeOptions<E, R> {
  /**
   * Called when the consumer ends after it has started and does not go on, see {@link RecoveryOptions}, as a layer that
   * has been built can no longer fail. Default: the
   * error is logged at level `Fatal`, and the program that the layer was built for is interrupted and fails with the
   * error, see {@link layerServe}. The same happens if `onEnd` fails, which is logged.
   */
  readonly onEnd?: ((error: ServeError) => Effect.Effect<unknown, never, R2>) | undefined
}

/**
 * Serves as a Layer. The layer is built when the broker has accepted the consumers, and fails to build if the broker
 * refuses them. When its scope closes, the consumer stops in order; see {@link serve}.
 *
 * **When to use**
 *
 * Use for a worker beside others in one program: layers built on top of it find it consuming.
 *
 * **Details**
 *
 * When the consumer ends and does not go on, the program ends too: the fiber that the layer was built for, such as that of `Layer.launch`
 * or `Effect.provide`, is interrupted, the layers are released in order, and the program dies with the error. A process
 * that uses `runMain` then exits with code 1. For merged layers, that fiber is the one that the connection was made
 * for. The option `onEnd` replaces this behavior.
 *
 * **Gotchas**
 *
 * If the fiber that builds the layer ends after building, as with a `ManagedRuntime`, there is no program to end: the
 * error is only logged, and `onEnd` has to do the rest. The same holds for a layer that has a connection of its own and
 * is merged with others; merge first, then provide the connection to all of them.
 *
 * **Example** (A worker that others are built upon)
 *
 * ```ts
 * import { AmqpConsumer, AmqpDelivery } from "@effect-amqp/core"
 * import { NodeAmqp } from "@effect-amqp/node"
 * import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const WorkerLive = AmqpConsumer.layerServe(
 *   "orders",
 *   (delivery) => Effect.as(Effect.log(delivery.text), AmqpDelivery.ack)
 * )
 *
 * Layer.launch(WorkerLive).pipe(
 *   Effect.provide(NodeAmqp.layer({ url: "amqp://localhost" })),
 *   NodeRuntime.runMain
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerServe = <E, R, R2 = never, R3 = never, const Q extends Queues = Queues>(
  queues: Q,
  handler: Handler<E, R, SettlementTagOf<Q>>,
  options?: LayerServeOptions<E, R2, R3> & QueueRestrictions<Q>
): Layer.Layer<
  never,
  AmqpChannelError,
  AmqpConnection.AmqpConnection | Exclude<R | R2 | R3, Scope.Scope>
> =>
  Layer.effectDiscard(Effect.gen(function*() {
    const serving: LayerServeOptions<E, R2, R3> = options === undefined ? {} : options
    const { onEnd } = yield* Validation.attempt(() => ConsumerOptions.objectOf(serving))
    if (onEnd !== undefined && typeof onEnd !== "function") {
      return yield* Effect.fail(new AmqpChannelError({ reason: Validation.invalid("onEnd: must be a function") }))
    }
    const end = yield* endProgram
    const ended = yield* start<E, R, R2>(
      queues,
      serving,
      ["onFailure", "onEnd"],
      () => ({ handle: handler, commit: undefined }),
      false
    )
    // Not a child of the building fiber, which may end at once.
    yield* Effect.forkScoped(Effect.catch(ended, (error) => {
      const logged = { queue: namesOf(queues) }
      if (onEnd === undefined) return Effect.annotateLogs(end(error), logged)
      // The program also ends when `onEnd` fails.
      const orEnd = (cause: Cause.Cause<unknown>) =>
        Effect.andThen(Effect.logError("onEnd failed, and the program of the consumer ends", cause), end(error))
      return Effect.catchCause(
        Effect.suspend(() => checked(onEnd(error), "option onEnd")),
        (cause) => Effect.annotateLogs(orEnd(cause), logged)
      )
    }))
  }))

/** The names of the queues, for logs. */
const namesOf = (queues: Queues): string =>
  [queues].flat().map((queue) => typeof queue === "string" ? queue : queue.name).join(", ")

/** Ends the program that the current fiber builds a layer for. */
const endProgram = Effect.gen(function*() {
  const { makers } = supervisorOf(yield* AmqpConnection.AmqpConnection)
  const fibers = yield* Effect.withFiber((fiber) => Effect.succeed([...ancestry(fiber), ...makers]))
  let reason: ServeError | undefined
  // An interruption looks intended. Releasing the layer fails with the error, so that the program does too.
  yield* Effect.addFinalizer(() => reason === undefined ? Effect.void : Effect.die(reason))
  return (error: ServeError): Effect.Effect<void> =>
    Effect.suspend(() => {
      const program = fibers.find((fiber) => fiber.pollUnsafe() === undefined)
      const what = program === undefined
        ? "A consumer has ended. The layer can't end its program, as it does not know it; handle the end with the option onEnd"
        : "A consumer has ended, and its program with it"
      return Effect.andThen(
        Effect.ignoreCause(Effect.logFatal(`${what}: ${error.message}`, Cause.fail(error))),
        Effect.sync(() => {
          if (program === undefined) return
          reason = error
          program.interruptUnsafe()
        })
      )
    })
})
