/**
 * What other clients fail at on a broker, as far as no other test shows it.
 */
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { assertReason, connected, declaredQueue, failsWith, infoOf, take, toQueue } from "../support/broker.ts"

describe("headers", () => {
  it.live("of more than 65,526 bytes come back, as long as they fit a frame", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { publish } = yield* AmqpPublisher.make()
      const headers = { a: "x".repeat(65_526), b: new Uint8Array(60_000).fill(1), c: ["y".repeat(2000)] }
      yield* publish(AmqpMessage.text("hello", { headers }), toQueue(queue))
      const { properties, text } = yield* take(queue)
      assert.strictEqual(text, "hello")
      assert.deepStrictEqual(properties.headers, headers)
    })))

  it.live("that do not fit a frame are refused before anything is sent, and the channel is as good as before", () =>
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
