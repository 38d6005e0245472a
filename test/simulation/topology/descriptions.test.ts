import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

/** The same properties without the brand, as a program may write them by hand. */
const unbranded = (value: object): object =>
  Object.fromEntries(Object.entries(value).filter(([key]) => !key.startsWith("~")))

const queue = unbranded(AmqpQueue.classic("orders")) as AmqpQueue.AmqpQueue<"classic">
const exchange = unbranded(AmqpExchange.direct("events")) as AmqpExchange.AmqpExchange
const topology = unbranded(AmqpTopology.make(AmqpQueue.classic("orders"))) as AmqpTopology.AmqpTopology

const { run } = AmqpChannel
const message = AmqpMessage.text("hello")
const handler = () => Effect.succeed(AmqpDelivery.ack)
const binding = { exchange: "amq.direct" }
const source = { source: "amq.direct" }

const noQueue = "must be a name or a description made by AmqpQueue.classic, quorum, stream or serverNamed"
const noExchange = "must be a name or a description made by AmqpExchange.direct, fanout, topic, headers or make"
const noTopology = "topology: must be made by AmqpTopology.make"

describe("what only looks like a description is refused with nothing sent:", () => {
  const refused = {
    "AmqpQueue.declare": [run(AmqpQueue.declare(queue)), noQueue],
    "AmqpQueue.declarePassive": [run(AmqpQueue.declarePassive(queue)), noQueue],
    "AmqpQueue.bind": [run(AmqpQueue.bind(queue, binding)), noQueue],
    "AmqpQueue.bind, to an exchange": [run(AmqpQueue.bind("orders", { exchange })), noExchange],
    "AmqpQueue.unbind": [run(AmqpQueue.unbind(queue, binding)), noQueue],
    "AmqpQueue.purge": [run(AmqpQueue.purge(queue)), noQueue],
    "AmqpQueue.delete": [run(AmqpQueue.delete(queue)), noQueue],
    "AmqpQueue.get": [run(AmqpQueue.get(queue, handler)), noQueue],
    "AmqpQueue.getAll": [run(AmqpQueue.getAll(queue, handler)), noQueue],
    "AmqpQueue.getAutoAck": [run(AmqpQueue.getAutoAck(queue)), noQueue],
    "AmqpQueue.move, from it": [AmqpQueue.move(queue, "other"), noQueue],
    "AmqpQueue.move, to it": [
      AmqpQueue.move("other", queue),
      "to: must be a name, a description made by AmqpQueue.classic, quorum, stream or serverNamed, or an exchange"
    ],
    "AmqpQueue.move, to an exchange": [AmqpQueue.move("other", { exchange, routingKey: "a" }), noExchange],
    "AmqpExchange.declare": [run(AmqpExchange.declare(exchange)), noExchange],
    "AmqpExchange.declarePassive": [run(AmqpExchange.declarePassive(exchange)), noExchange],
    "AmqpExchange.bind": [run(AmqpExchange.bind(exchange, source)), noExchange],
    "AmqpExchange.bind, to an exchange": [run(AmqpExchange.bind("events", { source: exchange })), noExchange],
    "AmqpExchange.unbind": [run(AmqpExchange.unbind(exchange, source)), noExchange],
    "AmqpExchange.delete": [run(AmqpExchange.delete(exchange)), noExchange],
    "AmqpTopology.declare": [run(AmqpTopology.declare(topology)), noTopology],
    "AmqpTopology.delete": [run(AmqpTopology.delete(topology)), noTopology],
    "AmqpTopology.layer": [Effect.scoped(Layer.build(AmqpTopology.layer(topology))), noTopology],
    "AmqpConsumer.stream": [Stream.runDrain(AmqpConsumer.stream(queue)), noQueue],
    "AmqpConsumer.serve": [AmqpConsumer.serve([queue], handler), noQueue],
    "AmqpRpc.serve": [AmqpRpc.serve(queue, () => Effect.succeed(message)), noQueue],
    "AmqpChannel.publish": [run(AmqpChannel.publish(message, { exchange, routingKey: "a" })), noExchange],
    "a publisher": [
      Effect.flatMap(AmqpPublisher.make(), ({ publish }) => publish(message, { exchange, routingKey: "a" })),
      noExchange
    ],
    "a client of requests": [
      Effect.flatMap(AmqpRpc.makeClient(), ({ call }) => call(message, { exchange, routingKey: "a" })),
      noExchange
    ]
  } as const

  for (const [name, [operation, text]] of Object.entries(refused)) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const broker = yield* AmqpBroker.AmqpBroker
        yield* run(AmqpQueue.declare("other"))
        const exit = yield* Effect.exit<unknown, unknown, Effect.Services<typeof operation>>(operation)
        assert.isTrue(Exit.isFailure(exit))
        const printed = String(exit)
        assert.include(printed, "InvalidArgument")
        assert.include(printed, text)
        assert.deepStrictEqual((yield* broker.queues()).map(({ name }) => name), ["other"])
        assert.isEmpty(yield* broker.refusals)
      }).pipe(Effect.scoped, Effect.provide(AmqpBroker.layer())))
  }
})

describe("a copy by spread works as its original:", () => {
  it.effect("it is declared, published to, consumed and deleted", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.AmqpBroker
      const events = { ...AmqpExchange.topic("events"), durable: false }
      const orders = { ...AmqpQueue.withBinding(AmqpQueue.classic("orders"), { exchange: events }), name: "invoices" }
      const copy = { ...AmqpTopology.make(orders) }
      yield* run(AmqpTopology.declare(copy))
      assert.deepStrictEqual((yield* broker.queues()).map(({ name }) => name), ["invoices"])
      assert.deepStrictEqual((yield* broker.exchanges()).find(({ name }) => name === "events")?.durable, false)
      yield* AmqpChannel.confirmed(AmqpChannel.publish(message, { exchange: events, routingKey: "" }))
      const [delivery] = yield* Stream.runCollect(Stream.take(AmqpConsumer.stream(orders), 1))
      assert.strictEqual(delivery.text, "hello")
      yield* run(AmqpTopology.delete(copy))
      assert.isEmpty(yield* broker.queues())
    }).pipe(Effect.provide(AmqpBroker.layer())))
})
