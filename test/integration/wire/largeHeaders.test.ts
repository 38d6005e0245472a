import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import {
  assertReason,
  awaitMessages,
  connected,
  declaredQueue,
  failsWith,
  fill,
  infoOf,
  queueName,
  take,
  toQueue
} from "../../support/broker.ts"

describe("headers", () => {
  it.live("of more than 65,526 bytes arrive if they fit a frame", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { publish } = yield* AmqpPublisher.make()
      const headers = { a: "x".repeat(65_526), b: new Uint8Array(60_000).fill(1), c: ["y".repeat(2000)] }
      yield* publish(AmqpMessage.text("hello", { headers }), toQueue(queue))
      const { properties, text } = yield* take(queue)
      assert.strictEqual(text, "hello")
      assert.deepStrictEqual(properties.headers, headers)
    })))

  it.live("that do not fit a frame are refused before anything is sent, and the channel still works", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { publish } = yield* AmqpPublisher.make()
      const message = AmqpMessage.text("hello", { headers: { a: "x".repeat(131_072) } })
      const { cause } = yield* failsWith(publish(message, toQueue(queue)), "NotSent")
      assert.include(assertReason(cause, "InvalidArgument").description, "do not fit a frame of 131072 bytes")
      yield* publish(AmqpMessage.text("hello"), toQueue(queue))
      assert.strictEqual((yield* infoOf(queue)).messageCount, 1)
    })))
})

/** Just fits a frame of 131,072 bytes, but not with `x-death` added. */
const message = AmqpMessage.text("poison", { headers: { stack: "x".repeat(130_950) } })

/** A queue with a dead letter whose content header exceeds the frame size. */
const deadLetter = Effect.gen(function*() {
  const dead = yield* declaredQueue()
  const queue = AmqpQueue.classic(yield* queueName, { deadLetterExchange: "", deadLetterRoutingKey: dead })
  yield* AmqpChannel.run(AmqpQueue.declare(queue))
  yield* fill(queue.name, message)
  yield* AmqpChannel.run(AmqpQueue.get(queue, () => Effect.succeed(AmqpDelivery.reject)))
  yield* awaitMessages(dead, 1)
  return dead
})

describe("a content header larger than a frame", () => {
  it.live("is read, and the connection stays open", () =>
    connected(Effect.gen(function*() {
      const { properties, text } = yield* take(yield* deadLetter)
      assert.strictEqual(text, "poison")
      assert.strictEqual(properties.headers?.["x-first-death-reason"], "rejected")
      assert.strictEqual((yield* (yield* AmqpConnection.AmqpConnection).state)._tag, "Open")
    })))

  it.live("ends the connection when it is also larger than maxHeaderSize", () =>
    connected(Effect.gen(function*() {
      const dead = yield* deadLetter
      const read = connected(AmqpChannel.run(AmqpQueue.getAutoAck(dead)), { maxHeaderSize: 131_073 })
      const error = yield* Effect.flip(read)
      assert.include(String(error), "exceeds the limit of 131073")
    })))
})
