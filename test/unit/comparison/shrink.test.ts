import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Operation } from "../../comparison/operations.ts"
import { shrink } from "../../comparison/shrink.ts"
import type { ShrinkOptions } from "../../comparison/shrink.ts"
import { simplerOperations } from "../../comparison/simplify.ts"

const upTo = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, index) => index)

/** Counts how often the condition is asked for. */
const shrinkNumbers = (
  sequence: ReadonlyArray<number>,
  condition: (sequence: ReadonlyArray<number>) => boolean,
  options: Partial<ShrinkOptions<number>> = {}
) =>
  Effect.gen(function*() {
    let asked = 0
    const shortest = yield* shrink(sequence, {
      holds: (sequence) =>
        Effect.sync(() => {
          asked++
          return condition(sequence)
        }),
      simpler: () => [],
      attempts: 10_000,
      concurrency: 1,
      ...options
    })
    return { shortest, asked }
  })

describe("shrinking", () => {
  it.effect.each([1, 3, 8])(
    "keeps only the necessary parts in their order, with %i attempts at once",
    (concurrency) =>
      Effect.gen(function*() {
        const needed = [3, 17, 18, 92]
        const holds = (sequence: ReadonlyArray<number>) =>
          needed.every((part) => sequence.includes(part)) && sequence.indexOf(3) < sequence.indexOf(92)
        const { shortest } = yield* shrinkNumbers(upTo(100), holds, { concurrency })
        assert.deepStrictEqual(shortest, needed)
      })
  )

  it.effect("returns nothing if nothing is needed", () =>
    Effect.gen(function*() {
      const { shortest } = yield* shrinkNumbers(upTo(50), () => true)
      assert.deepStrictEqual(shortest, [])
    }))

  it.effect("keeps a sequence whose parts are all needed", () =>
    Effect.gen(function*() {
      const { shortest } = yield* shrinkNumbers(upTo(13), (sequence) => sequence.length === 13)
      assert.deepStrictEqual(shortest, upTo(13))
    }))

  it.effect("removes parts that can only be removed together", () =>
    Effect.gen(function*() {
      const balanced = (sequence: ReadonlyArray<number>) =>
        sequence.includes(50) && sequence.includes(10) === sequence.includes(11)
      const { shortest } = yield* shrinkNumbers(upTo(64), balanced)
      assert.deepStrictEqual(shortest, [50])
    }))

  it.effect("stops after the number of attempts, with the shortest sequence so far", () =>
    Effect.gen(function*() {
      const { asked, shortest } = yield* shrinkNumbers(upTo(1000), (sequence) => sequence.includes(7), {
        attempts: 5,
        concurrency: 2
      })
      assert.isAtMost(asked, 5)
      assert.include(shortest, 7)
      assert.isBelow(shortest.length, 1000)
    }))

  it.effect("simplifies the remaining parts", () =>
    Effect.gen(function*() {
      const { shortest } = yield* shrinkNumbers(
        [9, 40, 9],
        (sequence) => sequence.some((part) => part >= 13),
        { simpler: (part) => (part > 0 ? [part - 1] : []) }
      )
      assert.deepStrictEqual(shortest, [13])
    }))
})

describe("simpler forms of an operation", () => {
  const declare = (values: object): Operation => ({
    _tag: "Request",
    channel: "plain",
    method: "queue.declare",
    arguments: { ...values }
  })

  it("lack one argument each, also within a table", () => {
    const simpler = simplerOperations(declare({ queue: "@q0", arguments: { a: 1, b: { c: 2 } } }))
    assert.deepStrictEqual(simpler, [
      declare({ arguments: { a: 1, b: { c: 2 } } }),
      declare({ queue: "@q0" }),
      declare({ queue: "@q0", arguments: { b: { c: 2 } } }),
      declare({ queue: "@q0", arguments: { a: 1 } }),
      declare({ queue: "@q0", arguments: { a: 1, b: {} } })
    ])
  })

  it("keep a value together with its type", () => {
    const table = { a: { type: "s", value: 1 } } as const
    assert.deepStrictEqual(simplerOperations(declare({ arguments: table })), [declare({}), declare({ arguments: {} })])
  })

  it("of a message lack a property, a header, an item of a list, or the mandatory flag", () => {
    const publish: Operation = {
      _tag: "Publish",
      channel: "confirm",
      exchange: "",
      routingKey: "@q0",
      mandatory: true,
      immediate: false,
      properties: { headers: { CC: ["a", "b"] }, priority: 1 },
      body: "m1"
    }
    assert.deepStrictEqual(simplerOperations(publish), [
      { ...publish, mandatory: false },
      { ...publish, properties: { priority: 1 } },
      { ...publish, properties: { headers: {}, priority: 1 } },
      { ...publish, properties: { headers: { CC: ["b"] }, priority: 1 } },
      { ...publish, properties: { headers: { CC: ["a"] }, priority: 1 } },
      { ...publish, properties: { headers: { CC: ["a", "b"] } } }
    ])
  })

  it("of a settlement are for one delivery, and without basic.nack", () => {
    const settle = {
      _tag: "Settle",
      channel: "plain",
      method: "basic.nack",
      target: 0,
      multiple: true,
      requeue: true
    } as const
    assert.deepStrictEqual(simplerOperations(settle), [
      { ...settle, multiple: false },
      { ...settle, method: "basic.reject" }
    ])
  })
})
