import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { rest } from "../../support/scriptedPeer.ts"
import { connectionOf, declared, publish, textsOf, withBroker } from "./support.ts"

describe("the inspection of a broker", () => {
  it.effect("shows queues, exchanges and bindings", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        const source = AmqpExchange.topic("source")
        yield* AmqpChannel.run(AmqpExchange.declare(source))
        yield* declared(
          AmqpQueue.classic("q", { maxLength: 5 }).pipe(AmqpQueue.withBinding({ exchange: source, routingKey: "a.#" }))
        )
        const [queue] = yield* broker.queues()
        assert.deepStrictEqual(queue, {
          name: "q",
          type: "classic",
          durable: true,
          autoDelete: false,
          exclusive: false,
          arguments: { "x-queue-type": "classic", "x-max-length": 5 },
          messagesReady: 0,
          messagesUnacknowledged: 0,
          consumers: 0
        })
        const bindings = yield* broker.bindings()
        assert.deepStrictEqual(bindings, [
          { source: "source", destination: "q", destinationType: "queue", routingKey: "a.#", arguments: {} }
        ])
        assert.deepInclude(yield* broker.exchanges(), {
          name: "source",
          type: "topic",
          durable: true,
          autoDelete: false,
          internal: false,
          arguments: {}
        })
        assert.deepStrictEqual(yield* broker.queues("elsewhere"), [])
      })
    ))

  it.effect("shows messages in their order and as they were sent", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared("q")
        yield* publish("q", "1", "2")
        yield* AmqpChannel.confirmed(AmqpChannel.publish(
          AmqpMessage.text("3", { headers: { wide: AmqpMessage.TypedField.int64(7) }, messageId: "m" }),
          AmqpQueue.route("q")
        ))
        assert.deepStrictEqual(yield* textsOf(broker, "q"), ["1", "2", "3"])
        const { properties, routingKey } = (yield* broker.messages("q"))[2]
        assert.strictEqual(routingKey, "q")
        assert.strictEqual(properties.messageId, "m")
        assert.deepStrictEqual(yield* broker.messages("nowhere"), [])
      })
    ))

  it.effect("shows the connection with its channels, and what a consumer has not settled", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared("q")
        yield* publish("q", "1", "2", "3")
        const consuming = yield* Effect.forkChild(
          AmqpConsumer.serve("q", () => Effect.never, { prefetch: 2, drainTimeout: 0 })
        )
        yield* rest
        const { channels, name, username, virtualHost } = yield* connectionOf(broker)
        assert.deepStrictEqual({ name, username, virtualHost }, { name: "mine", username: "guest", virtualHost: "/" })
        assert.deepInclude(channels.map(({ number: _, ...channel }) => channel), {
          mode: "Plain",
          consumers: 1,
          messagesUnacknowledged: 2
        })
        const [queue] = yield* broker.queues()
        assert.deepInclude(queue, { messagesReady: 1, messagesUnacknowledged: 2, consumers: 1 })
        yield* Effect.forkChild(Fiber.interrupt(consuming))
        yield* TestClock.adjust(100)
        assert.deepInclude((yield* broker.queues())[0], { messagesReady: 3, messagesUnacknowledged: 0, consumers: 0 })
      }), { connection: { connectionName: "mine" } }))

  it.effect("shows what was refused", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* Effect.flip(AmqpChannel.run(AmqpQueue.declarePassive("nowhere")))
        assert.deepStrictEqual(
          (yield* broker.refusals).map(({ replyCode, replyText }) => `${replyCode} ${replyText}`),
          ["404 NOT_FOUND - no queue 'nowhere' in vhost '/'"]
        )
      })
    ))
})
