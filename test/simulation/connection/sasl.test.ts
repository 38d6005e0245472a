import type * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpError from "@effect-amqp/core/AmqpError"
import * as AmqpSasl from "@effect-amqp/core/AmqpSasl"
import type { ServerMethod } from "@effect-amqp/core/protocol/methods.generated"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import { wire } from "../../fixtures/wire.ts"
import {
  assertWaits,
  connectionClose,
  dial,
  fork,
  reasonOf,
  resultOf,
  script,
  start,
  tune
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { assertHides } from "../../support/secrets.ts"

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

const credentials = { username: "ann", password: Redacted.make("s3cret") }

const secure = (challenge: string): ServerMethod => ({ _tag: "connection.secure", challenge: bytes(challenge) })

/** Connects, and returns the client's start-ok. */
const startOkOf = (peer: Peer, mechanisms: string, options: AmqpConnection.Options) =>
  Effect.gen(function*() {
    const fiber = yield* fork(dial(peer, { credentials, ...options }))
    yield* peer.send(0, start({ mechanisms }))
    return { fiber, startOk: yield* peer.expect("connection.start-ok", 0) }
  })

const finish = (peer: Peer) =>
  Effect.gen(function*() {
    yield* peer.send(0, tune())
    yield* peer.expect("connection.tune-ok", 0)
    yield* peer.answer(0, "connection.open", { _tag: "connection.open-ok" })
  })

/** Numbers its responses and records the challenges: the state of an exchange is in its steps. */
const counting = (asked: Array<string>): AmqpSasl.Mechanism => {
  const step = (count: number): AmqpSasl.Step => ({
    response: Redacted.make(bytes(`response ${count}`)),
    ...(count === 2 ? {} : {
      answer: (challenge) =>
        Effect.sync(() => {
          asked.push(text(challenge))
          return step(count + 1)
        })
    })
  })
  return { name: "COUNTING", start: () => Effect.succeed(step(0)) }
}

const never: Effect.Effect<never> = Effect.die("these credentials are not needed")

describe("SASL mechanisms", () => {
  const responses: ReadonlyArray<
    readonly [AmqpSasl.Mechanism, AmqpConnection.Options["credentials"], response: Uint8Array]
  > = [
    [AmqpSasl.plain, credentials, wire(`00 "ann" 00 "s3cret"`)],
    [AmqpSasl.amqplain, credentials, wire(`05 "LOGIN" "S" 00000003 "ann" 08 "PASSWORD" "S" 00000006 "s3cret"`)],
    [AmqpSasl.external, never, new Uint8Array(0)],
    [AmqpSasl.anonymous, never, new Uint8Array(0)],
    [AmqpSasl.singleStep("X-OWN", ({ username }) => bytes(`I am ${username}`)), credentials, wire(`"I am ann"`)]
  ]
  for (const [mechanism, credentials, response] of responses) {
    it.effect(`${mechanism.name} sends its response, and gets the credentials only if it needs them`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const options: AmqpConnection.Options = { credentials, mechanisms: [mechanism] }
          const { fiber, startOk } = yield* startOkOf(peer, `OTHER ${mechanism.name}`, options)
          assert.strictEqual(startOk.mechanism, mechanism.name)
          assert.deepStrictEqual(startOk.response, response)
          yield* finish(peer)
          assert.strictEqual(yield* (yield* resultOf(fiber)).mechanism, mechanism.name)
        })
      ))
  }

  for (
    const [offered, mechanisms, chosen] of [
      ["PLAIN AMQPLAIN EXTERNAL", undefined, "PLAIN"],
      ["AMQPLAIN EXTERNAL", undefined, "AMQPLAIN"],
      ["PLAIN EXTERNAL", [AmqpSasl.external, AmqpSasl.plain], "EXTERNAL"],
      ["PLAIN AMQPLAIN", [AmqpSasl.external, AmqpSasl.plain], "PLAIN"]
    ] as const
  ) {
    const which = mechanisms?.map(({ name }) => name).join(", ") ?? "the default ones"
    it.effect(`${chosen} is chosen from ${which} when the server offers ${offered}`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const { fiber, startOk } = yield* startOkOf(peer, offered, { mechanisms })
          assert.strictEqual(startOk.mechanism, chosen)
          yield* finish(peer)
          yield* resultOf(fiber)
        })
      ))
  }

  for (const [offered, names] of [["AMQPLAIN  XPLAIN plain", ["AMQPLAIN", "XPLAIN", "plain"]], ["", []]] as const) {
    it.effect(`H5: are compared as whole names: PLAIN is not in "${offered}", and the error lists both sides`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const mechanisms = [AmqpSasl.plain, AmqpSasl.external] as const
          const fiber = yield* fork(dial(peer, { credentials, mechanisms }))
          yield* peer.send(0, start({ mechanisms: offered }))
          const reason = yield* reasonOf(fiber, "NoCommonMechanism")
          assert.deepStrictEqual(reason.offered, names)
          assert.deepStrictEqual(reason.supported, ["PLAIN", "EXTERNAL"])
          assert.isFalse(reason.isRetryable)
          yield* peer.expectNothing
        })
      ))
  }

  it.effect("S9: send credentials unchanged, whatever they contain", () =>
    script((peer) =>
      Effect.gen(function*() {
        const username = "a:b@c/d%e+f ü😀"
        const password = Redacted.make("p:@/%+ %41ß")
        const { startOk } = yield* startOkOf(peer, "PLAIN", { credentials: { username, password } })
        assert.strictEqual(text(startOk.response), `\0${username}\0p:@/%+ %41ß`)
      })
    ))

  it.effect("PLAIN refuses credentials with a NUL character", () =>
    Effect.forEach(
      [{ username: "an\0n", password: Redacted.make("x") }, {
        username: "ann",
        password: Redacted.make("hunter\0two")
      }],
      (credentials) =>
        script((peer) =>
          Effect.gen(function*() {
            const fiber = yield* fork(dial(peer, { credentials }))
            yield* peer.send(0, start())
            const reason = yield* reasonOf(fiber, "MechanismFailed")
            assert.strictEqual(reason.mechanism, "PLAIN")
            assert.include(reason.description, "NUL")
            assertHides(reason, "hunter")
            yield* peer.expectNothing
          })
        )
    ))
})

describe("the SASL exchange", () => {
  it.effect("answers each challenge (connection.secure) with the next step", () =>
    script((peer) =>
      Effect.gen(function*() {
        const asked: Array<string> = []
        const { fiber, startOk } = yield* startOkOf(peer, "PLAIN COUNTING", { mechanisms: [counting(asked)] })
        assert.strictEqual(text(startOk.response), "response 0")
        for (const count of [1, 2]) {
          yield* peer.send(0, secure(`challenge ${count}`))
          assert.strictEqual(text((yield* peer.expect("connection.secure-ok", 0)).response), `response ${count}`)
        }
        yield* finish(peer)
        yield* resultOf(fiber)
        assert.deepStrictEqual(asked, ["challenge 1", "challenge 2"])
      })
    ))

  it.effect("fails on a challenge after its last step, without an answer", () =>
    script((peer) =>
      Effect.gen(function*() {
        const { fiber } = yield* startOkOf(peer, "PLAIN", {})
        yield* peer.send(0, secure("and?"))
        const reason = yield* reasonOf(fiber, "MechanismFailed")
        assert.include(reason.description, "connection.secure")
        assert.isFalse(reason.isRetryable)
        yield* peer.expectNothing
      })
    ))

  it.effect("fails with the error of its mechanism", () =>
    script((peer) =>
      Effect.gen(function*() {
        const failure = new AmqpError.MechanismFailed({ mechanism: "DOUBTING", description: "this is not my server" })
        const mechanism: AmqpSasl.Mechanism = {
          name: "DOUBTING",
          start: () => Effect.succeed({ response: Redacted.make(bytes("?")), answer: () => Effect.fail(failure) })
        }
        const { fiber } = yield* startOkOf(peer, "DOUBTING", { mechanisms: [mechanism] })
        yield* peer.send(0, secure("!"))
        assert.strictEqual(yield* reasonOf(fiber, "MechanismFailed"), failure)
      })
    ))

  it.effect("fails when its mechanism does not answer within the handshake timeout", () =>
    script((peer) =>
      Effect.gen(function*() {
        const mechanism: AmqpSasl.Mechanism = { name: "SLOW", start: () => Effect.never }
        const fiber = yield* fork(dial(peer, { mechanisms: [mechanism], handshakeTimeout: "5 seconds" }))
        yield* peer.send(0, start({ mechanisms: "SLOW" }))
        yield* TestClock.adjust("4999 millis")
        yield* assertWaits(fiber)
        yield* TestClock.adjust("1 millis")
        assert.include((yield* reasonOf(fiber, "MechanismFailed")).description, "5s")
      })
    ))

  it.effect("H2: fails when the server is silent after the answer to a challenge", () =>
    script((peer) =>
      Effect.gen(function*() {
        const { fiber } = yield* startOkOf(peer, "COUNTING", {
          mechanisms: [counting([])],
          handshakeTimeout: "7 seconds"
        })
        yield* peer.send(0, secure("1"))
        yield* peer.expect("connection.secure-ok")
        yield* TestClock.adjust("7 seconds")
        assert.strictEqual((yield* reasonOf(fiber, "HandshakeTimeout")).phase, "connection.tune")
      })
    ))

  it.effect("H6: fails with AuthenticationFailed when the answer to a challenge is refused", () =>
    script((peer) =>
      Effect.gen(function*() {
        const { fiber } = yield* startOkOf(peer, "COUNTING", { mechanisms: [counting([])] })
        yield* peer.send(0, secure("1"))
        yield* peer.expect("connection.secure-ok")
        yield* peer.send(0, connectionClose(403, "ACCESS_REFUSED"))
        const reason = yield* reasonOf(fiber, "AuthenticationFailed")
        assert.strictEqual(reason.username, "")
        assert.include(reason.message, "refused the credentials: ACCESS_REFUSED")
      })
    ))

  it.effect("H6: fails with AuthenticationFailed whatever follows the refusal", () =>
    script((peer) =>
      Effect.gen(function*() {
        const { fiber } = yield* startOkOf(peer, "PLAIN", {})
        yield* peer.send(0, connectionClose(403, "ACCESS_REFUSED"), tune())
        yield* reasonOf(fiber, "AuthenticationFailed")
      })
    ))

  const rabbitmq = (version: string) => ({ product: "RabbitMQ", version })
  for (
    const [serverProperties, limit] of [
      [{}, 4096],
      [rabbitmq("3.13.7"), 4096],
      [rabbitmq("4.0.5"), 4096],
      [rabbitmq("4.1.0"), 8192],
      [rabbitmq("4.10.0"), 8192],
      [rabbitmq("10.0.0"), 8192],
      [{ product: "LavinMQ", version: "4.1.0" }, 4096]
    ] as const
  ) {
    it.effect(`H11: limits a token to the first frame, ${limit} bytes for ${JSON.stringify(serverProperties)}`, () =>
      Effect.gen(function*() {
        const tokenOf = (length: number) => ({ username: "", password: Redacted.make("t".repeat(length)) })
        const room = yield* script((peer) =>
          Effect.gen(function*() {
            const fiber = yield* fork(dial(peer, { credentials: tokenOf(1) }))
            yield* peer.send(0, start({ serverProperties }))
            yield* peer.expect("connection.start-ok")
            const protocolHeaderSize = 8
            const room = limit - (peer.bytesTaken - protocolHeaderSize)
            yield* finish(peer)
            yield* resultOf(fiber)
            return room
          })
        )
        yield* script((peer) =>
          Effect.gen(function*() {
            yield* fork(dial(peer, { credentials: tokenOf(1 + room) }))
            yield* peer.send(0, start({ serverProperties }))
            yield* peer.expect("connection.start-ok")
          })
        )
        yield* script((peer) =>
          Effect.gen(function*() {
            const fiber = yield* fork(dial(peer, { credentials: tokenOf(2 + room) }))
            yield* peer.send(0, start({ serverProperties }))
            const reason = yield* reasonOf(fiber, "InvalidArgument")
            assert.include(reason.description, `a frame of ${limit} bytes`)
            assertHides(reason, "tttt")
            yield* peer.expectNothing
          })
        )
      }))
  }
})
