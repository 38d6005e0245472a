import { assert, describe, it } from "@effect/vitest"
import { check, rowsOf } from "../../../bench/src/baseline.ts"
import type { Row } from "../../../bench/src/baseline.ts"
import { summarise } from "../../../bench/src/summary.ts"
import { runOf } from "./runs.ts"

const rounds = [1, 2, 3, 4, 5, 6, 7]

const row = (ratios: Row["ratios"], count = 1000): Row => ({ count, size: 16, ratios })

/** The verdict on `now` compared with `before`, for one metric. */
const verdictOn = (metric: "cpu" | "throughput", before: ReadonlyArray<number>, now: ReadonlyArray<number>) => {
  const baseline = { environment, rows: { publish: row({ [metric]: before }) } }
  return check(baseline, { publish: row({ [metric]: now }) }).checked.map(({ verdict }) => verdict)
}

const environment = { date: "", node: "", platform: "", cpu: "", cores: 2, broker: "", packages: {} }

const steady = (ratio: number) => rounds.map((round) => ratio * (1 + (round - 4) / 100))
const noisy = (ratio: number) => rounds.map((round) => ratio * (1 + (round - 4) / 10))

describe("the check against the baseline", () => {
  it("takes the ratio of each round to the best peer", () => {
    const runs = rounds.flatMap((round) => [
      runOf("publish", "effect-amqp", round, { throughput: 100 * round, cpu: 1 }),
      runOf("publish", "amqplib", round, { throughput: 100, cpu: 4 }),
      runOf("publish", "cloudamqp", round, { throughput: 50, cpu: 2 })
    ])
    assert.deepStrictEqual(rowsOf(summarise(runs), runs), {
      publish: row({ throughput: rounds, cpu: rounds.map(() => 0.5), memory: rounds.map(() => 1) })
    })
  })

  it("finds a row worse beyond its tolerance", () => {
    assert.deepStrictEqual(verdictOn("throughput", steady(1), steady(0.85)), ["worse"])
    assert.deepStrictEqual(verdictOn("cpu", steady(1), steady(1.2)), ["worse"])
    assert.deepStrictEqual(verdictOn("cpu", noisy(1), noisy(3)), ["worse"])
  })

  it("finds a row better, which does not fail the check", () => {
    assert.deepStrictEqual(verdictOn("throughput", steady(1), steady(1.2)), ["better"])
    assert.deepStrictEqual(verdictOn("cpu", steady(1), steady(0.8)), ["better"])
  })

  it("tolerates 10 %", () => {
    assert.deepStrictEqual(verdictOn("throughput", rounds.map(() => 1), rounds.map(() => 0.92)), ["same"])
    assert.deepStrictEqual(verdictOn("cpu", rounds.map(() => 1), rounds.map(() => 1.09)), ["same"])
  })

  it("tolerates what the spread of the rounds explains", () => {
    assert.deepStrictEqual(verdictOn("throughput", noisy(1), steady(0.75)), ["same"])
    assert.deepStrictEqual(verdictOn("throughput", steady(1), noisy(0.75)), ["same"])
  })

  it("skips rows that are new, were measured differently or have too few rounds, with the reason", () => {
    const throughput = steady(1)
    const baseline = {
      environment,
      rows: { publish: row({ throughput }, 2000), declare: row({ throughput: throughput.slice(1) }) }
    }
    const result = check(baseline, {
      publish: row({ throughput }),
      declare: row({ throughput }),
      channel: row({ throughput })
    })
    assert.deepStrictEqual(result, {
      checked: [],
      skipped: [
        { scenario: "publish", reason: "the baseline has 2000 operations of 16 bytes" },
        { scenario: "declare", reason: "only 6 rounds have figures (throughput)" },
        { scenario: "channel", reason: "not in the baseline" }
      ]
    })
  })
})
