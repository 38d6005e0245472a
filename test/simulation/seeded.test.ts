import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { run } from "./seeded/run.ts"

/** How many seeds are run, in batches of a test each. */
const batches = 12
const seedsPerBatch = 25

describe("random programs with random faults", () => {
  it.live.each(Array.from({ length: batches }, (_, batch) => batch * seedsPerBatch))(
    `keep every promise in the ${seedsPerBatch} runs from seed %i on`,
    (first) =>
      Effect.gen(function*() {
        let published = 0
        for (let seed = first; seed < first + seedsPerBatch; seed++) {
          const report = yield* run(String(seed))
          assert.deepStrictEqual(report.violations, [], `npm run simulate -- --seed ${seed}`)
          published += report.published
        }
        // Who does nothing breaks no promise either.
        assert.isAbove(published, 5 * seedsPerBatch)
      })
  )

  it.live.each([
    // The embedded broker answered within the step that asked, and Effect.forEach then published a message twice.
    [13_335, "publish each message once"],
    // When the embedded broker read on, what a client sent meanwhile overtook what had waited.
    [702_226, "bytes that the broker did not read keep their order"]
  ])("keep every promise of seed %i, which found a bug: %s", ([seed]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* run(String(seed))).violations, [], `npm run simulate -- --seed ${seed}`)
    }))
})
