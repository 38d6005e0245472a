import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { supervisorOf } from "@effect-amqp/core/internal/connection/connectionRegistry"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { countingFibers } from "../../support/countingFibers.ts"
import { dialNetwork, refused, scriptNetwork, watch } from "../../support/scriptedNetwork.ts"
import type { Network } from "../../support/scriptedNetwork.ts"
import {
  assertReason,
  declare,
  exitOf,
  failureOf,
  fork,
  openPublisher,
  reasonOf,
  rest,
  resultOf,
  start,
  toQueue,
  tune
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { tagsOf } from "../../support/tags.ts"

interface Parts {
  readonly network: Network
  readonly connection: AmqpConnection.AmqpConnection["Service"]
  readonly peer: Peer
}

type Bring = (parts: Parts) => Effect.Effect<unknown, unknown, Scope.Scope | AmqpConnection.AmqpConnection>

const lose: Bring = ({ peer }) =>
  Effect.gen(function*() {
    yield* TestClock.adjust("10 seconds")
    yield* peer.hangUp
    yield* rest
  })

/** States of a connection, how it comes there, and whether a session is open, for whose close the broker has to reply. */
const situations: ReadonlyArray<readonly [what: string, bring: Bring, hasSession?: boolean]> = [
  ["it waits for the socket", (parts) => {
    parts.network.faults.set("a", Effect.never)
    return lose(parts)
  }],
  ["it waits for the pause to end", (parts) => {
    parts.network.faults.set("a", Effect.fail(refused()))
    return lose(parts)
  }],
  ["it waits for connection.start", (parts) => Effect.andThen(lose(parts), parts.network.accept)],
  ["it waits for connection.tune", (parts) =>
    Effect.gen(function*() {
      yield* lose(parts)
      const peer = yield* parts.network.accept
      yield* peer.send(0, start())
      yield* peer.expect("connection.start-ok")
    })],
  ["it waits for connection.open-ok", (parts) =>
    Effect.gen(function*() {
      yield* lose(parts)
      const peer = yield* parts.network.accept
      yield* peer.send(0, start())
      yield* peer.expect("connection.start-ok")
      yield* peer.send(0, tune())
      yield* peer.expect("connection.tune-ok")
    })],
  ["topologies are declared on the new session", (parts) =>
    Effect.gen(function*() {
      yield* supervisorOf(parts.connection).preparations.register({ queues: () => Effect.never })
      yield* lose(parts)
      yield* parts.network.serve()
      yield* rest
      assert.strictEqual((yield* parts.connection.state)._tag, "Recovering")
    }), true],
  ["programs leave a session that is being replaced", ({ connection, peer }) =>
    Effect.gen(function*() {
      yield* fork(declare("held"))
      yield* peer.openChannel()
      yield* peer.expect("queue.declare")
      yield* fork(connection.reconnect)
      yield* rest
    }), true],
  ["a session that is being replaced waits for connection.close-ok", ({ connection, peer }) =>
    Effect.gen(function*() {
      yield* fork(connection.reconnect)
      yield* peer.expect("connection.close")
    }), true]
]

/** States of a connection that is open, in which the broker does not reply to its close, and how it comes there. */
const openSituations: ReadonlyArray<readonly [what: string, bring: Bring]> = [
  ["it is open, and the broker does not reply", () => Effect.void],
  ["it is open, and the broker does not read", ({ peer }) => peer.stall],
  ["it is blocked, and publishes wait", ({ connection, peer }) =>
    Effect.gen(function*() {
      yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
      yield* rest
      assert.strictEqual((yield* connection.state)._tag, "Blocked")
    })]
]

const inSituation = (
  bring: Bring,
  body: (parts: Parts & { readonly close: Effect.Effect<void>; readonly fibers: () => number }) => Effect.Effect<
    void,
    unknown,
    Scope.Scope | AmqpConnection.AmqpConnection
  >
) =>
  scriptNetwork((network) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const fibers = countingFibers()
      const connecting = yield* fork(fibers.counted(Scope.provide(dialNetwork(network), scope)))
      const peer = yield* network.serve()
      const connection = yield* resultOf(connecting)
      const parts = { network, connection, peer, close: Scope.close(scope, Exit.void), fibers: () => fibers.running }
      yield* Effect.provideService(
        Effect.andThen(bring(parts), body(parts)),
        AmqpConnection.AmqpConnection,
        connection
      )
    })
  )

describe("closing a connection while", () => {
  for (const [what, bring, hasSession = false] of situations) {
    it.effect(`B11: ${what} wins ${hasSession ? "within closeTimeout" : "at once"}, and leaves nothing behind`, () =>
      inSituation(bring, ({ close, connection, fibers, network }) =>
        Effect.gen(function*() {
          const states: Array<AmqpConnection.State> = []
          const watching = yield* watch(connection, states)
          const closed = yield* fork(connection.awaitClosed)
          const waiting = yield* fork(declare("q"))
          yield* rest
          const closing = yield* fork(close)
          // Programs need not wait for the broker to reply to the close.
          yield* reasonOf(closed, "ConnectionClosed")
          assertReason((yield* reasonOf(waiting, "ConnectionLost")).cause, "ConnectionClosed")
          if (hasSession) yield* TestClock.adjust("5 seconds")
          yield* resultOf(closing)
          yield* resultOf(watching)
          assert.strictEqual(states.at(-1)?._tag, "Closed")
          assert.strictEqual(network.open, 0)
          assert.strictEqual(fibers(), 0)
          const { length } = network.dialed
          yield* TestClock.adjust("1 day")
          assert.lengthOf(network.dialed, length)
          assertReason((yield* reasonOf(yield* fork(declare("q")), "ConnectionLost")).cause, "ConnectionClosed")
          yield* reasonOf(yield* fork(connection.reconnect), "ConnectionClosed")
        })))
  }

  it.effect("B11: a session that is being replaced waits for connection.close-ok sends no second close", () =>
    inSituation(
      ({ connection, peer }) => Effect.andThen(fork(connection.reconnect), peer.expect("connection.close")),
      ({ close, fibers, network, peer }) =>
        Effect.gen(function*() {
          const closing = yield* fork(close)
          yield* peer.expectNothing
          yield* peer.send(0, { _tag: "connection.close-ok" })
          yield* resultOf(closing)
          yield* network.expectDialed("a")
          assert.strictEqual(fibers(), 0)
        })
    ))

  for (const [what, bring] of openSituations) {
    it.effect(`B11: ${what} ends everything within closeTimeout, and leaves nothing behind`, () =>
      inSituation(() => TestClock.adjust("10 seconds"), (parts) =>
        Effect.gen(function*() {
          const { close, connection, fibers, network, peer } = parts
          const { publish, publishAll } = yield* openPublisher(peer, 1, { maxInFlight: 1 })
          const sent = yield* fork(publish(AmqpMessage.text("sent"), toQueue))
          yield* peer.expectPublish("sent")
          yield* bring(parts)
          yield* rest
          const program = yield* fork(declare("q"))
          const waiting = yield* fork(publish(AmqpMessage.text("waits"), toQueue))
          const batch = yield* fork(publishAll([AmqpMessage.text("waits too")], toQueue))
          const closed = yield* fork(connection.awaitClosed)
          yield* rest
          const closing = yield* fork(close)
          const error = yield* failureOf(closed)
          assertReason(error, "ConnectionClosed")
          assert.deepStrictEqual(yield* connection.state, { _tag: "Closed", error })
          yield* TestClock.adjust("5 seconds")
          yield* resultOf(closing)
          const lost = "AmqpChannelError > ConnectionLost > AmqpConnectionError > ConnectionClosed"
          assert.strictEqual(tagsOf(yield* failureOf(program)), lost)
          assert.strictEqual(tagsOf(yield* failureOf(sent)), `AmqpPublishError > OutcomeUnknown > ${lost}`)
          assert.strictEqual(tagsOf(yield* failureOf(waiting)), `AmqpPublishError > NotSent > ${lost}`)
          assert.strictEqual(
            tagsOf(yield* failureOf(batch)),
            `AmqpPublishAllError > AmqpPublishError > NotSent > ${lost}`
          )
          assert.strictEqual(network.open, 0)
          assert.strictEqual(fibers(), 0)
          yield* TestClock.adjust("1 day")
          yield* network.expectDialed("a")
        })))
  }

  it.effect("B11: it is open, and the session is lost at that moment, dials no more", () =>
    inSituation(() => TestClock.adjust("10 seconds"), ({ close, network, peer }) =>
      Effect.gen(function*() {
        const closing = yield* fork(close)
        yield* peer.hangUp
        yield* resultOf(closing)
        yield* TestClock.adjust("1 minute")
        yield* network.expectDialed("a")
      })))

  it.effect("X1: it is made, by its scope or by an interruption, leaves nothing behind", () =>
    scriptNetwork((network) =>
      Effect.gen(function*() {
        const stages: ReadonlyArray<Effect.Effect<unknown>> = [
          Effect.void,
          network.accept,
          Effect.flatMap(network.accept, (peer) =>
            Effect.andThen(peer.send(0, start()), peer.expect("connection.start-ok")))
        ]
        for (const initial of ["fail", "retry"] as const) {
          for (const stage of stages) {
            for (const how of ["scope", "interruption"] as const) {
              if (stage === Effect.void) {
                network.faults.set("a", Effect.never)
              } else network.faults.clear()
              const scope = yield* Scope.make()
              const fibers = countingFibers()
              const recovery = { schedule: Schedule.spaced("1 second"), initial }
              const connecting = yield* fork(fibers.counted(Scope.provide(dialNetwork(network, { recovery }), scope)))
              yield* rest
              yield* stage
              if (how === "scope") {
                yield* Scope.close(scope, Exit.void)
              } else yield* Fiber.interrupt(connecting)
              assert.isTrue(Exit.isFailure(yield* exitOf(connecting)))
              assert.strictEqual(network.open, 0)
              assert.strictEqual(fibers.running, 0)
              yield* Scope.close(scope, Exit.void)
            }
          }
        }
        network.dialed.length = 0
        yield* TestClock.adjust("1 hour")
        yield* network.expectDialed()
      })
    ))

  it.effect("X1: the program waits for its first connection, ends the wait", () =>
    scriptNetwork((network) =>
      Effect.gen(function*() {
        network.faults.set("a", Effect.fail(refused()))
        const connecting = yield* fork(
          Effect.scoped(dialNetwork(network, { recovery: { schedule: Schedule.spaced("1 minute"), initial: "retry" } }))
        )
        yield* rest
        yield* Fiber.interrupt(connecting)
        network.dialed.length = 0
        yield* TestClock.adjust("1 hour")
        yield* network.expectDialed()
      })
    ))

  it.effect("X5: it was given up, leaves nothing behind although its scope stays open", () =>
    inSituation(lose, ({ connection, fibers, network }) =>
      Effect.gen(function*() {
        for (let refusal = 0; refusal < 3; refusal++) {
          const peer = yield* network.accept
          yield* peer.send(0, start({ mechanisms: "GSSAPI" }))
          yield* rest
          yield* TestClock.adjust("1 second")
        }
        yield* reasonOf(yield* fork(connection.awaitClosed), "NoCommonMechanism")
        yield* rest
        assert.strictEqual(network.open, 0)
        assert.strictEqual(fibers(), 0)
      })))
})
