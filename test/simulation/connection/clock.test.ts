import type * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import type * as AmqpSasl from "@effect-amqp/core/AmqpSasl"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import {
  assertWaits,
  connected,
  declare,
  dial,
  fork,
  openPublisher,
  publishText,
  reasonOf,
  resultOf,
  script,
  start,
  toQueue
} from "../../support/scriptedPeer.ts"
import type { ConnectedOptions, Peer } from "../../support/scriptedPeer.ts"
import { logged } from "../../support/secrets.ts"
import { steppedClock } from "../../support/steppedClock.ts"
import type { Steps } from "../../support/steppedClock.ts"

const day = 86_400_000

const steps = [["forward by a day", day], ["back by a day", -day], ["back by five seconds", -5_000]] as const

/** Runs a script that can set the system clock. */
const stepped = <A, E>(
  body: (
    peer: Peer,
    steps: Steps,
    connection: AmqpConnection.AmqpConnection["Service"]
  ) => Effect.Effect<A, E, Scope.Scope | AmqpConnection.AmqpConnection>,
  options?: ConnectedOptions
) => steppedClock((steps) => connected((peer, connection) => body(peer, steps, connection), options))

describe("when the system clock steps", () => {
  for (const [what, step] of steps) {
    it.effect(`${what}, heartbeats are sent as before`, () =>
      stepped((peer, steps, connection) =>
        Effect.gen(function*() {
          const closed = yield* fork(connection.awaitClosed)
          yield* TestClock.adjust("1 seconds")
          steps.wall += step
          for (let second = 0; second < 60; second++) {
            yield* TestClock.adjust("1 seconds")
            yield* peer.heartbeat
          }
          assert.isAtLeast(peer.heartbeats, 11)
          assert.isAtMost(peer.heartbeats, 13)
          yield* assertWaits(closed)
        }), { client: { heartbeat: "10 seconds" }, server: { heartbeat: 10 } }))

    it.effect(`${what}, a silent peer is detected as before`, () =>
      stepped((_peer, steps, connection) =>
        Effect.gen(function*() {
          const closed = yield* fork(connection.awaitClosed)
          yield* TestClock.adjust("1 seconds")
          steps.wall += step
          yield* TestClock.adjust("18 seconds")
          yield* assertWaits(closed)
          yield* TestClock.adjust("6 seconds")
          yield* reasonOf(closed, "HeartbeatTimeout")
        }), { client: { heartbeat: "10 seconds" }, server: { heartbeat: 10 } }))

    it.effect(`${what}, a request times out on time`, () =>
      stepped((peer, steps) =>
        Effect.gen(function*() {
          const early = yield* fork(declare("q"))
          yield* peer.openChannel(1)
          yield* peer.expect("queue.declare", 1)
          yield* TestClock.adjust("10 seconds")
          steps.wall += step
          const late = yield* fork(declare("q"))
          yield* peer.openChannel(2)
          yield* peer.expect("queue.declare", 2)
          yield* TestClock.adjust("19 seconds")
          yield* assertWaits(early)
          yield* TestClock.adjust("1 seconds")
          yield* peer.expect("channel.close", 1)
          yield* peer.send(1, { _tag: "channel.close-ok" })
          yield* reasonOf(early, "RequestTimeout")
          yield* assertWaits(late)
          yield* TestClock.adjust("10 seconds")
          yield* peer.expect("channel.close", 2)
          yield* peer.send(2, { _tag: "channel.close-ok" })
          yield* reasonOf(late, "RequestTimeout")
        })
      ))

    it.effect(`${what}, a confirm and a waiting publish time out on time`, () =>
      stepped((peer, steps) =>
        Effect.gen(function*() {
          const timeouts = { confirmTimeout: "20 seconds", sendTimeout: "10 seconds", maxInFlight: 1 } as const
          const publisher = yield* openPublisher(peer, 1, timeouts)
          const sent = yield* publishText(peer, publisher, "1")
          const queued = yield* fork(publisher.publish(AmqpMessage.text("2"), toQueue))
          yield* TestClock.adjust("5 seconds")
          steps.wall += step
          yield* TestClock.adjust("4 seconds")
          yield* assertWaits(queued)
          yield* TestClock.adjust("1 seconds")
          yield* reasonOf(queued, "NotSent")
          yield* TestClock.adjust("9 seconds")
          yield* assertWaits(sent)
          yield* TestClock.adjust("1 seconds")
          yield* reasonOf(sent, "OutcomeUnknown")
        })
      ))

    it.effect(`${what}, a step of the handshake times out on time`, () =>
      steppedClock((steps) =>
        script((peer) =>
          Effect.gen(function*() {
            const dialling = yield* fork(dial(peer))
            yield* peer.send(0, start())
            yield* peer.expect("connection.start-ok", 0)
            yield* TestClock.adjust("5 seconds")
            steps.wall += step
            yield* TestClock.adjust("4 seconds")
            yield* assertWaits(dialling)
            yield* TestClock.adjust("1 seconds")
            yield* reasonOf(dialling, "HandshakeTimeout")
          })
        )
      ))

    it.effect(`${what}, a close times out on time`, () =>
      steppedClock((steps) =>
        script((peer) =>
          Effect.gen(function*() {
            const scope = yield* Scope.make()
            const dialling = yield* fork(Scope.provide(dial(peer), scope))
            yield* peer.handshake()
            yield* resultOf(dialling)
            const closing = yield* fork(Scope.close(scope, Exit.void))
            yield* peer.expect("connection.close", 0)
            yield* TestClock.adjust("3 seconds")
            steps.wall += step
            yield* TestClock.adjust("1 seconds")
            yield* assertWaits(closing)
            yield* TestClock.adjust("1 seconds")
            yield* resultOf(closing)
          })
        )
      ))
  }

  /** A token that is valid for ten minutes from the request, as an OAuth 2.0 server issues it. */
  const tenMinutes = Effect.map(Clock.currentTimeMillis, (now): AmqpSasl.Credentials => ({
    username: "ann",
    password: Redacted.make("token"),
    expiresAt: new Date(now + 600_000)
  }))

  it.effect("back by a day, a token is renewed before it expires", () =>
    steppedClock((steps) =>
      connected((peer) =>
        Effect.gen(function*() {
          yield* TestClock.adjust("100 seconds")
          steps.wall -= day
          yield* TestClock.adjust("439 seconds")
          yield* peer.expectNothing
          yield* TestClock.adjust("1 seconds")
          yield* peer.expect("connection.update-secret", 0)
        }), { client: { credentials: tenMinutes } })
    ))

  it.effect("forward past the expiry of a token, it is renewed soon", () =>
    steppedClock((steps) =>
      connected((peer) =>
        Effect.gen(function*() {
          yield* TestClock.adjust("100 seconds")
          steps.wall += day
          yield* TestClock.adjust("30 seconds")
          yield* peer.expect("connection.update-secret", 0)
        }), { client: { credentials: tenMinutes } })
    ))
})

describe("a blocked process", () => {
  it.effect("causes a warning about heartbeats, at most once a minute", () =>
    logged((lines) =>
      stepped((peer, steps, connection) =>
        Effect.gen(function*() {
          const closed = yield* fork(connection.awaitClosed)
          const warnings = () => lines.filter((line) => line.includes("This process was blocked"))
          for (let round = 0; round < 3; round++) {
            yield* TestClock.adjust("4 seconds")
            steps.blocked += 12_000
            yield* TestClock.adjust("1 seconds")
            yield* peer.heartbeat
          }
          assert.lengthOf(warnings(), 1)
          assert.include(
            warnings()[0],
            "12.0 s, longer than the heartbeat interval of 10 s, so the broker may have closed"
          )
          // The silence is not the peer's.
          yield* assertWaits(closed)
          yield* TestClock.adjust("4 seconds")
          steps.blocked += 60_000
          yield* TestClock.adjust("1 seconds")
          assert.lengthOf(warnings(), 2)
        }), { client: { heartbeat: "10 seconds" }, server: { heartbeat: 10 } })
    ))
})
