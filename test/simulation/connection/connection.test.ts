import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import {
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

const blocked = (reason: string) => ({ _tag: "connection.blocked", reason }) as const
const unblocked = { _tag: "connection.unblocked" } as const

describe("a connection", () => {
  it.effect("has the name and client properties that it sends to the broker", () =>
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

  it.effect("has no name by default", () => connected((_, { name }) => Effect.sync(() => assert.isUndefined(name))))

  it.effect("has the capabilities that the broker lists as true, and not those that are false", () => {
    const capabilities = { "basic.nack": true, per_consumer_qos: false, "x-new": true }
    return connected((_, connection) =>
      Effect.gen(function*() {
        const listed = yield* connection.capabilities
        assert.deepStrictEqual([...listed], ["basic.nack", "x-new"])
        assert.isTrue(listed.has("basic.nack"))
        assert.isFalse(listed.has("publisher_confirms"))
        assert.deepStrictEqual(yield* connection.serverProperties, { capabilities })
      }), { server: { serverProperties: { capabilities } } })
  })

  for (const serverProperties of [{}, { capabilities: "many" }, { capabilities: null }, { capabilities: [1] }]) {
    it.effect(`H14: has no capabilities when the server properties are ${JSON.stringify(serverProperties)}`, () =>
      connected(
        (_, { capabilities }) => Effect.map(capabilities, ({ size }) => assert.strictEqual(size, 0)),
        { server: { serverProperties } }
      ))
  }

  it.effect("counts open channels, including idle ones that are kept for the next programs", () =>
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
  it.effect("W1: is Blocked with the broker's reason while publishes wait, and finally Closed with the cause", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const changes = yield* fork(Stream.runCollect(connection.stateChanges))
        const { state } = connection
        assert.deepStrictEqual(yield* state, AmqpConnection.State.Open({ endpoint: "the broker" }))
        yield* peer.send(0, blocked("low on memory"))
        yield* rest
        assert.deepStrictEqual(
          yield* state,
          AmqpConnection.State.Blocked({ endpoint: "the broker", reason: "low on memory" })
        )
        yield* peer.send(0, unblocked)
        yield* rest
        assert.deepStrictEqual(yield* state, AmqpConnection.State.Open({ endpoint: "the broker" }))
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

  it.effect("is known as soon as the connection is open", () =>
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

  it.effect("skips intermediate values for a slow subscriber, but never the latest", () =>
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

  it.effect("still changes after a subscriber has stopped", () =>
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
