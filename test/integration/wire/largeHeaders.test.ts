import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { awaitMessages, connected, declaredQueue, fill, queueName, take } from "../../support/broker.ts"

/** Just fits a frame of 131,072 bytes, and no longer does with `x-death`. */
const message = AmqpMessage.text("poison", { headers: { stack: "x".repeat(130_950) } })

/** Has a dead letter in a queue whose content header is larger than a frame may be. */
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
  it.live("is read, and the connection goes on", () =>
    connected(Effect.gen(function*() {
      const { properties, text } = yield* take(yield* deadLetter)
      assert.strictEqual(text, "poison")
      assert.strictEqual(properties.headers?.["x-first-death-reason"], "rejected")
      assert.strictEqual((yield* (yield* AmqpConnection.AmqpConnection).state)._tag, "Open")
    })))

  it.live("ends the connection when it is larger than maxHeaderSize, too", () =>
    connected(Effect.gen(function*() {
      const dead = yield* deadLetter
      const read = connected(AmqpChannel.run(AmqpQueue.getAutoAck(dead)), { maxHeaderSize: 131_073 })
      const error = yield* Effect.flip(read)
      assert.include(String(error), "exceeds the limit of 131073")
    })))
})
