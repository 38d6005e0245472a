import { assert, describe, it } from "@effect/vitest"
import { growthOf } from "../../../bench/src/growth.ts"
import { summarise } from "../../../bench/src/summary.ts"
import { runOf } from "./runs.ts"

describe("the summary of a benchmark", () => {
  it("compares the medians with the best peer of each metric", () => {
    const [{ comparison, figures }] = summarise([
      ...[100, 300, 200].map((throughput, index) => runOf("publish", "effect-amqp", index, { throughput, cpu: 3 })),
      runOf("publish", "amqplib", 1, { throughput: 100, cpu: 6 }),
      runOf("publish", "cloudamqp", 1, { throughput: 50, cpu: 4 })
    ])
    assert.deepStrictEqual(figures.map(({ operationsPerSecond }) => Math.round(operationsPerSecond)), [200, 100, 50])
    assert.deepStrictEqual(comparison, {
      throughput: { peer: "amqplib", ratio: 2 },
      cpu: { peer: "cloudamqp", ratio: 0.75 },
      memory: { peer: "amqplib", ratio: 1 }
    })
  })

  it("compares latencies where this client and a peer have some", () => {
    const latencies = (p99: number) => ({ latencies: { p50: 1, p99, p999: p99, max: p99 } })
    const [{ comparison }] = summarise([
      runOf("publish", "effect-amqp", 1, latencies(30)),
      runOf("publish", "amqplib", 1, latencies(20)),
      runOf("publish", "cloudamqp", 1)
    ])
    assert.deepStrictEqual(comparison.p99, { peer: "amqplib", ratio: 1.5 })
    assert.isUndefined(comparison.eventLoopDelay)
  })

  it("has no comparison without a peer", () => {
    assert.deepStrictEqual(summarise([runOf("publish", "effect-amqp", 1)])[0].comparison, {})
  })

  it("shows how the figures of an operation grow with its work", () => {
    const [series] = growthOf(summarise([
      runOf("publish-16B", "amqplib", 1, { throughput: 1000, cpu: 2 }),
      runOf("publish-1KiB", "amqplib", 1, { throughput: 500, cpu: 8 }),
      runOf("publish-1KiB", "cloudamqp", 1)
    ]))
    assert.deepStrictEqual(series, {
      name: "publish by body size",
      scenarios: ["publish-16B", "publish-1KiB"],
      work: [1, 64],
      clients: [
        { client: "amqplib", cpu: [1, 4], time: [1, 2] },
        { client: "cloudamqp", cpu: [undefined, undefined], time: [undefined, undefined] }
      ]
    })
  })

  it("shows no growth for one row of a series, or rows without one", () => {
    assert.deepStrictEqual(
      growthOf(summarise([runOf("publish-16B", "amqplib", 1), runOf("declare", "amqplib", 1)])),
      []
    )
  })
})
