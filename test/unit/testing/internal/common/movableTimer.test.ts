import { MovableTimer } from "@effect-amqp/core/testing/internal/common/movableTimer"
import { assert, describe, it } from "@effect/vitest"
import { ManualTimers } from "../queues/queueSupport.ts"

describe("a movable timer", () => {
  const make = () => {
    const timers = new ManualTimers()
    const fired: Array<number> = []
    const start = timers.now()
    const timer = new MovableTimer(timers, () => fired.push(timers.now() - start))
    return {
      timers,
      fired,
      moveTo: (after: number) => timer.moveTo(start + after),
      moveForwardTo: (after: number) => timer.moveForwardTo(start + after),
      clear: () => timer.clear()
    }
  }

  it("fires once at its time", () => {
    const { fired, moveTo, timers } = make()
    moveTo(100)
    timers.advance(1000)
    assert.deepStrictEqual(fired, [100])
  })

  it("fires at the time that was set last, earlier or later, with a single underlying timer", () => {
    const { fired, moveTo, timers } = make()
    for (const after of [100, 50, 300, 200]) {
      moveTo(after)
      assert.strictEqual(timers.pendingCount, 1)
    }
    timers.advance(199)
    assert.deepStrictEqual(fired, [])
    timers.advance(1)
    assert.deepStrictEqual(fired, [200])
    assert.strictEqual(timers.pendingCount, 0)
  })

  it("fires at the earliest time if it is only moved forward", () => {
    const { fired, moveForwardTo, timers } = make()
    for (const after of [200, 300, 100, Infinity]) moveForwardTo(after)
    timers.advance(400)
    assert.deepStrictEqual(fired, [100])
  })

  it("does not fire after it was cleared or set to infinity", () => {
    const { clear, fired, moveTo, timers } = make()
    moveTo(100)
    moveTo(Infinity)
    timers.advance(200)
    moveTo(300)
    clear()
    assert.strictEqual(timers.pendingCount, 0)
    timers.advance(200)
    assert.deepStrictEqual(fired, [])
    moveTo(500)
    timers.advance(200)
    assert.deepStrictEqual(fired, [500])
  })

  it("fires at once for a time in the past, but not during the call that sets it", () => {
    const { fired, moveTo, timers } = make()
    moveTo(-5)
    assert.deepStrictEqual(fired, [])
    timers.advance(0)
    assert.deepStrictEqual(fired, [0])
  })
})
