import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  awaitConsumers,
  awaitMessages,
  connected,
  connection,
  declaredQueue,
  eventually,
  exchangeName,
  failsWith,
  fill,
  fork,
  infoOf,
  queueName,
  take,
  toQueue,
  uniqueName
} from "../../support/broker.ts"
import { administration, isAdministrable } from "../../support/brokerUnderTest.ts"

const { confirmed, run } = AmqpChannel

const message = (text: string, properties?: AmqpMessage.Properties) => AmqpMessage.text(text, properties)

const publish = (exchange: string, routingKey: string, text = routingKey, properties?: AmqpMessage.Properties) =>
  confirmed(AmqpChannel.publish(message(text, properties), { exchange, routingKey }))

/** The texts of all messages that are ready in a queue, in order. */
const drain = (queue: string) =>
  Effect.gen(function*() {
    const texts: Array<string> = []
    for (let left = (yield* infoOf(queue)).messageCount; left > 0; left--) texts.push((yield* take(queue)).text)
    return texts
  })

/** Waits until a queue or its broker does not take a message for it any more. Unlike a passive declare, this is no use of it. */
const awaitGone = (queue: string) =>
  eventually(
    Effect.exit(run(AmqpChannel.publish(message(""), { ...toQueue(queue), mandatory: true }))),
    Exit.isFailure
  )

/** A dead-letter exchange of its own with its queue, and the options that lead there. */
const deadLetters = Effect.gen(function*() {
  const exchange = AmqpExchange.fanout(yield* exchangeName)
  const queue = AmqpQueue.classic(yield* queueName).pipe(AmqpQueue.withBinding({ exchange }))
  yield* run(AmqpQueue.declare(queue))
  return { queue: queue.name, options: { deadLetterExchange: exchange } }
})

/** A queue of this description that is deleted at the end of the scope. */
const declaredAs = (describe: (name: string) => AmqpQueue.AmqpQueue) =>
  Effect.tap(queueName, (name) => run(AmqpQueue.declare(describe(name))))

const { classic, quorum } = AmqpQueue

describe("a description", () => {
  it.live.runIf(isAdministrable)(
    "of a queue or an exchange is what the broker has after it is declared",
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
            // What has no option of its own is said by the broker's name for it.
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
              // This is how RabbitMQ regards one that goes with its connection.
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

  it.live("V6: of a queue or an exchange by its name alone is of a durable one", () =>
    connected(Effect.gen(function*() {
      const queue = yield* queueName
      const exchange = yield* exchangeName
      yield* run(AmqpQueue.declare(queue))
      yield* run(AmqpExchange.declare(exchange))
      const others = [
        yield* failsWith(run(AmqpQueue.declare(classic(queue, { durable: false }))), "PreconditionFailed"),
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

describe("a queue that is described", () => {
  it.live.each([["classic", classic], ["quorum", quorum]] as const)(
    "has messages that wait longer than its time to live go to its dead-letter exchange: %s",
    ([, make]) =>
      connected(Effect.gen(function*() {
        const { options, queue: dead } = yield* deadLetters
        const queue = yield* declaredAs((name) => make(name, { ...options, messageTtl: "30 millis" }))
        yield* fill(queue, message("a"), message("b"))
        yield* awaitMessages(dead, 2)
        assert.deepStrictEqual(yield* drain(dead), ["a", "b"])
        assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
      }))
  )

  it.live("keeps no message that nobody takes at once when its time to live is 0", () =>
    connected(Effect.gen(function*() {
      const { options, queue: dead } = yield* deadLetters
      const queue = yield* declaredAs((name) => classic(name, { ...options, messageTtl: 0 }))
      yield* fill(queue, message("nobody"))
      yield* awaitMessages(dead, 1)
      const consumer = yield* AmqpConsumer.make(queue)
      yield* fill(queue, message("somebody"))
      const [delivery] = yield* Stream.runCollect(Stream.take(consumer.stream, 1))
      assert.strictEqual(delivery.text, "somebody")
      assert.deepStrictEqual(yield* drain(dead), ["nobody"])
    })))

  it.live("is deleted when it was not used for as long as it says", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredAs((name) => classic(name, { expires: "100 millis" }))
      yield* awaitGone(queue)
      yield* failsWith(infoOf(queue), "NotFound")
    })))

  it.live.each(
    [
      ["maxLength", { maxLength: 2 }],
      ["maxLengthBytes", { maxLengthBytes: 2 }],
      ["maxLength of a quorum queue", { maxLength: 2, isQuorum: true }]
    ] as const
  )(
    "drops the oldest message into its dead-letter exchange when there are too many: %s",
    ([, limits]) =>
      connected(Effect.gen(function*() {
        const { options, queue: dead } = yield* deadLetters
        const { isQuorum, ...limit } = { isQuorum: false, ...limits }
        const queue = yield* declaredAs((name) => (isQuorum ? quorum : classic)(name, { ...options, ...limit }))
        yield* fill(queue, ...["1", "2", "3", "4"].map((text) => message(text)))
        yield* awaitMessages(dead, 2)
        assert.deepStrictEqual(yield* drain(dead), ["1", "2"])
        assert.deepStrictEqual(yield* drain(queue), ["3", "4"])
      }))
  )

  it.live("keeps nothing when it may hold 0 messages, or 0 bytes of them", () =>
    connected(Effect.gen(function*() {
      const { options, queue: dead } = yield* deadLetters
      const none = yield* declaredAs((name) => classic(name, { ...options, maxLength: 0 }))
      const empty = yield* declaredAs((name) => classic(name, { ...options, maxLengthBytes: 0 }))
      yield* fill(none, message("a"))
      yield* fill(empty, message("b"))
      yield* awaitMessages(dead, 2)
      assert.deepStrictEqual(yield* drain(dead), ["a", "b"])
    })))

  it.live("P7: refuses the new message instead, and dead-letters that one, as its overflow says", () =>
    connected(Effect.gen(function*() {
      const { options, queue: dead } = yield* deadLetters
      const refusing = { ...options, maxLength: 1 }
      for (
        const [queue, deadLettered] of [
          [yield* declaredAs((name) => classic(name, { ...refusing, overflow: "reject-publish" })), 0],
          [yield* declaredAs((name) => classic(name, { ...refusing, overflow: "reject-publish-dlx" })), 1]
        ] as const
      ) {
        yield* fill(queue, message("1"))
        const error = yield* Effect.flip(fill(queue, message("2")))
        if (error._tag !== "AmqpPublishAllError") return assert.fail(String(error))
        assert.strictEqual(error.failures[0].error.reason._tag, "Nacked")
        assert.deepStrictEqual(yield* drain(queue), ["1"])
        assert.strictEqual((yield* drain(dead)).length, deadLettered)
      }
    })))

  it.live("has its dead letters go with their own routing key or with the one it says, and they tell why", () =>
    connected(Effect.gen(function*() {
      const deadLetterExchange = AmqpExchange.topic(yield* exchangeName)
      const dead = AmqpQueue.classic(yield* queueName).pipe(
        AmqpQueue.withBinding({ exchange: deadLetterExchange, routingKey: "#" })
      )
      const own = yield* declaredAs((name) => classic(name, { deadLetterExchange }))
      const other = yield* declaredAs((name) => classic(name, { deadLetterExchange, deadLetterRoutingKey: "other" }))
      yield* run(AmqpQueue.declare(dead))
      for (const queue of [own, other]) {
        yield* fill(queue, message("bad"))
        yield* run(AmqpQueue.get(queue, () => Effect.succeed(AmqpDelivery.reject)))
      }
      yield* awaitMessages(dead.name, 2)
      const letters = [yield* take(dead.name), yield* take(dead.name)]
      assert.deepStrictEqual(letters.map(({ routingKey }) => routingKey), [own, "other"])
      for (const [index, { exchange, properties }] of letters.entries()) {
        assert.strictEqual(exchange, deadLetterExchange.name)
        assert.containSubset(properties.headers?.["x-death"], [
          {
            reason: "rejected",
            queue: [own, other][index],
            count: 1,
            exchange: "",
            "routing-keys": [[own, other][index]]
          }
        ])
      }
    })))

  it.live("hands out messages by their priority, up to the highest that it knows", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredAs((name) => classic(name, { maxPriority: 5 }))
      yield* fill(queue, ...[0, 5, 2, 9, 1].map((priority) => message(`of ${priority}`, { priority })))
      assert.deepStrictEqual(yield* drain(queue), ["of 5", "of 9", "of 2", "of 1", "of 0"])
    })))

  it.live.each([["classic", classic], ["quorum", quorum]] as const)(
    "has one consumer at a time, and another when that one is gone: %s",
    ([, make]) =>
      connected(Effect.gen(function*() {
        const queue = yield* declaredAs((name) => make(name, { singleActiveConsumer: true }))
        const firstScope = yield* Scope.make()
        const first = yield* Scope.provide(AmqpConsumer.make(queue, { prefetch: 1 }), firstScope)
        const second = yield* AmqpConsumer.make(queue)
        yield* fill(queue, message("1"), message("2"), message("3"))
        const [delivery] = yield* Stream.runCollect(Stream.take(first.stream, 1))
        assert.strictEqual(delivery.text, "1")
        // The second would have got what the first has no room for.
        yield* awaitMessages(queue, 2)
        yield* delivery.ack
        yield* Scope.close(firstScope, Exit.void)
        // The first one is cancelled before it gives back what it has, so a quorum queue may hand out what comes after that.
        const received = yield* Stream.runCollect(Stream.take(second.stream, 2))
        assert.sameMembers(received.map(({ text }) => text), ["2", "3"])
      }))
  )

  it.live.each([[0, 1], [2, 3]] as const)(
    "K12: gives a message %i times more and then to its dead-letter exchange, however often it is requeued",
    ([deliveryLimit, deliveries]) =>
      connected(Effect.gen(function*() {
        const { options, queue: dead } = yield* deadLetters
        const queue = yield* declaredAs((name) => quorum(name, { ...options, deliveryLimit }))
        yield* fill(queue, message("poison"))
        const counts: Array<unknown> = []
        yield* fork(AmqpConsumer.serve(queue, ({ properties }) =>
          Effect.sync(() => {
            counts.push(properties.headers?.["x-delivery-count"])
            return AmqpDelivery.requeue
          })))
        yield* awaitMessages(dead, 1)
        assert.strictEqual(counts.length, deliveries)
        assert.deepStrictEqual(counts.slice(1), Array.from({ length: deliveries - 1 }, (_, index) => index + 1))
        assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
      }))
  )

  it.live("goes with its last consumer when it says so", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredAs((name) => classic(name, { autoDelete: true }))
      const [first, second] = [yield* AmqpConsumer.make(queue), yield* AmqpConsumer.make(queue)]
      yield* first.cancel
      assert.strictEqual((yield* infoOf(queue)).consumerCount, 1)
      yield* second.cancel
      yield* failsWith(infoOf(queue), "NotFound")
    })))

  it.live("goes with its connection when it is exclusive", () =>
    connected(Effect.gen(function*() {
      const queue = uniqueName("queue")
      const declare = run(AmqpQueue.declare(AmqpQueue.classic(queue, { exclusive: true })))
      yield* Effect.provide(declare, connection())
      yield* eventually(Effect.flip(infoOf(queue)), ({ reason }) => reason._tag === "NotFound")
    })))
})

describe("an exchange that is described", () => {
  it.live("routes what it can't route to its alternate exchange", () =>
    connected(Effect.gen(function*() {
      const alternateExchange = AmqpExchange.fanout(yield* exchangeName)
      const exchange = AmqpExchange.direct(yield* exchangeName, { alternateExchange })
      const unrouted = AmqpQueue.classic(yield* queueName).pipe(AmqpQueue.withBinding({ exchange: alternateExchange }))
      const routed = AmqpQueue.classic(yield* queueName).pipe(AmqpQueue.withBinding({ exchange, routingKey: "known" }))
      // The exchanges come along with the queues that refer to them.
      yield* run(AmqpTopology.declare(AmqpTopology.make(routed, unrouted)))
      for (const routingKey of ["known", "unknown"]) {
        yield* confirmed(
          AmqpChannel.publish(message(routingKey), { exchange: exchange.name, routingKey, mandatory: true })
        )
      }
      assert.deepStrictEqual(yield* drain(routed.name), ["known"])
      assert.deepStrictEqual(yield* drain(unrouted.name), ["unknown"])
    })))

  it.live("takes messages of other exchanges only when it is internal", () =>
    connected(Effect.gen(function*() {
      const outer = AmqpExchange.fanout(yield* exchangeName)
      const inner = AmqpExchange.fanout(yield* exchangeName, { internal: true }).pipe(
        AmqpExchange.withBinding({ source: outer })
      )
      const queue = AmqpQueue.classic(yield* queueName).pipe(AmqpQueue.withBinding({ exchange: inner }))
      yield* run(AmqpQueue.declare(queue))
      const direct = run(AmqpChannel.publish(message("a"), { exchange: inner.name, routingKey: "" }))
      assert.include((yield* failsWith(direct, "AccessRefused")).replyText, "internal exchange")
      yield* publish(outer.name, "", "b")
      assert.deepStrictEqual(yield* drain(queue.name), ["b"])
    })))

  it.live("goes with its last binding when it says so", () =>
    connected(Effect.gen(function*() {
      const exchange = AmqpExchange.fanout(yield* exchangeName, { autoDelete: true })
      const queue = yield* declaredQueue()
      yield* run(AmqpExchange.declare(exchange))
      yield* run(AmqpQueue.bind(queue, { exchange }))
      yield* run(AmqpQueue.unbind(queue, { exchange }))
      yield* failsWith(run(AmqpExchange.declarePassive(exchange)), "NotFound")
    })))

  it.live("is declared with the exchanges that route to it, by pattern and by headers", () =>
    connected(Effect.gen(function*() {
      const topic = AmqpExchange.topic(yield* exchangeName)
      const headers = AmqpExchange.headers(yield* exchangeName)
      const target = AmqpExchange.withBinding(
        AmqpExchange.fanout(yield* exchangeName).pipe(
          AmqpExchange.withBinding({ source: topic, routingKey: "*.error.#" })
        ),
        { source: headers, arguments: { "x-match": "any", level: 1, urgent: true } }
      )
      const queue = yield* declaredQueue()
      yield* run(AmqpExchange.declare(target))
      yield* run(AmqpQueue.bind(queue, { exchange: target }))
      yield* publish(topic.name, "disk.error")
      yield* publish(topic.name, "disk.info.error")
      yield* publish(topic.name, "net.error.a.b")
      yield* publish(headers.name, "", "level", { headers: { level: 1, urgent: false } })
      yield* publish(headers.name, "", "none", { headers: { level: 2, urgent: false } })
      yield* publish(headers.name, "", "urgent", { headers: { urgent: true } })
      assert.deepStrictEqual(yield* drain(queue), ["disk.error", "net.error.a.b", "level", "urgent"])
    })))
})

describe("a binding of a described queue", () => {
  it.live("matches all the headers that its arguments name, or any of them", () =>
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

  it.live("may be one of many, of several exchanges", () =>
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
  /** Events that reach a queue, whose dead letters reach another. */
  const orders = Effect.gen(function*() {
    const events = AmqpExchange.topic(yield* exchangeName)
    const failed = AmqpExchange.fanout(yield* exchangeName)
    const queue = AmqpQueue.classic(yield* queueName, { deadLetterExchange: failed }).pipe(
      AmqpQueue.withBinding({ exchange: events, routingKey: "order.*" })
    )
    const dead = AmqpQueue.classic(yield* queueName).pipe(AmqpQueue.withBinding({ exchange: failed }))
    return { events, queue, dead, topology: AmqpTopology.make(queue, dead) }
  })

  it.live("is declared with all that it refers to, as often as one likes, and says what is in its queues", () =>
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

  it.live("is there before what is built on its layer", () =>
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
      // The end of the layer takes nothing away.
      yield* infoOf(queue.name)
    })))

  it.live("is deleted as a whole, what it refers to included, also when some of it is gone", () =>
    connected(Effect.gen(function*() {
      const { queue, topology } = yield* orders
      yield* run(AmqpTopology.declare(topology))
      yield* run(AmqpQueue.delete(queue))
      yield* run(AmqpTopology.delete(topology))
      for (const { name } of topology.queues) yield* failsWith(infoOf(name), "NotFound")
      assert.isNotEmpty(topology.exchanges)
      for (const { name } of topology.exchanges) yield* failsWith(run(AmqpExchange.declarePassive(name)), "NotFound")
    })))

  it.live("E9: fails to be built as a layer when something is there and is different", () =>
    connected(Effect.gen(function*() {
      const { queue, topology } = yield* orders
      yield* run(AmqpQueue.declare(AmqpQueue.classic(queue.name)))
      const build = Effect.scoped(Layer.build(AmqpTopology.layer(topology)))
      const reason = yield* failsWith(build, "PreconditionFailed")
      assert.strictEqual(reason.method, "queue.declare")
      assert.include(reason.replyText, queue.name)
    })))

  it.live("keeps what was declared before the first thing that the broker refuses, and nothing after it", () =>
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

  it.live("declares exchanges before what is bound to them, whatever their order is", () =>
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

  it.live("has queues that the broker names, another one each time, with their bindings", () =>
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

  it.live("has an exchange of the broker's own by its name", () =>
    connected(Effect.gen(function*() {
      const queue = AmqpQueue.classic(yield* queueName)
      const key = uniqueName("key")
      yield* run(AmqpQueue.declare(AmqpQueue.withBinding(queue, { exchange: "amq.topic", routingKey: `${key}.#` })))
      yield* publish("amq.topic", `${key}.a.b`)
      assert.deepStrictEqual(yield* drain(queue.name), [`${key}.a.b`])
    })))
})
