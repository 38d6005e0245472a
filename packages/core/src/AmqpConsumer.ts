/**
 * Consumers: messages of queues, pushed by the broker.
 *
 * Each consumer owns a channel for as long as it runs. {@link stream} gives deliveries, which are settled by the program;
 * {@link serve} calls a handler, which decides by what it returns; {@link make} gives a handle, to stop the consumer or to
 * change its prefetch from elsewhere. When the scope closes, the stream ends or the fiber is interrupted, the consumer is
 * cancelled and its channel closed, and the broker gives what was not settled to others.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as AmqpConnection from "./AmqpConnection.ts"
import * as AmqpDelivery from "./AmqpDelivery.ts"
import type { AmqpChannelError, AmqpConsumerCancelled } from "./AmqpError.ts"
import type { AmqpQueue } from "./AmqpQueue.ts"
import * as AmqpTelemetry from "./AmqpTelemetry.ts"
import { Delivery, Received } from "./internal/delivery.ts"
import * as Instruments from "./internal/instruments.ts"
import { sessionOf } from "./internal/session.ts"
import { subscribe } from "./internal/subscription.ts"
import type { Decode, Subscription, SubscriptionOptions } from "./internal/subscription.ts"
import * as Validation from "./internal/validation.ts"
import type { FieldTable, FieldValue } from "./protocol/fieldTable.ts"

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
   * is no limit, and then the connection reads nothing more while 16 MiB wait to be handled. Default: 100.
   */
  readonly prefetch?: number | undefined
  /** Whether nobody else may consume the queue meanwhile. Default: `false`. */
  readonly exclusive?: boolean | undefined
  /** Whether it is preferred to others: those with a higher number get messages first. Default: 0 (RabbitMQ, "Consumer Priorities"). */
  readonly priority?: number | undefined
  /**
   * What the broker calls the consumer; with several queues `-1`, `-2`, … follow, and `.2`, `.3`, … when it is made anew. Default: one
   * of the client's making.
   */
  readonly consumerTag?: string | undefined
  /** Where to begin in a stream. Default: `next`. */
  readonly offset?: StreamOffset | undefined
  /** Further extensions of the broker, by their own names. */
  readonly arguments?: FieldTable | undefined
}

/**
 * How a consumer without acknowledgements consumes.
 *
 * @category models
 * @since 0.1.0
 */
export interface AutoAckOptions extends Omit<Options, "prefetch" | "offset"> {
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

interface AnyOptions extends Options {
  readonly autoAck?: boolean | undefined
}

const encodeOffset = (offset: StreamOffset): FieldValue => {
  if (Duration.isDuration(offset)) return `${Validation.seconds("offset", offset, 1)}s`
  if (typeof offset === "number") return Validation.wholeNumber("offset", offset, 0)
  if (typeof offset === "bigint" && offset < 0n) throw Validation.invalid("offset: must be a whole number from 0")
  if (offset instanceof Date && !(offset.getTime() >= 0)) {
    throw Validation.invalid("offset: must be a time from 1970 on")
  }
  return offset
}

const resolve = (queues: Queues, options: AnyOptions): SubscriptionOptions => {
  const { autoAck = false, consumerTag, exclusive = false, offset, prefetch = 100, priority } = options
  return {
    queues: Array.isArray(queues) ? queues : [queues as string | AmqpQueue],
    prefetch,
    noAck: autoAck,
    exclusive,
    consumerTag,
    arguments: Validation.extend(options.arguments ?? {}, {
      "x-priority": priority === undefined
        ? undefined
        : Validation.wholeNumber("priority", priority, -(2 ** 31), 2 ** 31 - 1),
      "x-stream-offset": offset === undefined ? undefined : encodeOffset(offset)
    })
  }
}

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
export interface AcknowledgingConsumer extends AmqpConsumer<AmqpDelivery.AmqpDelivery> {
  /**
   * Changes the prefetch, 0 to 65535. The broker applies a prefetch to consumers that are made later, so the consumers are made
   * anew on the same channel, with other consumer tags: what was delivered stays valid, a stream goes on where it was, and a
   * single active consumer may lose its turn.
   */
  readonly setPrefetch: (prefetch: number) => Effect.Effect<void, AmqpChannelError>
}

const open = <Delivery>(
  queues: Queues,
  options: AnyOptions,
  decode: Decode<Delivery>
) =>
  Effect.gen(function*() {
    const session = sessionOf(yield* AmqpConnection.AmqpConnection)
    const resolved = yield* Validation.attempt(() => resolve(queues, options))
    return yield* subscribe(session, resolved, decode)
  })

const makeDelivery: Decode<AmqpDelivery.AmqpDelivery> = (content, channel, source) =>
  new Delivery(content, channel.acknowledgements, source)

const makeReceived: Decode<AmqpDelivery.ReceivedMessage> = (content, _channel, source) => new Received(content, source)

/** Opens a consumer whose deliveries are of the kind that the options ask for, as the signatures of `make` and `stream` say. */
const openAny = (queues: Queues, options: AnyOptions) =>
  options.autoAck === true
    // Of such a consumer's deliveries nothing is used but what the narrower type has.
    ? open(queues, options, makeReceived as typeof makeDelivery)
    : open(queues, options, makeDelivery)

const streamOf = (subscription: Subscription<AmqpDelivery.AmqpDelivery>) =>
  Stream.fromPull(Effect.succeed(subscription.takeAll))

/**
 * Starts a consumer, for as long as the scope lives; see {@link stream} for its errors.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  (queues: Queues, options?: Options & { readonly autoAck?: false | undefined }): Effect.Effect<
    AcknowledgingConsumer,
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
  options: AnyOptions = {}
): Effect.Effect<
  AcknowledgingConsumer,
  AmqpChannelError,
  AmqpConnection.AmqpConnection | Scope.Scope
> =>
  Effect.map(openAny(queues, options), (subscription) => ({
    queues: subscription.queues,
    stream: streamOf(subscription),
    setPrefetch: subscription.setPrefetch,
    cancel: subscription.cancel(false)
  }))

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
  (queues: Queues, options?: Options & { readonly autoAck?: false | undefined }): Stream.Stream<
    AmqpDelivery.AmqpDelivery,
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
  options: AnyOptions = {}
): Stream.Stream<
  AmqpDelivery.AmqpDelivery,
  AmqpChannelError | AmqpConsumerCancelled,
  AmqpConnection.AmqpConnection
> => Stream.unwrap(Effect.map(openAny(queues, options), streamOf))

// -----------------------------------------------------------------------------
// serving
// -----------------------------------------------------------------------------

/**
 * Says what is to become of a message whose handler failed, died or was interrupted; `AmqpFailure` has some of these.
 *
 * @category models
 * @since 0.1.0
 */
export interface OnFailure<in E, out R = never> {
  (
    cause: Cause.Cause<E>,
    delivery: AmqpDelivery.ReceivedMessage
  ): Effect.Effect<AmqpDelivery.Settlement, never, R>
}

/**
 * How {@link serve} serves.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServeOptions<in E, out R = never> extends Options {
  /** How many messages are handled at once, from 1, or as many as the prefetch. With 1 they are handled in their order. Default: 1. */
  readonly concurrency?: number | "unbounded" | undefined
  /**
   * What becomes of a message whose handler fails, dies or is interrupted; `AmqpFailure` can try again after a delay, and forward.
   * Default: it is logged, and goes back into the queue the first time; when it fails again it is dead-lettered, so that a
   * message nobody can handle does not go round for ever. A policy that dies itself is logged and leaves it to the default.
   */
  readonly onFailure?: OnFailure<E, R> | undefined
  /** How long the handlers that run may go on when the consumer stops; after that they are interrupted. Default: 10 seconds. */
  readonly drainTimeout?: Duration.Input | undefined
}

/**
 * What a handler of {@link serve} returns: a settlement. `Hint` is what the compiler says when it returns something else.
 *
 * @category models
 * @since 0.1.0
 */
export interface HandlerSettlement<_Hint extends string> extends AmqpDelivery.Settlement {}

/**
 * Handles a message, and says what is to become of it by what it returns.
 *
 * @category models
 * @since 0.1.0
 */
export interface Handler<out E, out R> {
  (
    delivery: AmqpDelivery.ReceivedMessage
  ): Effect.Effect<HandlerSettlement<"A handler returns AmqpDelivery.ack, reject or requeue">, E, R>
}

const logAndRetryOnce = (
  cause: Cause.Cause<unknown>,
  { exchange, redelivered, routingKey }: AmqpDelivery.ReceivedMessage
): Effect.Effect<AmqpDelivery.Settlement> =>
  Effect.logError(`A message was not handled and is ${redelivered ? "rejected" : "requeued"}`, cause).pipe(
    Effect.annotateLogs({ exchange, routingKey }),
    Effect.as(redelivered ? AmqpDelivery.reject : AmqpDelivery.requeue)
  )

/**
 * Handles the messages of one queue or several until the fiber is interrupted or the consumer fails; see {@link stream} for the
 * errors.
 *
 * **Details**
 *
 * The handler decides by what it returns: `AmqpDelivery.ack`, `reject` or `requeue`. Forgetting to does not compile. Its
 * failure does not end the consumer, see `onFailure`.
 *
 * With a prefetch of 1 a message goes to the worker that is free (fair dispatch).
 *
 * When the fiber is interrupted or the consumer fails, it stops in order: the broker is told to deliver no more, the handlers
 * that run may finish within `drainTimeout`, what they decide is sent, and messages that no handler had begun with go back.
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
 *   { prefetch: 20, concurrency: 10 }
 * )
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const serve = <E, R, R2 = never>(
  queues: Queues,
  handler: Handler<E, R>,
  options: ServeOptions<E, R2> = {}
): Effect.Effect<never, AmqpChannelError | AmqpConsumerCancelled, AmqpConnection.AmqpConnection | R | R2> =>
  serveAs(Instruments.process, queues, handler, options)

/**
 * What {@link serve} does, under the name that telemetry has for it.
 *
 * @internal
 */
export const serveAs = <E, R, R2>(
  operation: Instruments.Operation,
  queues: Queues,
  handler: Handler<E, R>,
  options: ServeOptions<E, R2>
): Effect.Effect<never, AmqpChannelError | AmqpConsumerCancelled, AmqpConnection.AmqpConnection | R | R2> =>
  Effect.scoped(
    // The loop ends by itself with an error only.
    Effect.flatMap(startServingAs(operation, queues, handler, options), (ended) => Effect.andThen(ended, Effect.never))
  )

/**
 * Starts to serve, for as long as the scope lives: succeeds when the broker has accepted the consumers, and fails as {@link stream}
 * does when it refuses them. What it yields waits for the end: it fails with what ends the consumer, and succeeds when the
 * scope has closed.
 *
 * **Details**
 *
 * See {@link serve} for what is served, and for the order in which it stops when the scope closes.
 *
 * **Gotchas**
 *
 * A consumer that fails later is silent to those who do not wait for its end.
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
export const startServing = <E, R, R2 = never>(
  queues: Queues,
  handler: Handler<E, R>,
  options: ServeOptions<E, R2> = {}
): Effect.Effect<
  Effect.Effect<void, AmqpChannelError | AmqpConsumerCancelled>,
  AmqpChannelError,
  AmqpConnection.AmqpConnection | Scope.Scope | R | R2
> => startServingAs(Instruments.process, queues, handler, options)

const startServingAs = <E, R, R2>(
  operation: Instruments.Operation,
  queues: Queues,
  handler: Handler<E, R>,
  options: ServeOptions<E, R2>
): Effect.Effect<
  Effect.Effect<void, AmqpChannelError | AmqpConsumerCancelled>,
  AmqpChannelError,
  AmqpConnection.AmqpConnection | Scope.Scope | R | R2
> => {
  const { concurrency = 1, drainTimeout = "10 seconds", onFailure = logAndRetryOnce } = options
  type Handled = Effect.Effect<AmqpDelivery.Settlement, E, R>
  const settle = (delivery: AmqpDelivery.AmqpDelivery, handled: Handled): Effect.Effect<unknown, never, R | R2> =>
    handled.pipe(
      Effect.matchCauseEffect({
        onSuccess: Effect.succeed,
        onFailure: (cause) =>
          // A policy that fails itself must not keep the message.
          Effect.catchCause(
            Effect.suspend(() => onFailure(cause, delivery)),
            (cause) => logAndRetryOnce(cause, delivery)
          )
      }),
      Effect.flatMap(({ _tag }) => _tag === "Ack" ? delivery.ack : delivery.reject({ requeue: _tag === "Requeue" }))
    )
  return Effect.gen(function*() {
    const permits = yield* Effect.map(Validation.attempt(() => concurrencyLimit(concurrency)), Semaphore.makeUnsafe)
    const subscription = yield* open(queues, options, makeDelivery)
    const session = sessionOf(yield* AmqpConnection.AmqpConnection)
    const telemetry = yield* AmqpTelemetry.Telemetry
    const instruments = yield* Validation.attempt(() => Instruments.make(telemetry, session.options))
    const queue = subscription.queues.length === 1 ? subscription.queues[0] : undefined
    const handle = (delivery: AmqpDelivery.AmqpDelivery) => {
      const handled = Effect.suspend(() => handler(delivery))
      return instruments === undefined
        ? settle(delivery, handled)
        : instruments.handle(operation, delivery, queue, handled, (handled) => settle(delivery, handled))
    }
    const handlers = yield* FiberSet.make()
    const serving = { isStopping: false }
    const handleInFiber = (delivery: AmqpDelivery.AmqpDelivery) =>
      Effect.andThen(
        permits.take(1),
        Effect.suspend(() =>
          serving.isStopping
            ? Effect.void
            : FiberSet.run(handlers, Effect.ensuring(handle(delivery), permits.release(1)))
        )
      )
    const start = concurrency === 1 ? handle : handleInFiber
    const loop = Effect.gen(function*() {
      while (!serving.isStopping) {
        for (const delivery of yield* subscription.takeAll) {
          // What is left goes back when the channel is closed.
          if (serving.isStopping) break
          yield* start(delivery)
        }
      }
    })
    // Neither the loop nor the handlers are interrupted with this fiber: they are stopped in order.
    const looping = yield* FiberSet.run(handlers, Effect.exit(Pull.catchDone(loop, () => Effect.void)))
    yield* Effect.addFinalizer(() => {
      serving.isStopping = true
      return Effect.andThen(subscription.cancel(true), FiberSet.awaitEmpty(handlers)).pipe(
        Effect.interruptible,
        Effect.timeoutOption(drainTimeout)
      )
    })
    // What is interrupted is the loop only, when it did not stop in time.
    return Effect.flatMap(Fiber.await(looping), (exit) => exit._tag === "Success" ? exit.value : Effect.void)
  })
}

/**
 * How {@link layerServe} serves.
 *
 * @category models
 * @since 0.1.0
 */
export interface LayerServeOptions<in E, out R = never, out R2 = never> extends ServeOptions<E, R> {
  /**
   * What is done when the consumer fails after it has started: a layer that is built can't fail any more. Default: it is logged, at
   * the level `Fatal`, and nothing is consumed from then on.
   */
  readonly onEnd?:
    | ((error: AmqpChannelError | AmqpConsumerCancelled) => Effect.Effect<unknown, never, R2>)
    | undefined
}

/**
 * Serves as a Layer: it is built when the broker has accepted the consumers, and fails when it refuses them. When its scope closes
 * it stops in order; see {@link serve}.
 *
 * **When to use**
 *
 * Use for a worker beside others in one program, so that what is built on top finds it consuming. To have the program end when
 * the consumer does, run {@link serve} or {@link startServing} instead.
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
export const layerServe = <E, R, R2 = never, R3 = never>(
  queues: Queues,
  handler: Handler<E, R>,
  options: LayerServeOptions<E, R2, R3> = {}
): Layer.Layer<
  never,
  AmqpChannelError,
  AmqpConnection.AmqpConnection | Exclude<R | R2 | R3, Scope.Scope>
> => {
  const { onEnd = logEnd } = options
  return Layer.effectDiscard(
    Effect.flatMap(
      startServing(queues, handler, options),
      (ended) => Effect.forkScoped(Effect.catch(ended, (error) => onEnd(error)))
    )
  )
}

const logEnd = (error: AmqpChannelError | AmqpConsumerCancelled): Effect.Effect<void> =>
  Effect.logFatal("A consumer has ended", error)

const concurrencyLimit = (concurrency: number | "unbounded"): number =>
  concurrency === "unbounded" ? Infinity : Validation.wholeNumber("concurrency", concurrency, 1)
