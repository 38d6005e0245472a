import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Stream from "effect/Stream"
import {
  ack,
  bodyBytes,
  connected,
  deliverBytes,
  fork,
  headerBytes,
  methodBytes,
  openConsumer,
  openPublisher,
  rest,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { deliver, direct, openClient } from "../../support/scriptedRpc.ts"

const large = { server: { frameMax: 0 }, client: { frameMax: 0 } } as const

const megabyte = "x".repeat(1024 * 1024)

/** Delivers more than a consumer without a prefetch buffers. */
const flood = (peer: Peer, channel: number, consumerTag: string, from: number, count = 18) =>
  Effect.gen(function*() {
    for (let tag = from; tag < from + count; tag++) yield* peer.push(deliverBytes(channel, consumerTag, tag, megabyte))
    yield* rest
  })

describe("a paused reader", () => {
  it.effect("reads connection.unblocked, so that a consumer that publishes can continue", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1)
        const consumer = Stream.runForEach(AmqpConsumer.stream("q", { autoAck: true }), () =>
          Effect.ignore(publisher.publish(AmqpMessage.text("copy"), toQueue)))
        const { consumerTag } = yield* openConsumer(peer, consumer, 2, false)
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        yield* peer.push(deliverBytes(2, consumerTag, 1, "m"))
        yield* flood(peer, 2, consumerTag, 2)
        yield* peer.send(0, { _tag: "connection.unblocked" })
        yield* peer.expectPublish("copy", 1)
      }), large))

  it.effect("reads connection.unblocked for a publish that begins to wait when that has already arrived", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1)
        const consumer = Stream.runForEach(AmqpConsumer.stream("q", { autoAck: true }), () => Effect.never)
        const { consumerTag } = yield* openConsumer(peer, consumer, 2, false)
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        yield* rest
        yield* flood(peer, 2, consumerTag, 1, 40)
        yield* peer.send(0, { _tag: "connection.unblocked" })
        yield* rest
        assert.isAbove(peer.bytesUnread, 0)
        yield* fork(publisher.publish(AmqpMessage.text("late"), toQueue))
        yield* peer.expectPublish("late", 1)
      }), large))

  it.effect("reads nothing between the frames of a publish", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1)
        const consumer = Stream.runForEach(AmqpConsumer.stream("q", { autoAck: true }), () => Effect.never)
        const { consumerTag } = yield* openConsumer(peer, consumer, 2, false)
        yield* flood(peer, 2, consumerTag, 1, 40)
        yield* peer.send(1, { _tag: "channel.flow", active: true })
        yield* rest
        assert.isAbove(peer.bytesUnread, 0)
        peer.frames.length = 0
        yield* fork(publisher.publish(AmqpMessage.text("m"), toQueue))
        yield* rest
        assert.deepStrictEqual(peer.frames.map(({ type }) => type), ["method", "header", "body", "method"])
      }), large))

  it.effect("resumes when the consumer that it paused for is stopped", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const gate = Latch.makeUnsafe()
        const serve = AmqpConsumer.serve("q", () => Effect.as(gate.await, AmqpDelivery.ack), { prefetch: 0 })
        const { consumerTag, fiber } = yield* openConsumer(peer, serve)
        yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
        yield* flood(peer, 1, consumerTag, 2)
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* gate.open
        yield* peer.expect("basic.ack", 1)
        yield* peer.closeChannel(1)
        yield* resultOf(stopping)
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        yield* rest
        assert.strictEqual(peer.bytesUnread, 0)
      }), large))

  it.effect("resumes when the consumer that it paused for is closed after the broker cancelled it", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const consumer = Stream.runForEach(AmqpConsumer.stream("q", { autoAck: true }), () => Effect.never)
        const { consumerTag, fiber } = yield* openConsumer(peer, consumer, 1, false)
        yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
        yield* peer.push(
          ...Array.from({ length: 18 }, (_, index) => deliverBytes(1, consumerTag, index + 2, megabyte)),
          methodBytes(1, { _tag: "basic.cancel", consumerTag, noWait: true })
        )
        yield* rest
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* peer.closeChannel(1)
        yield* resultOf(stopping)
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        yield* rest
        assert.strictEqual(peer.bytesUnread, 0)
      }), large))

  it.effect("K6: stays paused while the connection is blocked and nothing waits to be published", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const consumer = Stream.runForEach(AmqpConsumer.stream("q", { autoAck: true }), () => Effect.never)
        const { consumerTag } = yield* openConsumer(peer, consumer, 1, false)
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        yield* flood(peer, 1, consumerTag, 1, 60)
        assert.isAbove(peer.bytesUnread, 10 * 1024 * 1024)
      }), large))

  it.effect("resumes for a consumer that waits for the socket, since the peer may read only after its own bytes are read", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publish = AmqpChannel.publish(AmqpMessage.make(new Uint8Array(64 * 1024)), toQueue)
        const consumer = Stream.runForEach(AmqpConsumer.stream("q", { autoAck: true }), () =>
          Effect.ignore(AmqpChannel.run(AmqpChannel.all(Array.from({ length: 40 }, () => publish)))))
        const { consumerTag } = yield* openConsumer(peer, consumer, 1, false)
        yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
        yield* peer.expect("channel.open", 2)
        yield* peer.stall
        yield* peer.send(2, { _tag: "channel.open-ok" })
        yield* rest
        yield* flood(peer, 1, consumerTag, 2, 40)
        assert.strictEqual(peer.bytesUnread, 0)
      }), large))

  it.effect("reads the reply to a call, so that a consumer that calls can continue", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { client, replyTag } = yield* openClient(peer)
        let answered = 0
        const consumer = Stream.runForEach(AmqpConsumer.stream("q", { autoAck: true }), () =>
          Effect.map(client.call(AmqpMessage.text("request"), toQueue), () => void answered++))
        const { consumerTag } = yield* openConsumer(peer, consumer, 2, false)
        yield* peer.push(deliverBytes(2, consumerTag, 1, "m"))
        yield* peer.expectPublish("request")
        yield* peer.send(1, ack(1))
        yield* flood(peer, 2, consumerTag, 2)
        yield* peer.push(
          methodBytes(1, deliver(replyTag)),
          headerBytes(1, 1, { correlationId: "1" }),
          bodyBytes(1, Uint8Array.of(1))
        )
        yield* rest
        assert.strictEqual(answered, 1)
      }), { client: large.client, server: { ...large.server, ...direct } }))
})
