import type * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpError from "@effect-amqp/core/AmqpError"
import type * as AmqpSasl from "@effect-amqp/core/AmqpSasl"
import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import {
  assertWaits,
  connect,
  connectionClose,
  dial,
  fork,
  reasonOf,
  resultOf,
  script,
  start
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { assertHides, logged } from "../../support/secrets.ts"

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

const unavailable = (isRetryable?: boolean) =>
  new AmqpError.CredentialsUnavailable({
    description: "the token endpoint is down",
    ...(isRetryable === undefined ? {} : { isRetryable })
  })

type Answer = number | AmqpError.CredentialsUnavailable

interface Issuer {
  asked: number
  readonly credentials: Effect.Effect<AmqpSasl.Credentials, AmqpError.CredentialsUnavailable>
}

/** Gives `token 1`, `token 2` …, each good for so many seconds, or fails where that is said instead. */
const tokens = (...answers: ReadonlyArray<Answer>): Issuer => {
  const issuer: Issuer = {
    asked: 0,
    credentials: Effect.gen(function*() {
      const answer = answers[issuer.asked++] ?? Infinity
      if (typeof answer !== "number") return yield* Effect.fail(answer)
      const credentials: AmqpSasl.Credentials = {
        username: "ann",
        password: Redacted.make(`token ${issuer.asked}`),
        ...(answer === Infinity ? {} : { expiresAt: DateTime.add(yield* DateTime.now, { seconds: answer }) })
      }
      return credentials
    })
  }
  return issuer
}

const confirmed = { _tag: "connection.update-secret-ok" } as const

describe("credentials", () => {
  it.effect("S8: are asked for anew for each connection", () =>
    Effect.gen(function*() {
      const { credentials } = tokens()
      for (const token of ["token 1", "token 2"]) {
        yield* script((peer) =>
          Effect.gen(function*() {
            const fiber = yield* fork(dial(peer, { credentials }))
            const { startOk } = yield* peer.handshake()
            assert.strictEqual(text(startOk.response), `\0ann\0${token}`)
            yield* resultOf(fiber)
          })
        )
      }
    }))

  it.effect("are not asked for before the broker is there", () =>
    script((peer) =>
      Effect.gen(function*() {
        const issuer = tokens()
        yield* fork(dial(peer, { credentials: issuer.credentials }))
        yield* peer.expectGreeting
        assert.strictEqual(issuer.asked, 0)
      })
    ))

  for (const isRetryable of [true, false]) {
    it.effect(`fail the connection when there are none, retryable: ${isRetryable}`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const fiber = yield* fork(dial(peer, { credentials: Effect.fail(unavailable(isRetryable)) }))
          yield* peer.send(0, start())
          const reason = yield* reasonOf(fiber, "CredentialsUnavailable")
          assert.include(reason.message, "the token endpoint is down")
          assert.strictEqual(reason.isRetryable, isRetryable)
          yield* peer.expectNothing
        })
      ))
  }

  it.effect("have to come within the handshake timeout", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(dial(peer, { credentials: Effect.never, handshakeTimeout: "5 seconds" }))
        yield* peer.send(0, start())
        yield* TestClock.adjust("4999 millis")
        yield* assertWaits(fiber)
        yield* TestClock.adjust("1 millis")
        assert.isTrue((yield* reasonOf(fiber, "CredentialsUnavailable")).isRetryable)
      })
    ))

  it.effect("are not waited for when the broker has gone", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(dial(peer, { credentials: Effect.never }))
        yield* peer.send(0, start())
        yield* assertWaits(fiber)
        yield* peer.hangUp
        yield* reasonOf(fiber, "SocketLost")
      })
    ))

  it.effect("H12: an interruption while they are asked for leaves nothing", () =>
    script((peer) =>
      Effect.gen(function*() {
        let interrupted = false
        const credentials = Effect.onInterrupt(Effect.never, () => Effect.sync(() => (interrupted = true)))
        const fiber = yield* fork(dial(peer, { credentials }))
        yield* peer.send(0, start())
        yield* assertWaits(fiber)
        yield* Fiber.interrupt(fiber)
        assert.isTrue(interrupted)
        assert.isFalse(peer.isOpen)
      })
    ))

  it.effect("whose password is a text, where no type looked, are refused, and an update of the secret too", () =>
    script((peer) =>
      Effect.gen(function*() {
        // As a program in JavaScript has it.
        const text = "plain-text-password" as unknown as Redacted.Redacted<string>
        const fiber = yield* fork(dial(peer, { credentials: { username: "ann", password: text } }))
        yield* peer.send(0, start())
        const reason = yield* reasonOf(fiber, "CredentialsUnavailable")
        assert.isFalse(reason.isRetryable)
        assert.include(reason.description, "Redacted")
        assertHides(reason, "plain-text-password")
      })
    ).pipe(Effect.andThen(renewing(tokens(), (peer, connection) =>
      Effect.gen(function*() {
        const text = "plain-text-password" as unknown as Redacted.Redacted<string>
        const update = yield* fork(connection.updateSecret(text, ""))
        const reason = yield* reasonOf(update, "InvalidArgument")
        assertHides(reason, "plain-text-password")
        yield* peer.expectNothing
        assert.strictEqual((yield* connection.state)._tag, "Open")
      })))))

  it.effect("whose redacted password is no text are refused", () =>
    script((peer) =>
      Effect.gen(function*() {
        const password = Redacted.make(5) as unknown as Redacted.Redacted<string>
        const fiber = yield* fork(dial(peer, { credentials: { username: "ann", password } }))
        yield* peer.send(0, start())
        const reason = yield* reasonOf(fiber, "CredentialsUnavailable")
        assert.isFalse(reason.isRetryable)
        assert.include(reason.description, "Redacted string")
      })
    ))

  it.effect("whose expiry is no date are refused", () =>
    script((peer) =>
      Effect.gen(function*() {
        const credentials = { username: "ann", password: Redacted.make("x"), expiresAt: new Date(Number.NaN) }
        const fiber = yield* fork(dial(peer, { credentials }))
        yield* peer.send(0, start())
        assert.include((yield* reasonOf(fiber, "CredentialsUnavailable")).description, "expiresAt")
      })
    ))
})

/** Runs a script with a connection whose credentials come from this issuer, and what it logs. */
const renewing = <A, E>(
  issuer: Issuer,
  body: (
    peer: Peer,
    connection: AmqpConnection.AmqpConnection["Service"],
    lines: ReadonlyArray<string>
  ) => Effect.Effect<A, E>,
  options?: AmqpConnection.Options
) =>
  logged((lines) =>
    script((peer) =>
      Effect.flatMap(
        connect(peer, { client: { credentials: issuer.credentials, ...options } }),
        (connection) => body(peer, connection, lines)
      )
    )
  )

describe("a secret that expires", () => {
  it.effect("S6: is renewed a minute before, again and again", () =>
    renewing(tokens(600, 600, Infinity), (peer, connection) =>
      Effect.gen(function*() {
        for (const token of ["token 2", "token 3"]) {
          yield* TestClock.adjust("539 seconds")
          yield* peer.expectNothing
          yield* TestClock.adjust("1 second")
          const { newSecret } = yield* peer.expect("connection.update-secret", 0)
          assert.strictEqual(text(newSecret), token)
          yield* peer.send(0, confirmed)
        }
        yield* TestClock.adjust("1 days")
        yield* peer.expectNothing
        assert.strictEqual((yield* connection.state)._tag, "Open")
      })))

  it.effect("S6: the margin can be chosen, and an expiry be a Date", () => {
    const expiring = Effect.succeed<AmqpSasl.Credentials>({
      username: "ann",
      password: Redacted.make("token"),
      expiresAt: new Date(600_000)
    })
    return renewing({ asked: 0, credentials: expiring }, (peer) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("479 seconds")
        yield* peer.expectNothing
        yield* TestClock.adjust("1 second")
        yield* peer.expect("connection.update-secret", 0)
      }), { credentialsRefreshMargin: "2 minutes" })
  })

  it.effect("S6: what lives shorter than the margin is renewed at half its life, and not more than once a second", () =>
    renewing(tokens(40, 0, Infinity), (peer) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("19 seconds")
        yield* peer.expectNothing
        yield* TestClock.adjust("1 second")
        yield* peer.answer(0, "connection.update-secret", confirmed)
        yield* TestClock.adjust("999 millis")
        yield* peer.expectNothing
        yield* TestClock.adjust("1 millis")
        yield* peer.answer(0, "connection.update-secret", confirmed)
      })))

  it.effect("S6: what lives longer than a timer runs is renewed in time", () =>
    renewing(tokens(100 * 86_400), (peer) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("99 days")
        yield* peer.expectNothing
        yield* TestClock.adjust("1 days")
        yield* peer.expect("connection.update-secret", 0)
      })))

  it.effect("S6: is asked for until there is one, with a warning and a longer pause each time", () =>
    renewing(tokens(600, unavailable(), unavailable(), Infinity), (peer, _, lines) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("540 seconds")
        assert.lengthOf(lines.filter((line) => /level=WARN.*token endpoint is down.*expire in 60 s/.test(line)), 1)
        yield* TestClock.adjust("2999 millis")
        yield* peer.expectNothing
        assert.lengthOf(lines.filter((line) => line.includes("expire in 59 s")), 1)
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(text((yield* peer.expect("connection.update-secret", 0)).newSecret), "token 4")
        assertHides(lines, "token 4")
      })))

  it.effect("S7: ends the connection when nobody gives another before it expires", () =>
    renewing(
      tokens(600, ...Array.from({ length: 20 }, () => unavailable())),
      (peer, connection, lines) =>
        Effect.gen(function*() {
          const closed = yield* fork(connection.awaitClosed)
          yield* TestClock.adjust("599 seconds")
          yield* assertWaits(closed)
          yield* TestClock.adjust("1 second")
          assert.isTrue((yield* reasonOf(closed, "CredentialsUnavailable")).isRetryable)
          yield* peer.expect("connection.close", 0)
          assert.isTrue(lines.some((line) => line.includes("has ended")))
        })
    ))

  it.effect("S7: ends the connection at once when it is no use to ask again", () =>
    renewing(tokens(600, unavailable(false)), (_, connection) =>
      Effect.gen(function*() {
        const closed = yield* fork(connection.awaitClosed)
        yield* TestClock.adjust("540 seconds")
        assert.isFalse((yield* reasonOf(closed, "CredentialsUnavailable")).isRetryable)
      })))

  it.effect("S7: ends the connection when who gives them dies", () => {
    const issuer = tokens(600)
    const credentials = Effect.suspend(() => issuer.asked === 0 ? issuer.credentials : Effect.die(new Error("a bug")))
    return renewing({ asked: 0, credentials }, (_, connection) =>
      Effect.gen(function*() {
        const closed = yield* fork(connection.awaitClosed)
        yield* TestClock.adjust("540 seconds")
        assert.include((yield* reasonOf(closed, "CredentialsUnavailable")).description, "died")
      }))
  })

  // RabbitMQ names no method in this close, other brokers do.
  for (const ids of [{ classId: 0, methodId: 0 }, { classId: 10, methodId: 70 }]) {
    it.effect(`S7: a refusal ends the connection, and the next one asks again (${JSON.stringify(ids)})`, () => {
      const issuer = tokens(600)
      return Effect.andThen(
        renewing(issuer, (peer, connection, lines) =>
          Effect.gen(function*() {
            const closed = yield* fork(connection.awaitClosed)
            yield* TestClock.adjust("540 seconds")
            yield* peer.expect("connection.update-secret", 0)
            yield* peer.send(0, { ...connectionClose(530, "NOT_ALLOWED - New secret was refused"), ...ids })
            const reason = yield* reasonOf(closed, "UpdateSecretFailed")
            assert.include(reason.message, "New secret was refused")
            assert.isTrue(reason.isRetryable)
            yield* peer.expect("connection.close-ok", 0)
            assert.isTrue(lines.some((line) => /level=WARN.*has ended.*New secret was refused/.test(line)))
            assertHides(lines, "token 2")
          })),
        script((peer) =>
          Effect.gen(function*() {
            yield* fork(dial(peer, { credentials: issuer.credentials }))
            yield* peer.send(0, start())
            assert.include(text((yield* peer.expect("connection.start-ok")).response), "token 3")
          })
        )
      )
    })
  }

  it.effect("S7: a broker that does not answer within the request timeout ends the connection", () =>
    renewing(tokens(600), (peer, connection) =>
      Effect.gen(function*() {
        const closed = yield* fork(connection.awaitClosed)
        yield* TestClock.adjust("540 seconds")
        yield* peer.expect("connection.update-secret", 0)
        yield* TestClock.adjust("4999 millis")
        yield* assertWaits(closed)
        yield* TestClock.adjust("1 millis")
        assert.include((yield* reasonOf(closed, "UpdateSecretFailed")).description, "5s")
        yield* peer.expect("connection.close", 0)
      }), { requestTimeout: "5 seconds" }))

  it.effect("S6: nothing is asked for any more when the connection is closed", () =>
    Effect.gen(function*() {
      const issuer = tokens(600)
      yield* script((peer) => connect(peer, { client: { credentials: issuer.credentials, closeTimeout: "1 millis" } }))
        .pipe(Effect.andThen(TestClock.adjust("1 days")), Effect.timeout("2 days"))
      assert.strictEqual(issuer.asked, 1)
    }))
})

describe("updateSecret", () => {
  const secret = Redacted.make("fresh s3cret")

  it.effect("succeeds when the broker has taken the secret", () =>
    renewing(tokens(), (peer, connection) =>
      Effect.gen(function*() {
        const fiber = yield* fork(connection.updateSecret(secret, "rotated"))
        const method = yield* peer.expect("connection.update-secret", 0)
        assert.strictEqual(text(method.newSecret), "fresh s3cret")
        assert.strictEqual(method.reason, "rotated")
        yield* assertWaits(fiber)
        yield* peer.send(0, confirmed)
        yield* resultOf(fiber)
      })))

  it.effect("is answered in order, and who stops waiting keeps its place", () =>
    renewing(tokens(), (peer, connection) =>
      Effect.gen(function*() {
        const first = yield* fork(connection.updateSecret(secret, "1"))
        const second = yield* fork(connection.updateSecret(secret, "2"))
        yield* peer.expect("connection.update-secret")
        yield* peer.expect("connection.update-secret")
        yield* Fiber.interrupt(first)
        yield* peer.send(0, confirmed)
        yield* assertWaits(second)
        yield* peer.send(0, confirmed)
        yield* resultOf(second)
      })))

  it.effect("fails locally when it does not fit, and leaves the connection usable", () =>
    renewing(tokens(), (peer, connection) =>
      Effect.gen(function*() {
        for (
          const [secret, reason, says] of [
            ["s3cret", "ä".repeat(128), "reason: a short string holds at most 255 bytes"],
            ["s3cret".repeat(30_000), "too long", "connection.update-secret: 180"]
          ] as const
        ) {
          const fiber = yield* fork(connection.updateSecret(Redacted.make(secret), reason))
          const { description } = yield* reasonOf(fiber, "InvalidArgument")
          assert.include(description, says)
          assert.notInclude(description, "s3cret")
        }
        yield* peer.expectNothing
        const fiber = yield* fork(connection.updateSecret(secret, ""))
        yield* peer.answer(0, "connection.update-secret", confirmed)
        yield* resultOf(fiber)
      })))

  it.effect("S7: fails when the broker refuses, and so does the connection", () =>
    renewing(tokens(), (peer, connection) =>
      Effect.gen(function*() {
        const fiber = yield* fork(connection.updateSecret(secret, ""))
        yield* peer.expect("connection.update-secret")
        yield* peer.send(0, connectionClose(530, "NOT_ALLOWED - refused"))
        assertHides(yield* reasonOf(fiber, "UpdateSecretFailed"), "fresh s3cret")
        yield* reasonOf(yield* fork(connection.updateSecret(secret, "")), "UpdateSecretFailed")
      })))

  it.effect("S7: a broker that does not know the method refuses", () =>
    renewing(tokens(), (peer, connection) =>
      Effect.gen(function*() {
        const fiber = yield* fork(connection.updateSecret(secret, ""))
        yield* peer.expect("connection.update-secret")
        yield* peer.send(0, { ...connectionClose(540, "NOT_IMPLEMENTED"), classId: 10, methodId: 70 })
        yield* reasonOf(fiber, "UpdateSecretFailed")
      })))

  it.effect("another end of the connection keeps its own cause", () =>
    renewing(tokens(), (peer, connection) =>
      Effect.gen(function*() {
        const fiber = yield* fork(connection.updateSecret(secret, ""))
        yield* peer.expect("connection.update-secret")
        yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED"))
        yield* reasonOf(fiber, "ConnectionForced")
      })))

  it.effect("an answer that nobody waits for breaks the protocol", () =>
    renewing(tokens(), (peer, connection) =>
      Effect.gen(function*() {
        const closed = yield* fork(connection.awaitClosed)
        yield* peer.send(0, confirmed)
        assert.strictEqual((yield* reasonOf(closed, "ProtocolViolation")).replyCode, 503)
      })))
})
