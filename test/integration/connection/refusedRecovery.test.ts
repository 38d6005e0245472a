/**
 * A connection that is lost, and then refused by the broker: whether it goes on trying, or closes with the reason.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import type { Credentials } from "@effect-amqp/core/AmqpSasl"
import * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { assertReason, eventually, failureOf, fork, uniqueName } from "../../support/broker.ts"
import { administration, isAdministrable } from "../../support/brokerUnderTest.ts"
import { tagsOf } from "../../support/tags.ts"
import { freshUser } from "../../support/user.ts"
import { freshVirtualHost } from "../../support/vhost.ts"

/** Runs a test with a connection with the default recovery. */
const connected = <A, E, R>(options: NodeAmqp.Options, body: Effect.Effect<A, E, R>) =>
  Effect.provide(Effect.scoped(body), NodeAmqp.layer(options))

const declareQueue = AmqpQueue.declare(AmqpQueue.classic(uniqueName("queue"), { exclusive: true, durable: false }))

/**
 * Loses the connection for good. Asserts that it is tried three times and then closed, and that everything on it ends with the
 * reason. Returns the reason.
 */
const givesUp = <E, R>(lose: Effect.Effect<void, E, R>) =>
  Effect.gen(function*() {
    const { awaitClosed, state, stateChanges } = yield* AmqpConnection
    let attempts = 0
    yield* fork(Stream.runForEach(stateChanges, (state) =>
      Effect.sync(() => {
        if (state._tag === "Recovering") attempts = state.attempt
      })))
    yield* AmqpChannel.run(declareQueue)
    const { name } = yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.serverNamed()))
    const consumer = yield* fork(AmqpConsumer.serve(name, () => Effect.succeed(AmqpDelivery.ack)))
    const closed = yield* fork(awaitClosed)
    yield* lose
    yield* eventually(state, ({ _tag }) => _tag === "Recovering")
    const waiting = yield* fork(AmqpChannel.run(declareQueue))
    const error = yield* failureOf(closed)
    assert.strictEqual(attempts, 3)
    assert.isFalse(error.isRetryable)
    assert.deepStrictEqual(yield* state, { _tag: "Closed", error })
    for (const failure of [yield* failureOf(consumer), yield* failureOf(waiting)]) {
      assert.strictEqual(
        tagsOf(failure),
        `AmqpChannelError > ConnectionLost > AmqpConnectionError > ${error.reason._tag}`
      )
    }
    return error
  })

describe.runIf(isAdministrable)("a connection that is lost after", () => {
  it.live("S8, H6: its password was changed is closed with the refusal, if its credentials are fixed", () =>
    Effect.gen(function*() {
      const username = yield* freshUser("old")
      const connectionName = uniqueName("connection")
      const options = {
        url: administration().url,
        connectionName,
        credentials: { username, password: Redacted.make("old") }
      }
      const error = yield* connected(
        options,
        givesUp(Effect.andThen(
          administration().changePassword(username, "new"),
          administration().closeConnection(connectionName, "the password has changed")
        ))
      )
      const reason = assertReason(error, "AuthenticationFailed")
      assert.strictEqual(reason.username, username)
      assert.include(reason.replyText, "ACCESS_REFUSED - Login was refused")
    }).pipe(Effect.scoped))

  it.live("S8: its password was changed is open again, if its credentials effect returns the new one", () =>
    Effect.gen(function*() {
      const username = yield* freshUser("old")
      const connectionName = uniqueName("connection")
      // The first login, one that is refused, and one with the new password.
      const passwords = ["old", "old", "new"]
      let logins = 0
      const credentials = Effect.sync((): Credentials => ({
        username,
        password: Redacted.make(passwords[logins++] ?? assert.fail("it logs in too often"))
      }))
      yield* connected(
        { url: administration().url, connectionName, credentials },
        Effect.gen(function*() {
          const { state } = yield* AmqpConnection
          yield* administration().changePassword(username, "new")
          yield* administration().closeConnection(connectionName, "the password has changed")
          yield* eventually(state, ({ _tag }) => _tag === "Recovering")
          // It waits for the connection.
          yield* AmqpChannel.run(declareQueue)
          assert.strictEqual((yield* state)._tag, "Open")
          assert.strictEqual(logins, passwords.length)
          assert.strictEqual(yield* administration().connectionsNamed(connectionName), 1)
        })
      )
    }).pipe(Effect.scoped))

  it.live("H7: its virtual host was deleted is closed with the refusal", () =>
    Effect.gen(function*() {
      const virtualHost = yield* Scope.make()
      yield* Effect.addFinalizer((exit) => Scope.close(virtualHost, exit))
      const { name, url } = yield* Scope.provide(freshVirtualHost, virtualHost)
      const error = yield* connected({ url }, givesUp(Scope.close(virtualHost, Exit.void)))
      const reason = assertReason(error, "VirtualHostRefused")
      assert.strictEqual(reason.replyCode, 530)
      assert.include(reason.replyText, `NOT_ALLOWED - vhost ${name} not found`)
    }).pipe(Effect.scoped))
})
