import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { connected, connection, declaredQueue, failsWith, fork, infoOf, take, toQueue } from "../../support/broker.ts"
import { is4 } from "../../support/brokerUnderTest.ts"

const bytes = (megabytes: number): Uint8Array => {
  const body = new Uint8Array(megabytes * 1024 * 1024)
  for (let index = 0; index < body.length; index++) body[index] = index % 251
  return body
}

describe("a message of many megabytes", () => {
  it.live("arrives unchanged among other messages", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const body = bytes(5)
      const [one, other] = [yield* AmqpPublisher.make(), yield* AmqpPublisher.make()]
      yield* Effect.all([
        one.publishAll([AmqpMessage.make(body), AmqpMessage.text("1")], toQueue(queue)),
        other.publishAll([AmqpMessage.make(body.slice(1)), AmqpMessage.text("2")], toQueue(queue))
      ], { concurrency: "unbounded" })
      const received = yield* Effect.forEach([1, 2, 3, 4], () => take(queue))
      const sizes = received.map(({ body }) => body.length).toSorted((one, other) => one - other)
      assert.deepStrictEqual(sizes, [1, 1, body.length - 1, body.length])
      for (const { body: { length }, body: got } of received) {
        if (length > 1) assert.isTrue(got.every((byte, index) => byte === (index + body.length - length) % 251))
      }
    })))

  // By default RabbitMQ 4.x accepts no message that is large enough.
  it.live.skipIf(is4)(
    "does not hold up confirms of small messages or replies to requests while it is sent",
    () =>
      connected(Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const [one, other] = [yield* AmqpPublisher.make(), yield* AmqpPublisher.make()]
        const large = yield* fork(one.publish(AmqpMessage.make(new Uint8Array(100 * 1024 * 1024)), toQueue(queue)))
        let turns = 0
        while (large.pollUnsafe() === undefined) {
          yield* other.publish(AmqpMessage.text("small"), toQueue(queue))
          yield* infoOf(queue)
          turns++
        }
        yield* Fiber.join(large)
        // Behind the whole message there would be one turn. The last one may have waited for the end.
        assert.isAtLeast(turns, 3)
        assert.strictEqual((yield* infoOf(queue)).messageCount, turns + 1)
      }))
  )

  it.live("is sent completely when its connection closes meanwhile", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const began = yield* Deferred.make<void>()
      const publish = AmqpChannel.gen(function*() {
        yield* AmqpChannel.publish(AmqpMessage.make(bytes(15)), toQueue(queue))
        yield* Deferred.succeed(began, undefined)
        return yield* Effect.never
      })
      const owner = Effect.andThen(Effect.forkChild(AmqpChannel.run(publish)), Deferred.await(began))
      yield* Effect.scoped(Effect.provide(owner, connection()))
      assert.strictEqual((yield* infoOf(queue)).messageCount, 1)
    })))

  it.live("leaves its connection open when the broker refuses its exchange while it is sent", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const publish = AmqpChannel.publish(AmqpMessage.make(bytes(15)), { exchange: "missing", routingKey: "" })
      yield* failsWith(AmqpChannel.run(publish), "NotFound")
      yield* AmqpChannel.run(AmqpQueue.declarePassive(queue))
    })))
})
