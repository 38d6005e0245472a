/**
 * The failures of rabbitpy 3.0.2 that need a misbehaving peer instead of a broker, and those of its tests that look at frames.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import type * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { wire } from "../fixtures/wire.ts"
import {
  ack,
  assertWaits,
  channelClose,
  connect,
  connected,
  connectionClose,
  declare,
  declareOk,
  deliverBytes,
  dial,
  fork,
  openConsumer,
  openPublisher,
  publishText,
  reasonOf,
  resultOf,
  script,
  start,
  toQueue,
  tune,
  waiters
} from "../support/scriptedPeer.ts"

describe("rabbitpy's failures", () => {
  it.effect("rabbitpy failure 2: a slow message is sent once, and the byte stream stays intact", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { sendTimeout: "1 seconds", confirmTimeout: "1 seconds" })
        yield* peer.stall
        const body = new Uint8Array(500_000).fill(1)
        const slow = yield* fork(publisher.publish(AmqpMessage.make(body), toQueue))
        yield* TestClock.adjust("10 seconds")
        yield* reasonOf(slow, "OutcomeUnknown")
        yield* peer.unstall
        assert.strictEqual((yield* peer.expectPublish()).body.length, body.length)
        yield* peer.send(1, ack(1))
        yield* publishText(peer, publisher, "next")
        yield* peer.expectNothing
      })
    ))

  it.effect("rabbitpy failure 8: a malformed frame ends the connection at once", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const assertFailed = yield* waiters(peer, connection)
        // The frame end is wrong.
        yield* peer.push(wire("08 0000 00000000 00"))
        assert.strictEqual((yield* peer.expect("connection.close", 0)).replyCode, 501)
        yield* assertFailed("ProtocolViolation")
        assert.isFalse(peer.isOpen)
      })
    ))

  it.effect("rabbitpy failure 10: a close ends when the peer has answered it", () =>
    script((peer) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Scope.provide(connect(peer), scope)
        const closing = yield* fork(Scope.close(scope, Exit.void))
        yield* peer.expect("connection.close", 0)
        yield* assertWaits(closing)
        yield* peer.send(0, { _tag: "connection.close-ok" })
        yield* resultOf(closing)
      })
    ))

  it.effect("rabbitpy failure 12: every waiter fails when the broker closes the connection", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const assertFailed = yield* waiters(peer, connection)
        yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED - bye"))
        yield* peer.expect("connection.close-ok", 0)
        assert.include((yield* assertFailed("ConnectionForced")).replyText, "bye")
      })
    ))

  it.effect("rabbitpy failure 13: a peer that is silent for two intervals ends the connection", () =>
    connected((_, connection) =>
      Effect.gen(function*() {
        const closed = yield* fork(connection.awaitClosed)
        yield* TestClock.adjust("19 seconds")
        yield* assertWaits(closed)
        yield* TestClock.adjust("6 seconds")
        yield* reasonOf(closed, "HeartbeatTimeout")
      }), { client: { heartbeat: "10 seconds" }, server: { heartbeat: 10 } }))

  it.effect("rabbitpy failure 14: the broker's close of a channel or of the connection is answered", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const declaring = yield* fork(declare("q"))
        yield* peer.openChannel()
        yield* peer.expect("queue.declare", 1)
        yield* peer.send(1, channelClose(406, "PRECONDITION_FAILED"))
        yield* peer.expect("channel.close-ok", 1)
        yield* reasonOf(declaring, "PreconditionFailed")
        const closed = yield* fork(connection.awaitClosed)
        yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED"))
        yield* peer.expect("connection.close-ok", 0)
        yield* reasonOf(closed, "ConnectionForced")
        assert.isFalse(peer.isOpen)
      })
    ))

  it.effect("rabbitpy failure 15: unconfirmed messages are bounded (Q2)", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 10 })
        let taken = 0
        const endless = function*() {
          for (; taken < 10_000; taken++) yield AmqpMessage.text("m")
        }
        const fiber = yield* fork(publisher.publishAll(endless(), toQueue))
        for (let count = 0; count < 10; count++) yield* peer.expectPublish("m")
        yield* peer.expectNothing
        assert.isAtMost(taken, 11)
        yield* Fiber.interrupt(fiber)
      })
    ))

  it.effect("rabbitpy failure 15: unhandled deliveries are bounded (Q3)", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const consumer = Stream.runForEach(AmqpConsumer.stream("q", { autoAck: true }), () => Effect.never)
        const { consumerTag } = yield* openConsumer(peer, consumer, 1, false)
        const megabyte = "x".repeat(1024 * 1024)
        for (let tag = 1; tag <= 40; tag++) yield* peer.push(deliverBytes(1, consumerTag, tag, megabyte))
        // The client has buffered 16 MiB, and what its last read added.
        assert.isAbove(peer.bytesUnread, 20 * 1024 * 1024)
      }), { server: { frameMax: 0 }, client: { frameMax: 0 } }))
})

describe("rabbitpy's tests", () => {
  const steps = ["connection.start", "connection.tune", "connection.open-ok"] as const

  for (const [index, step] of steps.entries()) {
    it.effect(`rabbitpy: a method other than ${step} ends the handshake`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const dialling = yield* fork(dial(peer))
          yield* peer.expectGreeting
          if (index > 0) {
            yield* peer.send(0, start())
            yield* peer.expect("connection.start-ok", 0)
          }
          if (index > 1) {
            yield* peer.send(0, tune())
            yield* peer.expect("connection.tune-ok", 0)
            yield* peer.expect("connection.open", 0)
          }
          yield* peer.send(0, { _tag: "connection.unblocked" })
          yield* reasonOf(dialling, "ProtocolViolation")
          assert.isFalse(peer.isOpen)
        })
      ))
  }

  it.effect("rabbitpy: a queue and an exchange are declared exactly as described", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const queue = AmqpQueue.classic("q", {
          durable: false,
          exclusive: true,
          autoDelete: true,
          messageTtl: 0,
          expires: "1 minute",
          maxLength: 0,
          deadLetterExchange: "dead",
          deadLetterRoutingKey: "key",
          arguments: { "x-custom": "yes" }
        })
        const exchange = AmqpExchange.make("x", {
          pluginType: "x-custom",
          durable: false,
          autoDelete: true,
          internal: true,
          arguments: { "x-custom": 1 }
        })
        const fiber = yield* fork(
          AmqpChannel.run(AmqpChannel.all([AmqpQueue.declare(queue), AmqpExchange.declare(exchange)]))
        )
        yield* peer.openChannel()
        assert.deepStrictEqual(yield* peer.expect("queue.declare", 1), {
          _tag: "queue.declare",
          queue: "q",
          passive: false,
          durable: false,
          exclusive: true,
          autoDelete: true,
          noWait: false,
          arguments: {
            "x-custom": "yes",
            "x-queue-type": "classic",
            "x-message-ttl": 0,
            "x-expires": 60_000,
            "x-max-length": 0,
            "x-dead-letter-exchange": "dead",
            "x-dead-letter-routing-key": "key"
          }
        })
        yield* peer.send(1, declareOk("q"))
        assert.deepStrictEqual(yield* peer.expect("exchange.declare", 1), {
          _tag: "exchange.declare",
          exchange: "x",
          type: "x-custom",
          passive: false,
          durable: false,
          autoDelete: true,
          internal: true,
          noWait: false,
          arguments: { "x-custom": 1 }
        })
        yield* peer.send(1, { _tag: "exchange.declare-ok" })
        yield* peer.closeChannel()
        yield* resultOf(fiber)
      })
    ))

  /** A broker that lists its capabilities, without this one. */
  const without = (capability: string) => ({
    server: { serverProperties: { capabilities: { [capability]: false, "connection.blocked": true } } }
  })

  it.effect("rabbitpy: a priority is not sent to a broker without consumer priorities", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(Effect.scoped(AmqpConsumer.make("q", { priority: 1 })))
        assert.strictEqual((yield* reasonOf(fiber, "NotSupported")).capability, "consumer_priorities")
        yield* peer.expectNothing
      }), without("consumer_priorities")))

  it.effect("rabbitpy: a nack is sent as a reject to a broker without basic.nack", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const consumer = Stream.runForEach(
          AmqpConsumer.stream("q"),
          (delivery: AmqpDelivery.AmqpDelivery) => delivery.nack({ requeue: false })
        )
        const { consumerTag } = yield* openConsumer(peer, consumer)
        yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), {
          _tag: "basic.reject",
          deliveryTag: 1,
          requeue: false
        })
      }), without("basic.nack")))

  it.effect("rabbitpy: an exchange is not bound to another on a broker without such bindings", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpChannel.run(AmqpExchange.bind("a", { source: "b" })))
        yield* peer.openChannel()
        const sent = yield* peer.takeTags
        assert.notInclude(sent, "exchange.bind")
        yield* peer.send(1, { _tag: "channel.close-ok" })
        assert.strictEqual((yield* reasonOf(fiber, "NotSupported")).capability, "exchange_exchange_bindings")
      }), without("exchange_exchange_bindings")))
})
