import type { AmqpConnectionError } from "@effect-amqp/core/AmqpError"
import {
  AuthenticationFailed,
  CredentialsUnavailable,
  EndpointsFailed,
  InternalError,
  SocketLost
} from "@effect-amqp/core/AmqpError"
import type { Credentials } from "@effect-amqp/core/AmqpSasl"
import { connectionError } from "@effect-amqp/core/internal/connection/connectionErrors"
import { Refusals } from "@effect-amqp/core/internal/connection/refusals"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import { dialNetwork, recovering, refused, scriptNetwork } from "../../support/scriptedNetwork.ts"
import type { Network } from "../../support/scriptedNetwork.ts"
import {
  assertReason,
  assertWaits,
  connectionClose,
  declare,
  exitOf,
  fork,
  reasonOf,
  rest,
  resultOf,
  start,
  tune
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

const second = TestClock.adjust("1 second")

const login = (response: Uint8Array): string => new TextDecoder().decode(response).slice(1).replace("\0", ":")

/** Accepts the client's dial and refuses its credentials. Returns them. */
const refuseLogin = (network: Network) =>
  Effect.gen(function*() {
    const peer = yield* network.accept
    yield* peer.send(0, start())
    const { response } = yield* peer.expect("connection.start-ok")
    yield* peer.send(0, connectionClose(403, "ACCESS_REFUSED - Login was refused"))
    yield* rest
    return login(response)
  })

/** Accepts the client's dial and its credentials, and refuses the virtual host. */
const refuseVirtualHost = (replyCode: number, replyText: string) => (network: Network) =>
  Effect.gen(function*() {
    const peer = yield* network.accept
    yield* peer.send(0, start())
    yield* peer.expect("connection.start-ok")
    yield* peer.send(0, tune())
    yield* peer.expect("connection.tune-ok")
    yield* peer.answer(0, "connection.open", connectionClose(replyCode, replyText))
  })

/** Credentials whose password is another one for each login, or the same. */
const issuing = (password: (count: number) => string) => {
  let count = 0
  return Effect.sync((): Credentials => ({ username: "ann", password: Redacted.make(password(++count)) }))
}

describe("a connection whose recovery is refused", () => {
  const refusals: ReadonlyArray<readonly [string, (network: Network) => Effect.Effect<unknown>, string]> = [
    ["S10, H6: refuses the credentials", refuseLogin, "AuthenticationFailed"],
    [
      "H6: closes the socket after the credentials",
      (network) =>
        Effect.gen(function*() {
          const peer = yield* network.accept
          yield* peer.send(0, start())
          yield* peer.expect("connection.start-ok")
          yield* peer.hangUp
        }),
      "AuthenticationFailed"
    ],
    ["has no such virtual host", refuseVirtualHost(530, "NOT_ALLOWED - vhost / not found"), "VirtualHostRefused"],
    [
      "denies the user the virtual host (530)",
      refuseVirtualHost(530, "NOT_ALLOWED - access to vhost '/' refused for user 'guest'"),
      "VirtualHostRefused"
    ],
    [
      "denies the user the virtual host (403)",
      refuseVirtualHost(403, "ACCESS_REFUSED - access to vhost '/' refused for user 'guest'"),
      "VirtualHostRefused"
    ],
    [
      "H3: speaks another version of AMQP",
      (network) =>
        Effect.flatMap(network.accept, (peer) => peer.push(new TextEncoder().encode("AMQP\u0001\u0001\u0000\u000a"))),
      "ProtocolViolation"
    ],
    [
      "shares no mechanism",
      (network) => Effect.flatMap(network.accept, (peer) => peer.send(0, start({ mechanisms: "GSSAPI" }))),
      "NoCommonMechanism"
    ]
  ]
  for (const [what, refuse, reason] of refusals) {
    it.effect(`is given up after three equal refusals, when the broker ${what}`, () =>
      recovering(({ connection, network, peer }) =>
        Effect.gen(function*() {
          yield* TestClock.adjust("10 seconds")
          const closed = yield* fork(connection.awaitClosed)
          yield* peer.hangUp
          yield* rest
          const waiting = yield* fork(declare("q"))
          for (let attempt = 1; attempt <= 3; attempt++) {
            yield* assertWaits(closed)
            yield* refuse(network)
            yield* rest
            yield* second
          }
          const error = yield* Effect.flip(Effect.flatten(exitOf(closed)))
          assert.strictEqual(error.reason._tag, reason)
          assert.strictEqual((yield* reasonOf(waiting, "ConnectionLost")).cause, error)
          assert.deepStrictEqual(yield* connection.state, { _tag: "Closed", error })
          assert.lengthOf(network.logged("Error"), 1)
          yield* TestClock.adjust("1 hour")
          yield* network.expectDialed("a", "a", "a")
        })
      ))
  }

  it.effect("goes on for as long as the broker has an internal error (541)", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        yield* rest
        for (let attempt = 1; attempt <= 5; attempt++) {
          const peer = yield* network.accept
          yield* peer.send(0, start())
          yield* peer.expect("connection.start-ok")
          yield* peer.send(0, tune())
          yield* peer.expect("connection.tune-ok")
          yield* peer.answer(0, "connection.open", connectionClose(541, "INTERNAL_ERROR"))
          yield* rest
          yield* second
        }
        yield* network.serve()
        yield* rest
        assert.strictEqual((yield* connection.state)._tag, "Open")
      }), { recovery: { schedule: Schedule.spaced("1 second") } }))

  it("is not given up when one of its endpoints has an internal error (541), and the others refuse it", () => {
    const failed = new EndpointsFailed({
      failures: [
        { endpoint: "a", reason: new InternalError({ replyCode: 541, replyText: "INTERNAL_ERROR", method: "" }) },
        { endpoint: "b", reason: new AuthenticationFailed({ username: "ann", replyText: "ACCESS_REFUSED" }) }
      ]
    })
    const refusals = new Refusals(undefined)
    assert.deepStrictEqual([1, 2, 3, 4].map(() => refusals.mayRetry(connectionError(failed), 0)), [
      true,
      true,
      true,
      true
    ])
  })

  it.effect("pauses for at least a second after a refusal, and for 50 ms after other failures, even with a schedule without pauses", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        yield* refuseLogin(network)
        network.faults.set("a", Effect.fail(refused()))
        yield* TestClock.adjust("999 millis")
        yield* network.expectDialed("a")
        yield* TestClock.adjust("1 millis")
        yield* network.expectDialed("a")
        yield* TestClock.adjust("49 millis")
        yield* network.expectDialed()
        yield* TestClock.adjust("1 millis")
        yield* network.expectDialed("a")
      }), { recovery: { schedule: Schedule.forever } }))

  it.effect("is given up after three equal failures of a dial that will fail again", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        const closed = yield* fork(connection.awaitClosed)
        network.faults.set("a", Effect.fail(refused("self-signed certificate", { isRetryable: false })))
        yield* peer.hangUp
        yield* rest
        yield* second
        yield* assertWaits(closed)
        yield* second
        assert.isFalse((yield* reasonOf(closed, "ConnectFailed")).isRetryable)
      })
    ))

  it.effect("S8, S10: goes on while the credentials effect returns others, and asks it for each attempt", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        for (let attempt = 2; attempt <= 11; attempt++) {
          assert.strictEqual(yield* refuseLogin(network), `ann:token ${attempt}`)
          yield* second
        }
        yield* network.serve()
        yield* rest
        assert.strictEqual((yield* connection.state)._tag, "Open")
      }), { credentials: issuing((count) => `token ${count}`) }))

  it.effect("S10: is given up when the credentials effect returns the same three times", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        const closed = yield* fork(connection.awaitClosed)
        yield* peer.hangUp
        for (let attempt = 1; attempt <= 3; attempt++) {
          yield* assertWaits(closed)
          assert.strictEqual(yield* refuseLogin(network), "ann:same")
          yield* second
        }
        yield* reasonOf(closed, "AuthenticationFailed")
      }), { credentials: issuing(() => "same") }))

  it.effect("counts refusals anew after another failure", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        for (let attempt = 1; attempt <= 10; attempt++) {
          if (attempt % 3 === 0) yield* Effect.flatMap(network.accept, (peer) => peer.hangUp)
          else yield* refuseLogin(network)
          yield* rest
          yield* second
        }
        assert.strictEqual((yield* connection.state)._tag, "Recovering")
      })
    ))

  const twoRefusals = (network: Network) => Effect.repeat(Effect.andThen(refuseLogin(network), second), { times: 1 })

  it.effect("counts refusals anew after a session that was stable", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        yield* twoRefusals(network)
        const stable = yield* network.serve()
        yield* TestClock.adjust("10 seconds")
        yield* stable.hangUp
        yield* twoRefusals(network)
        assert.strictEqual((yield* connection.state)._tag, "Recovering")
        yield* refuseLogin(network)
        yield* reasonOf(yield* fork(connection.awaitClosed), "AuthenticationFailed")
      })
    ))

  it.effect("counts refusals anew after a session that was replaced, however short it was", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        yield* twoRefusals(network)
        const short = yield* network.serve()
        yield* rest
        yield* fork(connection.reconnect)
        yield* short.answer(0, "connection.close", { _tag: "connection.close-ok" })
        yield* twoRefusals(network)
        assert.strictEqual((yield* connection.state)._tag, "Connecting")
        yield* refuseLogin(network)
        yield* reasonOf(yield* fork(connection.awaitClosed), "AuthenticationFailed")
      })
    ))

  it.effect("fails at once with initial: \"fail\", and after three refusals with initial: \"retry\"", () =>
    scriptNetwork((network) =>
      Effect.gen(function*() {
        const failing = yield* fork(dialNetwork(network))
        yield* refuseLogin(network)
        yield* reasonOf(failing, "AuthenticationFailed")
        const retrying = yield* fork(
          dialNetwork(network, { recovery: { schedule: Schedule.spaced("1 second"), initial: "retry" } })
        )
        for (let attempt = 1; attempt <= 3; attempt++) {
          yield* assertWaits(retrying)
          yield* refuseLogin(network)
          yield* second
        }
        yield* reasonOf(retrying, "AuthenticationFailed")
      })
    ))
})

describe("a connection that is lost again and again for the same reason, which would not pass", () => {
  for (
    const [what, lose] of [
      [
        "the broker closes it",
        (peer: Peer) => peer.send(0, connectionClose(503, "COMMAND_INVALID - unknown exchange type 'x'"))
      ],
      ["it receives garbage", (peer: Peer) => peer.push(new TextEncoder().encode("garbage, and no frame"))]
    ] as const
  ) {
    it.effect(`because ${what}, is established again each time, after the pauses of its schedule`, () =>
      recovering(({ connection, network, peer }) =>
        Effect.gen(function*() {
          let session = peer
          for (let loss = 0; loss < 5; loss++) {
            yield* lose(session)
            yield* rest
            assert.strictEqual((yield* connection.state)._tag, "Recovering")
            yield* TestClock.adjust("999 millis")
            yield* network.expectDialed()
            yield* TestClock.adjust("1 millis")
            session = yield* network.serve()
            yield* network.expectDialed("a")
          }
          assert.strictEqual((yield* connection.state)._tag, "Open")
        })
      ))
  }
})

describe("isRecoverable", () => {
  const recovery = (isRecoverable: (error: AmqpConnectionError) => boolean) => ({
    recovery: { schedule: Schedule.spaced("1 second"), isRecoverable }
  })

  it.effect("ends the connection when it is false for the error that lost it", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED - bye"))
        yield* reasonOf(yield* fork(connection.awaitClosed), "ConnectionForced")
        yield* network.expectDialed()
        assert.lengthOf(network.logged("Error"), 1)
      }), recovery(({ reason }) => reason._tag !== "ConnectionForced")))

  it.effect("ends the connection when it is false for the error of a round", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        yield* refuseLogin(network)
        yield* reasonOf(yield* fork(connection.awaitClosed), "AuthenticationFailed")
        yield* network.expectDialed("a")
      }), recovery(({ isRetryable }) => isRetryable)))

  it.effect("makes the connection go on for as long as it is true, whatever the error", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        for (let attempt = 1; attempt <= 10; attempt++) {
          yield* refuseLogin(network)
          yield* second
        }
        assert.strictEqual((yield* connection.state)._tag, "Recovering")
      }), recovery(() => true)))

  it.effect("ends the connection with a defect when it throws", () =>
    recovering(
      ({ connection, network, peer }) =>
        Effect.gen(function*() {
          yield* TestClock.adjust("10 seconds")
          yield* peer.hangUp
          const exit = yield* exitOf(yield* fork(connection.awaitClosed))
          if (Exit.isSuccess(exit)) return assert.fail("no failure")
          assert.include(String(Cause.squash(exit.cause)), "a bug")
          assert.strictEqual((yield* connection.state)._tag, "Closed")
          assert.lengthOf(network.logged("Error"), 1)
          yield* reasonOf(yield* fork(declare("q")), "ConnectionLost")
        }),
      recovery(() => {
        throw new Error("a bug")
      })
    ))
})

describe("a credentials effect that", () => {
  const failures: ReadonlyArray<readonly [string, Effect.Effect<never, CredentialsUnavailable>]> = [
    ["dies", Effect.die(new Error("a bug"))],
    ["interrupts itself", Effect.interrupt]
  ]
  for (const [what, failure] of failures) {
    it.effect(`${what} at first, ends the attempt to connect`, () =>
      scriptNetwork((network) =>
        Effect.gen(function*() {
          const connecting = yield* fork(dialNetwork(network, { credentials: failure }))
          const peer = yield* network.accept
          yield* peer.send(0, start())
          assert.isTrue(Exit.isFailure(yield* exitOf(connecting)))
          assert.strictEqual(network.open, 0)
        })
      ))

    it.effect(`${what} in recovery, ends the connection and what waits for it`, () => {
      let count = 0
      const credentials = Effect.suspend(() =>
        count++ === 0 ? Effect.succeed({ username: "ann", password: Redacted.make("p") }) : failure
      )
      return recovering(({ connection, network, peer }) =>
        Effect.gen(function*() {
          yield* TestClock.adjust("10 seconds")
          const closed = yield* fork(connection.awaitClosed)
          yield* peer.hangUp
          yield* rest
          const waiting = yield* fork(declare("q"))
          const next = yield* network.accept
          yield* next.send(0, start())
          assert.isTrue(Exit.isFailure(yield* exitOf(closed)))
          yield* reasonOf(waiting, "ConnectionLost")
          assert.strictEqual((yield* connection.state)._tag, "Closed")
          assert.strictEqual(network.open, 0)
        }), { credentials })
    })
  }

  it.effect("fails is run again after a pause, and is a refusal if it says so", () => {
    const unavailable = (isRetryable: boolean) => new CredentialsUnavailable({ description: "down", isRetryable })
    let failure: CredentialsUnavailable | undefined
    const credentials = Effect.suspend(() =>
      failure === undefined ? Effect.succeed({ username: "ann", password: Redacted.make("p") }) : Effect.fail(failure)
    )
    const attempt = (network: Network) =>
      Effect.gen(function*() {
        yield* Effect.flatMap(network.accept, (peer) => peer.send(0, start()))
        yield* rest
        yield* second
      })
    return recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        const closed = yield* fork(connection.awaitClosed)
        failure = unavailable(true)
        yield* peer.hangUp
        for (let count = 0; count < 5; count++) yield* attempt(network)
        yield* assertWaits(closed)
        failure = unavailable(false)
        for (let count = 0; count < 3; count++) yield* attempt(network)
        yield* reasonOf(closed, "CredentialsUnavailable")
      }), { credentials })
  })
})

describe("a new secret", () => {
  const fixed = { username: "ann", password: Redacted.make("old") }
  const secretOk = { _tag: "connection.update-secret-ok" } as const

  it.effect("is used for later logins if the credentials are fixed", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        const updating = yield* fork(connection.updateSecret(Redacted.make("new"), "rotated"))
        yield* peer.answer(0, "connection.update-secret", secretOk)
        yield* resultOf(updating)
        yield* peer.hangUp
        assert.strictEqual(yield* refuseLogin(network), "ann:new")
      }), { credentials: fixed }))

  it.effect("waits for the connection while that is established again", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        yield* rest
        const updating = yield* fork(connection.updateSecret(Redacted.make("new"), "rotated"))
        const { startOk } = yield* Effect.flatMap(network.accept, (peer) =>
          Effect.tap(peer.handshake(), () => peer.answer(0, "connection.update-secret", secretOk)))
        assert.strictEqual(login(startOk.response), "ann:old")
        yield* resultOf(updating)
      }), { credentials: fixed }))

  it.effect("fails with why there is no connection when it has waited for too long", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        network.faults.set("a", Effect.fail(refused()))
        yield* peer.hangUp
        yield* rest
        const updating = yield* fork(connection.updateSecret(Redacted.make("new"), "rotated"))
        yield* Effect.repeat(second, { times: 29 })
        yield* reasonOf(updating, "ConnectFailed")
      })
    ))

  it.effect("is used for later logins although its caller was interrupted before the broker accepted it", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        const updating = yield* fork(connection.updateSecret(Redacted.make("new"), "rotated"))
        yield* peer.expect("connection.update-secret")
        yield* Fiber.interrupt(updating)
        yield* peer.send(0, secretOk)
        yield* TestClock.adjust("10 seconds")
        yield* peer.hangUp
        assert.strictEqual(yield* refuseLogin(network), "ann:new")
      }), { credentials: { username: "ann", password: Redacted.make("old") } }))

  it.effect("is not used if the broker has refused it, nor if an Effect provides the credentials", () =>
    recovering(({ connection, network, peer }) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("10 seconds")
        const updating = yield* fork(connection.updateSecret(Redacted.make("new"), "rotated"))
        yield* peer.answer(0, "connection.update-secret", connectionClose(530, "NOT_ALLOWED"))
        yield* reasonOf(updating, "UpdateSecretFailed")
        assert.strictEqual(yield* refuseLogin(network), "ann:token")
        yield* second
        const next = yield* network.serve()
        const again = yield* fork(connection.updateSecret(Redacted.make("new"), "rotated"))
        yield* next.answer(0, "connection.update-secret", secretOk)
        yield* resultOf(again)
        yield* next.hangUp
        yield* rest
        yield* second
        assert.strictEqual(yield* refuseLogin(network), "ann:token")
      }), { credentials: issuing(() => "token") }))
})

describe("Refusals", () => {
  const refusal = (username: string) => new AuthenticationFailed({ username, replyText: "no" })
  const denied = (username: string) => connectionError(refusal(username))
  const lost = connectionError(new SocketLost({ description: "", cause: undefined }))

  it("ends with the third equal error that is not retryable", () => {
    const refusals = new Refusals(undefined)
    assert.deepStrictEqual([1, 2, 3].map(() => refusals.mayRetry(denied("a"), 0)), [true, true, false])
  })

  it("counts another error, another login, and a retryable error between, as a new beginning", () => {
    const refusals = new Refusals(undefined)
    const twice = (error: AmqpConnectionError, login: number) => [1, 2].map(() => refusals.mayRetry(error, login))
    assert.deepStrictEqual(twice(denied("a"), 0), [true, true])
    assert.deepStrictEqual(twice(denied("b"), 0), [true, true])
    assert.deepStrictEqual(twice(denied("b"), 1), [true, true])
    assert.isTrue(refusals.mayRetry(lost, 1))
    assert.deepStrictEqual(twice(denied("b"), 1), [true, true])
    refusals.reset()
    assert.deepStrictEqual(twice(denied("b"), 1), [true, true])
    assert.isFalse(refusals.mayRetry(denied("b"), 1))
  })

  it("ends with the third equal round, although its endpoints were tried in another order", () => {
    const refusals = new Refusals(undefined)
    const refused = ["a", "b", "c"].map((endpoint) => ({ endpoint, reason: refusal("ann") }))
    const rounds = [refused, refused.toReversed(), [refused[1], refused[0], refused[2]]]
    const errors = rounds.map((failures) => connectionError(new EndpointsFailed({ failures })))
    assert.deepStrictEqual(errors.map((error) => refusals.mayRetry(error, 0)), [true, true, false])
  })

  it("never ends with a retryable error", () => {
    const refusals = new Refusals(undefined)
    for (let count = 0; count < 100; count++) assert.isTrue(refusals.mayRetry(lost, 0))
  })

  it("asks only the predicate if there is one", () => {
    const refusals = new Refusals((error) => error !== lost)
    assert.isFalse(refusals.mayRetry(lost, 0))
    for (let count = 0; count < 10; count++) assert.isTrue(refusals.mayRetry(denied("a"), 0))
    assertReason(denied("a"), "AuthenticationFailed")
  })
})
