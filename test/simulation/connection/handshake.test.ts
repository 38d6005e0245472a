import type * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import { encodeMethodFrame } from "@effect-amqp/core/protocol/frames"
import type { ServerMethod } from "@effect-amqp/core/protocol/methods.generated"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Socket from "effect/socket/Socket"
import * as TestClock from "effect/testing/TestClock"
import { wire } from "../../fixtures/wire.ts"
import { countingFibers } from "../../support/countingFibers.ts"
import {
  assertWaits,
  connect,
  connectionClose,
  dial,
  exitOf,
  failureOf,
  fork,
  methodBytes,
  reasonOf,
  rest,
  resultOf,
  script,
  start,
  tune
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { written } from "../../unit/protocol/support.ts"

const credentials = { username: "ann", password: Redacted.make("s3cret") }

/** The server's steps up to where the client waits for a method. */
const stepsTo = {
  "connection.start": () => Effect.void,
  "connection.tune": (peer: Peer) => Effect.andThen(peer.send(0, start()), peer.expect("connection.start-ok")),
  "connection.open-ok": (peer: Peer) =>
    Effect.gen(function*() {
      yield* stepsTo["connection.tune"](peer)
      yield* peer.send(0, tune())
      yield* peer.expect("connection.tune-ok")
      yield* peer.expect("connection.open")
    })
} as const

type Phase = keyof typeof stepsTo
const phases: ReadonlyArray<Phase> = ["connection.start", "connection.tune", "connection.open-ok"]

const misplaced: ReadonlyArray<ServerMethod> = [
  tune(),
  { _tag: "connection.secure", challenge: wire("00") },
  { _tag: "connection.open-ok" }
]

/** Connects, and brings the handshake to a phase. */
const dialTo = (peer: Peer, phase: Phase, options?: AmqpConnection.Options) =>
  Effect.tap(fork(dial(peer, { credentials, ...options })), () => stepsTo[phase](peer))

/** Connects, and answers the protocol header with these bytes. */
const dialAgainst = (peer: Peer, bytes: Uint8Array, options?: AmqpConnection.Options) =>
  Effect.tap(dialTo(peer, "connection.start", options), () => peer.push(bytes))

describe("the handshake", () => {
  it.effect("H8: ends with open-ok and not before", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* dialTo(peer, "connection.open-ok")
        yield* peer.heartbeat
        yield* assertWaits(fiber)
        yield* peer.send(0, { _tag: "connection.open-ok" })
        yield* resultOf(fiber)
        yield* peer.expectNothing
      })
    ))

  it.effect("sends the credentials, virtual host and connection name from the options", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(dial(peer, { credentials, virtualHost: "orders", connectionName: "worker 7" }))
        yield* peer.expectGreeting
        yield* peer.send(0, start())
        const startOk = yield* peer.expect("connection.start-ok", 0)
        assert.strictEqual(startOk.mechanism, "PLAIN")
        assert.deepStrictEqual(startOk.response, wire(`00 "ann" 00 "s3cret"`))
        assert.strictEqual(startOk.clientProperties.connection_name, "worker 7")
        yield* peer.send(0, tune())
        yield* peer.expect("connection.tune-ok", 0)
        assert.strictEqual((yield* peer.expect("connection.open", 0)).virtualHost, "orders")
        yield* peer.send(0, { _tag: "connection.open-ok" })
        yield* resultOf(fiber)
      })
    ))

  for (const phase of phases) {
    it.effect(`H1, H2: fails after the handshake timeout when the server is silent before ${phase}`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const fiber = yield* dialTo(peer, phase, { handshakeTimeout: "7 seconds" })
          yield* TestClock.adjust("6999 millis")
          yield* assertWaits(fiber)
          yield* TestClock.adjust("1 millis")
          assert.strictEqual((yield* reasonOf(fiber, "HandshakeTimeout")).phase, phase)
          assert.isFalse(peer.isOpen)
        })
      ))
  }

  it.effect("H2: fails after the connect timeout when the server is slow with each step", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(dial(peer, { handshakeTimeout: "10 seconds", connectTimeout: "20 seconds" }))
        yield* TestClock.adjust("9 seconds")
        yield* peer.send(0, start())
        yield* TestClock.adjust("9 seconds")
        yield* peer.send(0, tune())
        yield* TestClock.adjust("1999 millis")
        yield* assertWaits(fiber)
        yield* TestClock.adjust("1 millis")
        assert.strictEqual((yield* reasonOf(fiber, "HandshakeTimeout")).phase, "connection.open-ok")
      })
    ))

  it.effect("H1: fails after the connect timeout when the socket never opens", () =>
    script((peer) =>
      Effect.gen(function*() {
        peer.dial = Effect.never
        const fiber = yield* fork(dial(peer, { connectTimeout: "20 seconds" }))
        yield* TestClock.adjust("20 seconds")
        assert.strictEqual((yield* reasonOf(fiber, "HandshakeTimeout")).phase, "the socket")
      })
    ))

  it.effect("fails with the platform's error when the socket can't be opened", () =>
    script((peer) =>
      Effect.gen(function*() {
        const cause = new Error("connect ECONNREFUSED 127.0.0.1:5672")
        peer.dial = Effect.fail(
          new Socket.SocketError({ reason: new Socket.SocketOpenError({ kind: "Unknown", cause }) })
        )
        const fiber = yield* fork(dial(peer))
        assert.strictEqual((yield* reasonOf(fiber, "ConnectFailed")).description, cause.message)
      })
    ))

  it.effect("H3: fails with both versions when the server answers with another one, and is not retryable", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* dialAgainst(peer, wire(`"AMQP" 03 01 00 00`))
        const reason = yield* reasonOf(fiber, "ProtocolViolation")
        assert.include(reason.description, "1-0-0")
        assert.include(reason.description, "0-9-1")
        assert.isFalse(reason.isRetryable)
      })
    ))

  it.effect("H3: fails when the server's start names another version", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* dialAgainst(peer, methodBytes(0, { ...start(), versionMajor: 8, versionMinor: 0 }))
        assert.include((yield* reasonOf(fiber, "ProtocolViolation")).description, "8-0")
        yield* peer.expectNothing
      })
    ))

  for (
    const [what, bytes, hint] of [
      ["an HTTP server", wire(`"HTTP/1.1 400 Bad Request" 0d0a "Set-Cookie: top-secret" 0d0a`), "HTTP"],
      ["a TLS alert", wire("15 0303 0002 0246"), "TLS"],
      ["garbage", wire(`"220 top-secret ESMTP" 0d0a`), "does not look like AMQP"]
    ] as const
  ) {
    it.effect(`H4: fails at once for ${what}, with a hint and without its bytes`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const fiber = yield* dialAgainst(peer, bytes)
          const reason = yield* reasonOf(fiber, "ProtocolViolation")
          assert.strictEqual(reason.replyCode, 501)
          assert.include(reason.description, hint)
          assert.notInclude(reason.description, "secret")
        })
      ))
  }

  it.effect("H5: compares mechanisms as whole words, and names those of both sides when none is common", () =>
    script((peer) =>
      Effect.gen(function*() {
        const mechanisms = "XPLAIN GSSAPI"
        const fiber = yield* dialAgainst(peer, methodBytes(0, start({ mechanisms })))
        const { isRetryable, message } = yield* failureOf(fiber)
        assert.include(message, mechanisms)
        assert.include(message.replace(mechanisms, ""), "PLAIN")
        assert.isFalse(isRetryable)
        yield* peer.expectNothing
      })
    ))

  it.effect("H6: fails with AuthenticationFailed when the server closes with 403", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* dialTo(peer, "connection.tune")
        yield* peer.send(0, connectionClose(403, "ACCESS_REFUSED - Login was refused"))
        const reason = yield* reasonOf(fiber, "AuthenticationFailed")
        assert.strictEqual(reason.username, "ann")
        assert.include(reason.replyText, "Login was refused")
        assert.isFalse(reason.isRetryable)
        assert.notInclude(reason.message, "s3cret")
        yield* peer.expect("connection.close-ok", 0)
      })
    ))

  it.effect("H6: fails with AuthenticationFailed when the socket closes after the credentials", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* dialTo(peer, "connection.tune")
        yield* peer.hangUp
        assert.isFalse((yield* reasonOf(fiber, "AuthenticationFailed")).isRetryable)
      })
    ))

  it.effect("H6: fails with SocketLost when the socket closes before connection.start or after connection.tune", () =>
    Effect.forEach(
      ["connection.start", "connection.open-ok"] as const,
      (phase) =>
        script((peer) =>
          Effect.gen(function*() {
            const fiber = yield* dialTo(peer, phase)
            yield* peer.hangUp
            yield* reasonOf(fiber, "SocketLost")
          })
        )
    ))

  for (const [code, text] of [[402, "INVALID_PATH"], [403, "access refused"], [530, "NOT_ALLOWED - limit"]] as const) {
    it.effect(`H7: fails with the broker's text when it refuses the virtual host with ${code}`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const fiber = yield* dialTo(peer, "connection.open-ok", { virtualHost: "orders" })
          yield* peer.send(0, connectionClose(code, text))
          const reason = yield* reasonOf(fiber, "VirtualHostRefused")
          assert.strictEqual(reason.virtualHost, "orders")
          assert.strictEqual(reason.replyText, text)
        })
      ))
  }

  it.effect("H9: refuses a frame-max below the protocol's minimum", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* dialTo(peer, "connection.tune")
        yield* peer.send(0, tune({ frameMax: 4095 }))
        assert.include((yield* reasonOf(fiber, "ProtocolViolation")).description, "4095")
      })
    ))

  for (const frameMax of [131072, 0]) {
    it.effect(`H10: with frameMax ${frameMax} refuses a huge frame before tune at its first bytes`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const fiber = yield* dialAgainst(peer, wire("01 0000 7fffffff"), { frameMax })
          assert.strictEqual((yield* reasonOf(fiber, "ProtocolViolation")).replyCode, 501)
        })
      ))
  }

  it.effect("H11: fails locally when the password does not fit the first frame, without showing it", () =>
    script((peer) =>
      Effect.gen(function*() {
        const password = Redacted.make("x".repeat(5000))
        const fiber = yield* dialAgainst(peer, methodBytes(0, start()), { credentials: { username: "ann", password } })
        const { description } = yield* reasonOf(fiber, "InvalidArgument")
        assert.include(description, "connection.start-ok")
        assert.notInclude(description, "xxx")
        yield* peer.expectNothing
      })
    ))

  it.effect("fails on a method that does not belong to the handshake", () =>
    Effect.forEach(misplaced, (method) =>
      script((peer) =>
        Effect.gen(function*() {
          const fiber = yield* dialAgainst(peer, methodBytes(0, method))
          assert.include((yield* reasonOf(fiber, "ProtocolViolation")).description, method._tag)
        })
      )))

  it.effect("accepts a method in the same read as open-ok", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* dialTo(peer, "connection.open-ok")
        yield* peer.send(0, { _tag: "connection.open-ok" }, { _tag: "connection.blocked", reason: "low on memory" })
        yield* resultOf(fiber)
      })
    ))

  it.effect("C9: refuses a field of an unknown type in the server's properties with 502", () =>
    script((peer) =>
      Effect.gen(function*() {
        const bytes = written((writer) => encodeMethodFrame(writer, 0, start({ serverProperties: { a: true } })))
        // The field is `a`, type `t`, value 1: its type becomes one that does not exist.
        const at = bytes.findIndex((byte, index) => byte === 0x74 && bytes[index - 1] === 0x61)
        bytes[at] = 0x7a
        const fiber = yield* dialAgainst(peer, bytes)
        assert.strictEqual((yield* reasonOf(fiber, "ProtocolViolation")).replyCode, 502)
        assert.strictEqual((yield* peer.expect("connection.close", 0)).replyCode, 502)
      })
    ))

  for (const phase of ["the socket", ...phases] as const) {
    it.effect(`H12, X1: leaves no socket and no fiber when it is interrupted while it waits for ${phase}`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const fibers = countingFibers()
          if (phase === "the socket") peer.dial = Effect.never
          const fiber = yield* fork(fibers.counted(dial(peer)))
          if (phase !== "the socket") yield* stepsTo[phase](peer)
          assert.isAbove(fibers.running, 0)
          yield* Fiber.interrupt(fiber)
          assert.isFalse(peer.isOpen)
          assert.isFalse(peer.isWritable)
          yield* rest
          assert.strictEqual(fibers.running, 0)
        })
      ))
  }

  it.effect("H12: ends at once when it is interrupted while nothing can be written", () =>
    script((peer) =>
      Effect.gen(function*() {
        yield* peer.stall
        const fiber = yield* fork(dial(peer))
        yield* rest
        yield* Fiber.interrupt(fiber)
        assert.isFalse(peer.isOpen)
      })
    ))

  it.effect("H14: accepts a server without properties and capabilities", () =>
    script((peer) =>
      Effect.gen(function*() {
        const connection = yield* connect(peer, { server: { serverProperties: {} } })
        assert.deepStrictEqual(yield* connection.serverProperties, {})
      })
    ))

  it.effect("C19: fails locally when the virtual host has more than 255 bytes", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(dial(peer, { virtualHost: "ä".repeat(128) }))
        yield* peer.send(0, start())
        yield* peer.expect("connection.start-ok")
        yield* peer.send(0, tune())
        yield* exitOf(fiber)
        yield* reasonOf(fiber, "InvalidArgument")
        assert.deepStrictEqual(yield* peer.takeTags, ["connection.tune-ok"])
      })
    ))

  it.effect("fails on too many methods on channel 0 while it waits for credentials", () =>
    script((peer) =>
      Effect.gen(function*() {
        const dialling = yield* fork(dial(peer, { credentials: Effect.never }))
        yield* peer.expectGreeting
        yield* peer.send(0, {
          _tag: "connection.start",
          versionMajor: 0,
          versionMinor: 9,
          serverProperties: {},
          mechanisms: "PLAIN",
          locales: "en_US"
        })
        for (let count = 0; count < 300; count++) yield* peer.send(0, { _tag: "connection.blocked", reason: "x" })
        assert.include((yield* reasonOf(dialling, "ProtocolViolation")).description, "channel 0")
      })
    ))
})
