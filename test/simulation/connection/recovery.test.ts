import { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import type { State } from "@effect-amqp/core/AmqpConnection"
import type { ConnectionErrorReason } from "@effect-amqp/core/AmqpError"
import { supervisorOf } from "@effect-amqp/core/internal/connection/connectionRegistry"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import type * as Socket from "effect/socket/Socket"
import * as TestClock from "effect/testing/TestClock"
import { dialNetwork, recovering, refused, scriptNetwork, watch } from "../../support/scriptedNetwork.ts"
import type { Network } from "../../support/scriptedNetwork.ts"
import {
  assertReason,
  assertWaits,
  connectionClose,
  declare,
  declareOk,
  fork,
  methodBytes,
  reasonOf,
  reset,
  rest,
  resultOf,
  serveDeclare,
  start,
  tune
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { registry } from "../../support/series.ts"

/** Lets time pass second by second, as fibers that wake up at one of them may sleep again. */
const seconds = (count: number) => Effect.repeat(TestClock.adjust("1 second"), { times: count - 1 })

/** The connection is usable: a program on it succeeds. */
const assertUsable = (peer: Peer) =>
  Effect.gen(function*() {
    const declaring = yield* fork(declare("q"))
    yield* serveDeclare(peer, "q")
    yield* resultOf(declaring)
  })

describe("a connection that is lost", () => {
  const losses: ReadonlyArray<
    readonly [what: string, lose: (peer: Peer) => Effect.Effect<void>, reason: ConnectionErrorReason["_tag"]]
  > = [
    [
      "B1, E4: the broker stops gracefully (320)",
      (peer) => peer.send(0, connectionClose(320, "CONNECTION_FORCED - broker forced connection closure")),
      "ConnectionForced"
    ],
    ["B2, N1: the broker is killed and its socket is reset", (peer) => peer.failReads(reset), "SocketLost"],
    ["the peer closes the socket", (peer) => peer.hangUp, "SocketLost"],
    [
      "E10: the broker reports an internal error",
      (peer) => peer.send(0, connectionClose(541, "INTERNAL")),
      "InternalError"
    ],
    ["E10: the broker reports a frame error", (peer) => peer.send(0, connectionClose(501, "FRAME")), "FrameError"],
    [
      "E10: the peer sends garbage",
      (peer) => peer.push(new TextEncoder().encode("HTTP/1.1 400 Bad")),
      "ProtocolViolation"
    ]
  ]
  for (const [what, lose, reason] of losses) {
    it.effect(`is established again when ${what}`, () =>
      recovering(({ connection, network, peer }) =>
        Effect.gen(function*() {
          yield* seconds(10)
          const running = yield* fork(declare("running"))
          yield* peer.openChannel()
          yield* peer.expect("queue.declare")
          const states: Array<State> = []
          yield* watch(connection, states)
          yield* lose(peer)
          assertReason((yield* reasonOf(running, "ConnectionLost")).cause, reason)
          yield* assertUsable(yield* network.serve())
          assert.deepStrictEqual(states.map(({ _tag }) => _tag).filter((tag, at, all) => tag !== all[at - 1]), [
            "Open",
            "Recovering",
            "Open"
          ])
        })
      ))
  }

  it.effect("N2: receives what was sent before the peer closed the socket", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const declaring = yield* fork(declare("q"))
        yield* peer.openChannel()
        yield* peer.expect("queue.declare")
        yield* Effect.andThen(peer.push(methodBytes(1, declareOk("q"))), peer.hangUp)
        yield* resultOf(declaring)
        yield* TestClock.adjust("1 second")
        yield* assertUsable(yield* network.serve())
      })
    ))

  it.effect("N3: is established again when the peer is silent for two heartbeat intervals", () =>
    recovering(
      ({ connection, network }) =>
        Effect.gen(function*() {
          yield* seconds(19)
          assert.strictEqual((yield* connection.state)._tag, "Open")
          yield* seconds(2)
          const state = yield* connection.state
          if (state._tag !== "Recovering") return assert.fail(state._tag)
          assertReason(state.cause, "HeartbeatTimeout")
          yield* assertUsable(yield* network.serve())
        }),
      { heartbeat: "10 seconds" },
      ["a"],
      { heartbeat: 10 }
    ))

  it.effect("N1: fails a program at once when the socket is reset in mid-write", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* seconds(10)
        yield* peer.stall
        const declaring = yield* fork(declare("q"))
        yield* assertWaits(declaring)
        yield* peer.failReads(reset)
        yield* reasonOf(declaring, "ConnectionLost")
        yield* assertUsable(yield* network.serve())
      })
    ))

  it.effect("N5: is established again when a write fails while the read is stuck", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* seconds(10)
        yield* peer.failWrites(reset)
        yield* fork(Effect.ignore(declare("q")))
        yield* assertUsable(yield* network.serve())
      })
    ))

  it.effect("N8: has no two sessions, even while the old socket still closes", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* seconds(10)
        yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED"))
        yield* network.accept
        assert.isFalse(peer.isOpen)
        assert.isFalse(peer.isWritable)
        assert.strictEqual(network.open, 1)
      })
    ))

  it.effect("is established again although a logger dies", () =>
    scriptNetwork((network) =>
      Effect.gen(function*() {
        const dying = Logger.make(() => {
          throw new Error("a bug")
        })
        const connecting = yield* fork(Effect.provide(dialNetwork(network), Logger.layer([dying])))
        const peer = yield* network.serve()
        const connection = yield* resultOf(connecting)
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        const second = yield* network.serve()
        yield* Effect.provideService(assertUsable(second), AmqpConnection, connection)
      })
    ))

  it.effect("W3: is not blocked any longer when it is open again", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* seconds(10)
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        yield* rest
        assert.strictEqual((yield* connection.state)._tag, "Blocked")
        yield* peer.hangUp
        yield* network.serve()
        yield* rest
        assert.deepStrictEqual(yield* connection.state, { _tag: "Open", endpoint: "a" })
      })
    ))

  it.effect("has the limits, properties and capabilities of its latest session", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* seconds(10)
        assert.strictEqual((yield* connection.negotiated).channelMax, 2047)
        assert.strictEqual((yield* connection.serverProperties)["product"], "RabbitMQ")
        yield* peer.hangUp
        yield* rest
        // Of the last one, while there is none.
        assert.strictEqual((yield* connection.negotiated).channelMax, 2047)
        yield* network.serve({
          channelMax: 5,
          mechanisms: "AMQPLAIN",
          serverProperties: { capabilities: { new: true } }
        })
        yield* rest
        assert.strictEqual((yield* connection.negotiated).channelMax, 5)
        assert.strictEqual(yield* connection.mechanism, "AMQPLAIN")
        assert.deepStrictEqual([...yield* connection.capabilities], ["new"])
      })
    ))

  it.effect("stays lost with recovery: false", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* seconds(10)
        yield* peer.hangUp
        yield* reasonOf(yield* fork(connection.awaitClosed), "SocketLost")
        yield* seconds(60)
        yield* network.expectDialed()
        assertReason((yield* reasonOf(yield* fork(declare("q")), "ConnectionLost")).cause, "SocketLost")
        assert.deepStrictEqual(network.lines.filter((line) => !line.startsWith("Debug")), [])
      }), { recovery: false }))
})

describe("the pauses of recovery", () => {
  /** Loses each session at once, and returns the pauses in seconds before the next ones were dialed. */
  const pausesOf = (network: Network, count: number) =>
    Effect.gen(function*() {
      const pauses: Array<number> = []
      for (let at = 0; at < count; at++) {
        yield* rest
        const before = network.dialed.length
        let waited = 0
        while (network.dialed.length === before) {
          yield* TestClock.adjust("1 second")
          yield* rest
          waited++
        }
        pauses.push(waited)
        const peer = yield* network.serve()
        yield* rest
        yield* peer.hangUp
      }
      return pauses
    })
  const doubling = { schedule: Schedule.exponential("1 second") }

  it.effect("N6: grow when a broker accepts each connection and closes it again", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* peer.hangUp
        assert.deepStrictEqual(yield* pausesOf(network, 5), [1, 2, 4, 8, 16])
      }), { recovery: doubling }))

  it.effect("N6: begin again only after a session that lasted stableAfter", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* peer.hangUp
        assert.deepStrictEqual(yield* pausesOf(network, 3), [1, 2, 4])
        yield* seconds(8)
        const unstable = yield* network.serve()
        yield* seconds(4)
        yield* unstable.hangUp
        yield* rest
        yield* seconds(15)
        assert.strictEqual(network.open, 0)
        yield* seconds(1)
        const stable = yield* network.serve()
        yield* seconds(5)
        yield* stable.hangUp
        // At once, and with the first pause after that.
        const next = yield* network.serve()
        yield* rest
        yield* next.hangUp
        assert.deepStrictEqual(yield* pausesOf(network, 2), [1, 2])
      }), { recovery: { ...doubling, stableAfter: "5 seconds" } }))

  it.effect("N6: begin again by default only after a session that lasted 10 seconds", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* peer.hangUp
        assert.deepStrictEqual(yield* pausesOf(network, 2), [1, 2])
        yield* seconds(4)
        const unstable = yield* network.serve()
        yield* TestClock.adjust("9900 millis")
        yield* unstable.hangUp
        assert.deepStrictEqual(yield* pausesOf(network, 1), [8])
        yield* seconds(16)
        const stable = yield* network.serve()
        yield* TestClock.adjust("10 seconds")
        yield* stable.hangUp
        // At once, and with the first pause after that.
        const next = yield* network.serve()
        yield* rest
        yield* next.hangUp
        assert.deepStrictEqual(yield* pausesOf(network, 2), [1, 2])
      }), { recovery: doubling }))

  it.effect("Q5: follow each dial that the operating system refuses", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* seconds(10)
        network.faults.set("a", Effect.fail(refused("open EMFILE: too many open files", { code: "EMFILE" })))
        yield* peer.hangUp
        yield* seconds(7)
        // At once, and after 1, 2 and 4 seconds.
        yield* network.expectDialed("a", "a", "a", "a")
        const state = yield* connection.state
        if (state._tag !== "Recovering") return assert.fail(state._tag)
        assert.include(assertReason(state.lastError ?? assert.fail("no error"), "ConnectFailed").message, "EMFILE")
        network.faults.clear()
        yield* seconds(8)
        yield* assertUsable(yield* network.serve())
      }), { recovery: doubling }))

  it.effect("end with the schedule, and so does the connection", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* seconds(10)
        const closed = yield* fork(connection.awaitClosed)
        network.faults.set("a", Effect.fail(refused()))
        yield* Effect.andThen(peer.hangUp, rest)
        const waiting = yield* fork(declare("q"))
        yield* seconds(1)
        yield* assertWaits(closed)
        yield* seconds(1)
        yield* reasonOf(closed, "ConnectFailed")
        assertReason((yield* reasonOf(waiting, "ConnectionLost")).cause, "ConnectFailed")
        yield* network.expectDialed("a", "a", "a")
        assert.deepStrictEqual(network.logged("Error"), [
          "The AMQP connection is lost, and will not be established again. " +
          "Cannot reach the broker: connect ECONNREFUSED 127.0.0.1:5672"
        ])
      }), { recovery: { schedule: Schedule.upTo(Schedule.spaced("1 second"), { times: 2 }) } }))

  it.effect("are by default random parts of 250 milliseconds, doubled up to 30 seconds, without end", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* seconds(10)
        network.faults.set("a", Effect.fail(refused()))
        yield* peer.hangUp
        yield* rest
        const pauses: Array<number> = []
        for (let attempt = 1; attempt <= 200; attempt++) {
          const state = yield* connection.state
          if (state._tag !== "Recovering" || state.nextAttempt === undefined) return assert.fail(state._tag)
          assert.isAtLeast(state.attempt, attempt)
          const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
          const pause = state.nextAttempt.getTime() - now
          assert.isAtLeast(pause, 0)
          assert.isAtMost(pause, Math.min(250 * 2 ** (state.attempt - 1), 30_000))
          pauses.push(pause)
          yield* TestClock.adjust(pause + 1)
          yield* rest
        }
        // Full jitter: of the capped ones, about half are below the half, and hardly two are equal.
        const capped = pauses.slice(10)
        const low = capped.filter((pause) => pause < 15_000).length
        assert.isAbove(low, 50)
        assert.isBelow(low, 140)
        assert.isAbove(new Set(capped).size, 150)
      }), { recovery: true }))
})

describe("an attempt of recovery that fails", () => {
  const steps: ReadonlyArray<readonly [string, (network: Network) => Effect.Effect<void>, fault?: Socket.SocketError]> =
    [
      ["at the socket", () => rest, refused()],
      ["before connection.start", (network) => Effect.flatMap(network.accept, (peer) => peer.hangUp)],
      [
        "before connection.tune",
        (network) =>
          Effect.gen(function*() {
            const peer = yield* network.accept
            yield* peer.send(0, start())
            yield* peer.answer(0, "connection.start-ok", connectionClose(541, "INTERNAL_ERROR"))
          })
      ],
      [
        "before connection.open-ok",
        (network) =>
          Effect.gen(function*() {
            const peer = yield* network.accept
            yield* peer.send(0, start())
            yield* peer.expect("connection.start-ok")
            yield* peer.send(0, tune())
            yield* peer.expect("connection.tune-ok")
            yield* peer.expect("connection.open")
            yield* peer.failReads(reset)
          })
      ],
      ["with a server that is silent", (network) => Effect.andThen(network.accept, seconds(10))]
    ]
  for (const [what, fail, fault] of steps) {
    it.effect(`N7: is repeated: ${what}`, () =>
      recovering(({ connection, network, peer }) =>
        Effect.gen(function*() {
          yield* seconds(10)
          if (fault !== undefined) network.faults.set("a", Effect.fail(fault))
          yield* peer.hangUp
          yield* fail(network)
          network.faults.clear()
          yield* rest
          assert.strictEqual((yield* connection.state)._tag, "Recovering")
          assert.strictEqual(network.open, 0)
          yield* seconds(1)
          yield* assertUsable(yield* network.serve())
        })
      ))
  }

  it.effect("N7: is repeated when the session ends while topologies are declared on it", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* seconds(10)
        const prepared: Array<string> = []
        yield* supervisorOf(connection).preparations.register({
          queues: ({ channels }) =>
            channels.scoped.pipe(
              Effect.scoped,
              Effect.match({
                onFailure: ({ reason }) => void prepared.push(reason._tag),
                onSuccess: () => void prepared.push("ready")
              })
            )
        })
        yield* peer.hangUp
        const first = yield* network.serve()
        yield* first.expect("channel.open")
        const waiting = yield* fork(declare("q"))
        assert.strictEqual((yield* connection.state)._tag, "Recovering")
        yield* first.hangUp
        yield* assertWaits(waiting)
        assert.strictEqual((yield* connection.state)._tag, "Recovering")
        assert.lengthOf(network.logged("Warn"), 1)
        yield* seconds(1)
        const second = yield* network.serve()
        yield* second.openChannel()
        yield* second.closeChannel()
        yield* serveDeclare(second, "q")
        yield* resultOf(waiting)
        assert.deepStrictEqual(prepared.slice(-1), ["ready"])
        assert.lengthOf(network.logged("Info"), 1)
      })
    ))
})

describe("operators", () => {
  it.effect("see one warning when a connection is lost, and one line when it is back", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* seconds(10)
        network.faults.set("a", Effect.fail(refused()))
        yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED - maintenance"))
        yield* seconds(3)
        network.faults.clear()
        yield* seconds(1)
        yield* network.serve()
        yield* rest
        assert.deepStrictEqual(network.lines.filter((line) => !line.startsWith("Debug")), [
          "Warn The AMQP connection to a was lost, and is being established again. " +
          "320 CONNECTION_FORCED - maintenance",
          "Info The AMQP connection is open again, to a, after 4.0 s and 5 attempts"
        ])
        assert.lengthOf(network.logged("Debug"), 4)
      })
    ))

  it.effect("see recoveries, failed attempts and the time to recover in the metrics", () => {
    const metrics = registry()
    return metrics.kept(recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* seconds(10)
        network.faults.set("a", Effect.fail(refused()))
        yield* peer.hangUp
        yield* seconds(3)
        network.faults.clear()
        yield* seconds(1)
        yield* network.serve()
        yield* rest
        assert.deepStrictEqual(
          metrics.values("connections", "connections.opened", "connections.recovered", "connections.failed_attempts"),
          [1, 2, 1, 4]
        )
        const found = metrics.find("amqp.client.recovery.duration")
        if (found.type !== "Histogram") return assert.fail(found.type)
        assert.strictEqual(found.state.count, 1)
        assert.strictEqual(found.state.sum, 4)
      })
    ))
  })
})

describe("the first connection", () => {
  it.effect("fails by default if its first round fails", () =>
    scriptNetwork((network) =>
      Effect.gen(function*() {
        network.faults.set("a", Effect.fail(refused()))
        yield* reasonOf(yield* fork(dialNetwork(network)), "ConnectFailed")
        yield* seconds(60)
        yield* network.expectDialed("a")
        assert.deepStrictEqual(network.lines.filter((line) => !line.startsWith("Debug")), [])
      })
    ))

  it.effect("is tried again with initial: \"retry\", and the wait is logged once", () =>
    scriptNetwork((network) =>
      Effect.gen(function*() {
        network.faults.set("a", Effect.fail(refused()))
        const connecting = yield* fork(
          dialNetwork(network, { recovery: { schedule: Schedule.spaced("1 second"), initial: "retry" } })
        )
        yield* seconds(5)
        yield* assertWaits(connecting)
        yield* network.expectDialed("a", "a", "a", "a", "a", "a")
        network.faults.clear()
        yield* seconds(1)
        yield* network.serve()
        yield* resultOf(connecting)
        assert.deepStrictEqual(network.lines.filter((line) => !line.startsWith("Debug")), [
          "Warn There is no AMQP connection yet. The program waits and tries again. " +
          "Cannot reach the broker: connect ECONNREFUSED 127.0.0.1:5672",
          "Info The AMQP connection to a is open, after 6.0 s"
        ])
      })
    ))

  it.effect("fails with initial: \"retry\" when its schedule has ended", () =>
    scriptNetwork((network) =>
      Effect.gen(function*() {
        network.faults.set("a", Effect.fail(refused()))
        const schedule = Schedule.upTo(Schedule.spaced("1 second"), { times: 1 })
        const connecting = yield* fork(dialNetwork(network, { recovery: { schedule, initial: "retry" } }))
        yield* seconds(1)
        yield* reasonOf(connecting, "ConnectFailed")
        yield* network.expectDialed("a", "a")
      })
    ))
})

describe("a session whose confirms are overdue", () => {
  it.effect("N8: is closed before the next one is dialed, and programs on it fail with ConfirmsOverdue", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* seconds(10)
        const held = yield* fork(declare("held"))
        yield* peer.openChannel()
        yield* peer.expect("queue.declare")
        const supervisor = supervisorOf(connection)
        supervisor.confirmsOverdue(supervisor.latest, 30_000)
        yield* peer.expect("connection.close", 0)
        assert.strictEqual((yield* connection.state)._tag, "Recovering")
        assertReason((yield* reasonOf(held, "ConnectionLost")).cause, "ConfirmsOverdue")
        const next = yield* network.serve()
        yield* assertUsable(next)
        // Of an old session, it means nothing.
        supervisor.confirmsOverdue(supervisor.latest, 30_000)
        yield* next.expectNothing
      })
    ))

  it.effect("is replaced once for each endpoint, and no longer if none of them confirms anything", () =>
    recovering(
      ({ connection, network, peer: first }) =>
        Effect.gen(function*() {
          const supervisor = supervisorOf(connection)
          let peer = first
          for (const endpoint of ["b", "a"]) {
            yield* seconds(10)
            supervisor.confirmsOverdue(supervisor.latest, 30_000)
            yield* peer.expect("connection.close", 0)
            peer = yield* network.serve()
            yield* rest
            assert.deepStrictEqual(yield* connection.state, { _tag: "Open", endpoint })
          }
          supervisor.confirmsOverdue(supervisor.latest, 30_000)
          yield* peer.expectNothing
          assert.strictEqual((yield* connection.state)._tag, "Open")
        }),
      {},
      ["a", "b"]
    ))
})

describe("a connection to a broker that restarts", () => {
  it.effect("N8: has one connection there at a time, and goes on with it", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.make()
      const connection = yield* broker.connect({ recovery: { stableAfter: 0 } })
      const use = Effect.provideService(declare("q"), AmqpConnection, connection)
      for (let restart = 0; restart < 20; restart++) {
        yield* use
        const [{ close, cut }, ...others] = yield* broker.connections
        assert.lengthOf(others, 0)
        yield* restart % 2 === 0 ? cut : close(320, "CONNECTION_FORCED")
        yield* rest
      }
      yield* use
      assert.lengthOf(yield* broker.connections, 1)
    }).pipe(Effect.scoped))
})
