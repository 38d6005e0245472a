/**
 * Bodies whose buffer is transferred after the publish and before it is sent, which callers must not do: only that message fails.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { connected, declaredQueue, failureOf, fork, infoOf, take, toQueue } from "../../support/broker.ts"

const detach = (bytes: Uint8Array<ArrayBuffer>) =>
  Effect.sync(() => {
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  })

describe("a body whose buffer is transferred before it is sent", () => {
  for (
    const [name, size, turns] of [
      ["a small one, at once", 20_000, 0],
      ["a large one, at once", 5_000_000, 0],
      ["a large one, partly sent", 60_000_000, 3]
    ] as const
  ) {
    it.live(`fails only its own publish: ${name}`, () =>
      connected(Effect.gen(function*() {
        const connection = yield* AmqpConnection.AmqpConnection
        const queue = yield* declaredQueue()
        const [one, other] = [yield* AmqpPublisher.make(), yield* AmqpPublisher.make()]
        const body = new Uint8Array(size).fill(7)
        const before = yield* fork(other.publish(AmqpMessage.text("before"), toQueue(queue)))
        const lost = yield* fork(one.publish(AmqpMessage.make(body), toQueue(queue)))
        for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
        yield* detach(body)
        const after = yield* fork(other.publish(AmqpMessage.text("after"), toQueue(queue)))
        yield* Fiber.join(before)
        yield* Fiber.join(after)
        assert.include((yield* failureOf(lost)).message, "detached")
        // The publisher opens another channel.
        yield* one.publish(AmqpMessage.text("next"), toQueue(queue))
        assert.strictEqual((yield* connection.state)._tag, "Open")
        assert.strictEqual((yield* infoOf(queue)).messageCount, 3)
        for (const text of ["before", "after", "next"]) assert.strictEqual((yield* take(queue)).text, text)
      })))

    it.live(`fails its channel program: ${name}`, () =>
      connected(Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const body = new Uint8Array(size).fill(7)
        const publish = AmqpChannel.publish(AmqpMessage.make(body), toQueue(queue))
        const program = AmqpChannel.gen(function*() {
          yield* publish
          yield* detach(body)
        })
        const error = yield* Effect.flip(AmqpChannel.confirmed(program))
        assert.include(error.message, "detached")
        assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
      })))
  }
})
