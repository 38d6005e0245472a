import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import type { ReplyReason } from "@effect-amqp/core/AmqpError"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import {
  connected,
  connectionClose,
  declare,
  dial,
  fork,
  openPublisher,
  publishText,
  reasonOf,
  resultOf,
  script,
  serveDeclare,
  start,
  toQueue,
  tune,
  waiters
} from "../../support/scriptedPeer.ts"

/** Refuses the virtual host with this reply code. */
const refusesVirtualHost = (replyCode: number) =>
  script((peer) =>
    Effect.gen(function*() {
      const dialling = yield* fork(dial(peer, { virtualHost: "orders" }))
      yield* peer.expectGreeting
      yield* peer.send(0, start())
      yield* peer.expect("connection.start-ok", 0)
      yield* peer.send(0, tune())
      yield* peer.expect("connection.tune-ok", 0)
      yield* peer.expect("connection.open", 0)
      yield* peer.send(0, connectionClose(replyCode, "there is no vhost orders"))
      const reason = yield* reasonOf(dialling, "VirtualHostRefused")
      assert.isFalse(reason.isRetryable)
      assert.include(reason.message, "there is no vhost orders")
    })
  )

/** Closes a connection in use with this reply code. */
const endsConnection = (replyCode: number, tag: ReplyReason["_tag"], isRetryable: boolean) =>
  connected((peer, connection) =>
    Effect.gen(function*() {
      const assertFailed = yield* waiters(peer, connection)
      yield* peer.send(0, connectionClose(replyCode, "because"))
      yield* peer.expect("connection.close-ok", 0)
      const reason = yield* assertFailed(tag)
      assert.include(reason, { replyCode, replyText: "because", isRetryable })
      // The body that `waiters` publish.
      assert.notInclude(JSON.stringify(reason), "hello")
      assert.isFalse(peer.isOpen)
    })
  )

describe("reply codes", () => {
  it.effect("E1: 311 fails the publish and closes only its channel", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const fiber = yield* publishText(peer, publisher, "too large")
        yield* peer.send(1, {
          _tag: "channel.close",
          replyCode: 311,
          replyText: "CONTENT_TOO_LARGE",
          classId: 60,
          methodId: 40
        })
        yield* peer.expect("channel.close-ok", 1)
        const { cause } = yield* reasonOf(fiber, "OutcomeUnknown")
        assert.include(cause.reason, { _tag: "ContentTooLarge", method: "basic.publish", isRetryable: false })
        const declaring = yield* fork(declare("q"))
        yield* serveDeclare(peer, "q", 1)
        yield* resultOf(declaring)
      })
    ))

  it.effect("E3: 540 for immediate is prevented, even in an untyped program", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const options: AmqpChannel.PublishOptions & { readonly immediate: boolean } = { ...toQueue, immediate: true }
        const fiber = yield* fork(AmqpChannel.run(AmqpChannel.publish(AmqpMessage.text("m"), options)))
        yield* peer.openChannel()
        yield* peer.closeChannel()
        assert.include((yield* reasonOf(fiber, "InvalidArgument")).description, "there is no \"immediate\"")
        const other = yield* fork(AmqpChannel.run(AmqpChannel.publish(AmqpMessage.text("m"), toQueue)))
        yield* peer.openChannel()
        assert.isFalse((yield* peer.expectPublish("m")).immediate)
        yield* peer.closeChannel()
        yield* resultOf(other)
      })
    ))

  it.effect("E5: 402 for the virtual host is not retryable", () => refusesVirtualHost(402))

  it.effect("E11: 530 for the virtual host is not retryable", () => refusesVirtualHost(530))

  const codes = [
    [501, "FrameError", false],
    [502, "SyntaxError", false],
    [503, "CommandInvalid", false],
    [504, "ChannelError", false],
    [505, "UnexpectedFrame", false],
    [506, "ResourceError", true],
    [541, "InternalError", false]
  ] as const
  for (const [replyCode, tag, isRetryable] of codes) {
    it.effect(`E10: ${replyCode} fails everything on the connection with ${tag}, and shows no payload`, () =>
      endsConnection(replyCode, tag, isRetryable))
  }

  it.effect("E11: 530 fails everything on the connection, and is not retryable", () =>
    endsConnection(530, "NotAllowed", false))

  it.effect("E12: 540 fails the call that caused it", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { state } = yield* AmqpConnection
        const fiber = yield* fork(AmqpChannel.run(AmqpChannel.qos({ prefetchCount: 1, global: true })))
        yield* peer.openChannel()
        assert.isTrue((yield* peer.expect("basic.qos", 1)).global)
        yield* peer.send(0, connectionClose(540, "NOT_IMPLEMENTED - global qos"))
        yield* peer.expect("connection.close-ok", 0)
        const { cause } = yield* reasonOf(fiber, "ConnectionLost")
        assert.include(cause.reason, { _tag: "NotImplemented", isRetryable: false })
        assert.strictEqual((yield* state)._tag, "Closed")
      })
    ))

  it.effect("K8: 530 for a reused consumer tag is prevented, even when one queue is consumed twice", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const opening = yield* fork(AmqpConsumer.make(["q", "q"], { consumerTag: "mine" }))
        yield* peer.openChannel()
        yield* peer.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
        const tags: Array<string> = []
        for (let count = 0; count < 2; count++) {
          const { consumerTag } = yield* peer.expect("basic.consume", 1)
          yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag })
          tags.push(consumerTag)
        }
        yield* resultOf(opening)
        assert.deepStrictEqual(tags, ["mine-1", "mine-2"])
      })
    ))
})
