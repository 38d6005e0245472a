import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpSasl from "@effect-amqp/core/AmqpSasl"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import {
  connected,
  connectionClose,
  declare,
  deliverBytes,
  dial,
  failureOf,
  fork,
  headerBytes,
  methodBytes,
  openConsumer,
  reasonOf,
  rest,
  resultOf,
  script,
  serveDeclare,
  start,
  toQueue,
  tune
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { deliver, direct, openClient } from "../../support/scriptedRpc.ts"
import { logged } from "../../support/secrets.ts"

const announcing = { capabilities: { authentication_failure_close: true } }

type Phase = "connection.start" | "connection.tune" | "connection.open-ok"

/** A client that connects and has come so far. */
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

describe("a socket that ends in the handshake", () => {
  it.effect("H6: is no wrong password where both sides announce that such a one is answered by a close", () =>
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
      ["the broker announces other things", { capabilities: { "basic.nack": true } }, {}],
      [
        "the client was told not to announce it",
        announcing,
        { clientProperties: { capabilities: { authentication_failure_close: false } } }
      ]
    ] as const
  ) {
    it.effect(`H6: is one where ${what}`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const fiber = yield* dialled(peer, "connection.tune", server, client)
          yield* peer.hangUp
          assert.isFalse((yield* reasonOf(fiber, "AuthenticationFailed")).isRetryable)
        })
      ))
  }

  it.effect("names the address and the step, and asks whether the port wants TLS where nothing was received", () =>
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

  it.effect("does not ask for TLS where there is TLS already, nor where something was received", () =>
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

  it.effect("a peer that is silent instead is named too, with the step and the question", () =>
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

describe("a virtual host that is refused", () => {
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
    it.effect(`is ${isRetryable ? "" : "not "}worth another attempt: ${text}`, () =>
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

describe("the frame before the tuning", () => {
  const login = (length: number) => ({
    credentials: { username: "u", password: Redacted.make("p".repeat(length)) },
    mechanisms: [AmqpSasl.plain] as const
  })

  it.effect("may be as large as the option says, for a broker that is configured otherwise", () =>
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

describe("a close that names no method", () => {
  it.effect("says nothing of a method, also when it ends a channel", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const declaring = yield* fork(declare("q"))
        yield* peer.openChannel(1)
        yield* peer.expect("queue.declare", 1)
        const close = { replyCode: 406, replyText: "PRECONDITION_FAILED", classId: 0, methodId: 0 }
        yield* peer.send(1, { _tag: "channel.close", ...close })
        const reason = yield* reasonOf(declaring, "PreconditionFailed")
        assert.include(reason, { method: "", message: "406 PRECONDITION_FAILED" })
        const closed = yield* fork(connection.awaitClosed)
        yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED - broker forced connection closure"))
        const forced = yield* reasonOf(closed, "ConnectionForced")
        assert.include(forced, { method: "", message: "320 CONNECTION_FORCED - broker forced connection closure" })
      })
    ))

  it.effect("names the class where there is no more", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const closed = yield* fork(connection.awaitClosed)
        yield* peer.send(0, { ...connectionClose(501, "FRAME_ERROR"), classId: 60 })
        assert.strictEqual((yield* reasonOf(closed, "FrameError")).message, "class 60: 501 FRAME_ERROR")
      })
    ))
})

describe("a line in the log", () => {
  it.effect("says that a request timed out because the broker blocks the connection, once for each time that it does", () =>
    logged((lines) =>
      connected((peer) =>
        Effect.gen(function*() {
          const warnings = () => lines.filter((line) => line.includes("blocks the connection (low on disk)"))
          for (const round of [1, 2]) {
            yield* peer.send(0, { _tag: "connection.blocked", reason: "low on disk" })
            const declaring = yield* Effect.forEach(["a", "b"], (queue) => fork(declare(queue)))
            yield* peer.openChannel(1)
            yield* peer.openChannel(2)
            yield* TestClock.adjust("30 seconds")
            yield* peer.takeTags
            yield* peer.send(2, { _tag: "channel.close-ok" })
            yield* peer.send(1, { _tag: "channel.close-ok" })
            for (const fiber of declaring) {
              const reason = yield* reasonOf(fiber, "RequestTimeout")
              assert.strictEqual(reason.blocked, "low on disk")
              assert.include(reason.message, "it blocks the connection (low on disk)")
            }
            assert.lengthOf(warnings(), round)
            yield* peer.send(0, { _tag: "connection.unblocked" })
            const later = yield* fork(declare("c"))
            yield* serveDeclare(peer, "c", 1)
            yield* resultOf(later)
          }
        })
      )
    ))

  const megabyte = "x".repeat(1024 * 1024)

  it.effect("says that the reader is paused for an unread consumer: which queue, and how much", () =>
    logged((lines) =>
      connected((peer) =>
        Effect.gen(function*() {
          const warnings = () => lines.filter((line) => line.includes("Nothing has been read from the AMQP connection"))
          const consumer = Stream.runForEach(AmqpConsumer.stream("jobs", { autoAck: true }), () => Effect.never)
          const { consumerTag } = yield* openConsumer(peer, consumer, 1, false)
          yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
          for (let tag = 2; tag < 20; tag++) yield* peer.push(deliverBytes(1, consumerTag, tag, megabyte))
          yield* TestClock.adjust("9 seconds")
          assert.lengthOf(warnings(), 0)
          yield* TestClock.adjust("1 seconds")
          assert.lengthOf(warnings(), 1)
          assert.match(warnings()[0], /the consumer of queue .*jobs.* holds \d+ messages/)
          yield* TestClock.adjust("1 hours")
          assert.lengthOf(warnings(), 1)
        }), { server: { frameMax: 0 }, client: { frameMax: 0 } })
    ))

  it.effect("says that a reply matches no call, and not for each", () =>
    logged((lines) =>
      connected((peer) =>
        Effect.gen(function*() {
          const warnings = () => lines.filter((line) => line.includes("matches no call"))
          const { client, replyTag } = yield* openClient(peer)
          yield* fork(client.call(AmqpMessage.text("?"), toQueue))
          const { properties } = yield* peer.expectPublish("?")
          const reply = (correlationId: string) =>
            peer.push(methodBytes(1, deliver(replyTag)), headerBytes(1, 0, { correlationId }))
          yield* reply(properties.correlationId ?? "")
          yield* rest
          assert.lengthOf(warnings(), 0)
          yield* reply("stranger")
          for (let count = 0; count < 5; count++) yield* reply(properties.correlationId ?? "")
          yield* rest
          assert.lengthOf(warnings(), 1)
          assert.match(warnings()[0], /correlation id .*stranger/)
          yield* TestClock.adjust("60 seconds")
          yield* reply("late")
          yield* rest
          assert.lengthOf(warnings(), 2)
          assert.include(warnings()[1], "and 5 more since the last warning")
        }), { server: direct })
    ))
})
