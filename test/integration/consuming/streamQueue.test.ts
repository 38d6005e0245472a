import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import { connected, failsWith, fill, infoOf, queueName } from "../../support/broker.ts"
import { next, numbered, texts } from "./support.ts"

describe("a consumer of a stream", () => {
  const filledStream = Effect.gen(function*() {
    const name = yield* queueName
    yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.stream(name)))
    // One by one, so that the stream has several chunks.
    for (const message of numbered(10)) yield* fill(name, message)
    return name
  })

  /** The first messages of a consumer that starts at an offset. */
  const first = (queue: string, offset: AmqpConsumer.StreamOffset, count: number) =>
    Effect.scoped(Effect.flatMap(AmqpConsumer.make(queue, { offset }), (consumer) => next(consumer, count)))

  it.live("V8: can start at the oldest message, at an offset, at a time or some time ago", () =>
    connected(Effect.gen(function*() {
      const queue = yield* filledStream
      assert.deepStrictEqual(yield* first(queue, "first", 10), texts(10))
      assert.deepStrictEqual(yield* first(queue, 0, 10), texts(10))
      assert.deepStrictEqual(yield* first(queue, 4, 6), texts(6, 4))
      assert.deepStrictEqual(yield* first(queue, 7n, 3), texts(3, 7))
      assert.deepStrictEqual(yield* first(queue, new Date(0), 10), texts(10))
      assert.deepStrictEqual(yield* first(queue, Duration.hours(1), 10), texts(10))
      const [last] = yield* first(queue, "last", 1)
      assert.isAbove(Number(last), 0)
    })))

  it.live("V8: starts at the next message by default, when asked to, and at a future time", () =>
    connected(Effect.gen(function*() {
      const queue = yield* filledStream
      const consumers = [
        yield* AmqpConsumer.make(queue),
        yield* AmqpConsumer.make(queue, { offset: "next" }),
        yield* AmqpConsumer.make(queue, { offset: new Date(Date.now() + 3_600_000) })
      ]
      yield* fill(queue, AmqpMessage.text("new"))
      for (const consumer of consumers) assert.deepStrictEqual(yield* next(consumer, 1), ["new"])
    })))

  it.live("K11: resumes after the last message that it handled when it starts at the following offset", () =>
    connected(Effect.gen(function*() {
      const queue = yield* filledStream
      const received = yield* AmqpConsumer.stream(queue, { offset: "first", prefetch: 1 }).pipe(
        Stream.tap((delivery) => delivery.ack),
        Stream.take(4),
        Stream.runCollect
      )
      const offset = received[3].properties.headers?.["x-stream-offset"]
      assert.strictEqual(offset, 3)
      assert.deepStrictEqual(yield* first(queue, Number(offset) + 1, 6), texts(6, 4))
    })))

  it.live("V8: without a prefetch is refused before anything is sent, when the stream is described", () =>
    connected(Effect.gen(function*() {
      const queue = AmqpQueue.stream(yield* queueName)
      const { description } = yield* failsWith(
        Effect.scoped(AmqpConsumer.make(queue, { prefetch: 0 })),
        "InvalidArgument"
      )
      assert.include(description, "prefetch")
      yield* failsWith(infoOf(queue.name), "NotFound")
    })))

  it.live("V8: without acknowledgements or a prefetch is refused by the broker, when the stream is not described", () =>
    connected(Effect.gen(function*() {
      const queue = yield* filledStream
      const refusals = [
        yield* Effect.flip(Effect.scoped(AmqpConsumer.make(queue, { prefetch: 0 }))),
        yield* Effect.flip(Effect.scoped(AmqpConsumer.make(queue, { autoAck: true })))
      ]
      for (const { reason } of refusals) {
        const cause = reason._tag === "ConnectionLost" ? reason.cause.reason : reason
        assert.oneOf(cause._tag, ["PreconditionFailed", "NotImplemented"])
      }
    })))

  it.live.each(
    [
      ["before the first message", -1],
      ["between two messages", 1.5],
      ["at NaN", NaN],
      ["at an invalid date", new Date(NaN)],
      ["zero time ago", Duration.zero]
    ] as const
  )("that starts %s is refused", ([, offset]) =>
    connected(Effect.gen(function*() {
      const queue = yield* filledStream
      const exit = yield* Effect.exit(Effect.scoped(AmqpConsumer.make(queue, { offset })))
      assert.isTrue(Exit.isFailure(exit), "it consumes")
      yield* failsWith(Effect.scoped(AmqpConsumer.make(queue, { offset })), "InvalidArgument")
    })))
})
