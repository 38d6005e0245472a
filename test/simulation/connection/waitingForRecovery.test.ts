import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import type { EndpointOptions } from "@effect-amqp/core/AmqpConnection"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import { eachSecond, recovering, refused } from "../../support/scriptedNetwork.ts"
import {
  assertReason,
  assertWaits,
  declare,
  failureOf,
  fork,
  reasonOf,
  rest,
  resultOf,
  serveDeclare
} from "../../support/scriptedPeer.ts"

const second = TestClock.adjust("1 second")

/** Calls `observe` in each turn of the event loop, until the scope closes. */
const inEachTurn = (observe: () => void) => {
  let timer: NodeJS.Immediate
  const turn = (): void => {
    observe()
    timer = setImmediate(turn)
  }
  return Effect.acquireRelease(Effect.sync(turn), () => Effect.sync(() => clearImmediate(timer)))
}

/** What runs a channel program. */
const kinds = [AmqpChannel.run, AmqpChannel.confirmed, AmqpChannel.transaction] as const

const waiting = (waitTimeout: "10 seconds" | "Infinity" | 0): EndpointOptions => ({
  recovery: { ...eachSecond, waitTimeout }
})

describe("a channel program", () => {
  it.effect("waits for the connection if it begins while there is none", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        yield* rest
        const programs = yield* Effect.forEach(kinds, (run) => fork(run(AmqpQueue.declare("q"))))
        for (const program of programs) yield* assertWaits(program)
        const next = yield* network.serve()
        assert.deepStrictEqual(yield* next.takeTags, ["channel.open", "channel.open", "channel.open"])
        for (const channel of [1, 2, 3]) yield* next.send(channel, { _tag: "channel.open-ok" })
        assert.sameMembers([...yield* next.takeTags], ["queue.declare", "confirm.select", "tx.select"])
      })
    ))

  it.effect("fails after waitTimeout with a ConnectionLost that is retryable and has since when, and why", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        network.faults.set("a", Effect.fail(refused()))
        yield* peer.hangUp
        yield* Effect.repeat(second, { times: 4 })
        const program = yield* fork(declare("q"))
        yield* TestClock.adjust("9999 millis")
        yield* assertWaits(program)
        yield* TestClock.adjust("1 millis")
        const reason = yield* reasonOf(program, "ConnectionLost")
        assert.strictEqual(reason.since?.getTime(), 10_000)
        assert.isTrue(reason.isRetryable)
        assertReason(reason.cause, "ConnectFailed")
        assert.strictEqual(
          reason.message,
          "There has been no connection since 1970-01-01T00:00:10.000Z. " +
            "Cannot reach the broker: connect ECONNREFUSED 127.0.0.1:5672"
        )
      }), waiting("10 seconds")))

  it.effect("of each kind fails by default after 30 seconds with a ConnectionLost that is retryable and has since when, and why", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        network.faults.set("a", Effect.fail(refused()))
        yield* peer.hangUp
        yield* second
        const programs = yield* Effect.forEach(kinds, (run) => fork(run(AmqpQueue.declare("q"))))
        yield* TestClock.adjust("29999 millis")
        for (const program of programs) yield* assertWaits(program)
        yield* TestClock.adjust("1 millis")
        for (const program of programs) {
          const error = yield* failureOf(program)
          if (error._tag !== "AmqpChannelError") return assert.fail(error._tag)
          const reason = assertReason(error, "ConnectionLost")
          assert.deepStrictEqual(reason.since, new Date(10_000))
          assert.isTrue(reason.isRetryable)
          assertReason(reason.cause, "ConnectFailed")
        }
      })
    ))

  it.effect("fails at once with a waitTimeout of 0, even if no attempt has failed yet", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        yield* network.accept
        const program = yield* fork(declare("q"))
        yield* TestClock.adjust(0)
        assertReason((yield* reasonOf(program, "ConnectionLost")).cause, "SocketLost")
      }), waiting(0)))

  it.effect("waits without a limit if waitTimeout is Infinity", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        network.faults.set("a", Effect.fail(refused()))
        yield* peer.hangUp
        yield* rest
        const program = yield* fork(declare("q"))
        for (let count = 0; count < 200; count++) yield* second
        yield* assertWaits(program)
        network.faults.clear()
        yield* second
        yield* serveDeclare(yield* network.serve(), "q")
        yield* resultOf(program)
      }), waiting("Infinity")))

  it.effect("fails with ConnectionReplaced after waitTimeout while the connection is replaced", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("7 seconds")
        const replacing = yield* fork(connection.reconnect)
        yield* peer.answer(0, "connection.close", { _tag: "connection.close-ok" })
        const next = yield* network.accept
        yield* second
        const program = yield* fork(declare("q"))
        yield* TestClock.adjust(0)
        const reason = yield* reasonOf(program, "ConnectionLost")
        assertReason(reason.cause, "ConnectionReplaced")
        assert.strictEqual(reason.since?.getTime(), 7_000)
        yield* next.handshake()
        yield* resultOf(replacing)
      }), waiting(0)))

  it.effect("fails at once if it runs when the connection is lost, and Effect.retry runs it again", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        const once = yield* fork(declare("once"))
        yield* peer.openChannel(1)
        yield* peer.expect("queue.declare", 1)
        const retried = yield* fork(
          Effect.retry(declare("retried"), { while: ({ isRetryable }) => isRetryable, schedule: Schedule.recurs(5) })
        )
        yield* peer.openChannel(2)
        yield* peer.expect("queue.declare", 2)
        yield* peer.hangUp
        assertReason((yield* reasonOf(once, "ConnectionLost")).cause, "SocketLost")
        yield* assertWaits(retried)
        // Another loss between.
        const next = yield* network.serve()
        yield* next.openChannel()
        yield* next.expect("queue.declare")
        yield* next.hangUp
        yield* assertWaits(retried)
        yield* second
        yield* serveDeclare(yield* network.serve(), "retried")
        yield* resultOf(retried)
      })
    ))

  it.effect("is one of at most 32 that begin in a turn of the event loop, however many wait", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        const programs = yield* Effect.forEach(Array.from({ length: 100 }), () => fork(declare("q")))
        const next = yield* network.accept
        const opened: Array<number> = []
        let received = 0
        yield* inEachTurn(() => {
          const { length } = next.frames.filter(({ channel }) => channel > 0)
          if (length > received) opened.push(length - received)
          received = length
        })
        yield* next.handshake()
        for (const program of programs) yield* assertWaits(program)
        assert.deepStrictEqual(opened, [32, 32, 32, 4])
        assert.deepStrictEqual(yield* next.takeTags, programs.map(() => "channel.open"))
      })
    ))

  it.effect("can be interrupted while it waits", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        yield* rest
        const program = yield* fork(declare("q"))
        yield* assertWaits(program)
        yield* Fiber.interrupt(program)
        const next = yield* network.serve()
        yield* next.expectNothing
      })
    ))

  it.effect("that waits fails with the cause when the connection closes for good", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        network.faults.set("a", Effect.fail(refused()))
        yield* peer.hangUp
        yield* rest
        const program = yield* fork(declare("q"))
        yield* second
        const reason = yield* reasonOf(program, "ConnectionLost")
        assertReason(reason.cause, "ConnectFailed")
        assert.isUndefined(reason.since)
        yield* reasonOf(yield* fork(connection.awaitClosed), "ConnectFailed")
      }), { recovery: { schedule: Schedule.upTo(Schedule.spaced("1 second"), { times: 1 }) } }))
})
