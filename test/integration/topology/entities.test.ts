import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import {
  assertReason,
  awaitMessages,
  connected,
  connection,
  declaredExchange,
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
import { is4 } from "../../support/brokerUnderTest.ts"

const { run } = AmqpChannel

const numbered = (count: number) => Array.from({ length: count }, (_, index) => AmqpMessage.text(`message ${index}`))

/** Takes the next message and settles it in this way. */
const getAnd = (queue: string, settlement: AmqpDelivery.Settlement) =>
  run(
    AmqpQueue.get(queue, ({ redelivered, text }) => Effect.succeed(AmqpDelivery.as(settlement, { text, redelivered })))
  )

describe("a queue", () => {
  it.live("is declared again without a complaint, and says what it holds", () =>
    connected(Effect.gen(function*() {
      const queue = yield* queueName
      const declare = run(AmqpQueue.declare(queue))
      assert.deepStrictEqual(yield* declare, { name: queue, messageCount: 0, consumerCount: 0 })
      yield* fill(queue, ...numbered(2))
      assert.deepStrictEqual(yield* declare, { name: queue, messageCount: 2, consumerCount: 0 })
      assert.deepStrictEqual(yield* infoOf(queue), { name: queue, messageCount: 2, consumerCount: 0 })
    })))

  it.live("E9: fails with PreconditionFailed when it is there and is different", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue({ maxLength: 5 })
      const different = AmqpQueue.classic(queue, { maxLength: 6 })
      const reason = yield* failsWith(run(AmqpQueue.declare(different)), "PreconditionFailed")
      assert.strictEqual(reason.replyCode, 406)
      assert.isFalse(reason.isRetryable)
      assert.include(reason.message, queue)
      assert.include(reason.message, "inequivalent arg 'x-max-length'")
      assert.include(reason.message, "received '6' but current is '5'")
    })))

  it.live("E8: fails with ResourceLocked when it is another connection's exclusive queue", () =>
    connected(Effect.gen(function*() {
      const queue = AmqpQueue.classic(uniqueName("queue"), { exclusive: true })
      yield* run(AmqpQueue.declare(queue))
      const askOnAnother = Effect.provide(infoOf(queue.name), connection())
      const reason = yield* failsWith(askOnAnother, "ResourceLocked")
      assert.strictEqual(reason.replyCode, 405)
      assert.isTrue(reason.isRetryable)
      assert.include(reason.message, "cannot obtain exclusive access")
      assert.include(reason.message, queue.name)
    })))

  it.live("is the same exclusive queue whether it is said to be durable or not", () =>
    connected(Effect.gen(function*() {
      const queue = uniqueName("queue")
      for (const durable of [true, false]) {
        yield* run(AmqpQueue.declare(AmqpQueue.classic(queue, { exclusive: true, durable })))
      }
    })))

  it.live.each([["quorum", AmqpQueue.quorum], ["stream", AmqpQueue.stream]] as const)(
    "fails with PreconditionFailed when its leader is to be where the broker does not know: %s queue",
    ([, describe]) =>
      connected(Effect.gen(function*() {
        const queue = describe(yield* queueName, { arguments: { "x-queue-leader-locator": "anywhere" } })
        const { replyText } = yield* failsWith(run(AmqpQueue.declare(queue)), "PreconditionFailed")
        assert.include(replyText, `invalid arg 'x-queue-leader-locator' for queue '${queue.name}'`)
        assert.include(replyText, "invalid_queue_locator_arg")
      }))
  )

  it.live("has a name of the broker's making when it is declared without one", () =>
    connected(Effect.gen(function*() {
      const declare = run(AmqpQueue.declare(AmqpQueue.serverNamed()))
      const [first, second] = yield* Effect.all([declare, declare])
      assert.match(first.name, /^amq\.gen-/)
      assert.match(second.name, /^amq\.gen-/)
      assert.notStrictEqual(first.name, second.name)
    })))

  it.live("is not declared with an empty name or one of the broker's own", () =>
    connected(Effect.gen(function*() {
      yield* failsWith(run(AmqpQueue.declare("")), "InvalidArgument")
      const reason = yield* failsWith(run(AmqpQueue.declare("amq.mine")), "AccessRefused")
      assert.include(reason.replyText, "reserved prefix 'amq.*'")
    })))

  it.live("can be purged: 5 messages, then 0", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(5))
      const purgeTwice = AmqpChannel.all([AmqpQueue.purge(queue), AmqpQueue.purge(queue)])
      assert.deepStrictEqual(yield* run(purgeTwice), [5, 0])
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
    })))

  it.live("can be deleted with its messages, and is not found after that", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(3))
      const reason = yield* failsWith(run(AmqpQueue.delete(queue, { ifEmpty: true })), "PreconditionFailed")
      assert.include(reason.message, "not empty")
      assert.strictEqual(yield* run(AmqpQueue.delete(queue)), 3)
      yield* failsWith(infoOf(queue), "NotFound")
      assert.strictEqual(yield* run(AmqpQueue.delete(queue)), 0)
    })))

  it.live("takes every option that it can be described with", () =>
    connected(Effect.gen(function*() {
      const deadLetters = AmqpExchange.fanout(yield* exchangeName)
      const common = {
        messageTtl: "1 minute",
        expires: "5 minutes",
        maxLength: 0,
        maxLengthBytes: 1024,
        deadLetterExchange: deadLetters,
        deadLetterRoutingKey: "dead",
        singleActiveConsumer: true
      } as const
      const queues = [
        AmqpQueue.classic(yield* queueName, {
          ...common,
          autoDelete: true,
          overflow: "reject-publish-dlx",
          maxPriority: 5
        }),
        AmqpQueue.quorum(yield* queueName, {
          ...common,
          overflow: "reject-publish",
          deliveryLimit: 0,
          deadLetterStrategy: "at-least-once",
          initialGroupSize: 1,
          leaderLocator: "client-local"
        }),
        AmqpQueue.stream(yield* queueName, {
          maxLengthBytes: 1_000_000,
          maxAge: "1 hour",
          segmentSizeBytes: 500_000,
          initialGroupSize: 1,
          leaderLocator: "balanced"
        })
      ]
      for (const queue of queues) {
        const declare = run(AmqpQueue.declare(queue))
        assert.strictEqual((yield* declare).name, queue.name)
        yield* declare
      }
    })))
})

describe("a message that is fetched", () => {
  it.live("is gone when it is acknowledged or rejected", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(2))
      const first = yield* getAnd(queue, AmqpDelivery.ack)
      assert.deepStrictEqual(first, Option.some({ text: "message 0", redelivered: false }))
      const second = yield* getAnd(queue, AmqpDelivery.reject)
      assert.deepStrictEqual(second, Option.some({ text: "message 1", redelivered: false }))
      assert.deepStrictEqual(yield* getAnd(queue, AmqpDelivery.ack), Option.none())
    })))

  it.live("comes again, as redelivered, when it is requeued", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(1))
      yield* getAnd(queue, AmqpDelivery.requeue)
      const again = yield* getAnd(queue, AmqpDelivery.ack)
      assert.deepStrictEqual(again, Option.some({ text: "message 0", redelivered: true }))
    })))

  it.live("goes to the dead-letter exchange when it is rejected", () =>
    connected(Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const queue = yield* declaredQueue({ deadLetterExchange: "", deadLetterRoutingKey: dead })
      yield* fill(queue, ...numbered(1))
      yield* getAnd(queue, AmqpDelivery.reject)
      yield* awaitMessages(dead, 1)
      assert.strictEqual((yield* take(dead)).text, "message 0")
    })))

  it.live("is given back when its handler fails, dies or is interrupted", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(1))
      const get = <E>(handler: Effect.Effect<AmqpDelivery.Settlement, E>) => run(AmqpQueue.get(queue, () => handler))

      assert.strictEqual(yield* Effect.flip(get(Effect.fail("no"))), "no")
      yield* awaitMessages(queue, 1)

      const defect = yield* Effect.flip(Effect.sandbox(get(Effect.die("never"))))
      assert.include(String(defect), "never")
      yield* awaitMessages(queue, 1)

      const begun = yield* Deferred.make<void>()
      const fiber = yield* fork(get(Effect.andThen(Deferred.succeed(begun, undefined), Effect.never)))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(fiber)
      yield* awaitMessages(queue, 1)

      const again = yield* getAnd(queue, AmqpDelivery.ack)
      assert.deepStrictEqual(again, Option.some({ text: "message 0", redelivered: true }))
    })))

  it.live("has a handler that goes on with the conversation", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const replies = yield* declaredQueue()
      yield* fill(queue, AmqpMessage.text("ping", { replyTo: replies, correlationId: "1" }))
      yield* run(AmqpQueue.get(queue, ({ properties }) =>
        AmqpChannel.gen(function*() {
          const { correlationId, replyTo = "" } = properties
          yield* AmqpChannel.publish(AmqpMessage.text("pong", { correlationId }), toQueue(replyTo))
          return AmqpDelivery.ack
        })))
      yield* awaitMessages(replies, 1)
      const reply = yield* take(replies)
      assert.strictEqual(reply.text, "pong")
      assert.strictEqual(reply.properties.correlationId, "1")
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
    })))

  it.live("is forgotten as it is sent when there is no acknowledgement", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(1))
      const get = run(AmqpQueue.getAutoAck(queue))
      const { exchange, redelivered, routingKey, text } = Option.getOrThrow(yield* get)
      assert.deepStrictEqual(
        { exchange, redelivered, routingKey, text },
        { exchange: "", redelivered: false, routingKey: queue, text: "message 0" }
      )
      assert.deepStrictEqual(yield* get, Option.none())
    })))

  it.live("C12: is not handled as if it were empty when it is larger than the limit, and is not lost", () =>
    connected(
      Effect.gen(function*() {
        const dead = yield* declaredQueue()
        const queue = yield* declaredQueue({ deadLetterExchange: "", deadLetterRoutingKey: dead })
        yield* fill(queue, AmqpMessage.text("x".repeat(1001)))
        const sizes: Array<number> = []
        yield* Effect.exit(run(AmqpQueue.get(queue, ({ body }) =>
          Effect.sync(() => {
            sizes.push(body.length)
            return AmqpDelivery.ack
          }))))
        assert.deepStrictEqual(sizes, [])
        const counts = Effect.map(Effect.all([infoOf(queue), infoOf(dead)]), (infos) =>
          infos.reduce((sum, { messageCount }) => sum + messageCount, 0))
        yield* eventually(counts, (count) =>
          count === 1)
      }),
      { maxBodySize: 1000 }
    ))

  it.live("is not found where there is no queue", () =>
    connected(Effect.gen(function*() {
      const queue = uniqueName("queue")
      const reason = yield* failsWith(run(AmqpQueue.getAutoAck(queue)), "NotFound")
      assert.strictEqual(reason.method, "basic.get")
      assert.include(reason.message, queue)
    })))
})

describe("an exchange", () => {
  it.live.each([AmqpExchange.direct, AmqpExchange.fanout, AmqpExchange.topic, AmqpExchange.headers])(
    "of each type is there when it was declared, and is not found when it was deleted",
    (make) =>
      connected(Effect.gen(function*() {
        const exchange = make(yield* exchangeName)
        yield* run(AmqpExchange.declare(exchange))
        yield* run(AmqpExchange.declarePassive(exchange))
        yield* run(AmqpExchange.delete(exchange))
        const reason = yield* failsWith(run(AmqpExchange.declarePassive(exchange)), "NotFound")
        assert.include(reason.message, `no exchange '${exchange.name}'`)
        // Deleting what is not there succeeds.
        yield* run(AmqpExchange.delete(exchange))
      }))
  )

  it.live("E9: fails with PreconditionFailed when it is there and has another type", () =>
    connected(Effect.gen(function*() {
      const exchange = yield* declaredExchange(AmqpExchange.fanout)
      const reason = yield* failsWith(run(AmqpExchange.declare(AmqpExchange.topic(exchange))), "PreconditionFailed")
      assert.include(reason.message, "inequivalent arg 'type'")
    })))

  it.live("routes to a queue that is bound, and no longer when it is unbound", () =>
    connected(Effect.gen(function*() {
      const exchange = yield* declaredExchange(AmqpExchange.topic)
      const queue = yield* declaredQueue()
      const binding = { exchange, routingKey: "order.*" }
      const publish = (routingKey: string) =>
        AmqpChannel.confirmed(AmqpChannel.publish(AmqpMessage.text(routingKey), { exchange, routingKey }))

      yield* publish("order.early")
      yield* run(AmqpQueue.bind(queue, binding))
      yield* publish("order.new")
      yield* publish("bill.new")
      yield* run(AmqpQueue.unbind(queue, binding))
      yield* publish("order.late")

      assert.strictEqual((yield* infoOf(queue)).messageCount, 1)
      const delivery = yield* take(queue)
      assert.deepStrictEqual([delivery.text, delivery.exchange, delivery.routingKey], [
        "order.new",
        exchange,
        "order.new"
      ])
    })))

  it.live("routes to an exchange that is bound, and no longer when it is unbound", () =>
    connected(Effect.gen(function*() {
      const source = yield* declaredExchange(AmqpExchange.direct)
      const target = yield* declaredExchange(AmqpExchange.fanout)
      const queue = yield* declaredQueue()
      const binding = { source, routingKey: "all" }
      const publish = AmqpChannel.confirmed(
        AmqpChannel.publish(AmqpMessage.text("hello"), { exchange: source, routingKey: "all" })
      )
      yield* run(AmqpChannel.all([
        AmqpQueue.bind(queue, { exchange: target }),
        AmqpExchange.bind(target, binding)
      ]))
      yield* publish
      yield* run(AmqpExchange.unbind(target, binding))
      yield* publish
      assert.strictEqual((yield* infoOf(queue)).messageCount, 1)
    })))

  it.live("routes by headers that are compared with the arguments of the binding", () =>
    connected(Effect.gen(function*() {
      const exchange = yield* declaredExchange(AmqpExchange.headers)
      const queue = yield* declaredQueue()
      yield* run(AmqpQueue.bind(queue, { exchange, arguments: { "x-match": "all", region: "eu", level: 3 } }))
      for (const headers of [{ region: "eu", level: 3 }, { region: "eu", level: 4 }, { region: "eu" }]) {
        const message = AmqpMessage.text("hello", { headers })
        yield* AmqpChannel.confirmed(AmqpChannel.publish(message, { exchange, routingKey: "" }))
      }
      assert.strictEqual((yield* infoOf(queue)).messageCount, 1)
      assert.deepStrictEqual((yield* take(queue)).properties.headers, { region: "eu", level: 3 })
    })))

  it.live("fails with NotFound when it is bound to what is not there, and names it", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const exchange = uniqueName("exchange")
      const reason = yield* failsWith(run(AmqpQueue.bind(queue, { exchange })), "NotFound")
      assert.strictEqual(reason.method, "queue.bind")
      assert.include(reason.message, exchange)
    })))

  it.live("is not deleted with ifUnused while a queue is bound to it", () =>
    connected(Effect.gen(function*() {
      const exchange = yield* declaredExchange(AmqpExchange.direct)
      const queue = yield* declaredQueue()
      yield* run(AmqpQueue.bind(queue, { exchange, routingKey: "a" }))
      const deleteUnused = run(AmqpExchange.delete(exchange, { ifUnused: true }))
      const reason = yield* failsWith(deleteUnused, "PreconditionFailed")
      assert.include(reason.message, "in use")
      yield* run(AmqpQueue.unbind(queue, { exchange, routingKey: "a" }))
      yield* deleteUnused
    })))

  it.live("of a type that the broker does not know ends the connection, or since 4.0 the channel, with the broker's words", () =>
    connected(Effect.gen(function*() {
      const exchange = AmqpExchange.make(uniqueName("exchange"), { pluginType: "x-unheard-of" })
      const words = "unknown exchange type 'x-unheard-of'"
      const declare = run(AmqpExchange.declare(exchange))
      if (is4) return assert.include((yield* failsWith(declare, "PreconditionFailed")).message, words)
      const { cause } = yield* failsWith(declare, "ConnectionLost")
      assertReason(cause, "CommandInvalid")
      assert.include(cause.message, words)
    })))
})
