import { backoff, Pauses } from "@effect-amqp/core/internal/common/pauses"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"

/** The next pauses, in milliseconds. */
const take = (pauses: Pauses<string>, count: number, input = "input") =>
  Effect.forEach(
    Array.from({ length: count }),
    () => Effect.map(pauses.next(input), (pause) => pause === undefined ? undefined : Duration.toMillis(pause))
  )

describe("the pauses of a schedule", () => {
  it.effect("follow it to its end, and stay at the end", () =>
    Effect.gen(function*() {
      const pauses = new Pauses<string>(Schedule.upTo(Schedule.exponential("1 second"), { times: 3 }))
      assert.deepStrictEqual(yield* take(pauses, 5), [1000, 2000, 4000, undefined, undefined])
    }))

  it.effect("begin again after a reset, also after the end", () =>
    Effect.gen(function*() {
      const pauses = new Pauses<string>(Schedule.upTo(Schedule.exponential("1 second"), { times: 2 }))
      yield* take(pauses, 1)
      pauses.reset()
      assert.deepStrictEqual(yield* take(pauses, 3), [1000, 2000, undefined])
      pauses.reset()
      assert.deepStrictEqual(yield* take(pauses, 1), [1000])
    }))

  it.effect("get the errors as input, and the time since they began", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const schedule = Schedule.modifyDelay(Schedule.spaced("1 second"), ({ duration, elapsed, input }) => {
        seen.push([input, elapsed])
        return Effect.succeed(duration)
      }).pipe(Schedule.setInputType<string>())
      const pauses = new Pauses<string>(schedule)
      yield* take(pauses, 1, "first")
      yield* TestClock.adjust("5 seconds")
      yield* take(pauses, 1, "second")
      assert.deepStrictEqual(seen, [["first", 0], ["second", 5000]])
    }))
})

describe("the backoff", () => {
  it.effect("has full jitter: each pause is a random part of a bound that doubles up to the longest", () =>
    Effect.gen(function*() {
      const schedule = backoff(Duration.millis(250), Duration.seconds(30))
      const longest: Array<number> = Array.from({ length: 12 }, () => 0)
      let shortest = Infinity
      for (let run = 0; run < 300; run++) {
        const pauses = yield* take(new Pauses<string>(schedule), longest.length)
        for (const [index, pause] of pauses.entries()) {
          if (pause === undefined) return assert.fail("the schedule has ended")
          longest[index] = Math.max(longest[index], pause)
          shortest = Math.min(shortest, pause)
        }
      }
      for (const [index, pause] of longest.entries()) {
        const bound = Math.min(250 * 2 ** index, 30_000)
        assert.isAtMost(pause, bound)
        assert.isAbove(pause, bound * 0.9)
      }
      assert.isBelow(shortest, 5)
      assert.isAtLeast(shortest, 0)
    }))

  it.effect("does not end", () =>
    Effect.gen(function*() {
      const pauses = new Pauses<string>(backoff(Duration.millis(1), Duration.millis(2)))
      assert.isFalse((yield* take(pauses, 2000)).includes(undefined))
    }))
})
