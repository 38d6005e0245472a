import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { makeWithoutRecovery } from "./seeded/makePlan.ts"
import { run, runPlan } from "./seeded/run.ts"

/** The seeds are run in batches, one test each. */
const batches = 12
const seedsPerBatch = 14

describe("random programs with random faults", () => {
  it.live.each(Array.from({ length: batches }, (_, batch) => batch * seedsPerBatch))(
    `violate no guarantee in the ${seedsPerBatch} runs from seed %i`,
    (first) =>
      Effect.gen(function*() {
        let published = 0
        for (let seed = first; seed < first + seedsPerBatch; seed++) {
          const report = yield* run(String(seed))
          assert.deepStrictEqual(report.violations, [], `npm run simulate -- --seed ${seed}`)
          published += report.published
        }
        // A client that does nothing would violate none either.
        assert.isAbove(published, 5 * seedsPerBatch)
      })
  )

  it.live.each([
    // The client left its channel when the last but one had failed, and the last held up all further calls.
    [549, "calls of a client with a retry are not sent again"],
    // A consumer that left before the publishers took its auto-delete queue with it.
    [1_327, "messages are returned during an ordered replacement"],
    // The fiber that replaced the session was resumed before the channel was closed, and closed it once more.
    [6_266, "a channel is closed after its close-ok"]
  ])("violate no guarantee with seed %i, which found a bug: %s", ([seed]) =>
    Effect.gen(function*() {
      const { violations } = yield* run(String(seed))
      assert.deepStrictEqual(violations, [], `npm run simulate -- --seed ${seed}`)
    }))

  it.live.each([
    // The embedded broker confirmed within the step that published, and Effect.forEach then published a message twice.
    [13_335, "a message was published twice"],
    // When the embedded broker resumed reading, bytes sent meanwhile overtook those that had waited.
    [702_226, "bytes that the broker had not read were reordered"],
    // A stall that outlasts the default confirm timeout ends publishes with ConfirmTimeout; the checks did not allow that.
    [901_770, "a stall without heartbeats ends publishes"],
    // A failure policy that waits for a channel holds the only message that the prefetch allows; the checks did not wait for it.
    [1_001_565, "a failure policy holds a message"]
  ])("violate no guarantee with seed %i without recovery, which found a bug: %s", ([seed]) =>
    Effect.gen(function*() {
      const { violations } = yield* runPlan(makeWithoutRecovery(String(seed)))
      assert.deepStrictEqual(violations, [], `npm run simulate -- --without-recovery --seed ${seed}`)
    }))
})
