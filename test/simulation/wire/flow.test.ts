import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import type * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  assertWaits,
  connect,
  connected,
  declare,
  deliverBytes,
  fork,
  openConsumer,
  openPublisher,
  publishText,
  reasonOf,
  resultOf,
  script,
  serveDeclare,
  toQueue
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

const block = (peer: Peer) => peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
const unblock = (peer: Peer) => peer.send(0, { _tag: "connection.unblocked" })

const kilobytes = (count: number) => AmqpMessage.make(new Uint8Array(count * 1024))

/** Publishes messages of 64 KiB without confirms, and counts those that were accepted. */
const flood = (count: number) => {
  const sent = { count: 0 }
  const program = AmqpChannel.forEach(
    Array.from({ length: count }, (_, index) => index),
    () => AmqpChannel.tap(AmqpChannel.publish(kilobytes(64), toQueue), () => Effect.sync(() => sent.count++))
  )
  return { sent, program }
}

describe("flow control", () => {
  it.effect("W1: publishes wait while the connection is blocked, and are sent in order afterwards", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const before = yield* publishText(peer, publisher, "0")
        yield* block(peer)
        const fibers = yield* Effect.forEach(["1", "2", "3"], (text) =>
          fork(publisher.publish(AmqpMessage.text(text), toQueue)))
        const program = yield* fork(AmqpChannel.run(AmqpChannel.publish(AmqpMessage.text("plain"), toQueue)))
        yield* peer.openChannel(2)
        yield* peer.expectNothing
        // Confirms of earlier messages still count.
        yield* peer.send(1, ack(1))
        yield* resultOf(before)
        yield* peer.expectNothing
        yield* unblock(peer)
        for (const text of ["1", "2", "3"]) {
          yield* peer.expectPublish(text, 1)
        }
        yield* peer.expectPublish("plain", 2)
        yield* peer.closeChannel(2)
        yield* resultOf(program)
        yield* peer.send(1, ack(4, true))
        for (const fiber of fibers) {
          yield* resultOf(fiber)
        }
      })
    ))

  it.effect("W1: large messages of several publishers wait while the connection is blocked, and are sent once each", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publishers = [yield* openPublisher(peer, 1), yield* openPublisher(peer, 2)]
        yield* block(peer)
        const fibers = yield* Effect.forEach(
          Array.from({ length: 30 }, (_, index) => index),
          (index) =>
            fork(publishers[index % 2].publish(
              AmqpMessage.make(new Uint8Array(200_000), { messageId: String(index) }),
              { exchange: "", routingKey: String(index) }
            ))
        )
        yield* peer.expectNothing
        yield* unblock(peer)
        const keys: Array<number> = []
        for (let count = 0; count < 30; count++) keys.push(Number((yield* peer.expectPublish()).routingKey))
        yield* peer.expectNothing
        for (const parity of [0, 1]) {
          assert.deepStrictEqual(
            keys.filter((key) => key % 2 === parity),
            Array.from({ length: 15 }, (_, index) => index * 2 + parity)
          )
        }
        yield* peer.send(1, ack(15, true))
        yield* peer.send(2, ack(15, true))
        for (const fiber of fibers) yield* resultOf(fiber)
      })
    ))

  it.effect("W1: acknowledgements, requests and heartbeats are sent while publishes wait", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1)
        const deliveries: Array<AmqpDelivery.AmqpDelivery> = []
        const { consumerTag } = yield* openConsumer(
          peer,
          Stream.runForEach(AmqpConsumer.stream("q"), (delivery) => Effect.sync(() => void deliveries.push(delivery))),
          2
        )
        yield* block(peer)
        const publish = yield* fork(publisher.publish(AmqpMessage.text("waits"), toQueue))
        yield* peer.push(deliverBytes(2, consumerTag, 1, "m"))
        assert.isTrue(yield* deliveries[0].ack)
        yield* peer.expect("basic.ack", 2)
        const declared = yield* fork(declare("q"))
        yield* serveDeclare(peer, "q", 3)
        yield* resultOf(declared)
        const before = peer.heartbeats
        for (let second = 0; second < 30; second++) {
          yield* TestClock.adjust("1 seconds")
          yield* peer.heartbeat
        }
        assert.isAbove(peer.heartbeats, before + 1)
        yield* assertWaits(publish)
        yield* peer.expectNothing
      }), { client: { heartbeat: "10 seconds" }, server: { heartbeat: 10 } }))

  it.effect("W1: a waiting publish can be interrupted, and is never sent", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* block(peer)
        const one = yield* fork(publisher.publish(AmqpMessage.text("1"), toQueue))
        yield* fork(publisher.publish(AmqpMessage.text("2"), toQueue))
        yield* Fiber.interrupt(one)
        yield* unblock(peer)
        yield* peer.expectPublish("2")
        yield* peer.expectNothing
      })
    ))

  it.effect("W1: waiting publishes fail with NotSent when the connection is lost", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* block(peer)
        const confirmed = yield* fork(publisher.publish(AmqpMessage.text("1"), toQueue))
        const plain = yield* fork(AmqpChannel.run(AmqpChannel.publish(AmqpMessage.text("2"), toQueue)))
        yield* peer.openChannel(2)
        yield* peer.hangUp
        yield* reasonOf(confirmed, "NotSent")
        yield* reasonOf(plain, "ConnectionLost")
        assert.deepStrictEqual(yield* peer.takeTags, [])
      })
    ))

  /** Runs a test with an effect that closes the connection. */
  const closable = (body: (peer: Peer, close: Effect.Effect<void>) => Effect.Effect<void, unknown, Scope.Scope>) =>
    script((peer) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Scope.provide(connect(peer, { client: { closeTimeout: "5 seconds" } }), scope)
        yield* body(peer, Scope.close(scope, Exit.void))
      })
    )

  it.effect("W2: a close works while the connection is blocked", () =>
    closable((peer, close) =>
      Effect.gen(function*() {
        yield* block(peer)
        const closing = yield* fork(close)
        yield* peer.answer(0, "connection.close", { _tag: "connection.close-ok" })
        yield* resultOf(closing)
        assert.isFalse(peer.isOpen)
      })
    ))

  it.effect("W2: a close that the peer does not read takes no longer than the close timeout", () =>
    closable((peer, close) =>
      Effect.gen(function*() {
        yield* peer.stall
        const closing = yield* fork(close)
        yield* TestClock.adjust("4999 millis")
        yield* assertWaits(closing)
        yield* TestClock.adjust("1 millis")
        yield* resultOf(closing)
        assert.isFalse(peer.isOpen)
        assert.isFalse(peer.isWritable)
      })
    ))

  it.effect("W2: a close that the peer does not answer takes no longer than the close timeout", () =>
    closable((peer, close) =>
      Effect.gen(function*() {
        const closing = yield* fork(close)
        yield* peer.expect("connection.close", 0)
        yield* TestClock.adjust("5 seconds")
        yield* resultOf(closing)
        assert.isFalse(peer.isOpen)
      })
    ))

  it.effect("W4, W5: a program's publishes wait with bounded memory while the peer does not read", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { program, sent } = flood(100)
        const fiber = yield* fork(AmqpChannel.run(program))
        yield* peer.expect("channel.open", 1)
        yield* peer.stall
        const before = peer.bytesTaken
        yield* peer.send(1, { _tag: "channel.open-ok" })
        yield* assertWaits(fiber)
        assert.strictEqual(peer.bytesTaken, before)
        assert.isAtLeast(sent.count, 8)
        // Also when a large write is under way and the buffer behind it is empty.
        for (let writes = 0; writes < 4; writes++) {
          const held = sent.count * 64 * 1024 - (peer.bytesTaken - before)
          assert.isAtMost(held, 1024 * 1024 + 64 * 1024)
          yield* peer.takeOneWrite
          yield* assertWaits(fiber)
        }
        assert.isAbove(peer.bytesTaken, before)
        yield* peer.unstall
        for (let count = 0; count < 100; count++) yield* peer.expectPublish()
        yield* peer.closeChannel()
        yield* resultOf(fiber)
      })
    ))

  it.effect("W4, W5: a publisher's messages wait while the peer does not read, even if its window has room", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlightBytes: 2 ** 40 })
        yield* peer.stall
        let taken = 0
        const messages = function*() {
          for (; taken < 100; taken++) yield kilobytes(64)
        }
        const fiber = yield* fork(publisher.publishAll(messages(), toQueue))
        yield* assertWaits(fiber)
        assert.isAtLeast(taken, 8)
        assert.isAtMost(taken, 17)
        // Another publish has its turn before the batch has its next one.
        const other = yield* fork(publisher.publish(AmqpMessage.text("other"), toQueue))
        yield* peer.unstall
        const texts: Array<string> = []
        for (let count = 0; count < 101; count++) texts.push((yield* peer.expectPublish()).text)
        assert.strictEqual(texts.filter((text) => text === "other").length, 1)
        assert.notStrictEqual(texts.at(-1), "other")
        yield* peer.send(1, ack(101, true))
        yield* resultOf(fiber)
        yield* resultOf(other)
      })
    ))

  it.effect("W4: no other publisher's messages are queued behind a large write", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const large = yield* openPublisher(peer, 1)
        const other = yield* openPublisher(peer, 2)
        yield* peer.stall
        const fiber = yield* fork(large.publishAll(Array.from({ length: 30 }, () => kilobytes(64)), toQueue))
        yield* assertWaits(fiber)
        // Now the whole buffer is being written, and nothing is behind it.
        yield* peer.takeOneWrite
        const publish = yield* fork(other.publish(AmqpMessage.text("small"), toQueue))
        yield* assertWaits(publish)
        yield* Fiber.interrupt(publish)
        yield* peer.unstall
        for (let count = 0; count < 30; count++) yield* peer.expectPublish(undefined, 1)
        yield* peer.expectNothing
        yield* peer.send(1, ack(30, true))
        yield* resultOf(fiber)
      })
    ))

  it.effect("W4: requests do not wait behind waiting publishes", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const fiber = yield* fork(
          publisher.publishAll(Array.from({ length: 30 }, () => kilobytes(64)), toQueue)
        )
        const declared = yield* fork(declare("q"))
        yield* assertWaits(declared)
        yield* peer.unstall
        const tags = yield* peer.takeTags
        assert.lengthOf(tags, 31)
        assert.isAtMost(tags.indexOf("channel.open"), 17)
        yield* peer.send(1, ack(30, true))
        yield* resultOf(fiber)
      })
    ))

  it.effect("W4: publishes that wait for the socket fail with NotSent when the connection is lost", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const fibers = yield* Effect.forEach(Array.from({ length: 30 }, () => kilobytes(64)), (message) =>
          fork(publisher.publish(message, toQueue)))
        yield* peer.hangUp
        yield* reasonOf(fibers[0], "OutcomeUnknown")
        yield* reasonOf(fibers[29], "NotSent")
      })
    ))

  it.effect("K6: a slow consumer without a prefetch stops the reader, and heartbeats continue", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const gate = Latch.makeUnsafe()
        let handled = 0
        const consumer = Stream.runForEach(AmqpConsumer.stream("q", { autoAck: true }), () =>
          Effect.map(gate.await, () => void handled++))
        const { consumerTag } = yield* openConsumer(peer, consumer, 1, false)
        const megabyte = "x".repeat(1024 * 1024)
        for (let tag = 1; tag <= 40; tag++) {
          yield* peer.push(deliverBytes(1, consumerTag, tag, megabyte))
        }
        const closed = yield* fork(connection.awaitClosed)
        const before = peer.heartbeats
        yield* TestClock.adjust("10 minutes")
        yield* assertWaits(closed)
        assert.isAbove(peer.heartbeats, before + 50)
        // The client has buffered 16 MiB, and what its last read added.
        assert.isAbove(peer.bytesUnread, 20 * 1024 * 1024)
        // A request still gets its reply.
        const declared = yield* fork(declare("q"))
        yield* serveDeclare(peer, "q", 2)
        yield* resultOf(declared)
        yield* gate.open
        yield* peer.expectNothing
        assert.strictEqual(handled, 40)
      }), { server: { heartbeat: 10, frameMax: 0 }, client: { frameMax: 0 } }))
})
