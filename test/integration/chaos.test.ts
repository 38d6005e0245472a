import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { makeCast } from "../chaos/cast.ts"
import type { Kind } from "../chaos/plan.ts"
import { run } from "../chaos/run.ts"
import { onRabbitMQ } from "../support/brokerUnderTest.ts"
import { canStartCluster } from "../support/cluster.ts"

/** As many as fit into less than a minute; `npm run chaos` has the others, and clusters. */
const kinds: ReadonlyArray<Kind> = [
  "reset",
  "halfOpenToBroker",
  "acceptThenClose",
  "closeConnections",
  "kill",
  "stop",
  "deleteQueue",
  "reconnect",
  "cut",
  "cutInFrame",
  "trickle",
  "refuse",
  "freeze",
  "memoryAlarm",
  "changePassword"
]

/** Those that end every connection. */
const total: ReadonlyArray<Kind> = ["closeConnections", "kill", "stop"]

describe.runIf(onRabbitMQ("The embedded broker can't be killed.") && canStartCluster())(
  "publishers, consumers, programs and RPC clients",
  () => {
    it.live(
      "N1, N3, N6, N8, B1, B2, B5, B7: lose and double nothing and go on after each fault, while connections and brokers fail",
      () =>
        Effect.gen(function*() {
          const report = yield* run({
            // Every kind once, in an order that never changes. With this seed the faults are short, and few of them overlap.
            seed: 47_746,
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
          assert.isAtLeast(report.recoveries.count, total.length * makeCast(1).clients.length)
        }),
      300_000
    )
  }
)
