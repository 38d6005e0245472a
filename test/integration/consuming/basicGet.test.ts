import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import {
  awaitMessages,
  connected,
  declaredQueue,
  eventually,
  failsWith,
  fill,
  fork,
  infoOf,
  take,
  toQueue,
  uniqueName
} from "../../support/broker.ts"

const { run } = AmqpChannel

const numbered = (count: number) => Array.from({ length: count }, (_, index) => AmqpMessage.text(`message ${index}`))

/** Gets the next message and settles it. */
const getAndSettle = (queue: string, settlement: AmqpDelivery.Settlement) =>
  run(
    AmqpQueue.get(queue, ({ redelivered, text }) => Effect.succeed(AmqpDelivery.as(settlement, { text, redelivered })))
  )

describe("a fetched message", () => {
  it.live("is removed when it is acknowledged or rejected", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(2))
      const first = yield* getAndSettle(queue, AmqpDelivery.ack)
      assert.deepStrictEqual(first, Option.some({ text: "message 0", redelivered: false }))
      const second = yield* getAndSettle(queue, AmqpDelivery.reject)
      assert.deepStrictEqual(second, Option.some({ text: "message 1", redelivered: false }))
      assert.deepStrictEqual(yield* getAndSettle(queue, AmqpDelivery.ack), Option.none())
    })))

  it.live("is redelivered when it is requeued", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(1))
      yield* getAndSettle(queue, AmqpDelivery.requeue)
      const again = yield* getAndSettle(queue, AmqpDelivery.ack)
      assert.deepStrictEqual(again, Option.some({ text: "message 0", redelivered: true }))
    })))

  it.live("goes to the dead-letter exchange when it is rejected", () =>
    connected(Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const queue = yield* declaredQueue({ deadLetterExchange: "", deadLetterRoutingKey: dead })
      yield* fill(queue, ...numbered(1))
      yield* getAndSettle(queue, AmqpDelivery.reject)
      yield* awaitMessages(dead, 1)
      assert.strictEqual((yield* take(dead)).text, "message 0")
    })))

  it.live("is requeued when its handler fails, dies or is interrupted", () =>
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

      const again = yield* getAndSettle(queue, AmqpDelivery.ack)
      assert.deepStrictEqual(again, Option.some({ text: "message 0", redelivered: true }))
    })))

  it.live("has a handler that can publish on the same channel", () =>
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

  it.live("is removed at once with getAutoAck", () =>
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

  it.live("C12: is neither handled nor lost when it is larger than maxBodySize", () =>
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

  it.live("fails with NotFound when its queue is missing", () =>
    connected(Effect.gen(function*() {
      const queue = uniqueName("queue")
      const reason = yield* failsWith(run(AmqpQueue.getAutoAck(queue)), "NotFound")
      assert.strictEqual(reason.method, "basic.get")
      assert.include(reason.message, queue)
    })))
})
