import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import {
  assertReason,
  connected,
  declaredExchange,
  declaredQueue,
  drain,
  exchangeName,
  failsWith,
  infoOf,
  queueName,
  take,
  uniqueName
} from "../../support/broker.ts"
import { is4 } from "../../support/brokerUnderTest.ts"
import { publish } from "./support.ts"

const { confirmed, run } = AmqpChannel

describe("an exchange", () => {
  it.live.each([AmqpExchange.direct, AmqpExchange.fanout, AmqpExchange.topic, AmqpExchange.headers])(
    "of each type exists after it is declared, and is not found after it is deleted",
    (make) =>
      connected(Effect.gen(function*() {
        const exchange = make(yield* exchangeName)
        yield* run(AmqpExchange.declare(exchange))
        yield* run(AmqpExchange.declarePassive(exchange))
        yield* run(AmqpExchange.delete(exchange))
        const reason = yield* failsWith(run(AmqpExchange.declarePassive(exchange)), "NotFound")
        assert.include(reason.message, `no exchange '${exchange.name}'`)
        // Deleting a missing exchange succeeds.
        yield* run(AmqpExchange.delete(exchange))
      }))
  )

  it.live("E9: fails with PreconditionFailed when it exists with another type", () =>
    connected(Effect.gen(function*() {
      const exchange = yield* declaredExchange(AmqpExchange.fanout)
      const reason = yield* failsWith(run(AmqpExchange.declare(AmqpExchange.topic(exchange))), "PreconditionFailed")
      assert.include(reason.message, "inequivalent arg 'type'")
    })))

  it.live("routes to a queue while it is bound", () =>
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

  it.live("routes to an exchange while it is bound", () =>
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

  it.live("routes by the headers in the arguments of a binding", () =>
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

  it.live("fails the binding of a queue with NotFound when it does not exist", () =>
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

  it.live("of an unknown type ends the connection, or since 4.0 the channel, with the broker's reply text", () =>
    connected(Effect.gen(function*() {
      const exchange = AmqpExchange.make(uniqueName("exchange"), { pluginType: "x-unheard-of" })
      const replyText = "unknown exchange type 'x-unheard-of'"
      const declare = run(AmqpExchange.declare(exchange))
      if (is4) return assert.include((yield* failsWith(declare, "PreconditionFailed")).message, replyText)
      const { cause } = yield* failsWith(declare, "ConnectionLost")
      assertReason(cause, "CommandInvalid")
      assert.include(cause.message, replyText)
    })))
})

describe("a described exchange", () => {
  it.live("routes unroutable messages to its alternate exchange", () =>
    connected(Effect.gen(function*() {
      const alternateExchange = AmqpExchange.fanout(yield* exchangeName)
      const exchange = AmqpExchange.direct(yield* exchangeName, { alternateExchange })
      const unrouted = AmqpQueue.classic(yield* queueName).pipe(AmqpQueue.withBinding({ exchange: alternateExchange }))
      const routed = AmqpQueue.classic(yield* queueName).pipe(AmqpQueue.withBinding({ exchange, routingKey: "known" }))
      // The exchanges are declared with the queues that refer to them.
      yield* run(AmqpTopology.declare(AmqpTopology.make(routed, unrouted)))
      for (const routingKey of ["known", "unknown"]) {
        yield* confirmed(
          AmqpChannel.publish(AmqpMessage.text(routingKey), { exchange: exchange.name, routingKey, mandatory: true })
        )
      }
      assert.deepStrictEqual(yield* drain(routed.name), ["known"])
      assert.deepStrictEqual(yield* drain(unrouted.name), ["unknown"])
    })))

  it.live("accepts messages only from other exchanges when it is internal", () =>
    connected(Effect.gen(function*() {
      const outer = AmqpExchange.fanout(yield* exchangeName)
      const inner = AmqpExchange.fanout(yield* exchangeName, { internal: true }).pipe(
        AmqpExchange.withBinding({ source: outer })
      )
      const queue = AmqpQueue.classic(yield* queueName).pipe(AmqpQueue.withBinding({ exchange: inner }))
      yield* run(AmqpQueue.declare(queue))
      const direct = run(AmqpChannel.publish(AmqpMessage.text("a"), { exchange: inner.name, routingKey: "" }))
      assert.include((yield* failsWith(direct, "AccessRefused")).replyText, "internal exchange")
      yield* publish(outer.name, "", "b")
      assert.deepStrictEqual(yield* drain(queue.name), ["b"])
    })))

  it.live("is deleted with its last binding when it is autoDelete", () =>
    connected(Effect.gen(function*() {
      const exchange = AmqpExchange.fanout(yield* exchangeName, { autoDelete: true })
      const queue = yield* declaredQueue()
      yield* run(AmqpExchange.declare(exchange))
      yield* run(AmqpQueue.bind(queue, { exchange }))
      yield* run(AmqpQueue.unbind(queue, { exchange }))
      yield* failsWith(run(AmqpExchange.declarePassive(exchange)), "NotFound")
    })))

  it.live("is declared with the exchanges that it is bound to, by pattern and by headers", () =>
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
