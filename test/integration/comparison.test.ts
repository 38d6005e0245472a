// What the embedded broker is measured by: random operations, in the same order, on RabbitMQ and on it.
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { startBrokers } from "../comparison/brokers.ts"
import { compareSeeds } from "../comparison/compareSeeds.ts"
import type { Found } from "../comparison/compareSeeds.ts"
import { describeDifference } from "../comparison/report.ts"
import { brokerUrl, onRabbitMQ } from "../support/brokerUnderTest.ts"

/** How many seeds are run, in batches of a test each. */
const batches = 4
const seedsPerBatch = 75
const steps = 15

describe.runIf(onRabbitMQ("the broker to compare the embedded one with"))("RabbitMQ and the embedded broker", () => {
  it.live.each(Array.from({ length: batches }, (_, batch) => batch * seedsPerBatch))(
    `answer the same in the ${seedsPerBatch} runs of random operations from seed %i on`,
    (first) =>
      Effect.gen(function*() {
        const brokers = yield* startBrokers(brokerUrl)
        const found: Array<Found> = []
        const { compared } = yield* compareSeeds(brokers, {
          seed: first,
          runs: seedsPerBatch,
          steps,
          concurrency: 12,
          onDifference: (difference) => Effect.sync(() => void found.push(difference))
        })
        const reports = found.map(({ difference }) =>
          `npm run compare -- --runs 1 --seed ${difference.plan.seed} --steps ${steps}\n` +
          describeDifference(difference, brokers.names)
        )
        assert.deepStrictEqual(reports, [])
        assert.strictEqual(compared, seedsPerBatch)
      })
  )
})
