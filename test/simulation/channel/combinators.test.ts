import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import { assert, describe, it, layer } from "@effect/vitest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

layer(AmqpBroker.layer())("AmqpChannel.all", (it) => {
  it.effect("runs its steps in order, and yields a record for a record", () =>
    Effect.gen(function*() {
      const steps: Array<string> = []
      const step = <A>(name: string, value: A) => Effect.sync(() => (steps.push(name), value))
      const yielded = yield* AmqpChannel.run(AmqpChannel.all({
        declared: AmqpQueue.declare("together"),
        first: step("first", 1),
        second: step("second", "2")
      }))
      assert.deepStrictEqual(steps, ["first", "second"])
      assert.deepStrictEqual(yielded, {
        declared: { name: "together", messageCount: 0, consumerCount: 0 },
        first: 1,
        second: "2"
      })
    }))

  it.effect("yields an array for an array, and ends with the first failure", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* AmqpChannel.run(AmqpChannel.all([Effect.succeed(1), AmqpChannel.succeed("2")])), [
        1,
        "2"
      ])
      let ran = false
      const failing = AmqpChannel.all([Effect.fail("no"), Effect.sync(() => void (ran = true))])
      assert.strictEqual(yield* Effect.flip(AmqpChannel.run(failing)), "no")
      assert.isFalse(ran)
    }))
})

describe("an empty list of steps", () => {
  it.effect("yields an empty list", () =>
    Effect.provide(
      Effect.map(AmqpChannel.run(AmqpChannel.all([])), (yielded) => assert.deepStrictEqual(yielded, [])),
      AmqpBroker.layer()
    ))
})

describe("AmqpChannel.timeout", () => {
  // The last one is "5 seconds" with a typing error.
  it.each([Number.NaN, -1, "-5 seconds", "5 secnods"] as const)(
    "refuses an invalid duration when the program is made: %s",
    (limit) => {
      const duration: Duration.Input = limit as Duration.Input
      assert.throws(
        () => AmqpChannel.timeout(AmqpChannel.succeed(1), duration),
        /duration: must be a duration of at least 0 ms/
      )
    }
  )
})
