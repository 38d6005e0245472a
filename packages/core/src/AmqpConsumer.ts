/**
 * Consumers: messages of queues, pushed by the broker.
 *
 * Each consumer owns a channel for as long as it runs. {@link serve} calls a handler, which decides by what it returns, and goes by a
 * failure policy when a handler fails; {@link serveTransaction} has handlers that publish and settle in one transaction. {@link stream}
 * gives deliveries, which are settled by the program; {@link make} gives a handle, to stop the consumer or to change its prefetch from
 * elsewhere. When the scope closes, the stream ends or the fiber is interrupted, the consumer stops in order and its channel is closed,
 * and the broker gives what was not settled to others.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
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
import { ancestry } from "./internal/connection/fiberAncestry.ts"
import { sessionOf } from "./internal/connection/sessionRegistry.ts"
import * as ConsumerOptions from "./internal/consuming/consumerOptions.ts"
import { Delivery, Received } from "./internal/consuming/delivery.ts"
import { checked } from "./internal/consuming/handlerResult.ts"
import { Serving } from "./internal/consuming/serving.ts"
import { subscribe } from "./internal/consuming/subscription.ts"
import type { Decode, SubscriptionError } from "./internal/consuming/subscription.ts"
import * as Transactions from "./internal/consuming/transactionHandlers.ts"
import * as Validation from "./internal/options/validation.ts"
import * as Instruments from "./internal/telemetry/spans.ts"
import { Mailbox } from "./internal/wire/mailbox.ts"
import type { FieldTable } from "./protocol/fieldTable.ts"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/**
 * Where a consumer of a stream begins (RabbitMQ, "Streams"): with the oldest message there is, with the last chunk, with what
 * comes next, with the message of a number, of a time, or as long ago as a duration says (whole seconds).
 *
 * @category models
 * @since 0.1.0
 */
export type StreamOffset = "first" | "last" | "next" | number | bigint | Date | Duration.Duration

/**
 * How a consumer consumes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * How many messages of each queue the broker sends ahead of their settlement (RabbitMQ, "Consumer Prefetch"): 0 to 65535; 0
   * is no limit, and then the connection reads nothing more while 16 MiB wait to be handled. Otherwise the client holds as many
   * messages in memory, of whatever size.
   *
   * Default: twice the concurrency for consumers with handlers (100 for `unbounded`), 100 for others.
   *
   * What was sent ahead comes back to the queue when the consumer stops, and quorum queues count that as an attempt: from RabbitMQ
   * 4.0 on they drop or dead-letter a message after 20, unless `deliveryLimit` says otherwise. So many messages ahead and many
   * restarts use messages up that no handler has seen.
   */
  readonly prefetch?: number | undefined
  /** Whether no other consumer may consume the queue meanwhile. Default: `false`. */
  readonly exclusive?: boolean | undefined
  /** Whether it is preferred to others: those with a higher number get messages first. Default: 0 (RabbitMQ, "Consumer Priorities"). */
  readonly priority?: number | undefined
  /**
   * What the broker calls the consumer; with several queues `-1`, `-2`, … follow, and `.2`, `.3`, … when it is made anew. Default: one
   * of the client's making.
   */
  readonly consumerTag?: string | undefined
  /** Where to begin in a stream. Default: `next`. Brokers refuse it for other queues. */
  readonly offset?: StreamOffset | undefined
  /** Further extensions of the broker, by their own names. */
  readonly arguments?: FieldTable | undefined
  /**
   * What becomes of a message whose body is larger than the connection's `maxBodySize`. It is logged in any case, with its size and the
   * limit, and no handler or stream gets it.
   *
   * - `deadLetter`: it is rejected where the queue is described with a dead-letter queue that is there (`deadLetterExchange: ""`), which
   *   the broker is asked for. Otherwise it stays in the queue: it is held unsettled for a minute, and then handed back. The broker drops
   *   it when that dead-letter queue is full and rejects publishes (`overflow: "reject-publish"`).
   * - `keep`: it stays in the queue.
   * - `reject`: it is rejected: the broker dead-letters it, or drops it where the queue has no dead-letter exchange.
   *
   * A message of a stream is skipped, and stays in the stream. Default: `deadLetter`.
   */
  readonly onOversized?: "deadLetter" | "keep" | "reject" | undefined
  /** Acknowledging automatically is what {@link AutoAckOptions} are for, of {@link stream} and {@link make} only. */
  readonly autoAck?: false | undefined
}

/**
 * How a consumer without acknowledgements consumes. The broker forgets a message as it sends it: what has arrived and was not handled is
 * lost with the program, and so is a message larger than the connection's `maxBodySize`, which is logged.
 *
 * @category models
 * @since 0.1.0
 */
export interface AutoAckOptions extends Omit<Options, "prefetch" | "offset" | "onOversized" | "autoAck"> {
  readonly autoAck: true
}

/**
 * One queue or several, by name or described. One that is described is declared before it is consumed, with its bindings and
 * all that it refers to.
 *
 * @category models
 * @since 0.1.0
 */
export type Queues<Queue extends AmqpQueue = AmqpQueue> = string | Queue | ReadonlyArray<string | Queue>

/** The elements of {@link Queues} that are described as streams. */
type StreamsIn<Q extends Queues> = Extract<Q extends ReadonlyArray<infer Element> ? Element : Q, AmqpQueue<"stream">>

/**
 * How messages of queues can be settled: those of a queue that is described as a stream can only be acknowledged.
 *
 * @category models
 * @since 0.1.0
 */
export type SettlementTagOf<Q extends Queues> = [StreamsIn<Q>] extends [never] ? AmqpDelivery.SettlementTag : "Ack"

/**
 * What a consumer of queues gets: those of a queue that is described as a stream can only be acknowledged.
 *
 * @category models
 * @since 0.1.0
 */
export type DeliveryOf<Q extends Queues> = [StreamsIn<Q>] extends [never] ? AmqpDelivery.AmqpDelivery
  : AmqpDelivery.StreamDelivery

/**
 * What consumers of a described queue can't be told, by its type: those of a stream have no priority.
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
 * A consumer that runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpConsumer<out Delivery> {
  /** The names of its queues, also of those that the broker named. */
  readonly queues: ReadonlyArray<string>
  /**
   * The deliveries, in the chunks in which they arrive. To be run once: runs at the same time share the deliveries, and what an
   * operator such as `Stream.take` cuts off a chunk comes to no other run; the broker has it back when the scope closes.
   */
  readonly stream: Stream.Stream<Delivery, AmqpChannelError | AmqpConsumerCancelled>
  /** Stops: the broker delivers nothing more, and the stream ends after what has arrived. The channel stays, for settling. */
  readonly cancel: Effect.Effect<void>
}

/**
 * A consumer that runs, and whose deliveries are to be settled.
 *
 * @category models
 * @since 0.1.0
 */
export interface ManualAckConsumer<out Delivery = AmqpDelivery.AmqpDelivery> extends AmqpConsumer<Delivery> {
  /**
   * Changes the prefetch, 0 to 65535. The broker applies a prefetch to consumers that are made later, so the consumers are made
   * anew on the same channel, with other consumer tags: what was delivered stays valid, a stream goes on where it was, and a
   * single active consumer may lose its turn.
   */
  readonly setPrefetch: (prefetch: number) => Effect.Effect<void, AmqpChannelError>
}

const makeDelivery: Decode<Received> = (content, channel, source) =>
  new Delivery(content, channel.acknowledgements, source)

const makeReceived: Decode<Received> = (content, _channel, source) => new Received(content, source)

const open = (queues: Queues, options: ConsumerOptions.ConsumerOptions) =>
  Effect.gen(function*() {
    const session = sessionOf(yield* AmqpConnection.AmqpConnection)
    const resolved = yield* Validation.attempt(() => ConsumerOptions.resolve(queues, options))
    const inbox = new Mailbox<Received, SubscriptionError | Cause.Done>()
    const subscription = yield* subscribe(session, resolved, resolved.noAck ? makeReceived : makeDelivery, inbox)
    yield* Effect.addFinalizer(() => subscription.leave)
    const takeAll = Effect.suspend(() => {
      subscription.taken(Infinity)
      return inbox.takeAll
    })
    return {
      queues: subscription.queues,
      stream: Stream.fromPull(Effect.succeed(takeAll)),
      setPrefetch: subscription.setPrefetch,
      cancel: subscription.cancel
    }
  })

/**
 * Starts a consumer, for as long as the scope lives; see {@link stream} for its errors.
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
  // What kind of deliveries there are is up to the queues and the options, as the signatures say.
  open(queues, options) as Effect.Effect<
    ManualAckConsumer<never>,
    AmqpChannelError,
    AmqpConnection.AmqpConnection | Scope.Scope
  >

/**
 * The deliveries of one queue or several, in the chunks in which they arrive.
 *
 * **Details**
 *
 * Each run of the stream is a consumer of its own. Fails with an `AmqpConsumerCancelled` when the broker ends the consumer,
 * as it does when the queue is deleted, and with an `AmqpChannelError`: `NotFound` when there is no such queue,
 * `AccessRefused` when the user may not read it or someone else consumes it exclusively, `PreconditionFailed` when a delivery
 * was not settled in the broker's time (RabbitMQ, "Delivery Acknowledgement Timeout"), `ConnectionLost` with the connection,
 * `InvalidArgument` for options out of their range, `NotSupported` for a priority where the broker has none. To consume again
 * after a failure, retry the stream while the error `isRetryable`.
 *
 * **Gotchas**
 *
 * With automatic acknowledgements (`autoAck: true`) the broker sends as fast as it can and forgets what it sent: messages that
 * have arrived and were not handled are lost with the program. Those deliveries have nothing to settle. When 16 MiB of them
 * wait to be handled, nothing more is read from the connection, unless somebody on it waits for the broker. So give a slow one a
 * connection of its own, and have no handler wait for a message of another consumer on the same connection.
 *
 * A stream that stops after as many deliveries as the prefetch was not told what became of them: each has to be settled.
 *
 * To publish to a subscriber of your own, open it with {@link make} first: when that returns, its queue is there and bound.
 *
 * Operators that work on single elements, such as `Stream.mapEffect`, take chunks apart; `Stream.runForEach` does not.
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
  // As for `make`.
  Stream.unwrap(Effect.map(open(queues, options), ({ stream }) => stream)) as Stream.Stream<
    never,
    AmqpChannelError | AmqpConsumerCancelled,
    AmqpConnection.AmqpConnection
  >

// -----------------------------------------------------------------------------
// serving
// -----------------------------------------------------------------------------

/**
 * Why {@link serve} ends: the channel or the connection was lost, the broker ended the consumer, or a failure policy did.
 *
 * @category models
 * @since 0.1.0
 */
export type ServeError = AmqpChannelError | AmqpConsumerCancelled | AmqpConsumerStopped

/**
 * How {@link serveTransaction} serves.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServeTransactionOptions<in E, out R = never> extends Options {
  /**
   * What becomes of a message whose handler fails, dies, is interrupted, or returns anything but an Effect of a settlement.
   * Default: `AmqpFailurePolicy.retryInPlace()`: the handler is called again, five times in all, with pauses of 100 ms to 6.4 s. Then the
   * message goes to the dead-letter target that its queue is described with. Where there is none, or it can't be reached, the message
   * stays in its queue, and comes back after a minute. Each failure is logged. A policy that fails itself is logged, and the
   * default decides.
   */
  readonly onFailure?: AmqpFailurePolicy.AmqpFailurePolicy<E, R> | undefined
  /**
   * How long the handlers that run may go on when the consumer stops or has ended, from 0 to 24 days or `Infinity`; after that they are
   * interrupted. Default: 10 seconds.
   */
  readonly drainTimeout?: Duration.Input | undefined
}

/**
 * How {@link serve} serves.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServeOptions<in E, out R = never> extends ServeTransactionOptions<E, R> {
  /** How many messages are handled at once, from 1, or as many as the prefetch. With 1 they are handled in their order. Default: 1. */
  readonly concurrency?: number | "unbounded" | undefined
}

/**
 * What a handler of {@link serve} returns: a settlement. `Hint` is what the compiler says when it returns something else.
 *
 * @category models
 * @since 0.1.0
 */
export interface HandlerSettlement<
  _Hint extends string,
  out Tag extends AmqpDelivery.SettlementTag = AmqpDelivery.SettlementTag
> extends AmqpDelivery.Settlement<void, Tag> {}

/**
 * Handles a message, and says what is to become of it by what it returns. `Tag`: of a stream, only `ack` can be returned.
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
 * Handles a message by a program on the consumer's channel, and says what is to become of it by what the program yields.
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
 * Handles the messages of one queue or several until the fiber is interrupted or the consumer ends; see {@link stream} for the
 * errors.
 *
 * **Details**
 *
 * The handler decides by what it returns: `AmqpDelivery.ack`, `reject` or `requeue`. Forgetting to does not compile, and a value that is
 * not a settlement of this package is a failure. What a handler acquires in its scope is released when it has ended, before the settlement is
 * sent.
 *
 * A handler that fails does not end the consumer, see `onFailure`.
 *
 * With a prefetch of 1 a message goes to the worker that is free (fair dispatch).
 *
 * When the fiber is interrupted, it stops in order: no handler begins any more, those that run may finish within `drainTimeout`, what
 * they decide is sent, and messages that no handler had begun with go back. Of a queue with a single active consumer, and of an
 * exclusive consumer, the next consumer gets them in their old order, and only when the handlers have ended.
 *
 * When the connection or the channel is lost or the broker cancels the consumer, no handler begins any more either. Those that run may
 * finish within `drainTimeout`, though their settlements can't be sent any more, and then this fails with the cause.
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

/** The end of a consumer is an error, or the fiber is interrupted. */
const untilEnd = <R>(
  start: Effect.Effect<Effect.Effect<void, ServeError>, AmqpChannelError, R>
): Effect.Effect<never, ServeError, Exclude<R, Scope.Scope>> =>
  Effect.scoped(Effect.flatMap(start, (ended) => Effect.andThen(ended, Effect.never)))

/**
 * Starts to serve, for as long as the scope lives: succeeds when the broker has accepted the consumers, and fails as {@link stream}
 * does when it refuses them. What it yields waits for the end: it fails with what ends the consumer, and succeeds when the
 * scope has closed.
 *
 * **Details**
 *
 * See {@link serve} for what is served, and for the order in which it stops when the scope closes. A handler may close that scope: its
 * own end is not waited for.
 *
 * **Gotchas**
 *
 * A consumer that ends later is silent to those who do not wait for its end.
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
 * As {@link serve}, with handlers that are channel programs: each runs in a transaction on the consumer's own channel, one after the other.
 * What it publishes and its settlement are committed together, or nothing of it is.
 *
 * **When to use**
 *
 * Use to pass messages on without losing or doubling any: a message that was handled is settled if and only if what its handler published
 * is in its queues (section 1.9 of the AMQP 0-9-1 reference; RabbitMQ, "Transactions"). Each message costs a round trip for its commit.
 *
 * **Details**
 *
 * A handler that fails has what it published taken back, and then `onFailure` decides. Its settlement has a commit of its own. When the
 * program ends or the connection is lost before the commit, the message comes back, and nothing of what was published is there.
 *
 * A mandatory message that no queue takes fails the handler with the reason `Returned`. RabbitMQ finds that out at the commit, when
 * everything else is in its queues. So what a handler publishes as mandatory is committed before its settlement, and is there twice when
 * the connection is lost between the two.
 *
 * **Gotchas**
 *
 * RabbitMQ commits what goes to one queue as a whole; a broker that fails in the middle of a commit across queues may have done a part
 * of it. Publishers and other runners within the program have channels of their own, and are not part of it.
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
 * As {@link startServing}, with the handlers of {@link serveTransaction}.
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

/** What serves is the same for all: the signatures above say what is handled how. */
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
    const session = sessionOf(yield* AmqpConnection.AmqpConnection)
    const { concurrency, drainTimeout, subscription: resolved } = yield* Validation.attempt(() =>
      ConsumerOptions.resolveServing(queues, options, moreKeys, isTransactional)
    )
    const operation = yield* Instruments.ServedOperation
    const telemetry = yield* AmqpTelemetry.Telemetry
    const instruments = yield* Validation.attempt(() => Instruments.make(telemetry, session.options))
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
      inSpan: instruments &&
        ((delivery, handled, settle) => instruments.handle(operation, delivery, queueName, handled, settle))
    }, context)
    const subscription = yield* subscribe(session, resolved, makeReceived, serving)
    handling.channel = subscription.channel
    if (subscription.queues.length === 1) queueName = subscription.queues[0]
    yield* Effect.uninterruptible(Effect.andThen(
      Effect.addFinalizer(() => serving.stop),
      Effect.sync(() => serving.begin(subscription))
    ))
    return Deferred.await(serving.ended)
    // The scope of each message is the engine's affair.
  }) as ReturnType<typeof start<E, R, R2>>

/** Publishes by a publisher that is opened with the first message, and closed after the consumer. */
const lazyPublisher = Effect.gen(function*() {
  const connection = yield* AmqpConnection.AmqpConnection
  const scope = yield* Scope.fork(yield* Effect.scope)
  const opening = Semaphore.makeUnsafe(1)
  let opened: AmqpPublisher.AmqpPublisher["Service"] | undefined
  const open = Effect.suspend(() => {
    if (opened !== undefined) return Effect.succeed(opened)
    return AmqpPublisher.make().pipe(
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
 * How {@link layerServe} serves.
 *
 * @category models
 * @since 0.1.0
 */
export interface LayerServeOptions<in E, out R = never, out R2 = never> extends ServeOptions<E, R> {
  /**
   * What is done when the consumer ends after it has started: a layer that is built can't fail any more. Default: the error is logged, at
   * the level `Fatal`, and the program that the layer was built for is interrupted and ends with the error, see {@link layerServe}. So it
   * does, too, when `onEnd` fails itself, which is logged.
   */
  readonly onEnd?: ((error: ServeError) => Effect.Effect<unknown, never, R2>) | undefined
}

/**
 * Serves as a Layer: it is built when the broker has accepted the consumers, and fails when it refuses them. When its scope closes
 * it stops in order; see {@link serve}.
 *
 * **When to use**
 *
 * Use for a worker beside others in one program, so that what is built on top finds it consuming.
 *
 * **Details**
 *
 * When the consumer ends, so does the program: the fiber that the layer was built for is interrupted, such as that of `Layer.launch` or of
 * `Effect.provide`, the layers are taken down in order, and the program dies of the error. So a process that runs it by `runMain` ends with
 * the exit code 1. For layers that are merged it is the fiber that the connection was made for. The option `onEnd` decides otherwise.
 *
 * **Gotchas**
 *
 * A layer whose builder ends with the building, such as that of a `ManagedRuntime`, has no program to end: then the error is only
 * logged, and it is up to `onEnd` to do more. The same holds for a layer that is merged with others and has a connection of its own. So
 * merge first, and provide the connection to the whole.
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
    // Not a child of the fiber that builds, which may end at once.
    yield* Effect.forkScoped(Effect.catch(ended, (error) => {
      const logged = { queue: namesOf(queues) }
      if (onEnd === undefined) return Effect.annotateLogs(end(error), logged)
      // The end of a consumer is not lost with what was to be done about it.
      const orEnd = (cause: Cause.Cause<unknown>) =>
        Effect.andThen(Effect.logError("onEnd failed itself, and the program of the consumer ends", cause), end(error))
      return Effect.catchCause(
        Effect.suspend(() => checked(onEnd(error), "option onEnd")),
        (cause) => Effect.annotateLogs(orEnd(cause), logged)
      )
    }))
  }))

/** What logs call the queues of a consumer. */
const namesOf = (queues: Queues): string =>
  [queues].flat().map((queue) => typeof queue === "string" ? queue : queue.name).join(", ")

/** Ends the program that the current fiber builds a layer for. */
const endProgram = Effect.gen(function*() {
  const { makers } = sessionOf(yield* AmqpConnection.AmqpConnection)
  const fibers = yield* Effect.withFiber((fiber) => Effect.succeed([...ancestry(fiber), ...makers]))
  let reason: ServeError | undefined
  // What is interrupted seems to be meant. So that the program ends with the error, taking down the layer fails with it.
  yield* Effect.addFinalizer(() => reason === undefined ? Effect.void : Effect.die(reason))
  return (error: ServeError): Effect.Effect<void> =>
    Effect.suspend(() => {
      const program = fibers.find((fiber) => fiber.pollUnsafe() === undefined)
      const what = program === undefined
        ? "A consumer has ended. Its program goes on, as the layer does not know it; decide what is done with the option onEnd"
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
