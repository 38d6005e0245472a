import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpUri from "@effect-amqp/core/AmqpUri"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import { declaredQueue, fork, toQueue } from "../../support/broker.ts"
import { brokerUrl } from "../../support/brokerUnderTest.ts"
import { singleSession } from "../../support/recovery.ts"
import { startRelay } from "../../support/webSocketRelay.ts"

const { password, username, virtualHost } = Result.getOrThrow(AmqpUri.parse(brokerUrl))

/** A connection as a browser makes it. */
const layerWebSocket = (url: string) =>
  AmqpConnection.layer({ credentials: { username, password }, virtualHost, ...singleSession }).pipe(
    Layer.provide(Socket.layerWebSocket(url)),
    Layer.provide(Socket.layerWebSocketConstructorGlobal)
  )

describe("a connection over a WebSocket", () => {
  it.live("publishes and consumes small and large messages", () =>
    Effect.gen(function*() {
      const { url } = yield* startRelay
      const body = new Uint8Array(3 * 1024 * 1024)
      for (let index = 0; index < body.length; index++) body[index] = index % 251
      yield* Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const publisher = yield* AmqpPublisher.make()
        const small = Array.from({ length: 500 }, (_, index) => AmqpMessage.text(`${index}`))
        yield* publisher.publishAll([...small, AmqpMessage.make(body)], toQueue(queue))
        const received = yield* AmqpConsumer.stream(queue).pipe(
          Stream.tap(({ ack }) => ack),
          Stream.take(501),
          Stream.runCollect
        )
        assert.deepStrictEqual(received.slice(0, 500).map(({ text }) => text), small.map((_, index) => `${index}`))
        assert.deepStrictEqual(received[500].body, body)
      }).pipe(Effect.scoped, Effect.provide(layerWebSocket(url)))
    }).pipe(Effect.scoped))

  it.live("fails with SocketLost when its WebSocket closes", () =>
    Effect.gen(function*() {
      const relay = yield* Scope.make()
      const { url } = yield* Scope.provide(startRelay, relay)
      yield* Effect.gen(function*() {
        const { awaitClosed } = yield* AmqpConnection.AmqpConnection
        yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.serverNamed()))
        yield* Effect.forkChild(Scope.close(relay, Exit.void))
        const { reason } = yield* Effect.flip(awaitClosed)
        assert.strictEqual(reason._tag, "SocketLost")
      }).pipe(Effect.provide(layerWebSocket(url)))
    }))

  it.live("fails with the reason why the relay closed its WebSocket", () =>
    Effect.gen(function*() {
      const { loseBroker, url } = yield* startRelay
      yield* Effect.gen(function*() {
        const { awaitClosed } = yield* AmqpConnection.AmqpConnection
        yield* Effect.forkChild(loseBroker)
        const { reason } = yield* Effect.flip(awaitClosed)
        assert.strictEqual(reason._tag, "SocketLost")
        assert.include(reason.message, "the peer closed the WebSocket, 1011: the broker is gone")
      }).pipe(Effect.provide(layerWebSocket(url)))
    }).pipe(Effect.scoped))

  it.live("has small messages confirmed while a large one is sent", () =>
    Effect.gen(function*() {
      const { url } = yield* startRelay
      yield* Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const [one, other] = [yield* AmqpPublisher.make(), yield* AmqpPublisher.make()]
        const large = yield* fork(one.publish(AmqpMessage.make(new Uint8Array(16 * 1024 * 1024)), toQueue(queue)))
        yield* other.publish(AmqpMessage.text("small"), toQueue(queue))
        assert.isUndefined(large.pollUnsafe())
        yield* Fiber.join(large)
      }).pipe(Effect.scoped, Effect.provide(layerWebSocket(url)))
    }).pipe(Effect.scoped))

  it.live("fails with ConnectFailed when nothing listens", () =>
    Effect.gen(function*() {
      const { url } = yield* Effect.scoped(startRelay)
      const { reason } = yield* Effect.flip(Effect.scoped(Layer.build(layerWebSocket(url))))
      assert.strictEqual(reason._tag, "ConnectFailed")
      assert.include(reason.message, "the socket did not open")
    }))
})
