import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as OneShot from "@effect-amqp/node/NodeAmqpOneShot"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { failsWith, toQueue, uniqueName } from "../../support/broker.ts"
import { brokerUrl as url } from "../../support/brokerUnderTest.ts"

/** A queue for one test. */
const queue = Effect.acquireRelease(
  Effect.suspend(() => {
    const name = uniqueName("queue")
    return Effect.as(OneShot.declare(url, AmqpQueue.classic(name)), name)
  }),
  (name) => Effect.orDie(OneShot.deleteQueue(url, name))
)

describe("one-shot operations", () => {
  it.live("create and delete exchanges of each type", () =>
    Effect.forEach(
      [AmqpExchange.direct, AmqpExchange.fanout, AmqpExchange.topic, AmqpExchange.headers],
      (describe) =>
        Effect.gen(function*() {
          const name = uniqueName("exchange")
          yield* OneShot.declare(url, describe(name))
          yield* OneShot.run(url, AmqpExchange.declarePassive(name))
          yield* OneShot.deleteExchange(url, name)
          yield* failsWith(OneShot.run(url, AmqpExchange.declarePassive(name)), "NotFound")
        })
    ))

  it.live("create a queue, publish to it, get from it and delete it", () =>
    Effect.gen(function*() {
      const name = uniqueName("queue")
      const [info] = yield* OneShot.declare(url, AmqpQueue.classic(name))
      assert.deepStrictEqual(info, { name, messageCount: 0, consumerCount: 0 })
      yield* OneShot.publish(url, AmqpMessage.text("one"), toQueue(name))
      yield* OneShot.publishAll(url, [AmqpMessage.text("two"), AmqpMessage.text("three")], toQueue(name))
      assert.strictEqual(Option.getOrThrow(yield* OneShot.get(url, name)).text, "one")
      assert.strictEqual(yield* OneShot.deleteQueue(url, name), 2)
      yield* failsWith(OneShot.run(url, AmqpQueue.declarePassive(name)), "NotFound")
    }))

  it.live("return none for a get from an empty queue", () =>
    Effect.scoped(Effect.gen(function*() {
      assert.isTrue(Option.isNone(yield* OneShot.get(url, yield* queue)))
    })))

  it.live("consume until the stream ends", () =>
    Effect.scoped(Effect.gen(function*() {
      const name = yield* queue
      yield* OneShot.publishAll(url, ["a", "b", "c"].map((text) => AmqpMessage.text(text)), toQueue(name))
      const texts = yield* OneShot.consume(url, name).pipe(
        Stream.take(2),
        Stream.mapEffect((delivery) => Effect.as(delivery.ack, delivery.text)),
        Stream.runCollect
      )
      assert.deepStrictEqual(texts, ["a", "b"])
      assert.strictEqual(Option.getOrThrow(yield* OneShot.get(url, name)).text, "c")
    })))

  it.live("fail when no queue takes the message, unless it is not mandatory", () =>
    Effect.gen(function*() {
      const nowhere = toQueue(uniqueName("none"))
      yield* failsWith(OneShot.publish(url, AmqpMessage.text("lost"), nowhere), "Returned")
      const failed = yield* Effect.flip(OneShot.publishAll(url, [AmqpMessage.text("lost")], nowhere))
      assert.include(failed.message, "returned")
      yield* OneShot.publish(url, AmqpMessage.text("lost"), { ...nowhere, mandatory: false })
    }))

  it.live("refuse an empty name before they connect", () =>
    Effect.forEach([
      OneShot.deleteQueue("amqp://127.0.0.1:1", ""),
      OneShot.deleteExchange("amqp://127.0.0.1:1", ""),
      OneShot.get("amqp://127.0.0.1:1", "")
    ], (operation) => failsWith(operation, "InvalidArgument")))

  it.live("fail with ConnectFailed where nothing listens", () =>
    failsWith(OneShot.get("amqp://127.0.0.1:1", "any"), "ConnectFailed"))
})
