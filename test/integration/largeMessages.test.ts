import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { connected, declaredQueue, failsWith, take, toQueue } from "../support/broker.ts"

const bytes = (megabytes: number): Uint8Array => {
  const body = new Uint8Array(megabytes * 1024 * 1024)
  for (let index = 0; index < body.length; index++) body[index] = index % 251
  return body
}

describe("a message of many megabytes", () => {
  it.live("arrives as it was, between others that do too", () =>
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

  it.live("leaves its connection well when the broker refuses its exchange while it is on its way", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const publish = AmqpChannel.publish(AmqpMessage.make(bytes(20)), { exchange: "there is none", routingKey: "" })
      yield* failsWith(AmqpChannel.run(publish), "NotFound")
      yield* AmqpChannel.run(AmqpQueue.declarePassive(queue))
    })))
})
