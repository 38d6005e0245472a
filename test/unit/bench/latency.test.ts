import { assert, describe, it } from "@effect/vitest"
import { LatencyRecorder, pace, Schedule, stamped, stampOf } from "../../../bench/src/latency.ts"

describe("latencies of the benchmark", () => {
  it("count from the time of the schedule, also for messages that had to wait", () => {
    const recorder = new LatencyRecorder()
    const now = performance.now()
    for (let index = 0; index < 100; index++) recorder.record(now - index * 1000)
    const { max, p50, p99, p999 } = recorder.result()
    for (const [measured, seconds] of [[p50, 49], [p99, 98], [p999, 99], [max, 99]]) {
      assert.closeTo(measured / 1e6, seconds, 0.5)
    }
  })

  it("the schedule makes up for messages that were not sent in time", () => {
    const schedule = new Schedule(1000)
    const first = schedule.next() ?? NaN
    const end = performance.now() + 5
    while (performance.now() < end) {
      // holds up the event loop
    }
    const due = Array.from({ length: 5 }, () => schedule.next())
    assert.deepStrictEqual(due, [1, 2, 3, 4, 5].map((late) => first + late))
  })

  it("pace sends as many messages as asked, each with its own time", async () => {
    const times: Array<number> = []
    await pace(10_000, 50, (intended) => {
      times.push(stampOf(stamped(intended, 16)))
      return undefined
    })
    assert.strictEqual(times.length, 50)
    assert.closeTo(times[49] - times[0], 4.9, 1e-6)
  })
})
