import { assert, describe, it } from "@effect/vitest"
import { describe as describeReport, durationsOf, reportOf } from "../../chaos/report.ts"
import type { Results } from "../../chaos/report.ts"
import { Violations } from "../../chaos/violations.ts"

const results: Results = {
  seed: 7,
  nodes: 1,
  version: "3.10.8",
  millis: 12_345,
  totals: {
    published: 10,
    outcomes: { pending: 0, confirmed: 6, committed: 1, unknown: 1, notSent: 1, nacked: 0, returned: 1 },
    committedButLost: 1,
    deliveries: 9,
    duplicates: { redelivered: 1, publishedAgain: 0 }
  },
  faults: [
    { kind: "kill", beganAt: 0, endedAt: 100, recoveredAt: 900 },
    { kind: "kill", beganAt: 0, endedAt: 100, recoveredAt: 300 },
    { kind: "cut", beganAt: 0, endedAt: 100, recoveredAt: undefined }
  ],
  forgottenConsumers: 2,
  recoveries: [{ connection: "a", lostAt: 50, openAt: 400 }],
  violations: []
}

describe("the report of a chaos run", () => {
  it("has the median and the worst of durations", () => {
    assert.deepStrictEqual(durationsOf([3.4, 1, 2]), { count: 3, medianMillis: 2, worstMillis: 3 })
    assert.deepStrictEqual(durationsOf([]), { count: 0, medianMillis: null, worstMillis: null })
  })

  it("counts faults by kind, also those without a time to recover", () => {
    const { faults, recoveries, timeToRecover } = reportOf(results)
    assert.deepStrictEqual(faults, [
      { kind: "cut", inflicted: 1, count: 0, medianMillis: null, worstMillis: null },
      { kind: "kill", inflicted: 2, count: 2, medianMillis: 200, worstMillis: 800 }
    ])
    assert.deepStrictEqual(timeToRecover, { count: 2, medianMillis: 200, worstMillis: 800 })
    assert.deepStrictEqual(recoveries, { count: 1, medianMillis: 350, worstMillis: 350 })
  })

  it("is printed with its figures", () => {
    const lines = describeReport(reportOf(results)).split("\n").map((line) => line.replaceAll(/ +/g, " "))
    assert.includeMembers(lines, [
      "RabbitMQ 3.10.8, one node, seed 7, 12.3 s",
      "published 10",
      "committed, to a quorum queue 1",
      "committed but lost 1",
      "duplicates, redelivered 1",
      "kill 2 200 ms 800 ms",
      "cut 1 - -",
      "all 3 200 ms 800 ms",
      "1 connections recovered; without a connection: median 350 ms, worst 350 ms",
      "2 consumers forgotten by the broker",
      "No violations."
    ])
  })

  it("counts violations of a kind, and shows the first ones", () => {
    const violations = new Violations()
    for (let number = 0; number < 1000; number++) violations.add("a message is lost", `orders.${number}`)
    const text = describeReport(reportOf({ ...results, violations: violations.all }))
    assert.include(text, "1000 × a message is lost\n      orders.0\n")
    assert.notInclude(text, "orders.10\n")
  })
})
