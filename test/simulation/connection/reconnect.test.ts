import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scheduler from "effect/Scheduler"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { recovering, refused } from "../../support/scriptedNetwork.ts"
import {
  assertReason,
  assertWaits,
  channelClose,
  declare,
  declareOk,
  failureOf,
  fork,
  reasonOf,
  reset,
  rest,
  resultOf,
  serveDeclare
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

const closeOk = (peer: Peer) => peer.answer(0, "connection.close", { _tag: "connection.close-ok" })

/** A program that has declared a queue and waits for the reply to another. */
const halfWay = (peer: Peer) =>
  Effect.gen(function*() {
    const program = AmqpChannel.andThen(AmqpQueue.declare("first"), AmqpQueue.declare("second"))
    const running = yield* fork(AmqpChannel.run(program))
    yield* peer.openChannel()
    yield* peer.answer(1, "queue.declare", declareOk("first"))
    yield* peer.expect("queue.declare", 1)
    return running
  })

const hourly = { recovery: { schedule: Schedule.spaced("1 hour") } } as const

describe("reconnect", () => {
  it.effect("closes the session in order, and dials the next endpoint without a pause", () =>
    recovering(
      ({ connection, network, peer }) =>
        Effect.gen(function*() {
          const replacing = yield* fork(connection.reconnect)
          assert.strictEqual((yield* connection.state)._tag, "Connecting")
          yield* network.expectDialed()
          yield* closeOk(peer)
          yield* network.serve()
          yield* resultOf(replacing)
          yield* network.expectDialed("b")
          assert.deepStrictEqual(yield* connection.state, { _tag: "Open", endpoint: "b" })
          assert.deepStrictEqual(network.lines.filter((line) => !line.startsWith("Debug")), [])
        }),
      {},
      ["a", "b"]
    ))

  it.effect("replaces the session although its caller is interrupted, at whichever step", () =>
    Effect.forEach(
      Array.from({ length: 20 }, (_, index) => index + 3),
      (operations) =>
        recovering(({ connection, network, peer }) =>
          Effect.gen(function*() {
            const reconnect = Effect.provideService(connection.reconnect, Scheduler.MaxOpsBeforeYield, operations)
            const replacing = yield* Effect.forkChild(reconnect)
            while ((yield* connection.state)._tag === "Open") yield* Effect.yieldNow
            replacing.interruptUnsafe()
            yield* closeOk(peer)
            yield* network.serve()
          })
        )
    ))

  it.effect("lets programs end that run, and has new ones wait for the next session", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        const running = yield* halfWay(peer)
        const replacing = yield* fork(connection.reconnect)
        const later = yield* fork(declare("later"))
        yield* assertWaits(running)
        yield* peer.expectNothing
        yield* peer.send(1, declareOk("second"))
        yield* peer.closeChannel()
        yield* resultOf(running)
        yield* closeOk(peer)
        const next = yield* network.serve()
        yield* serveDeclare(next, "later")
        yield* resultOf(later)
        yield* resultOf(replacing)
      })
    ))

  it.effect("fails programs that have not ended within closeTimeout with ConnectionReplaced", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        const running = yield* halfWay(peer)
        const replacing = yield* fork(connection.reconnect)
        yield* TestClock.adjust("4999 millis")
        yield* peer.expectNothing
        yield* TestClock.adjust("1 millis")
        yield* closeOk(peer)
        const reason = yield* reasonOf(running, "ConnectionLost")
        assertReason(reason.cause, "ConnectionReplaced")
        assert.isTrue(reason.isRetryable)
        yield* network.serve()
        yield* resultOf(replacing)
      })
    ))

  it.effect("replaces the session although the broker does not reply to its close", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        const replacing = yield* fork(connection.reconnect)
        yield* peer.expect("connection.close")
        yield* TestClock.adjust("5 seconds")
        yield* network.serve()
        yield* resultOf(replacing)
      })
    ))

  it.effect("is one replacement for calls at the same time", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        const calls = yield* Effect.forEach([1, 2, 3], () => fork(connection.reconnect))
        yield* closeOk(peer)
        const next = yield* network.serve()
        for (const call of calls) yield* resultOf(call)
        yield* network.expectDialed("a")
        yield* next.expectNothing
      })
    ))

  it.effect("goes on when its caller is interrupted", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        const running = yield* halfWay(peer)
        const replacing = yield* fork(connection.reconnect)
        yield* Fiber.interrupt(replacing)
        yield* peer.send(1, declareOk("second"))
        yield* peer.closeChannel()
        yield* resultOf(running)
        yield* closeOk(peer)
        yield* network.serve()
        yield* rest
        assert.strictEqual((yield* connection.state)._tag, "Open")
      })
    ))

  it.effect("waits for the next session while the connection recovers, and replaces nothing then", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        yield* rest
        const replacing = yield* fork(connection.reconnect)
        yield* assertWaits(replacing)
        const next = yield* network.serve()
        yield* resultOf(replacing)
        yield* next.expectNothing
      })
    ))

  it.effect("begins the next attempt at once while the connection waits for it", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        network.faults.set("a", Effect.fail(refused()))
        yield* peer.hangUp
        yield* network.expectDialed("a")
        const replacing = yield* fork(connection.reconnect)
        yield* network.expectDialed("a")
        const state = yield* connection.state
        if (state._tag !== "Recovering") return assert.fail(state._tag)
        assert.strictEqual(state.attempt, 2)
        network.faults.clear()
        yield* TestClock.adjust("999 millis")
        yield* network.expectDialed()
        yield* TestClock.adjust("1 millis")
        yield* network.serve()
        yield* resultOf(replacing)
      })
    ))

  it.effect("recovers when the session is lost while it drains", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        const running = yield* halfWay(peer)
        const replacing = yield* fork(connection.reconnect)
        yield* peer.failReads(reset)
        assertReason((yield* reasonOf(running, "ConnectionLost")).cause, "SocketLost")
        yield* network.serve()
        yield* resultOf(replacing)
      })
    ))

  it.effect("goes on by the rules of recovery when the next endpoints can't be reached", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        network.faults.set("a", Effect.fail(refused()))
        const replacing = yield* fork(connection.reconnect)
        yield* closeOk(peer)
        yield* rest
        yield* TestClock.adjust("3 seconds")
        yield* assertWaits(replacing)
        const state = yield* connection.state
        if (state._tag !== "Connecting") return assert.fail(state._tag)
        assert.isAbove(state.attempt, 1)
        assertReason(state.lastError ?? assert.fail("no error"), "ConnectFailed")
        network.faults.clear()
        yield* TestClock.adjust("1 second")
        yield* network.serve()
        yield* resultOf(replacing)
        assert.lengthOf(network.logged("Warn"), 1)
        assert.match(network.logged("Warn")[0], /closed to be replaced, and another one is being established/)
        assert.lengthOf(network.logged("Info"), 1)
        assert.match(
          network.logged("Info")[0],
          /^The AMQP connection is open again, to a, after \d\.\d s and \d+ attempts$/
        )
      })
    ))

  it.effect("logs and counts nothing but debug lines when the next endpoint can be reached", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        const replacing = yield* fork(connection.reconnect)
        yield* closeOk(peer)
        yield* network.serve()
        yield* resultOf(replacing)
        assert.deepStrictEqual([...network.logged("Warn"), ...network.logged("Info")], [])
      })
    ))

  it.effect("skips the pause also when it is called as soon as the connection is lost", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        const lost = Stream.runDrain(Stream.takeUntil(connection.stateChanges, ({ _tag }) => _tag === "Recovering"))
        const reconnecting = yield* fork(Effect.andThen(lost, connection.reconnect))
        yield* peer.hangUp
        yield* network.serve()
        yield* resultOf(reconnecting)
      }), hourly))

  it.effect("skips the pause after an attempt that was under way, and no further one", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        const silent = yield* network.accept
        const reconnecting = yield* fork(connection.reconnect)
        yield* silent.hangUp
        yield* rest
        yield* (yield* network.accept).hangUp
        yield* TestClock.adjust("59 minutes")
        yield* assertWaits(reconnecting)
        yield* network.expectDialed("a", "a")
        yield* TestClock.adjust("1 minute")
        yield* network.serve()
        yield* resultOf(reconnecting)
      }), hourly))

  it.effect("dials one round without recovery, and ends the connection if that fails", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        const replacing = yield* fork(connection.reconnect)
        yield* closeOk(peer)
        const next = yield* network.serve()
        yield* resultOf(replacing)
        network.faults.set("a", Effect.fail(refused()))
        const again = yield* fork(connection.reconnect)
        yield* closeOk(next)
        yield* reasonOf(again, "ConnectFailed")
        assert.strictEqual((yield* connection.state)._tag, "Closed")
        yield* reasonOf(yield* fork(connection.reconnect), "ConnectFailed")
      }), { recovery: false }))

  it.effect("does not wait for idle channels, nor for a channel that the broker has closed", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        const failing = yield* halfWay(peer)
        yield* peer.send(1, channelClose(406, "PRECONDITION_FAILED"))
        yield* peer.expect("channel.close-ok")
        yield* failureOf(failing)
        const declaring = yield* fork(declare("q"))
        yield* peer.openChannel()
        yield* peer.answer(1, "queue.declare", declareOk("q"))
        yield* resultOf(declaring)
        assert.strictEqual(yield* connection.channelCount, 1)
        const replacing = yield* fork(connection.reconnect)
        yield* closeOk(peer)
        yield* network.serve()
        yield* resultOf(replacing)
      }), { maxIdleChannels: 1 }))
})
