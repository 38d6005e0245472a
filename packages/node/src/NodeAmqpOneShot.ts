/**
 * One-shot operations for scripts: each connects to the broker of a URL, performs one operation and closes the
 * connection.
 *
 * **Gotchas**
 *
 * Connecting takes about six round trips. A program that does more than one operation should make one connection with
 * `NodeAmqp.layer` and use it for all of them.
 *
 * @since 0.1.0
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import type { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import type * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpError from "@effect-amqp/core/AmqpError"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import type * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import type * as AmqpUri from "@effect-amqp/core/AmqpUri"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as NodeAmqp from "./NodeAmqp.ts"

/**
 * A broker: its URL, or options with its URL.
 *
 * @category models
 * @since 0.1.0
 */
export type Broker = NodeAmqp.Options | NodeAmqp.Options["url"]

/**
 * Why no connection could be made.
 *
 * @category models
 * @since 0.1.0
 */
export type ConnectError = AmqpUri.AmqpUriError | AmqpError.AmqpConnectionError

/** One operation on one connection: when that is lost, the operation fails, unless the caller asks for recovery. */
const toOptions = (broker: Broker): NodeAmqp.Options => {
  const options = typeof broker === "object" && "url" in broker ? broker : { url: broker }
  return { ...options, recovery: options.recovery ?? false }
}

const connected = (broker: Broker) =>
<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<
  A,
  E | ConnectError,
  Exclude<R, AmqpConnection>
> => Effect.provide(effect, NodeAmqp.layer(toOptions(broker)))

/** Refuses an empty name before a connection is made. */
const named = <A, E, R>(
  what: string,
  { length }: string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | AmqpError.AmqpChannelError, R> =>
  length > 0 ? effect : Effect.fail(
    new AmqpError.AmqpChannelError({
      reason: new AmqpError.InvalidArgument({ description: `${what}: must not be empty` })
    })
  )

/**
 * Runs a channel program; see `AmqpChannel.run`.
 *
 * **Example** (How many messages are ready)
 *
 * ```ts
 * import { AmqpQueue } from "@effect-amqp/core"
 * import { NodeAmqpOneShot } from "@effect-amqp/node"
 * import * as Effect from "effect/Effect"
 *
 * const waiting = NodeAmqpOneShot.run("amqp://localhost", AmqpQueue.declarePassive("orders")).pipe(
 *   Effect.map(({ messageCount }) => messageCount)
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const run = <A, E, R>(
  broker: Broker,
  program: AmqpChannel.AmqpChannel<A, E, R>
): Effect.Effect<A, E | AmqpError.AmqpChannelError | ConnectError, Exclude<R, AmqpConnection>> =>
  connected(broker)(AmqpChannel.run(program))

// A script has no other way to notice that no queue took its message.
const publisher = AmqpPublisher.make({ defaults: { mandatory: true } })

/**
 * Publishes a message and waits for the broker's confirm; see `AmqpPublisher`. By default the message is mandatory: it
 * fails with `Returned` if no queue takes it.
 *
 * @category operations
 * @since 0.1.0
 */
export const publish = (
  broker: Broker,
  message: AmqpMessage.AmqpMessage,
  options: AmqpChannel.PublishOptions
): Effect.Effect<void, AmqpError.AmqpPublishError | AmqpError.AmqpChannelError | ConnectError> =>
  connected(broker)(
    Effect.scoped(Effect.flatMap(publisher, ({ publish }) => publish(message, options)))
  )

/**
 * Publishes messages and waits until the broker has confirmed all of them; see `AmqpPublisher`. By default they are
 * mandatory.
 *
 * @category operations
 * @since 0.1.0
 */
export const publishAll = (
  broker: Broker,
  messages: Iterable<AmqpMessage.AmqpMessage>,
  options: AmqpChannel.PublishOptions
): Effect.Effect<void, AmqpError.AmqpPublishAllError | AmqpError.AmqpChannelError | ConnectError> =>
  connected(broker)(
    Effect.scoped(Effect.flatMap(publisher, ({ publishAll }) => publishAll(messages, options)))
  )

/**
 * Takes a message out of a queue, if it has one. The broker deletes it as it sends it; see `AmqpQueue.getAutoAck`.
 *
 * @category operations
 * @since 0.1.0
 */
export const get = (
  broker: Broker,
  queue: string
): Effect.Effect<Option.Option<AmqpDelivery.ReceivedMessage>, AmqpError.AmqpChannelError | ConnectError> =>
  named("queue", queue, run(broker, AmqpQueue.getAutoAck(queue)))

/**
 * The deliveries of one or several queues, while the stream runs; see `AmqpConsumer.stream`.
 *
 * **Example** (Printing what is published)
 *
 * ```ts
 * import { AmqpExchange, AmqpQueue } from "@effect-amqp/core"
 * import { NodeAmqpOneShot } from "@effect-amqp/node"
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 *
 * const logs = AmqpQueue.serverNamed().pipe(AmqpQueue.withBinding({ exchange: AmqpExchange.fanout("logs") }))
 *
 * const program = NodeAmqpOneShot.consume("amqp://localhost", logs).pipe(
 *   Stream.runForEach((delivery) => Effect.andThen(Effect.log(delivery.text), delivery.ack))
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const consume = <const Q extends AmqpConsumer.Queues>(
  broker: Broker,
  queues: Q,
  options?: AmqpConsumer.Options & AmqpConsumer.QueueRestrictions<Q>
): Stream.Stream<
  AmqpConsumer.DeliveryOf<Q>,
  AmqpError.AmqpChannelError | AmqpError.AmqpConsumerCancelled | ConnectError
> => Stream.provide(AmqpConsumer.stream(queues, options), NodeAmqp.layer(toOptions(broker)))

/**
 * Declares exchanges and queues, with their bindings and everything that they refer to; see `AmqpTopology.declare`.
 * Yields what the broker reports about the queues.
 *
 * **Example** (An exchange of each type)
 *
 * ```ts
 * import { AmqpExchange } from "@effect-amqp/core"
 * import { NodeAmqpOneShot } from "@effect-amqp/node"
 *
 * const program = NodeAmqpOneShot.declare(
 *   "amqp://localhost",
 *   AmqpExchange.direct("orders"),
 *   AmqpExchange.fanout("news"),
 *   AmqpExchange.topic("events"),
 *   AmqpExchange.headers("documents")
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const declare = (
  broker: Broker,
  ...descriptions: ReadonlyArray<AmqpExchange.AmqpExchange | AmqpQueue.AmqpQueue>
): Effect.Effect<ReadonlyArray<AmqpQueue.QueueInfo>, AmqpError.AmqpChannelError | ConnectError> =>
  Effect.suspend(() => run(broker, AmqpTopology.declare(AmqpTopology.make(...descriptions))))

/**
 * Deletes a queue with its messages, and yields their number; see `AmqpQueue.delete`.
 *
 * @category operations
 * @since 0.1.0
 */
export const deleteQueue = (
  broker: Broker,
  queue: string,
  options?: { readonly ifUnused?: boolean | undefined; readonly ifEmpty?: boolean | undefined }
): Effect.Effect<number, AmqpError.AmqpChannelError | ConnectError> =>
  named("queue", queue, run(broker, AmqpQueue.delete(queue, options)))

/**
 * Deletes an exchange with its bindings; see `AmqpExchange.delete`.
 *
 * @category operations
 * @since 0.1.0
 */
export const deleteExchange = (
  broker: Broker,
  exchange: string,
  options?: { readonly ifUnused?: boolean | undefined }
): Effect.Effect<void, AmqpError.AmqpChannelError | ConnectError> =>
  named("exchange", exchange, run(broker, AmqpExchange.delete(exchange, options)))
