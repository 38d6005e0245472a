import { Alarm } from "@effect-amqp/core/testing/internal/common/alarm"
import { assert, describe, it } from "@effect/vitest"
import { ManualTimers } from "../queues/queueSupport.ts"

describe("an alarm", () => {
  const make = () => {
    const timers = new ManualTimers()
    const rung: Array<number> = []
    const start = timers.now()
    const alarm = new Alarm(timers, () => rung.push(timers.now() - start))
    return { timers, rung, set: (after: number) => alarm.set(start + after), clear: () => alarm.clear() }
  }

  it("rings once at its time", () => {
    const { rung, set, timers } = make()
    set(100)
    timers.advance(1000)
    assert.deepStrictEqual(rung, [100])
  })

  it("rings at the time that was set last, earlier or later, with one timer", () => {
    const { rung, set, timers } = make()
    for (const after of [100, 50, 300, 200]) {
      set(after)
      assert.strictEqual(timers.pendingCount, 1)
    }
    timers.advance(199)
    assert.deepStrictEqual(rung, [])
    timers.advance(1)
    assert.deepStrictEqual(rung, [200])
    assert.strictEqual(timers.pendingCount, 0)
  })

  it("rings never when it is cleared or set to infinity", () => {
    const { clear, rung, set, timers } = make()
    set(100)
    set(Infinity)
    timers.advance(200)
    set(300)
    clear()
    assert.strictEqual(timers.pendingCount, 0)
    timers.advance(200)
    assert.deepStrictEqual(rung, [])
    set(500)
    timers.advance(200)
    assert.deepStrictEqual(rung, [500])
  })

  it("rings at once for a time that is over, but not within the call that sets it", () => {
    const { rung, set, timers } = make()
    set(-5)
    assert.deepStrictEqual(rung, [])
    timers.advance(0)
    assert.deepStrictEqual(rung, [0])
  })
})
