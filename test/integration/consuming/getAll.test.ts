import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { awaitMessages, connected, declaredQueue, fill, infoOf, take, toQueue } from "../../support/broker.ts"
import { numbered, texts } from "./support.ts"

const acked = ({ text }: AmqpDelivery.ReceivedMessage) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.ack, text))

describe("getAll", () => {
  it.live("empties a queue in order", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(200))
      assert.deepStrictEqual(yield* AmqpChannel.run(AmqpQueue.getAll(queue, acked)), texts(200))
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
      assert.deepStrictEqual(yield* AmqpChannel.run(AmqpQueue.getAll(queue, acked)), [])
    })))

  it.live("leaves the messages beyond its limit", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(5))
      assert.deepStrictEqual(yield* AmqpChannel.run(AmqpQueue.getAll(queue, acked, { limit: 3 })), texts(3))
      assert.strictEqual((yield* infoOf(queue)).messageCount, 2)
    })))

  it.live("handles each message once, and requeued messages keep their position", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(4))
      const program = AmqpQueue.getAll(
        queue,
        ({ text }) =>
          Effect.succeed(AmqpDelivery.as(Number(text) % 2 === 0 ? AmqpDelivery.requeue : AmqpDelivery.ack, text))
      )
      assert.deepStrictEqual(yield* AmqpChannel.run(program), texts(4))
      yield* awaitMessages(queue, 2)
      assert.strictEqual((yield* take(queue)).text, "0")
      assert.strictEqual((yield* take(queue)).text, "2")
    })))

  it.live("moves messages to another queue in one transaction", () =>
    connected(Effect.gen(function*() {
      const [from, to] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* fill(from, ...numbered(3))
      yield* AmqpChannel.transaction(AmqpQueue.getAll(from, ({ body, properties }) =>
        AmqpChannel.as(
          AmqpChannel.publish(AmqpMessage.make(body, properties), toQueue(to)),
          AmqpDelivery.ack
        )))
      assert.strictEqual((yield* infoOf(from)).messageCount, 0)
      assert.deepStrictEqual(yield* AmqpChannel.run(AmqpQueue.getAll(to, acked)), texts(3))
    })))
})
