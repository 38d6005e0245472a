/**
 * Consumers: messages of a queue, pushed by the broker.
 *
 * Each consumer owns a channel for as long as it runs. {@link stream} gives deliveries, which are settled by the program;
 * {@link serve} calls a handler, which decides by what it returns. When the scope closes, the stream ends or the fiber is
 * interrupted, the consumer is cancelled and its channel closed, and the broker gives what was not settled to others.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as AmqpConnection from "./AmqpConnection.ts"
import * as AmqpDelivery from "./AmqpDelivery.ts"
import { AmqpChannelError, InvalidArgument } from "./AmqpError.ts"
import type { AmqpConsumerCancelled } from "./AmqpError.ts"
import { subscribe } from "./internal/subscription.ts"

/**
 * How a consumer consumes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * How many messages the broker sends ahead of their settlement (RabbitMQ, "Consumer Prefetch"): 0 to 65535; 0 is no limit,
   * and then a slow consumer fills the memory. Default: 100.
   */
  readonly prefetch?: number | undefined
}

/**
 * The deliveries of a queue, in the chunks in which they arrive.
 *
 * **Details**
 *
 * Each run of the stream is a consumer of its own. Fails with an `AmqpConsumerCancelled` when the broker ends the consumer,
 * as it does when the queue is deleted, and with an `AmqpChannelError`: `NotFound` when there is no such queue,
 * `AccessRefused` when the user may not read it or someone else consumes it exclusively, `ConnectionLost` with the connection,
 * `InvalidArgument` for options out of their range.
 *
 * **Gotchas**
 *
 * With automatic acknowledgements (`autoAck: true`) the broker sends as fast as it can and forgets what it sent: messages that
 * have arrived and were not handled are lost with the program. Those deliveries have nothing to settle.
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
  (queue: string, options?: Options & { readonly autoAck?: false | undefined }): Stream.Stream<
    AmqpDelivery.AmqpDelivery,
    AmqpChannelError | AmqpConsumerCancelled,
    AmqpConnection.AmqpConnection
  >
  (queue: string, options: { readonly autoAck: true }): Stream.Stream<
    AmqpDelivery.AutoAckDelivery,
    AmqpChannelError | AmqpConsumerCancelled,
    AmqpConnection.AmqpConnection
  >
} = (
  queue: string,
  { autoAck = false, prefetch = 100 }: Options & { readonly autoAck?: boolean | undefined } = {}
): Stream.Stream<
  AmqpDelivery.AmqpDelivery,
  AmqpChannelError | AmqpConsumerCancelled,
  AmqpConnection.AmqpConnection
> =>
  Stream.unwrap(Effect.gen(function*() {
    const session = yield* AmqpConnection.session
    const subscription = yield* subscribe(session, { queue, prefetch, noAck: autoAck }, AmqpDelivery.make)
    // `takeAll` answers at least one delivery.
    const pull = subscription.takeAll as Effect.Effect<
      [AmqpDelivery.AmqpDelivery, ...Array<AmqpDelivery.AmqpDelivery>],
      AmqpChannelError | AmqpConsumerCancelled
    >
    return Stream.fromPull(Effect.succeed(pull))
  }))

/**
 * How {@link serve} serves.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServeOptions<E, R = never> extends Options {
  /** How many messages are handled at once, from 1. With 1 they are handled in their order. Default: 1. */
  readonly concurrency?: number | undefined
  /**
   * What becomes of a message whose handler fails, dies or is interrupted. Default: it is logged, and goes back into the queue
   * the first time; when it fails again it is dead-lettered, so that a message nobody can handle does not go round for ever.
   */
  readonly onFailure?:
    | ((cause: Cause.Cause<E>, delivery: AmqpDelivery.AmqpDelivery) => Effect.Effect<AmqpDelivery.Settlement, never, R>)
    | undefined
}

const logAndRetryOnce = (
  cause: Cause.Cause<unknown>,
  { redelivered }: AmqpDelivery.AmqpDelivery
): Effect.Effect<AmqpDelivery.Settlement> =>
  Effect.as(
    Effect.logError(`A message was not handled and is ${redelivered ? "dead-lettered" : "requeued"}`, cause),
    redelivered ? AmqpDelivery.reject : AmqpDelivery.requeue
  )

/**
 * Handles the messages of a queue until the fiber is interrupted or the consumer fails; see {@link stream} for the errors.
 *
 * **Details**
 *
 * The handler decides by what it returns: `AmqpDelivery.ack`, `reject` or `requeue`. Forgetting to does not compile. Its
 * failure does not end the consumer, see `onFailure`. When the fiber is interrupted, so are the handlers, and the broker gives
 * their messages to others.
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
  queue: string,
  handler: (delivery: AmqpDelivery.AmqpDelivery) => Effect.Effect<AmqpDelivery.Settlement, E, R>,
  options: ServeOptions<E, R2> = {}
): Effect.Effect<never, AmqpChannelError | AmqpConsumerCancelled, AmqpConnection.AmqpConnection | R | R2> => {
  const { concurrency = 1, onFailure = logAndRetryOnce, prefetch = 100 } = options
  if (!Number.isInteger(concurrency) || concurrency < 1) {
    const description = "concurrency: must be a whole number from 1"
    return Effect.fail(new AmqpChannelError({ reason: new InvalidArgument({ description }) }))
  }
  const handle = (delivery: AmqpDelivery.AmqpDelivery): Effect.Effect<void, never, R | R2> =>
    Effect.suspend(() => handler(delivery)).pipe(
      Effect.matchCauseEffect({
        onSuccess: Effect.succeed,
        onFailure: (cause) => onFailure(cause, delivery)
      }),
      Effect.flatMap((settlement) => AmqpDelivery.settle(delivery, settlement)),
      Effect.asVoid
    )
  const served = concurrency === 1
    ? Stream.runForEach(stream(queue, { prefetch }), handle)
    : Effect.scoped(Effect.gen(function*() {
      const scope = yield* Effect.scope
      const permits = yield* Semaphore.make(concurrency)
      const handleInFiber = (delivery: AmqpDelivery.AmqpDelivery) =>
        permits.take(1).pipe(
          Effect.andThen(
            Effect.forkIn(Effect.ensuring(handle(delivery), permits.release(1)), scope, { startImmediately: true })
          )
        )
      yield* Stream.runForEach(stream(queue, { prefetch }), handleInFiber)
    }))
  // A consumer ends with an error only.
  return Effect.andThen(served, Effect.never)
}
