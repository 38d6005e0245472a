import type { State } from "@effect-amqp/core/AmqpConnection"
import { supervisorOf } from "@effect-amqp/core/internal/connection/connectionRegistry"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { recovering, refused, watch } from "../../support/scriptedNetwork.ts"
import { assertReason, connectionClose, failureOf, fork, rest, resultOf } from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

const second = TestClock.adjust("1 second")

/** What a state shows, in a form that is easy to compare. */
const shown = (state: State) => {
  switch (state._tag) {
    case "Connecting":
    case "Recovering": {
      const { _tag, attempt, endpoint, lastError, nextAttempt } = state
      return [_tag, attempt, endpoint, lastError?.reason._tag, nextAttempt?.getTime()]
    }
    case "Open":
    case "Blocked":
      return [state._tag, state.endpoint]
    case "Closed":
      return [state._tag, state.error.reason._tag]
  }
}

const blocked = (peer: Peer, reason: string) => peer.send(0, { _tag: "connection.blocked", reason })

/** Why the connection was blocked, each time. */
const reasonsOf = (states: ReadonlyArray<State>) =>
  states.flatMap((state) => state._tag === "Blocked" ? [state.reason] : [])

describe("the states of a connection that recovers", () => {
  it.effect("have the cause, the time of the loss, and the progress of the attempts", () =>
    recovering(
      ({ connection, network, peer }) =>
        Effect.gen(function*() {
          yield* TestClock.adjust("10 seconds")
          const states: Array<State> = []
          yield* watch(connection, states)
          network.faults.set("a", Effect.fail(refused()))
          network.faults.set("b", Effect.fail(refused()))
          yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED - maintenance"))
          yield* rest
          yield* second
          network.faults.clear()
          yield* second
          yield* network.serve()
          yield* rest
          const none = undefined
          assert.deepStrictEqual(states.map(shown), [
            ["Open", "a"],
            ["Recovering", 0, none, none, none],
            ["Recovering", 1, "b", none, none],
            ["Recovering", 1, "b", "ConnectFailed", none],
            ["Recovering", 2, "a", "ConnectFailed", none],
            ["Recovering", 2, "a", "ConnectFailed", none],
            ["Recovering", 2, "a", "EndpointsFailed", 11_000],
            ["Recovering", 3, "b", "EndpointsFailed", none],
            ["Recovering", 3, "b", "ConnectFailed", none],
            ["Recovering", 4, "a", "ConnectFailed", none],
            ["Recovering", 4, "a", "ConnectFailed", none],
            ["Recovering", 4, "a", "EndpointsFailed", 12_000],
            ["Recovering", 5, "b", "EndpointsFailed", none],
            ["Open", "b"]
          ])
          for (const state of states) {
            if (state._tag !== "Recovering") continue
            assertReason(state.cause, "ConnectionForced")
            assert.strictEqual(state.since.getTime(), 10_000)
          }
        }),
      {},
      ["a", "b"]
    ))

  it.effect("are the same as a value and in the stream", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        const states: Array<State> = []
        yield* watch(connection, states)
        const latest = Effect.gen(function*() {
          yield* rest
          assert.deepStrictEqual(states.at(-1), yield* connection.state)
          return states.at(-1)?._tag
        })
        assert.strictEqual(yield* latest, "Open")
        yield* peer.hangUp
        assert.strictEqual(yield* latest, "Recovering")
        const next = yield* network.serve()
        assert.strictEqual(yield* latest, "Open")
        yield* next.send(0, { _tag: "connection.blocked", reason: "disk" })
        assert.strictEqual(yield* latest, "Blocked")
        const replacing = yield* fork(connection.reconnect)
        yield* next.answer(0, "connection.close", { _tag: "connection.close-ok" })
        assert.strictEqual(yield* latest, "Connecting")
        yield* network.serve()
        yield* resultOf(replacing)
        assert.strictEqual(yield* latest, "Open")
      })
    ))

  it.effect("are Recovering when a connection that was blocked is lost, and Blocked when the next one is blocked at once", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* blocked(peer, "low on memory")
        yield* rest
        const states: Array<State> = []
        yield* watch(connection, states)
        yield* peer.hangUp
        yield* rest
        const next = yield* network.serve()
        yield* blocked(next, "low on disk")
        yield* rest
        assert.deepStrictEqual(states.map(shown), [
          ["Blocked", "a"],
          ["Recovering", 0, undefined, undefined, undefined],
          ["Recovering", 1, "a", undefined, undefined],
          ["Open", "a"],
          ["Blocked", "a"]
        ])
        assert.deepStrictEqual(reasonsOf(states), ["low on memory", "low on disk"])
      })
    ))

  it.effect("are Blocked and not Open before that, when the next connection is blocked while topologies are declared on it", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        const declared = Latch.makeUnsafe()
        yield* supervisorOf(connection).preparations.register({ queues: () => declared.await })
        const states: Array<State> = []
        yield* watch(connection, states)
        yield* peer.hangUp
        const next = yield* network.serve()
        yield* blocked(next, "low on disk")
        yield* rest
        assert.strictEqual((yield* connection.state)._tag, "Recovering")
        yield* declared.open
        yield* rest
        assert.deepStrictEqual(states.map(shown), [
          ["Open", "a"],
          ["Recovering", 0, undefined, undefined, undefined],
          ["Recovering", 1, "a", undefined, undefined],
          ["Blocked", "a"]
        ])
        assert.deepStrictEqual(reasonsOf(states), ["low on disk"])
      })
    ))

  it.effect("are Closed with the error when a connection that does not recover is lost, blocked or not", () =>
    Effect.forEach([false, true], (isBlocked) =>
      recovering(({ connection, peer }) =>
        Effect.gen(function*() {
          yield* TestClock.adjust("10 seconds")
          if (isBlocked) yield* blocked(peer, "low on memory")
          yield* rest
          const states: Array<State> = []
          yield* watch(connection, states)
          yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED - maintenance"))
          const error = yield* failureOf(yield* fork(connection.awaitClosed))
          assert.deepStrictEqual(yield* connection.state, { _tag: "Closed", error })
          yield* rest
          const before = [isBlocked ? "Blocked" : "Open", "a"]
          assert.deepStrictEqual(states.map(shown), [before, ["Closed", "ConnectionForced"]])
        }), { recovery: false })))

  it.effect("reach a slow subscriber with the latest, and not with all", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        const gate = Latch.makeUnsafe()
        const seen: Array<ReadonlyArray<unknown>> = []
        const fiber = yield* fork(Stream.runForEach(connection.stateChanges, (state) => {
          seen.push(shown(state))
          return gate.await
        }))
        yield* rest
        network.faults.set("a", Effect.fail(refused()))
        yield* peer.hangUp
        for (let count = 0; count < 50; count++) yield* second
        network.faults.clear()
        yield* second
        yield* network.serve()
        yield* rest
        yield* gate.open
        yield* rest
        assert.deepStrictEqual(seen[0], ["Open", "a"])
        assert.deepStrictEqual(seen.at(-1), ["Open", "a"])
        assert.isBelow(seen.length, 20)
        yield* Fiber.interrupt(fiber)
      })
    ))

  it.effect("end with Closed, for subscribers of each kind", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        const before = yield* fork(Stream.runCollect(connection.stateChanges))
        network.faults.set("a", Effect.fail(refused()))
        yield* peer.hangUp
        yield* rest
        const between = yield* fork(Stream.runCollect(connection.stateChanges))
        yield* second
        const after = Effect.map(Stream.runCollect(connection.stateChanges), (states) => states.map(shown))
        const tags = (states: ReadonlyArray<State>) => [states[0]._tag, states.at(-1)?._tag]
        assert.deepStrictEqual(tags(yield* resultOf(before)), ["Open", "Closed"])
        assert.deepStrictEqual(tags(yield* resultOf(between)), ["Recovering", "Closed"])
        assert.deepStrictEqual(yield* after, [["Closed", "ConnectFailed"]])
      }), { recovery: { schedule: Schedule.upTo(Schedule.spaced("1 second"), { times: 1 }) } }))
})
