import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import {
  assertWaits,
  connect,
  connected,
  declare,
  fork,
  reasonOf,
  resultOf,
  script,
  serveDeclare,
  waiters
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

/** Both sides have 10 seconds. */
const beating = { client: { heartbeat: "10 seconds" }, server: { heartbeat: 10 } } as const

/** Lets time pass while the peer sends a heartbeat every second. */
const passAlive = (peer: Peer, seconds: number) =>
  Effect.gen(function*() {
    for (let second = 0; second < seconds; second++) {
      yield* TestClock.adjust("1 seconds")
      yield* peer.heartbeat
    }
  })

describe("heartbeats", () => {
  it.effect("N3: detect a silent peer after two intervals, and every waiter fails with the reason (E13)", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const assertFailed = yield* waiters(peer, connection)
        yield* TestClock.adjust("19999 millis")
        assert.isTrue(peer.isOpen)
        yield* TestClock.adjust("1 millis")
        assert.strictEqual((yield* assertFailed("HeartbeatTimeout")).intervalSeconds, 10)
        assert.isFalse(peer.isOpen)
      }), beating))

  it.effect("N3: measure the silence from the last byte", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const closed = yield* fork(connection.awaitClosed)
        yield* TestClock.adjust("4900 millis")
        yield* peer.heartbeat
        yield* TestClock.adjust("19999 millis")
        yield* assertWaits(closed)
        yield* TestClock.adjust("1 millis")
        yield* reasonOf(closed, "HeartbeatTimeout")
      }), beating))

  it.effect("N3: detect a silent peer that does not read either", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const closed = yield* fork(connection.awaitClosed)
        yield* peer.stall
        yield* TestClock.adjust("25 seconds")
        yield* reasonOf(closed, "HeartbeatTimeout")
        assert.isFalse(peer.isOpen)
      }), beating))

  it.effect("N4: take any byte as a sign of life, even of an unfinished frame", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const closed = yield* fork(connection.awaitClosed)
        const frame = Uint8Array.of(8, 0, 0, 0, 0, 0, 0, 206)
        for (let index = 0; index < 80; index++) {
          yield* TestClock.adjust("19 seconds")
          yield* peer.push(frame.slice(index % 8, index % 8 + 1))
        }
        yield* assertWaits(closed)
      }), beating))

  it.effect("are sent every half interval by an idle client", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* passAlive(peer, 60)
        assert.isAtLeast(peer.heartbeats, 11)
        assert.isAtMost(peer.heartbeats, 13)
      }), beating))

  it.effect("leave no interval in which the peer receives nothing", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const program = yield* fork(declare("q"))
        yield* serveDeclare(peer, "q")
        yield* resultOf(program)
        let last = 0
        let taken = peer.bytesTaken
        for (let second = 1; second <= 60; second++) {
          yield* passAlive(peer, 1)
          if (second === 6) {
            const program = yield* fork(declare("q"))
            yield* serveDeclare(peer, "q")
            yield* resultOf(program)
          }
          if (peer.bytesTaken > taken) last = second
          taken = peer.bytesTaken
          assert.isAtMost(second - last, 10)
        }
      }), beating))

  it.effect("are not sent by a busy client", () =>
    connected((peer) =>
      Effect.gen(function*() {
        for (let round = 0; round < 30; round++) {
          const program = yield* fork(declare("q"))
          yield* serveDeclare(peer, "q")
          yield* resultOf(program)
          yield* TestClock.adjust("2 seconds")
        }
        assert.strictEqual(peer.heartbeats, 0)
      }), beating))

  it.effect("stop with the connection", () =>
    script((peer) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Scope.provide(connect(peer, beating), scope)
        yield* passAlive(peer, 10)
        const sent = peer.heartbeats
        assert.isAbove(sent, 0)
        const closing = yield* fork(Scope.close(scope, Exit.void))
        yield* peer.answer(0, "connection.close", { _tag: "connection.close-ok" })
        yield* resultOf(closing)
        yield* TestClock.adjust("1 hours")
        assert.strictEqual(peer.heartbeats, sent)
      })
    ))

  for (
    const [what, client, server] of [
      ["the client", 0, 10],
      ["the server", 10, 0]
    ] as const
  ) {
    it.effect(`are turned off by 0 from ${what}`, () =>
      connected((peer, connection) =>
        Effect.gen(function*() {
          const closed = yield* fork(connection.awaitClosed)
          yield* TestClock.adjust("1 hours")
          assert.strictEqual(peer.heartbeats, 0)
          yield* assertWaits(closed)
        }), { client: { heartbeat: `${client} seconds` }, server: { heartbeat: server } }))
  }

  it.effect("use the smaller interval of both sides", () =>
    connected((_, connection) =>
      Effect.gen(function*() {
        const closed = yield* fork(connection.awaitClosed)
        yield* TestClock.adjust("3 seconds")
        yield* assertWaits(closed)
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual((yield* reasonOf(closed, "HeartbeatTimeout")).intervalSeconds, 2)
      }), { client: { heartbeat: "60 seconds" }, server: { heartbeat: 2 } }))
})
