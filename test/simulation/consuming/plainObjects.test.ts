import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import type * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { inspect } from "node:util"

// Values of the package are plain objects: they can be destructured, copied and printed, and their methods work alone.

const queue = "orders"

/** Runs a test with deliveries of messages with these bodies. */
const delivered = <A, E, R>(
  bodies: ReadonlyArray<string>,
  body: (deliveries: ReadonlyArray<AmqpDelivery.AmqpDelivery>) => Effect.Effect<A, E, R>
) =>
  Effect.gen(function*() {
    yield* AmqpChannel.confirmed(AmqpChannel.gen(function*() {
      yield* AmqpQueue.declare(queue)
      for (const text of bodies) {
        const message = AmqpMessage.text(text, { messageId: text, headers: { list: [1, { deep: true }] } })
        yield* AmqpChannel.publish(message, AmqpQueue.route(queue))
      }
    }))
    const { stream } = yield* AmqpConsumer.make(queue)
    return yield* Effect.flatMap(Stream.runCollect(Stream.take(stream, bodies.length)), body)
  }).pipe(Effect.scoped, Effect.provide(AmqpBroker.layer()))

const names = [
  "ack",
  "body",
  "consumerTag",
  "deliveryTag",
  "exchange",
  "nack",
  "properties",
  "queue",
  "redelivered",
  "reject",
  "routingKey",
  "text"
]

const copies: Readonly<Record<string, (delivery: AmqpDelivery.AmqpDelivery) => AmqpDelivery.AmqpDelivery>> = {
  spread: (delivery) => ({ ...delivery }),
  "Object.assign": (delivery) => Object.assign({}, delivery),
  rest: ({ text, ...rest }) => ({ text, ...rest }),
  destructuring: (
    { ack, body, consumerTag, deliveryTag, exchange, nack, properties, queue, redelivered, reject, routingKey, text }
  ) => ({
    ack,
    body,
    consumerTag,
    deliveryTag,
    exchange,
    nack,
    properties,
    queue,
    redelivered,
    reject,
    routingKey,
    text
  })
}

describe("a delivery", () => {
  for (const [how, copy] of Object.entries(copies)) {
    it.effect(`copied by ${how} has all members of its interface, and the copy settles it`, () =>
      delivered(["a", "b", "c"], ([a, b, c]) =>
        Effect.gen(function*() {
          const copied = copy(a)
          for (const name of names) {
            assert.deepStrictEqual(Reflect.get(copied, name), Reflect.get(a, name), name)
          }
          assert.strictEqual(copied.properties.messageId, "a")
          assert.isTrue(yield* copied.ack)
          assert.isFalse(yield* a.ack)
          const { nack } = copy(b)
          assert.isTrue(yield* nack({ requeue: false }))
          assert.isTrue(yield* [c].map(copy).map(({ reject }) => reject)[0]())
        })))
  }

  it.effect("has the members of its interface as keys, and no others", () =>
    delivered(["a"], ([delivery]) =>
      Effect.sync(() => {
        assert.deepStrictEqual(Object.keys(delivery).toSorted(), names)
        assert.deepStrictEqual(Reflect.ownKeys(delivery).map(String).toSorted(), names)
        assert.deepStrictEqual(Object.keys(Object.fromEntries(Object.entries(delivery))).toSorted(), names)
      })))

  it.effect("prints as a message, and so does a copy without ack, nack and reject", () =>
    delivered(["hello"], ([delivery]) =>
      Effect.sync(() => {
        for (const text of [inspect(delivery), String(delivery), JSON.stringify(delivery)]) {
          assert.include(text, "hello")
        }
        const { ack, nack, reject, ...message } = delivery
        assert.isTrue(Effect.isEffect(ack) && typeof nack === "function" && typeof reject === "function")
        assert.include(JSON.stringify(message), `"text":"hello"`)
        assert.strictEqual(structuredClone(message).text, "hello")
        // A clone could not settle anything, so the platform refuses to make one.
        assert.throws(() => structuredClone(delivery), /could not be cloned/)
      })))

  it.effect("has frozen properties, so a handler can't change those of another delivery", () =>
    delivered(["a", "a"], ([one, other]) =>
      Effect.sync(() => {
        const list = one.properties.headers?.["list"]
        assert.throws(() => Object.assign(one.properties, { messageId: "changed" }), TypeError)
        assert.throws(() => Object.assign(one.properties.headers ?? {}, { list: "changed" }), TypeError)
        assert.throws(() => Array.isArray(list) && list.push("changed"), TypeError)
        assert.strictEqual(other.properties.messageId, "a")
        assert.deepStrictEqual(other.properties.headers, { list: [1, { deep: true }] })
        // A copy can be changed.
        assert.strictEqual({ ...one.properties, messageId: "b" }.messageId, "b")
      })))
})

describe("deliveries with the same properties", () => {
  it.effect("have them even if those of the first were read before the second arrived", () =>
    Effect.gen(function*() {
      yield* AmqpChannel.run(AmqpQueue.declare(queue))
      const publisher = yield* AmqpPublisher.make()
      const { stream } = yield* AmqpConsumer.make(queue)
      for (const text of ["1", "2", "3"]) {
        yield* publisher.publish(AmqpMessage.text(text, { messageId: "same" }), AmqpQueue.route(queue))
        const [delivery] = yield* Stream.runCollect(Stream.take(stream, 1))
        assert.strictEqual(delivery.text, text)
        assert.strictEqual(delivery.properties.messageId, "same")
        assert.include(delivery.properties.contentType, "text/plain")
      }
    }).pipe(Effect.scoped, Effect.provide(AmqpBroker.layer())))
})

describe("a copy", () => {
  const connected = <A, E>(body: Effect.Effect<A, E, AmqpConnection.AmqpConnection | AmqpBroker.AmqpBroker>) =>
    Effect.provide(body, AmqpBroker.layer())

  it.effect("of a connection works like the original, and its members work alone", () =>
    connected(Effect.gen(function*() {
      const connection = yield* AmqpConnection.AmqpConnection
      const { channelCount, state, stateChanges } = connection
      yield* Effect.provideService(
        AmqpChannel.run(AmqpQueue.declare(queue)),
        AmqpConnection.AmqpConnection,
        { ...connection, name: "a copy" }
      )
      assert.strictEqual(yield* channelCount, 1)
      assert.strictEqual((yield* state)._tag, "Open")
      const [first] = yield* Stream.runCollect(Stream.take(stateChanges, 1))
      assert.strictEqual(first._tag, "Open")
    })))

  it.effect("of a publisher, a consumer or an RPC client works like the original, and its methods work alone", () =>
    connected(
      Effect.scoped(Effect.gen(function*() {
        const requests = AmqpQueue.classic("requests", { durable: false })
        const route = AmqpQueue.route(queue)
        yield* AmqpChannel.run(AmqpQueue.declare(queue))
        const { publish, publishAll } = { ...yield* AmqpPublisher.make() }
        yield* publish(AmqpMessage.text("a"), route)
        yield* publishAll([AmqpMessage.text("b")], route)
        const { cancel, queues, setPrefetch, stream } = { ...yield* AmqpConsumer.make(queue) }
        assert.deepStrictEqual(yield* queues, [queue])
        const texts = yield* Stream.runCollect(Stream.map(Stream.take(stream, 2), ({ text }) => text))
        assert.deepStrictEqual(texts, ["a", "b"])
        yield* setPrefetch(3)
        yield* cancel
        yield* Effect.forkScoped(
          AmqpRpc.serve(requests, ({ text }) => Effect.succeed(AmqpMessage.text(`${text}!`))),
          { startImmediately: true }
        )
        const { call } = { ...yield* AmqpRpc.makeClient() }
        assert.strictEqual((yield* call(AmqpMessage.text("a"), AmqpQueue.route(requests))).text, "a!")
      }))
    ))

  it.effect("of a message, or of its properties, can be published", () =>
    connected(Effect.gen(function*() {
      const message = AmqpMessage.text("hello", { messageId: "1" })
      const { body, properties } = message
      yield* AmqpChannel.confirmed(AmqpChannel.gen(function*() {
        yield* AmqpQueue.declare(queue)
        yield* AmqpChannel.publish({ ...message }, AmqpQueue.route(queue))
        yield* AmqpChannel.publish({ body, properties: { ...properties, messageId: "2" } }, AmqpQueue.route(queue))
      }))
      const broker = yield* AmqpBroker.AmqpBroker
      const messages = yield* broker.messages(queue)
      assert.deepStrictEqual(messages.map(({ properties, text }) => [properties.messageId, text]), [
        ["1", "hello"],
        ["2", "hello"]
      ])
    })))

  it.effect("of a description is a description, and has pipe", () =>
    connected(Effect.gen(function*() {
      const events = { ...AmqpExchange.topic("events") }
      const others = { ...AmqpExchange.fanout("others") }.pipe(AmqpExchange.withBinding({ source: events }))
      const orders = { ...AmqpQueue.classic("orders"), autoDelete: true }.pipe(
        AmqpQueue.withBinding({ exchange: others })
      )
      const copied = { ...orders }
      yield* AmqpChannel.run(AmqpQueue.declare(copied))
      yield* AmqpChannel.confirmed(
        AmqpChannel.publish(AmqpMessage.text("hello"), { exchange: events, routingKey: "" })
      )
      const broker = yield* AmqpBroker.AmqpBroker
      assert.include((yield* broker.queues()).find(({ name }) => name === "orders"), { autoDelete: true })
      assert.notInclude(JSON.stringify(orders), "pipe")
    })))

  it.effect("of a program is refused by its runner, which frees the channel", () =>
    connected(Effect.gen(function*() {
      const { channelCount } = yield* AmqpConnection.AmqpConnection
      const exit = yield* Effect.exit(AmqpChannel.run(Object.assign({}, AmqpQueue.declare(queue))))
      assert.include(String(exit), "neither a channel program nor an Effect")
      yield* AmqpChannel.run(AmqpQueue.declare(queue))
      assert.strictEqual(yield* channelCount, 1)
    })))
})
