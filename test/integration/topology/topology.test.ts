import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import {
  awaitConsumers,
  awaitMessages,
  connected,
  drain,
  exchangeName,
  failsWith,
  fork,
  infoOf,
  queueName,
  uniqueName
} from "../../support/broker.ts"
import { administration, isAdministrable } from "../../support/brokerUnderTest.ts"
import { publish } from "./support.ts"

const { run } = AmqpChannel

describe("a description", () => {
  it.live.runIf(isAdministrable)(
    "of a queue or an exchange reaches the broker with all its options",
    () =>
      connected(
        Effect.gen(function*() {
          const [q1, q2, q3, q4, q5, q6, q7] = yield* Effect.all(Array.from({ length: 7 }, () => queueName))
          const [x1, x2, x3, x4, x5] = yield* Effect.all(Array.from({ length: 5 }, () => exchangeName))
          const everywhere = {
            maxLength: 10,
            maxLengthBytes: 1024,
            deadLetterRoutingKey: "dead",
            singleActiveConsumer: true
          }
          const times = { messageTtl: "1 minute", expires: "5 minutes" } as const
          const dead = AmqpExchange.direct(x1)
          const topology = AmqpTopology.make(
            AmqpQueue.classic(q1, {
              ...everywhere,
              ...times,
              deadLetterExchange: dead,
              autoDelete: true,
              durable: false,
              overflow: "reject-publish-dlx",
              maxPriority: 5
            }),
            AmqpQueue.classic(q2, {
              messageTtl: 0,
              maxLength: 0,
              maxLengthBytes: 0,
              maxPriority: 0,
              deadLetterExchange: "",
              deadLetterRoutingKey: "",
              singleActiveConsumer: false,
              exclusive: true
            }),
            AmqpQueue.classic(q3),
            AmqpQueue.quorum(q4, {
              ...everywhere,
              ...times,
              deadLetterExchange: dead,
              overflow: "reject-publish",
              deliveryLimit: 3,
              deadLetterStrategy: "at-least-once",
              initialGroupSize: 1,
              leaderLocator: "balanced"
            }),
            AmqpQueue.quorum(q5, { deliveryLimit: 0 }),
            AmqpQueue.stream(q6, {
              maxLengthBytes: 2_000_000,
              maxAge: "1 hour",
              segmentSizeBytes: 500_000,
              initialGroupSize: 1,
              leaderLocator: "client-local"
            }),
            // Arguments without an option have the broker's name.
            AmqpQueue.classic(q7, { arguments: { "x-queue-mode": "lazy", "x-custom": [1, "two", { three: true }] } }),
            AmqpExchange.fanout(x2, { durable: false, autoDelete: true, alternateExchange: dead }),
            AmqpExchange.topic(x3, { internal: true }),
            AmqpExchange.headers(x4),
            AmqpExchange.make(x5, { type: "direct", arguments: { "x-custom": "yes" } })
          )
          yield* run(AmqpTopology.declare(topology))
          const found = yield* administration().entities([q1, q2, q3, q4, q5, q6, q7, x1, x2, x3, x4, x5])

          const queue = { durable: true, autoDelete: false, exclusive: false }
          const exchange = { durable: true, autoDelete: false, internal: false, arguments: {} }
          const common = {
            "x-max-length": 10,
            "x-max-length-bytes": 1024,
            "x-dead-letter-exchange": x1,
            "x-dead-letter-routing-key": "dead",
            "x-single-active-consumer": true,
            "x-message-ttl": 60_000,
            "x-expires": 300_000
          }
          assert.deepStrictEqual(found, {
            [q1]: {
              ...queue,
              type: "classic",
              durable: false,
              autoDelete: true,
              arguments: {
                ...common,
                "x-queue-type": "classic",
                "x-overflow": "reject-publish-dlx",
                "x-max-priority": 5
              }
            },
            [q2]: {
              ...queue,
              type: "classic",
              // RabbitMQ treats exclusive queues as transient.
              durable: false,
              exclusive: true,
              arguments: {
                "x-queue-type": "classic",
                "x-message-ttl": 0,
                "x-max-length": 0,
                "x-max-length-bytes": 0,
                "x-max-priority": 0,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": ""
              }
            },
            [q3]: { ...queue, type: "classic", arguments: { "x-queue-type": "classic" } },
            [q4]: {
              ...queue,
              type: "quorum",
              arguments: {
                ...common,
                "x-queue-type": "quorum",
                "x-overflow": "reject-publish",
                "x-delivery-limit": 3,
                "x-dead-letter-strategy": "at-least-once",
                "x-quorum-initial-group-size": 1,
                "x-queue-leader-locator": "balanced"
              }
            },
            [q5]: {
              ...queue,
              type: "quorum",
              arguments: { "x-queue-type": "quorum", "x-delivery-limit": 0 }
            },
            [q6]: {
              ...queue,
              type: "stream",
              arguments: {
                "x-queue-type": "stream",
                "x-max-length-bytes": 2_000_000,
                "x-max-age": "3600s",
                "x-stream-max-segment-size-bytes": 500_000,
                "x-initial-cluster-size": 1,
                "x-queue-leader-locator": "client-local"
              }
            },
            [q7]: {
              ...queue,
              type: "classic",
              arguments: { "x-queue-type": "classic", "x-queue-mode": "lazy", "x-custom": [1, "two", { three: true }] }
            },
            [x1]: { ...exchange, type: "direct" },
            [x2]: {
              ...exchange,
              type: "fanout",
              durable: false,
              autoDelete: true,
              arguments: { "alternate-exchange": x1 }
            },
            [x3]: { ...exchange, type: "topic", internal: true },
            [x4]: { ...exchange, type: "headers" },
            [x5]: { ...exchange, type: "direct", arguments: { "x-custom": "yes" } }
          })
        }),
        { url: administration().url }
      )
  )

  it.live("V6: that is only a name declares a durable queue or exchange", () =>
    connected(Effect.gen(function*() {
      const queue = yield* queueName
      const exchange = yield* exchangeName
      yield* run(AmqpQueue.declare(queue))
      yield* run(AmqpExchange.declare(exchange))
      const others = [
        yield* failsWith(run(AmqpQueue.declare(AmqpQueue.classic(queue, { durable: false }))), "PreconditionFailed"),
        yield* failsWith(
          run(AmqpExchange.declare(AmqpExchange.direct(exchange, { durable: false }))),
          "PreconditionFailed"
        )
      ]
      for (const { replyText } of others) {
        assert.include(replyText, "inequivalent arg 'durable'")
        assert.include(replyText, "current is 'true'")
      }
    })))
})

describe("a binding of a described queue", () => {
  it.live("matches all headers of its arguments, or any of them", () =>
    connected(Effect.gen(function*() {
      const exchange = AmqpExchange.headers(yield* exchangeName)
      const [all, any] = yield* Effect.forEach(["all", "any"], (match) =>
        Effect.map(queueName, (name) =>
          AmqpQueue.classic(name).pipe(
            AmqpQueue.withBinding({ exchange, arguments: { "x-match": match, region: "eu", level: 3 } })
          )))
      yield* run(AmqpTopology.declare(AmqpTopology.make(all, any)))
      for (
        const [text, headers] of [["both", { region: "eu", level: 3 }], ["one", { region: "eu" }], [
          "none",
          {}
        ]] as const
      ) {
        yield* publish(exchange.name, "", text, { headers })
      }
      assert.deepStrictEqual(yield* drain(all.name), ["both"])
      assert.deepStrictEqual(yield* drain(any.name), ["both", "one"])
    })))

  it.live("can be one of several, to several exchanges", () =>
    connected(Effect.gen(function*() {
      const direct = AmqpExchange.direct(yield* exchangeName)
      const fanout = AmqpExchange.fanout(yield* exchangeName)
      const queue = AmqpQueue.withBinding(
        AmqpQueue.classic(yield* queueName).pipe(
          AmqpQueue.withBinding({ exchange: direct, routingKey: "a" }),
          AmqpQueue.withBinding({ exchange: direct, routingKey: "b" })
        ),
        { exchange: fanout }
      )
      assert.strictEqual((yield* run(AmqpQueue.declare(queue))).name, queue.name)
      for (const routingKey of ["a", "b", "c"]) yield* publish(direct.name, routingKey)
      yield* publish(fanout.name, "d")
      assert.deepStrictEqual(yield* drain(queue.name), ["a", "b", "d"])
    })))
})

describe("a topology", () => {
  /** An exchange for events, their queue, and its dead-letter exchange and queue. */
  const orders = Effect.gen(function*() {
    const events = AmqpExchange.topic(yield* exchangeName)
    const failed = AmqpExchange.fanout(yield* exchangeName)
    const queue = AmqpQueue.classic(yield* queueName, { deadLetterExchange: failed }).pipe(
      AmqpQueue.withBinding({ exchange: events, routingKey: "order.*" })
    )
    const dead = AmqpQueue.classic(yield* queueName).pipe(AmqpQueue.withBinding({ exchange: failed }))
    return { events, queue, dead, topology: AmqpTopology.make(queue, dead) }
  })

  it.live("can be declared repeatedly with all that it refers to, and returns the counts of its queues", () =>
    connected(Effect.gen(function*() {
      const { dead, events, queue, topology } = yield* orders
      const declare = run(AmqpTopology.declare(topology))
      assert.deepStrictEqual(yield* declare, [
        { name: queue.name, messageCount: 0, consumerCount: 0 },
        { name: dead.name, messageCount: 0, consumerCount: 0 }
      ])
      yield* publish(events.name, "order.1")
      yield* publish(events.name, "order.2")
      yield* publish(events.name, "bill.1")
      yield* run(AmqpQueue.get(queue, () => Effect.succeed(AmqpDelivery.reject)))
      yield* awaitMessages(dead.name, 1)
      const again = yield* declare
      assert.deepStrictEqual(again.map(({ messageCount }) => messageCount), [1, 1])
      assert.deepStrictEqual(yield* drain(queue.name), ["order.2"])
    })))

  it.live("is declared before anything that depends on its layer", () =>
    connected(Effect.gen(function*() {
      const { events, queue, topology } = yield* orders
      const work = Effect.gen(function*() {
        const serving = yield* fork(AmqpConsumer.serve(queue.name, () => Effect.succeed(AmqpDelivery.ack)))
        yield* awaitConsumers(queue.name, 1)
        yield* publish(events.name, "order.1")
        yield* awaitMessages(queue.name, 0)
        assert.isUndefined(serving.pollUnsafe())
      })
      yield* Effect.provide(work, AmqpTopology.layer(topology))
      // Closing the layer deletes nothing.
      yield* infoOf(queue.name)
    })))

  it.live("is deleted with all that it refers to, even if parts are missing", () =>
    connected(Effect.gen(function*() {
      const { queue, topology } = yield* orders
      yield* run(AmqpTopology.declare(topology))
      yield* run(AmqpQueue.delete(queue))
      yield* run(AmqpTopology.delete(topology))
      for (const { name } of topology.queues) yield* failsWith(infoOf(name), "NotFound")
      assert.isNotEmpty(topology.exchanges)
      for (const { name } of topology.exchanges) yield* failsWith(run(AmqpExchange.declarePassive(name)), "NotFound")
    })))

  it.live("E9: fails to build its layer when a queue exists with other arguments", () =>
    connected(Effect.gen(function*() {
      const { queue, topology } = yield* orders
      yield* run(AmqpQueue.declare(AmqpQueue.classic(queue.name)))
      const build = Effect.scoped(Layer.build(AmqpTopology.layer(topology)))
      const reason = yield* failsWith(build, "PreconditionFailed")
      assert.strictEqual(reason.method, "queue.declare")
      assert.include(reason.replyText, queue.name)
    })))

  it.live("declares everything before the first refusal of the broker, and nothing after it", () =>
    connected(Effect.gen(function*() {
      const exchange = yield* exchangeName
      const [first, second, third] = yield* Effect.all([queueName, queueName, queueName])
      yield* run(AmqpQueue.declare(AmqpQueue.classic(second, { maxLength: 1 })))
      const topology = AmqpTopology.make(
        ...[first, second, third].map((name) => AmqpQueue.classic(name)),
        AmqpExchange.fanout(exchange)
      )
      yield* failsWith(run(AmqpTopology.declare(topology)), "PreconditionFailed")
      yield* run(AmqpExchange.declarePassive(exchange))
      yield* infoOf(first)
      yield* failsWith(infoOf(third), "NotFound")
    })))

  it.live("declares exchanges before what is bound to them, whatever their order", () =>
    connected(Effect.gen(function*() {
      const names = yield* Effect.all([exchangeName, exchangeName, exchangeName])
      const queue = AmqpQueue.classic(yield* queueName).pipe(AmqpQueue.withBinding({ exchange: names[0] }))
      // Each is bound by its name to the next one.
      const exchanges = names.map((name, index) =>
        index === 2 ? AmqpExchange.fanout(name) : AmqpExchange.withBinding(AmqpExchange.fanout(name), {
          source: names[index + 1]
        })
      )
      yield* run(AmqpTopology.declare(AmqpTopology.make(queue, ...exchanges)))
      yield* publish(names[2], "", "through three")
      assert.deepStrictEqual(yield* drain(queue.name), ["through three"])
    })))

  it.live("declares new server-named queues each time, with their bindings", () =>
    connected(Effect.gen(function*() {
      const exchange = AmqpExchange.fanout(yield* exchangeName)
      const replies = AmqpQueue.serverNamed({ maxLength: 10 }).pipe(AmqpQueue.withBinding({ exchange }))
      const named = AmqpQueue.classic(yield* queueName)
      const topology = AmqpTopology.make(replies, named, replies)
      const infos = [...yield* run(AmqpTopology.declare(topology)), ...yield* run(AmqpTopology.declare(topology))]
      assert.strictEqual(infos[1].name, named.name)
      const generated = infos.map(({ name }) => name).filter((name) => name !== named.name)
      assert.strictEqual(new Set(generated).size, 4)
      yield* publish(exchange.name, "", "hello")
      for (const name of generated) {
        assert.match(name, /^amq\.gen-/)
        assert.deepStrictEqual(yield* drain(name), ["hello"])
      }
    })))

  it.live("can bind to a predefined exchange by name", () =>
    connected(Effect.gen(function*() {
      const queue = AmqpQueue.classic(yield* queueName)
      const key = uniqueName("key")
      yield* run(AmqpQueue.declare(AmqpQueue.withBinding(queue, { exchange: "amq.topic", routingKey: `${key}.#` })))
      yield* publish("amq.topic", `${key}.a.b`)
      assert.deepStrictEqual(yield* drain(queue.name), [`${key}.a.b`])
    })))
})
