import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { assertReason, assertWaits, fork, resultOf, toQueue } from "../../support/scriptedPeer.ts"

/** Retries so late that messages pause for the whole test, unless it lets the time pass. */
const lateRetry = Schedule.spaced("1 minute")

/** Runs a test with a broker that nacks every message until it is told not to. */
const nacking = <A, E>(
  body: (accept: () => void) => Effect.Effect<A, E, AmqpConnection.AmqpConnection | Scope.Scope>,
  options: { readonly after?: Duration.Input } = {}
) => {
  let isNacking = true
  return confirming(() => isNacking ? "nack" : "ack", () => body(() => isNacking = false), options)
}

/** Runs a test with a broker that confirms or nacks each message as a function of its text says. */
const confirming = <A, E>(
  confirm: (text: string) => "ack" | "nack",
  body: () => Effect.Effect<A, E, AmqpConnection.AmqpConnection | Scope.Scope>,
  { after = 0 }: { readonly after?: Duration.Input } = {}
) =>
  Effect.scoped(Effect.gen(function*() {
    const broker = yield* AmqpBroker.make()
    yield* broker.confirmWith(({ text }) => ({ confirmation: confirm(text), after }))
    const connection = yield* broker.connect()
    const test = Effect.andThen(AmqpChannel.run(AmqpQueue.declare("q")), Effect.suspend(body))
    return yield* Effect.provideService(test, AmqpConnection.AmqpConnection, connection)
  }))

/** Messages without end, or as many as are given. Counts those that were taken. */
const counted = (size: number, count = Infinity) => {
  const messages = {
    taken: 0,
    *[Symbol.iterator]() {
      while (messages.taken < count) {
        messages.taken++
        yield AmqpMessage.make(new Uint8Array(size))
      }
    }
  }
  return messages
}

describe("a publisher whose messages pause before they are published again", () => {
  const limits: ReadonlyArray<readonly [string, AmqpPublisher.Options, atMost: number]> = [
    ["messages", { maxWaiting: 20 }, 30],
    ["bytes", { maxWaitingBytes: 20_000 }, 31]
  ]
  for (const [what, limit, atMost] of limits) {
    it.effect(`Q2: takes no more of a batch than its limit of ${what} and those in flight`, () =>
      nacking(() =>
        Effect.gen(function*() {
          const { publishAll } = yield* AmqpPublisher.make({ maxInFlight: 10, retry: lateRetry, ...limit })
          const messages = counted(1_000)
          const batch = yield* fork(publishAll(messages, toQueue))
          yield* TestClock.adjust("10 seconds")
          assert.isAbove(messages.taken, 19)
          assert.isAtMost(messages.taken, atMost)
          yield* TestClock.adjust("10 minutes")
          assert.isAtMost(messages.taken, atMost + 20)
          yield* assertWaits(batch)
        })
      ))
  }

  it.effect("Q2: goes on with a batch when there is room, to its end", () =>
    nacking((accept) =>
      Effect.gen(function*() {
        const { publishAll } = yield* AmqpPublisher.make({ maxInFlight: 10, maxWaiting: 20, retry: lateRetry })
        const messages = counted(10, 200)
        const batch = yield* fork(publishAll(messages, toQueue))
        yield* TestClock.adjust("10 seconds")
        assert.isBelow(messages.taken, 200)
        accept()
        yield* TestClock.adjust("1 minute")
        yield* resultOf(batch)
        assert.strictEqual(messages.taken, 200)
      })
    ))

  it.effect("Q2: refuses further messages at once while too many pause, and accepts them when there is room", () =>
    nacking((accept) =>
      Effect.gen(function*() {
        const { publish } = yield* AmqpPublisher.make({ maxInFlight: 10, maxWaiting: 20, retry: lateRetry })
        const publishOne = publish(AmqpMessage.text("text"), toQueue)
        const paused = yield* Effect.forEach(Array.from({ length: 20 }), () => fork(publishOne))
        yield* TestClock.adjust("10 seconds")
        const error = yield* Effect.flip(publishOne)
        const { reason } = assertReason(error, "NotSent").cause
        if (reason._tag !== "TooManyPublishes") return assert.fail(reason.message)
        assert.deepStrictEqual([reason.waiting, reason.waitingBytes], [20, 80])
        accept()
        yield* TestClock.adjust("1 minute")
        yield* Effect.forEach(paused, resultOf)
        yield* publishOne
      })
    ))

  it.effect("Q2: accepts other messages while a batch is nacked for as long as it lasts", () =>
    confirming((text) => text === "single" ? "ack" : "nack", () =>
      Effect.gen(function*() {
        const retry = Schedule.spaced("1 second")
        const { publish, publishAll } = yield* AmqpPublisher.make({ maxInFlight: 10, maxWaiting: 40, retry })
        yield* fork(publishAll(counted(1), toQueue))
        for (let count = 0; count < 50; count++) {
          yield* TestClock.adjust("97 millis")
          const single = yield* fork(publish(AmqpMessage.text("single"), toQueue))
          yield* TestClock.adjust("20 millis")
          yield* resultOf(single)
        }
      })))

  it.effect("ends a batch when it is confirmed, although other messages pause", () =>
    confirming((text) => text === "nacked" ? "nack" : "ack", () =>
      Effect.gen(function*() {
        const { publish, publishAll } = yield* AmqpPublisher.make({ maxWaiting: 2, retry: lateRetry })
        yield* fork(publish(AmqpMessage.text("nacked"), toQueue))
        yield* TestClock.adjust("1 second")
        const batch = yield* fork(publishAll([], toQueue))
        yield* resultOf(batch)
        const other = yield* fork(publishAll([AmqpMessage.text("one"), AmqpMessage.text("nacked")], toQueue))
        yield* TestClock.adjust("1 second")
        yield* assertWaits(other)
      })))

  it.effect("ends a batch at once when a schedule dies while it waits for room", () =>
    nacking(() =>
      Effect.gen(function*() {
        const retry = Schedule.modifyDelay(
          Schedule.forever,
          ({ attempt }) => attempt === 1 ? Effect.succeed(Duration.seconds(10)) : Effect.die(new Error("boom"))
        )
        const { publishAll } = yield* AmqpPublisher.make({ maxInFlight: 1, maxWaiting: 2, retry })
        const batch = yield* fork(publishAll(counted(1), toQueue))
        yield* TestClock.adjust("9 seconds")
        yield* assertWaits(batch)
        yield* TestClock.adjust("2 seconds")
        assert.include(String(yield* Effect.flip(Effect.sandbox(resultOf(batch)))), "boom")
      })
    ))

  it.effect("sends nothing more of a batch whose iterable has thrown while a message paused", () =>
    Effect.gen(function*() {
      let sent = 0
      const nackFirst = () => ++sent === 1 ? "nack" : "ack"
      yield* confirming(nackFirst, () =>
        Effect.gen(function*() {
          const retry = Schedule.spaced("1 second")
          const { publishAll } = yield* AmqpPublisher.make({ maxInFlight: 1, maxWaiting: 2, retry })
          const throwing = function*() {
            yield AmqpMessage.text("first")
            throw new Error("boom")
          }
          const batch = yield* fork(publishAll(throwing(), toQueue))
          yield* TestClock.adjust("3 seconds")
          assert.include(String(yield* Effect.flip(Effect.sandbox(resultOf(batch)))), "boom")
          assert.strictEqual(sent, 1)
        }))
    }))

  it.effect("Q2: keeps a bounded part of a batch, however slowly the broker nacks", () =>
    nacking(() =>
      Effect.gen(function*() {
        const { publishAll } = yield* AmqpPublisher.make({ maxInFlight: 10, maxWaiting: 20, retry: Schedule.forever })
        const messages = counted(1)
        const batch = yield* fork(publishAll(messages, toQueue))
        yield* TestClock.adjust("2 minutes")
        assert.isAtMost(messages.taken, 31)
        // Otherwise the publisher waits for the confirms when it closes.
        batch.interruptUnsafe()
        yield* TestClock.adjust("2 seconds")
      }), { after: "1 second" }))

  it.effect("Q2: makes room when a publish that pauses is interrupted", () =>
    nacking(() =>
      Effect.gen(function*() {
        const { publish, publishAll } = yield* AmqpPublisher.make({ maxInFlight: 10, maxWaiting: 5, retry: lateRetry })
        const paused = yield* Effect.forEach(
          Array.from({ length: 5 }),
          () => fork(publish(AmqpMessage.text("text"), toQueue))
        )
        yield* TestClock.adjust("1 second")
        yield* Effect.flip(publishAll(counted(1), toQueue))
        for (const fiber of paused) fiber.interruptUnsafe()
        const messages = counted(1)
        yield* fork(publishAll(messages, toQueue))
        yield* TestClock.adjust("1 second")
        assert.isAbove(messages.taken, 4)
      })
    ))
})
