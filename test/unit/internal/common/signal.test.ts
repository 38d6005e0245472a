import { Signal } from "@effect-amqp/core/internal/common/signal"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

describe("a signal", () => {
  it("calls every listener once, in the order in which they began to wait", () => {
    const signal = new Signal()
    const calls: Array<number> = []
    for (const number of [1, 2, 3]) signal.once(() => calls.push(number))
    signal.notify()
    signal.notify()
    assert.deepStrictEqual(calls, [1, 2, 3])
  })

  it("calls a listener that waits twice two times", () => {
    const signal = new Signal()
    let calls = 0
    const listener = () => void calls++
    signal.once(listener)
    signal.once(listener)
    signal.notify()
    assert.strictEqual(calls, 2)
  })

  it("does not call a listener that is cancelled, not even by a listener before it", () => {
    const signal = new Signal()
    const calls: Array<string> = []
    let cancel = () => {}
    signal.once(() => {
      calls.push("first")
      cancel()
    })
    cancel = signal.once(() => calls.push("second"))
    const cancelThird = signal.once(() => calls.push("third"))
    cancelThird()
    signal.notify()
    assert.deepStrictEqual(calls, ["first"])
    assert.isFalse(signal.isAwaited)
  })

  it("calls a listener that is added by a listener at the next time", () => {
    const signal = new Signal()
    const calls: Array<string> = []
    signal.once(() => {
      calls.push("first")
      signal.once(() => calls.push("added"))
    })
    signal.notify()
    assert.deepStrictEqual(calls, ["first"])
    signal.notify()
    assert.deepStrictEqual(calls, ["first", "added"])
  })

  it("calls the rest when a listener notifies it again", () => {
    const signal = new Signal()
    const calls: Array<string> = []
    signal.once(() => {
      calls.push("first")
      signal.notify()
    })
    signal.once(() => calls.push("second"))
    signal.notify()
    assert.deepStrictEqual(calls, ["first", "second"])
  })

  it.effect("resumes every fiber whose condition holds", () =>
    Effect.gen(function*() {
      const signal = new Signal()
      let value = 0
      const waiting = yield* Effect.forEach([1, 1, 2], (least) =>
        Effect.forkChild(signal.until(() => value >= least), { startImmediately: true }))
      const ended = () =>
        waiting.map((fiber) => fiber.pollUnsafe() !== undefined)
      signal.notify()
      yield* Effect.yieldNow
      assert.deepStrictEqual(ended(), [false, false, false])
      value = 1
      signal.notify()
      yield* Effect.yieldNow
      assert.deepStrictEqual(ended(), [true, true, false])
      yield* Fiber.interrupt(waiting[2])
      assert.isFalse(signal.isAwaited)
    }))

  it.effect("does not make a fiber wait whose condition holds already", () => new Signal().until(() => true))
})
