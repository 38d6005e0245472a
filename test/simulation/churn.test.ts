import { supervisorOf } from "@effect-amqp/core/internal/connection/connectionRegistry"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { churn } from "../churn/churn.ts"
import { inMemory } from "../churn/places.ts"

describe("a connection that is lost again and again", () => {
  it.live("Q4: leaves no session, fiber or memory behind", () =>
    Effect.gen(function*() {
      const [early, late] = yield* churn(inMemory, 200, 2, (connection) => supervisorOf(connection).latest)
      assert.strictEqual(late.recoveries, 200)
      assert.strictEqual(late.fibers, early.fibers)
      // The one that is open, and those that the last turns of finished fibers still refer to.
      assert.isAtMost(late.observed, 5)
      // The buffers of a single session take tens of kilobytes.
      assert.isBelow(late.heap + late.buffers - early.heap - early.buffers, 1024 * 1024)
    }))
})
