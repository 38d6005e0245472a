import { warnOfExposure } from "@effect-amqp/core/internal/options/passwordExposure"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { logged } from "../../../support/secrets.ts"

/** How many warnings connecting to so many brokers gives, each time. */
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

describe("the warning of an unprotected password", () => {
  it.effect("comes once for each broker", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* warnings(3, 3, 5), [3, 0, 2])
    }))

  it.effect("comes again for other loggers", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* warnings(1), [1])
      assert.deepStrictEqual(yield* warnings(1), [1])
    }))

  it.effect("comes again when there were very many brokers since, as no list of them grows without end", () =>
    Effect.gen(function*() {
      const [first, second] = yield* warnings(1_000, 1_000)
      assert.strictEqual(first, 1_000)
      assert.isAbove(second, 0)
    }))

  it.effect("names a broker as it is, whatever its name means in a replacement", () =>
    Effect.gen(function*() {
      const line = yield* logged((lines) =>
        Effect.map(warnOfExposure({ peer: "$&.example:5672", level: "Unverified" }), () => lines.join())
      )
      assert.include(line, "$&.example:5672")
    }))
})
