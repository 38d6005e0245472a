import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { runOn } from "@effect-amqp/core/internal/channel/program"
import { supervisorOf } from "@effect-amqp/core/internal/connection/connectionRegistry"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  assertWaits,
  channelClose,
  closeCode,
  connected,
  declareOk,
  deliverBytes,
  failureOf,
  fork,
  getOkBytes,
  methodBytes,
  openConsumer,
  openPublisher,
  reasonOf,
  reset,
  rest,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

const options = { client: { requestTimeout: "30 seconds", closeTimeout: "5 seconds" } } as const

/** A channel on which several fibers can make requests, which the public modules do not offer. */
const openShared = (peer: Peer, number = 1) =>
  Effect.gen(function*() {
    const { latest: session } = supervisorOf(yield* AmqpConnection.AmqpConnection)
    const opening = yield* fork(session.channels.lease("plain", (effect) => effect))
    yield* peer.openChannel(number)
    return { session, channel: yield* resultOf(opening) }
  })

const purge = (queue: string) => ({ _tag: "queue.purge", queue, noWait: false }) as const
const purgeOk = (messageCount: number) => ({ _tag: "queue.purge-ok", messageCount }) as const

/** Declares "first", then "second", even if the broker does not answer the first in time. */
const twoDeclares = AmqpChannel.gen(function*() {
  const first = yield* AmqpQueue.declare("first").pipe(
    AmqpChannel.map(({ name }) => name),
    AmqpChannel.catchTag("AmqpChannelError", (error) => AmqpChannel.succeed(error.reason._tag))
  )
  return [first, (yield* AmqpQueue.declare("second")).name]
})

describe("a request", () => {
  it.effect("R1: drops a reply that arrives after its timeout, and the next one gets its own reply", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpChannel.run(twoDeclares))
        yield* peer.openChannel()
        yield* peer.expect("queue.declare")
        yield* TestClock.adjust("30 seconds")
        assert.strictEqual((yield* peer.expect("queue.declare")).queue, "second")
        yield* peer.send(1, declareOk("first"))
        yield* assertWaits(fiber)
        yield* peer.send(1, declareOk("second"))
        yield* peer.closeChannel()
        assert.deepStrictEqual(yield* resultOf(fiber), ["RequestTimeout", "second"])
      }), options))

  it.effect("is sent after one that timed out, with its own timeout", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpChannel.run(twoDeclares))
        yield* peer.openChannel()
        yield* peer.expect("queue.declare")
        yield* TestClock.adjust("30 seconds")
        yield* peer.expect("queue.declare")
        yield* TestClock.adjust("29999 millis")
        yield* assertWaits(fiber)
        yield* TestClock.adjust("1 millis")
        yield* peer.expect("channel.close", 1)
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual((yield* reasonOf(fiber, "RequestTimeout")).method, "queue.declare")
      }), options))

  it.effect("R1: fails nothing else when it times out", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpChannel.run(AmqpQueue.purge("q")))
        yield* peer.openChannel()
        yield* peer.expect("queue.purge")
        yield* TestClock.adjust("30 seconds")
        // The late reply crosses the close.
        yield* peer.send(1, purgeOk(1))
        yield* peer.closeChannel()
        assert.isTrue((yield* reasonOf(fiber, "RequestTimeout")).isRetryable)
        yield* peer.expectNothing
        assert.isTrue(peer.isOpen)
      }), options))

  it.effect("R2: that starts a consumer closes the channel on its timeout, which requeues late deliveries", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(Stream.runDrain(AmqpConsumer.stream("q")))
        yield* peer.openChannel()
        yield* peer.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
        const { consumerTag } = yield* peer.expect("basic.consume")
        yield* TestClock.adjust("30 seconds")
        // A cancel before the consume-ok would crash the channel in RabbitMQ, so the client closes the channel instead.
        yield* peer.push(
          methodBytes(1, { _tag: "basic.consume-ok", consumerTag }),
          deliverBytes(1, consumerTag, 1, "m")
        )
        // Closing the channel requeues the message.
        yield* peer.closeChannel()
        const error = yield* failureOf(fiber)
        assert.include(error.message, "basic.consume")
        yield* peer.expectNothing
      }), options))

  it.effect("R2: on a channel that stays open cancels a late consumer by its tag", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { channel } = yield* openShared(peer)
        const fiber = yield* fork(channel.request({
          _tag: "basic.consume",
          queue: "q",
          consumerTag: "",
          noLocal: false,
          noAck: false,
          exclusive: false,
          noWait: false,
          arguments: {}
        }))
        yield* peer.expect("basic.consume")
        yield* TestClock.adjust("30 seconds")
        yield* reasonOf(fiber, "RequestTimeout")
        yield* peer.expectNothing
        yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag: "made-up" })
        const cancel = yield* peer.expect("basic.cancel", 1)
        assert.deepStrictEqual(cancel, { _tag: "basic.cancel", consumerTag: "made-up", noWait: true })
      }), options))

  it.effect("R3: is sent after the reply to the one before it, and gets its own reply", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { channel } = yield* openShared(peer)
        const fibers = yield* Effect.forEach(["a", "b", "c"], (queue) => fork(channel.request(purge(queue))))
        for (const [index, queue] of ["a", "b", "c"].entries()) {
          assert.strictEqual((yield* peer.expect("queue.purge", 1)).queue, queue)
          yield* peer.expectNothing
          yield* peer.send(1, purgeOk(index))
          assert.strictEqual((yield* resultOf(fibers[index])).messageCount, index)
        }
      }), options))

  it.effect("R3: does not count the wait for its turn towards its timeout", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { channel } = yield* openShared(peer)
        const fibers = yield* Effect.forEach(["a", "b", "c"], (queue) => fork(channel.request(purge(queue))))
        for (const fiber of fibers) {
          yield* peer.expect("queue.purge", 1)
          yield* TestClock.adjust("29 seconds")
          yield* peer.send(1, purgeOk(1))
          yield* resultOf(fiber)
        }
      }), options))

  it.effect("R4: keeps its place after an interruption until its reply arrives", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { channel } = yield* openShared(peer)
        const first = yield* fork(channel.request(purge("first")))
        const second = yield* fork(channel.request(purge("second")))
        const third = yield* fork(channel.request(purge("third")))
        yield* peer.expect("queue.purge", 1)
        // The first one has been sent, the second one has not.
        yield* Fiber.interrupt(first)
        yield* Fiber.interrupt(second)
        yield* peer.expectNothing
        yield* peer.send(1, purgeOk(1))
        assert.strictEqual((yield* peer.expect("queue.purge", 1)).queue, "third")
        yield* peer.send(1, purgeOk(3))
        assert.strictEqual((yield* resultOf(third)).messageCount, 3)
      }), options))

  it.effect("R4: is interrupted by a program's own timeout, and the next step gets its own reply", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const program = AmqpChannel.gen(function*() {
          yield* AmqpQueue.declare("slow").pipe(
            AmqpChannel.timeout("1 seconds"),
            AmqpChannel.map(() => undefined),
            AmqpChannel.catchTag("TimeoutError", () => AmqpChannel.succeed(undefined))
          )
          return yield* AmqpQueue.declare("next")
        })
        const fiber = yield* fork(AmqpChannel.run(program))
        yield* peer.openChannel()
        yield* peer.expect("queue.declare", 1)
        yield* TestClock.adjust("1 seconds")
        yield* peer.expectNothing
        yield* peer.send(1, declareOk("slow"))
        yield* peer.answer(1, "queue.declare", declareOk("next"))
        yield* peer.closeChannel()
        assert.strictEqual((yield* resultOf(fiber)).name, "next")
      }), options))

  it.effect("R4: requeues the message that arrives after a basic.get was interrupted", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { channel } = yield* openShared(peer)
        const fiber = yield* fork(channel.get("q", false))
        yield* peer.expect("basic.get", 1)
        yield* Fiber.interrupt(fiber)
        yield* peer.push(getOkBytes(1, "m"))
        const nack = yield* peer.expect("basic.nack", 1)
        assert.deepStrictEqual(nack, { _tag: "basic.nack", deliveryTag: 1, multiple: false, requeue: true })
      }), options))

  for (
    const [what, end] of [
      ["closes", (peer: Peer) => peer.hangUp],
      ["is reset", (peer: Peer) => peer.failReads(reset)],
      ["fails in a write", (peer: Peer) => peer.failWrites(closeCode(1006))]
    ] as const
  ) {
    it.effect(`R8: fails at once when the socket ${what}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const { channel } = yield* openShared(peer)
          const sent = yield* fork(channel.request(purge("sent")))
          const waiting = yield* fork(channel.request(purge("waiting")))
          yield* end(peer)
          // The last case needs something to write.
          const opening = yield* fork(AmqpChannel.run(AmqpQueue.purge("q")))
          yield* rest
          for (const fiber of [sent, waiting]) yield* reasonOf(fiber, "ConnectionLost")
          yield* reasonOf(opening, "ConnectionLost")
          assert.isFalse(peer.isOpen)
        }), options))
  }
})

describe("a closing channel", () => {
  it.effect("R5: ignores the broker's cancel that crosses the close", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, fiber } = yield* openConsumer(peer, Stream.runDrain(AmqpConsumer.stream("q")))
        const interrupting = yield* fork(Fiber.interrupt(fiber))
        yield* peer.send(1, { _tag: "basic.cancel", consumerTag, noWait: true })
        yield* peer.closeChannel()
        yield* resultOf(interrupting)
        yield* peer.expectNothing
        assert.isTrue(peer.isOpen)
      }), options))

  it.effect("R7: fails new operations at once, and sends nothing for them", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { channel, session } = yield* openShared(peer)
        const waiting = yield* fork(Effect.flip(channel.request(purge("q"))))
        yield* peer.expect("queue.purge", 1)
        const closing = yield* fork(session.channels.close(channel))
        yield* peer.expect("channel.close", 1)
        // The broker has not answered yet.
        assert.strictEqual(channel.state, "Closing")
        assert.strictEqual((yield* resultOf(waiting)).reason._tag, "ChannelClosed")
        const publish = AmqpChannel.publish(AmqpMessage.text("late"), { exchange: "", routingKey: "q" })
        const operations = [
          channel.request(purge("q")),
          channel.get("q", false),
          runOn(publish, channel),
          channel.confirmSelect,
          channel.transactionSelect
        ]
        for (const effect of operations) {
          const fiber = yield* fork(Effect.flip(Effect.asVoid(effect)))
          assert.strictEqual((yield* resultOf(fiber)).reason._tag, "ChannelClosed")
        }
        // A waiting publisher is woken to fail, and does not wait for room.
        assert.isTrue(channel.hasRoom)
        assert.isFalse(channel.acknowledgements.ack(1))
        assert.isFalse(channel.isClean)
        yield* peer.expectNothing
        yield* peer.send(1, { _tag: "channel.close-ok" })
        yield* resultOf(closing)
      }), options))

  it.effect("R7: sends one frame for concurrent closes, and all of them return", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { channel, session } = yield* openShared(peer)
        const fibers = yield* Effect.forEach([1, 2, 3], () => fork(session.channels.close(channel)))
        yield* peer.closeChannel()
        for (const fiber of fibers) yield* resultOf(fiber)
        yield* peer.expectNothing
      }), options))

  it.effect("may cross the broker's close, and its number is free after both are answered", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { channel, session } = yield* openShared(peer)
        const closing = yield* fork(session.channels.close(channel))
        yield* peer.expect("channel.close", 1)
        yield* peer.send(1, channelClose(404, "NOT_FOUND"))
        yield* peer.expect("channel.close-ok", 1)
        yield* resultOf(closing)
        const other = yield* fork(session.channels.lease("plain", (effect) => effect))
        yield* peer.openChannel(2)
        yield* resultOf(other)
        yield* peer.send(1, { _tag: "channel.close-ok" })
        yield* fork(session.channels.lease("plain", (effect) => effect))
        yield* peer.openChannel(1)
      }), options))
})

describe("channel.flow", () => {
  it.effect("is answered and obeyed: publishes wait, requests do not", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1)
        yield* peer.send(1, { _tag: "channel.flow", active: false })
        assert.isFalse((yield* peer.expect("channel.flow-ok", 1)).active)
        const { channel } = yield* openShared(peer, 2)
        const waiting = yield* fork(publisher.publish(AmqpMessage.text("m"), toQueue))
        const purging = yield* fork(channel.request(purge("q")))
        yield* peer.answer(2, "queue.purge", { _tag: "queue.purge-ok", messageCount: 0 })
        yield* resultOf(purging)
        yield* peer.expectNothing
        yield* peer.send(1, { _tag: "channel.flow", active: true })
        assert.isTrue((yield* peer.expect("channel.flow-ok", 1)).active)
        yield* peer.expectPublish("m", 1)
        yield* peer.send(1, ack(1))
        yield* resultOf(waiting)
      }), options))
})
