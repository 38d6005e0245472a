import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpSasl from "@effect-amqp/core/AmqpSasl"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import { connectionClose, dial, failureOf, fork, reasonOf, script, start, tune } from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

const announcing = { capabilities: { authentication_failure_close: true } }

type Phase = "connection.start" | "connection.tune" | "connection.open-ok"

/** Connects, and brings the handshake to this phase. */
const dialled = (peer: Peer, phase: Phase, serverProperties = {}, client: AmqpConnection.Options = {}) =>
  Effect.gen(function*() {
    const fiber = yield* fork(dial(peer, client))
    yield* peer.expectGreeting
    if (phase === "connection.start") return fiber
    yield* peer.send(0, start({ serverProperties }))
    yield* peer.expect("connection.start-ok", 0)
    if (phase === "connection.tune") return fiber
    yield* peer.send(0, tune())
    yield* peer.expect("connection.tune-ok", 0)
    yield* peer.expect("connection.open", 0)
    return fiber
  })

const at = (transport: AmqpConnection.TransportProtection) =>
  Effect.provideService(AmqpConnection.TransportProtection, transport)

const plain = { peer: "broker.example:5671", level: "None" } as const

describe("a socket lost during the handshake", () => {
  it.effect("H6: is not AuthenticationFailed when both sides announce authentication_failure_close", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* dialled(peer, "connection.tune", announcing)
        yield* peer.hangUp
        const reason = yield* reasonOf(fiber, "SocketLost")
        assert.isTrue(reason.isRetryable)
        assert.strictEqual(reason.phase, "connection.tune")
      })
    ))

  for (
    const [what, server, client] of [
      ["the broker announces nothing", {}, {}],
      ["the broker announces it as false", { capabilities: { authentication_failure_close: false } }, {}],
      ["the broker announces other capabilities", { capabilities: { "basic.nack": true } }, {}],
      [
        "the client's options turn it off",
        announcing,
        { clientProperties: { capabilities: { authentication_failure_close: false } } }
      ]
    ] as const
  ) {
    it.effect(`H6: is AuthenticationFailed when ${what}`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const fiber = yield* dialled(peer, "connection.tune", server, client)
          yield* peer.hangUp
          assert.isFalse((yield* reasonOf(fiber, "AuthenticationFailed")).isRetryable)
        })
      ))
  }

  it.effect("gives the address and the step, and suggests TLS when nothing was received", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* dialled(peer, "connection.start")
        yield* peer.hangUp
        assert.strictEqual(
          (yield* failureOf(fiber)).message,
          "The connection to broker.example:5671 was lost while connecting, waiting for connection.start: the peer " +
            "closed the socket. Nothing was received: does this port want TLS (amqps://), or does something other than AMQP " +
            "listen on it?"
        )
      })
    ).pipe(at(plain)))

  it.effect("does not suggest TLS when it is used already, or when something was received", () =>
    Effect.gen(function*() {
      yield* script((peer) =>
        Effect.gen(function*() {
          const fiber = yield* dialled(peer, "connection.start")
          yield* peer.hangUp
          const { message } = yield* failureOf(fiber)
          assert.notInclude(message, "amqps://")
          assert.include(message, "port for AMQP over TLS")
        })
      ).pipe(at({ ...plain, level: "Verified" }))
      yield* script((peer) =>
        Effect.gen(function*() {
          const fiber = yield* dialled(peer, "connection.open-ok")
          yield* peer.hangUp
          const { message } = yield* failureOf(fiber)
          assert.notInclude(message, "TLS")
          assert.include(message, "waiting for connection.open-ok")
        })
      ).pipe(at(plain))
    }))

  it.effect("is reported with the same details as a silent peer", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* dialled(peer, "connection.start")
        yield* TestClock.adjust("10 seconds")
        const { message } = yield* failureOf(fiber)
        assert.include(message, "The broker at broker.example:5671 did not reply in time: waited for connection.start")
        assert.include(message, "does this port want TLS (amqps://)")
      })
    ).pipe(at(plain)))
})

describe("a refused virtual host", () => {
  for (
    const [code, text, isRetryable] of [
      [530, "NOT_ALLOWED - access to vhost 'v' refused for user 'u': connection limit (5) is reached", true],
      [530, "NOT_ALLOWED - connection refused for user 'u': user connection limit (1) is reached", true],
      [530, "NOT_ALLOWED - connection refused: node connection limit (100) is reached", true],
      [530, "NOT_ALLOWED - vhost v not found", false],
      [530, "NOT_ALLOWED - access to vhost 'connection limit (5) is reached' refused for user 'u'", false],
      [403, "ACCESS_REFUSED - access to vhost 'v' refused for user 'u'", false]
    ] as const
  ) {
    it.effect(`is ${isRetryable ? "" : "not "}retryable: ${text}`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const fiber = yield* dialled(peer, "connection.open-ok")
          yield* peer.send(0, connectionClose(code, text))
          const reason = yield* reasonOf(fiber, "VirtualHostRefused")
          assert.include(reason, { replyCode: code, replyText: text, isRetryable })
        })
      ))
  }
})

describe("a frame before connection.tune", () => {
  const login = (length: number) => ({
    credentials: { username: "u", password: Redacted.make("p".repeat(length)) },
    mechanisms: [AmqpSasl.plain] as const
  })

  it.effect("can be as large as initialFrameMax", () =>
    Effect.gen(function*() {
      yield* script((peer) =>
        Effect.gen(function*() {
          const fiber = yield* fork(dial(peer, login(6000)))
          yield* peer.send(0, start())
          yield* reasonOf(fiber, "InvalidArgument")
          yield* peer.expectNothing
        })
      )
      yield* script((peer) =>
        Effect.gen(function*() {
          yield* fork(dial(peer, { ...login(6000), initialFrameMax: 16384 }))
          yield* peer.send(0, start())
          assert.strictEqual((yield* peer.expect("connection.start-ok", 0)).response.length, 6003)
        })
      )
      yield* script((peer) =>
        Effect.gen(function*() {
          for (const initialFrameMax of [4095, 0, Number.NaN, 2 ** 32, 5000.5]) {
            const fiber = yield* fork(dial(peer, { initialFrameMax }))
            assert.include((yield* reasonOf(fiber, "InvalidArgument")).description, "initialFrameMax")
          }
        })
      )
    }))
})
