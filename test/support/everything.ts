/**
 * All that a program can hold: one value of each kind, while everything is in use.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as AmqpTelemetry from "@effect-amqp/core/AmqpTelemetry"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import { Acknowledgements } from "@effect-amqp/core/internal/channel/acknowledgements"
import { Channel } from "@effect-amqp/core/internal/channel/channel"
import { Channels } from "@effect-amqp/core/internal/channel/channels"
import { ConfirmLedger } from "@effect-amqp/core/internal/channel/confirmLedger"
import { RequestQueue } from "@effect-amqp/core/internal/channel/requestQueue"
import { Session } from "@effect-amqp/core/internal/connection/session"
import { Subscription } from "@effect-amqp/core/internal/consuming/subscription"
import { PublishQueue } from "@effect-amqp/core/internal/publishing/publishQueue"
import { Mailbox } from "@effect-amqp/core/internal/wire/mailbox"
import { Outbound } from "@effect-amqp/core/internal/wire/outbound"
import { ByteWriter } from "@effect-amqp/core/protocol/ByteWriter"
import { ServerChannel } from "@effect-amqp/core/testing/internal/channel/channel"
import { MemoryLink } from "@effect-amqp/core/testing/internal/network/memoryLink"
import { Broker } from "@effect-amqp/core/testing/internal/server/broker"
import { ServerConnection } from "@effect-amqp/core/testing/internal/server/connection"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Stream from "effect/Stream"

/** Classes of which a program must never reach an instance: it could use a channel or a socket of another program. */
export const internals: ReadonlyArray<abstract new(...args: ReadonlyArray<never>) => object> = [
  Acknowledgements,
  Broker,
  ByteWriter,
  Channel,
  Channels,
  ConfirmLedger,
  Mailbox,
  MemoryLink,
  Outbound,
  PublishQueue,
  RequestQueue,
  ServerChannel,
  ServerConnection,
  Session,
  Subscription
]

/** Uses a queue of this name in every way, and returns what a program holds meanwhile. */
export const everything = Effect.fnUntraced(function*(name: string) {
  const fork = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkScoped(self, { startImmediately: true })
  const connection = yield* AmqpConnection.AmqpConnection
  const queue = AmqpQueue.classic(name, { durable: false, autoDelete: true })
  const route = AmqpQueue.route(queue)
  const declare = AmqpQueue.declare(queue)
  const info = yield* AmqpChannel.run(declare)

  // Publishers, with and without telemetry.
  const publisher = yield* AmqpPublisher.make()
  const observed = yield* Effect.provide(AmqpPublisher.make(), AmqpTelemetry.layer())
  const message = AmqpMessage.text("hello", { headers: { shared: { with: "others" } } })
  yield* publisher.publishAll([message, message, message], route)
  yield* observed.publish(message, route)

  // Consumers: with a handle, as a stream, with a handler.
  const consumer = yield* AmqpConsumer.make(queue, { prefetch: 2 })
  const [delivery] = yield* Stream.runCollect(Stream.take(consumer.stream, 1))
  const consuming = yield* fork(Stream.runDrain(consumer.stream))
  const stream = AmqpConsumer.stream(queue)
  const ended = yield* AmqpConsumer.startServing(name, () => Effect.succeed(AmqpDelivery.ack))
  const handled = yield* Deferred.make<AmqpDelivery.ReceivedMessage>()
  const serving = yield* fork(
    AmqpConsumer.serve(
      AmqpQueue.serverNamed(),
      (message) => Effect.as(Deferred.succeed(handled, message), AmqpDelivery.ack)
    )
  )

  // An RPC call that waits for its reply.
  const client = yield* AmqpRpc.makeClient()
  const calling = yield* fork(client.call(message, route))

  // Running programs, and what their steps can see.
  const seen = yield* Deferred.make<unknown>()
  const program = AmqpChannel.gen(function*() {
    yield* AmqpChannel.publish(message, route)
    const context = yield* Effect.context<never>()
    const fiber = yield* Effect.withFiber((fiber) => Effect.succeed(fiber))
    yield* Deferred.succeed(seen, { context, fiber })
    return yield* Effect.never
  })
  const runners = [AmqpChannel.run, AmqpChannel.confirmed, AmqpChannel.transaction] as const
  const [running, confirming, transacting] = yield* Effect.all(runners.map((run) => fork(run(program))))

  // Failures.
  const missing = yield* Effect.exit(AmqpChannel.run(AmqpQueue.declarePassive(`${name}.missing`)))
  const unroutable = { exchange: "", routingKey: `${name}.missing`, mandatory: true }
  const returned = yield* Effect.exit(publisher.publish(message, unroutable))
  const batch = yield* Effect.exit(publisher.publishAll([message, message], unroutable))
  const invalid = yield* Effect.exit(AmqpChannel.run(AmqpQueue.declare("ä".repeat(200))))

  const state = yield* connection.state
  const states = yield* fork(Stream.runDrain(connection.stateChanges))
  const closed = yield* fork(connection.awaitClosed)
  const metrics = yield* Metric.snapshot
  const registry = yield* Metric.MetricRegistry
  const context = yield* Effect.context<never>()
  const scope = yield* Effect.scope
  const fiber = yield* Effect.withFiber((fiber) => Effect.succeed(fiber))
  return {
    connection,
    connectionLayer: AmqpConnection.layer(),
    state,
    states,
    closed,
    queue,
    exchange: AmqpExchange.topic(name),
    topology: AmqpTopology.make(queue),
    info,
    route,
    message,
    declare,
    program,
    running,
    confirming,
    transacting,
    seen: yield* Deferred.await(seen),
    publisher,
    publisherLayer: AmqpPublisher.layer(),
    observed,
    consumer,
    consuming,
    stream,
    delivery,
    serving,
    ended,
    client,
    clientLayer: AmqpRpc.layerClient(),
    calling,
    missing,
    returned,
    batch,
    invalid,
    metrics,
    registry,
    context,
    scope,
    fiber
  }
})
