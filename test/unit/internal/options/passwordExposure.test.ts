import { warnOfExposure } from "@effect-amqp/core/internal/options/passwordExposure"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { logged } from "../../../support/secrets.ts"

/** The number of warnings for each number of brokers. */
const warnings = (...counts: ReadonlyArray<number>) =>
  logged((lines) =>
    Effect.forEach(counts, (count) =>
      Effect.gen(function*() {
        const before = lines.length
        for (let index = 0; index < count; index++) {
          yield* warnOfExposure({ peer: `broker-${index}.example:5672`, level: "None" })
        }
        return lines.length - before
      }))
  )

describe("the warning about an unprotected password", () => {
  it.effect("is logged once for each broker", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* warnings(3, 3, 5), [3, 0, 2])
    }))

  it.effect("is logged again for another logger", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* warnings(1), [1])
      assert.deepStrictEqual(yield* warnings(1), [1])
    }))

  it.effect("is logged again after very many other brokers, because the list of brokers is bounded", () =>
    Effect.gen(function*() {
      const [first, second] = yield* warnings(1_000, 1_000)
      assert.strictEqual(first, 1_000)
      assert.isAbove(second, 0)
    }))

  it.effect("names the broker literally, even with a replacement pattern in its name", () =>
    Effect.gen(function*() {
      const line = yield* logged((lines) =>
        Effect.map(warnOfExposure({ peer: "$&.example:5672", level: "Unverified" }), () => lines.join())
      )
      assert.include(line, "$&.example:5672")
    }))
})
