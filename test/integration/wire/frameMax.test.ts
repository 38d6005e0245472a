import { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { assertReason, connected, declaredQueue, fork, toQueue } from "../../support/broker.ts"

describe("a frameMax", () => {
  it.live("V1: of 8192 bytes, the minimum, carries bodies of many frames in both directions", () =>
    connected(
      Effect.gen(function*() {
        const { negotiated } = yield* AmqpConnection
        assert.strictEqual((yield* negotiated).frameMax, 8192)
        const queue = yield* declaredQueue()
        const bodies = [8183, 8184, 8185, 100_000].map((size) => Uint8Array.from({ length: size }, (_, at) => at % 251))
        const { publishAll } = yield* AmqpPublisher.make()
        const received = yield* fork(Stream.runCollect(
          Stream.take(AmqpConsumer.stream(queue), bodies.length)
        ))
        yield* publishAll(bodies.map((body) => AmqpMessage.make(body)), toQueue(queue))
        assert.deepStrictEqual((yield* Fiber.join(received)).map(({ body }) => body), bodies)
      }),
      { frameMax: 8192 }
    ))

  it.live("V1: below the minimum is refused before anything is sent", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(connected(Effect.void, { frameMax: 8191 }))
      if (error._tag !== "AmqpConnectionError") return assert.fail(String(error))
      assert.include(assertReason(error, "InvalidArgument").description, "frameMax")
    }))
})
