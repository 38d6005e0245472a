import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Kind } from "../chaos/plan.ts"
import { run } from "../chaos/run.ts"
import { onRabbitMQ } from "../support/brokerUnderTest.ts"
import { canStartCluster } from "../support/cluster.ts"

/** About half a minute; `npm run chaos` has more of them, and clusters. */
const kinds: ReadonlyArray<Kind> = [
  "reset",
  "halfOpenToBroker",
  "acceptThenClose",
  "closeConnections",
  "kill",
  "stop",
  "deleteQueue",
  "reconnect"
]

describe.runIf(onRabbitMQ("The embedded broker can't be killed.") && canStartCluster())(
  "publishers, consumers, programs and RPC clients",
  () => {
    it.live(
      "N1, N3, N6, N8, B1, B2, B5, B7: lose and double nothing and go on after each fault, while connections and brokers fail",
      () =>
        Effect.gen(function*() {
          const report = yield* run({
            // Every kind once, in an order that never changes.
            seed: 1,
            seconds: Infinity,
            maxFaults: kinds.length,
            kinds,
            nodes: 1,
            // The machine may be busy with other tests.
            rate: 10
          })
          assert.deepStrictEqual(report.violations, [])
          assert.sameMembers(report.faults.map(({ kind }) => kind), [...kinds])
          assert.isAbove(report.messages.outcomes.confirmed, 0)
        }),
      300_000
    )
  }
)
