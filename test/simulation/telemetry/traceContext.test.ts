import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpTelemetry from "@effect-amqp/core/AmqpTelemetry"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

describe("inject and extract", () => {
  it.effect("carry the current span in a message", () =>
    Effect.gen(function*() {
      const message = AmqpMessage.text("a", { headers: { attempt: 1 } })
      assert.strictEqual(yield* AmqpTelemetry.inject(message), message)
      const { injected, span } = yield* Effect.withSpan(
        Effect.all({ injected: AmqpTelemetry.inject(message), span: Effect.currentSpan }),
        "publish"
      )
      assert.strictEqual(injected.properties.headers?.attempt, 1)
      const extracted = Option.getOrThrow(AmqpTelemetry.extract(injected))
      assert.deepStrictEqual([extracted.traceId, extracted.spanId], [span.traceId, span.spanId])
    }))

  it.effect("keep an existing header, and find nothing in a message without one", () =>
    Effect.gen(function*() {
      const message = AmqpMessage.text("a", { headers: { traceparent } })
      const injected = yield* Effect.withSpan(AmqpTelemetry.inject(message), "publish")
      assert.strictEqual(injected.properties.headers?.traceparent, traceparent)
      assert.isTrue(Option.isNone(AmqpTelemetry.extract(AmqpMessage.text("a"))))
    }))
})
