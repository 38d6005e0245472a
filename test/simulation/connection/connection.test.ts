import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpSasl from "@effect-amqp/core/AmqpSasl"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import {
  connect,
  connected,
  connectionClose,
  declareOk,
  dial,
  fork,
  reasonOf,
  rest,
  resultOf,
  script,
  start,
  tune
} from "../../support/scriptedPeer.ts"
import { assertHides, logged } from "../../support/secrets.ts"

const blocked = (reason: string) => ({ _tag: "connection.blocked", reason }) as const
const unblocked = { _tag: "connection.unblocked" } as const

describe("what a connection tells of itself", () => {
  it.effect("its name and client properties, which the broker is told", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(dial(peer, {
          connectionName: "orders",
          clientProperties: { version: "1.2.3", capabilities: { own: true, "basic.nack": false } }
        }))
        const { startOk } = yield* peer.handshake()
        const { clientProperties, name } = yield* resultOf(fiber)
        assert.strictEqual(name, "orders")
        assert.deepStrictEqual(startOk.clientProperties, clientProperties)
        assert.deepStrictEqual(clientProperties, {
          product: "effect-amqp",
          platform: "Effect",
          connection_name: "orders",
          version: "1.2.3",
          capabilities: {
            authentication_failure_close: true,
            "basic.nack": false,
            "connection.blocked": true,
            consumer_cancel_notify: true,
            exchange_exchange_bindings: true,
            own: true,
            publisher_confirms: true
          }
        })
      })
    ))

  it.effect("no name when it has none", () => connected((_, { name }) => Effect.sync(() => assert.isUndefined(name))))

  it.effect("what the broker says that it can do, and not what it says that it can't", () => {
    const capabilities = { "basic.nack": true, per_consumer_qos: false, "x-new": true }
    return connected((_, connection) =>
      Effect.sync(() => {
        assert.deepStrictEqual([...connection.capabilities], ["basic.nack", "x-new"])
        assert.isTrue(connection.capabilities.has("basic.nack"))
        assert.isFalse(connection.capabilities.has("publisher_confirms"))
        assert.deepStrictEqual(connection.serverProperties, { capabilities })
      }), { server: { serverProperties: { capabilities } } })
  })

  for (const serverProperties of [{}, { capabilities: "many" }, { capabilities: null }, { capabilities: [1] }]) {
    it.effect(`H14: no capabilities of a broker with ${JSON.stringify(serverProperties)}`, () =>
      connected(
        (_, { capabilities }) => Effect.sync(() => assert.strictEqual(capabilities.size, 0)),
        { server: { serverProperties } }
      ))
  }

  it.effect("how many channels are open, with those that are kept for the next programs", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* connection.channelCount, 0)
        const fiber = yield* fork(AmqpChannel.run(AmqpQueue.declare("q")))
        yield* peer.openChannel()
        assert.strictEqual(yield* connection.channelCount, 1)
        yield* peer.answer(1, "queue.declare", declareOk("q"))
        yield* resultOf(fiber)
        assert.strictEqual(yield* connection.channelCount, 1)
        yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED"))
        yield* rest
        assert.strictEqual(yield* connection.channelCount, 0)
      }), { client: { maxIdleChannels: 1 } }))
})

describe("the state of a connection", () => {
  it.effect("W1: is Blocked with the broker's reason while publishers wait, and Closed with the cause at last", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const changes = yield* fork(Stream.runCollect(connection.stateChanges))
        const { state } = connection
        assert.deepStrictEqual(yield* state, AmqpConnection.State.Open())
        yield* peer.send(0, blocked("low on memory"))
        yield* rest
        assert.deepStrictEqual(yield* state, AmqpConnection.State.Blocked({ reason: "low on memory" }))
        yield* peer.send(0, unblocked)
        yield* rest
        assert.deepStrictEqual(yield* state, AmqpConnection.State.Open())
        yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED - bye"))
        const states = yield* resultOf(changes)
        assert.deepStrictEqual(states.map(({ _tag }) => _tag), ["Open", "Blocked", "Open", "Closed"])
        const closed = yield* state
        if (closed._tag !== "Closed") return assert.fail(closed._tag)
        assert.strictEqual(closed.error.reason._tag, "ConnectionForced")
        assert.deepStrictEqual(yield* Stream.runCollect(connection.stateChanges), [closed])
      })
    ))

  it.effect("W3: is Closed, not Blocked, when the connection is lost while it is blocked", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        yield* peer.send(0, blocked("disk"))
        yield* rest
        const changes = yield* fork(Stream.runCollect(connection.stateChanges))
        yield* rest
        yield* peer.hangUp
        assert.deepStrictEqual((yield* resultOf(changes)).map(({ _tag }) => _tag), ["Blocked", "Closed"])
        yield* reasonOf(yield* fork(connection.awaitClosed), "SocketLost")
      })
    ))

  it.effect("is known as soon as the connection is there", () =>
    script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(dial(peer))
        yield* peer.send(0, start())
        yield* peer.expect("connection.start-ok")
        yield* peer.send(0, tune())
        yield* peer.expect("connection.tune-ok")
        yield* peer.answer(0, "connection.open", { _tag: "connection.open-ok" }, blocked("no disk"))
        const connection = yield* resultOf(fiber)
        assert.strictEqual((yield* connection.state)._tag, "Blocked")
      })
    ))

  it.effect("leaves the latest to one who is slow, and no more than some before it", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        let release: (() => void) | undefined
        const gate = Effect.callback<void>((resume) => {
          release = () => resume(Effect.void)
        })
        const fiber = yield* fork(Stream.runForEach(connection.stateChanges, ({ _tag }) => {
          seen.push(_tag)
          return seen.length === 1 ? gate : Effect.void
        }))
        yield* rest
        for (let index = 0; index < 100; index++) yield* peer.send(0, blocked("x"), unblocked)
        yield* peer.send(0, connectionClose(320, ""))
        yield* rest
        release?.()
        yield* resultOf(fiber)
        assert.isBelow(seen.length, 40)
        assert.strictEqual(seen.at(-1), "Closed")
      })
    ))

  it.effect("stops being told to whoever stops listening", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const first = yield* fork(Stream.runCollect(Stream.take(connection.stateChanges, 1)))
        assert.deepStrictEqual((yield* resultOf(first)).map(({ _tag }) => _tag), ["Open"])
        yield* peer.send(0, blocked("x"))
        yield* rest
        assert.strictEqual((yield* connection.state)._tag, "Blocked")
      })
    ))
})

describe("secrets", () => {
  const secret = "s3cret-pässword"
  const credentials = { username: "ann", password: Redacted.make(secret) }

  for (const mechanism of [AmqpSasl.plain, AmqpSasl.amqplain]) {
    it.effect(`${mechanism.name}: show in nothing that a connection is made of, logs or fails with`, () =>
      logged((lines) =>
        script((peer) =>
          Effect.gen(function*() {
            const options: AmqpConnection.Options = { credentials, mechanisms: [mechanism] }
            const connection = yield* connect(peer, { client: options })
            assertHides(connection, secret)
            assertHides(options, secret)
            // The session behind it is among what it holds.
            for (const key of Reflect.ownKeys(connection)) assertHides(Reflect.get(connection, key), secret)
            const fiber = yield* fork(connection.updateSecret(credentials.password, "rotated"))
            yield* peer.expect("connection.update-secret")
            assertHides(connection, secret)
            yield* peer.send(0, connectionClose(530, "NOT_ALLOWED"))
            assertHides(yield* reasonOf(fiber, "UpdateSecretFailed"), secret)
            assertHides(yield* connection.state, secret)
            assertHides(lines, secret)
          })
        )
      ))
  }

  it.effect("show in no step and mechanism", () =>
    Effect.gen(function*() {
      for (const mechanism of [AmqpSasl.plain, AmqpSasl.amqplain]) {
        assertHides(yield* mechanism.start(Effect.succeed(credentials)), secret)
        assertHides(mechanism, secret)
      }
    }))
})

describe("a password over a transport", () => {
  const secret = "s3cret"
  const credentials = { username: "ann", password: Redacted.make(secret) }

  /** What connecting twice over such a transport warns about. */
  const warningsOf = (
    level: "Verified" | "Unverified" | "Local" | "None" | undefined,
    options: AmqpConnection.Options = {}
  ) => {
    const peer = `${crypto.randomUUID()}.example:5672`
    return logged((lines) =>
      Effect.gen(function*() {
        for (let count = 0; count < 2; count++) {
          const connecting = script((peer) =>
            Effect.gen(function*() {
              yield* fork(dial(peer, { credentials, ...options }))
              yield* peer.send(0, start({ mechanisms: "PLAIN EXTERNAL" }))
              yield* peer.expect("connection.start-ok")
            })
          )
          yield* level === undefined
            ? connecting
            : Effect.provideService(connecting, AmqpConnection.TransportProtection, { peer, level })
        }
        assertHides(lines, secret)
        return lines.filter((line) => line.includes("level=WARN") && line.includes(peer))
      })
    )
  }

  it.effect("without encryption is warned about once, with the name of the broker", () =>
    Effect.gen(function*() {
      const warnings = yield* warningsOf("None")
      assert.lengthOf(warnings, 1)
      assert.match(warnings[0], /unencrypted.*amqps:/)
    }))

  it.effect("to a server that has not proved who it is, is warned about once", () =>
    Effect.gen(function*() {
      const warnings = yield* warningsOf("Unverified")
      assert.lengthOf(warnings, 1)
      assert.include(warnings[0], "not verified")
    }))

  it.effect("is warned about where a mechanism of one's own may send it", () =>
    Effect.gen(function*() {
      const mechanism = AmqpSasl.singleStep(
        "PLAIN",
        ({ password }) => new TextEncoder().encode(Redacted.value(password))
      )
      assert.lengthOf(yield* warningsOf("None", { mechanisms: [mechanism] }), 1)
    }))

  it.effect("is not warned about with TLS, on one machine, where nothing is known, and where there is none", () =>
    Effect.gen(function*() {
      for (const level of ["Verified", "Local", undefined] as const) {
        assert.lengthOf(yield* warningsOf(level), 0)
      }
      assert.lengthOf(yield* warningsOf("None", { mechanisms: [AmqpSasl.external] }), 0)
    }))
})
