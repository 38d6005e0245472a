import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { sessionOf } from "@effect-amqp/core/internal/connection/sessionRegistry"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
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

/** A channel on which several fibers may make requests, which the public modules have none of. */
const openShared = (peer: Peer, number = 1) =>
  Effect.gen(function*() {
    const session = sessionOf(yield* AmqpConnection.AmqpConnection)
    const opening = yield* fork(session.channels.lease("plain", (effect) => effect))
    yield* peer.openChannel(number)
    return { session, channel: yield* resultOf(opening) }
  })

const purge = (queue: string) => ({ _tag: "queue.purge", queue, noWait: false }) as const
const purgeOk = (messageCount: number) => ({ _tag: "queue.purge-ok", messageCount }) as const

/** Declares "first", and goes on with "second" when the broker does not answer in time. */
const twoDeclares = AmqpChannel.gen(function*() {
  const first = yield* AmqpQueue.declare("first").pipe(
    AmqpChannel.map(({ name }) => name),
    AmqpChannel.catchTag("AmqpChannelError", (error) => AmqpChannel.succeed(error.reason._tag))
  )
  return [first, (yield* AmqpQueue.declare("second")).name]
})

describe("requests", () => {
  it.effect("R1: a reply after its timeout is dropped and not taken for the next one", () =>
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

  it.effect("a request behind one that timed out is sent and has its own time", () =>
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

  it.effect("R1: the timeout takes nothing but the request down", () =>
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

  it.effect("R2: a consumer that the broker made too late ends with its channel, which gives back what it was sent", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(Stream.runDrain(AmqpConsumer.stream("q")))
        yield* peer.openChannel()
        yield* peer.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
        const { consumerTag } = yield* peer.expect("basic.consume")
        yield* TestClock.adjust("30 seconds")
        // RabbitMQ crashes the channel of a client that cancels a consumer before its consume-ok, and closes the channel then.
        yield* peer.push(
          methodBytes(1, { _tag: "basic.consume-ok", consumerTag }),
          deliverBytes(1, consumerTag, 1, "m")
        )
        // Closing the channel is what gives the message back.
        yield* peer.closeChannel()
        const error = yield* failureOf(fiber)
        assert.include(error.message, "basic.consume")
        yield* peer.expectNothing
      }), options))

  it.effect("R2: on a channel that stays open, the late consumer is cancelled by its tag", () =>
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

  it.effect("R3: concurrent requests go out one by one, in their order, and get their own replies", () =>
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

  it.effect("R3: waiting for the turn is not charged to the timeout", () =>
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

  it.effect("R4: an interrupted request keeps its place until its reply comes", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { channel } = yield* openShared(peer)
        const first = yield* fork(channel.request(purge("first")))
        const second = yield* fork(channel.request(purge("second")))
        const third = yield* fork(channel.request(purge("third")))
        yield* peer.expect("queue.purge", 1)
        // The first one is on its way, the second one not yet.
        yield* Fiber.interrupt(first)
        yield* Fiber.interrupt(second)
        yield* peer.expectNothing
        yield* peer.send(1, purgeOk(1))
        assert.strictEqual((yield* peer.expect("queue.purge", 1)).queue, "third")
        yield* peer.send(1, purgeOk(3))
        assert.strictEqual((yield* resultOf(third)).messageCount, 3)
      }), options))

  it.effect("R4: a program's own timeout interrupts a request, and the next step is answered by its own reply", () =>
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

  it.effect("R4: a message that arrives for an interrupted get is given to others", () =>
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

  it.effect("get answers with the message or without one, and settles what its handler decides", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const get = AmqpQueue.get("q", (delivery) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.ack, delivery.text)))
        const fiber = yield* fork(AmqpChannel.run(AmqpChannel.all([get, get])))
        yield* peer.openChannel()
        yield* peer.expect("basic.get", 1)
        yield* peer.push(getOkBytes(1, "m"))
        assert.strictEqual((yield* peer.expect("basic.ack", 1)).deliveryTag, 1)
        yield* peer.answer(1, "basic.get", { _tag: "basic.get-empty" })
        yield* peer.closeChannel()
        assert.deepStrictEqual(yield* resultOf(fiber), [Option.some("m"), Option.none()])
      }), options))

  it.effect("R5: the broker's cancel may cross the client's close", () =>
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

  it.effect("R7: what is begun on a channel that is closing fails at once, and sends nothing", () =>
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
        let steps = 0
        const begun = [
          channel.request(purge("q")),
          channel.get("q", false),
          channel.step(() => steps++),
          channel.confirmSelect,
          channel.transactionSelect
        ]
        for (const effect of begun) {
          const fiber = yield* fork(Effect.flip(Effect.asVoid(effect)))
          assert.strictEqual((yield* resultOf(fiber)).reason._tag, "ChannelClosed")
        }
        assert.strictEqual(steps, 0)
        // Whoever waits to publish hears of it, and does not wait for room.
        assert.isTrue(channel.hasRoom)
        assert.isFalse(channel.acknowledgements.ack(1))
        assert.isFalse(channel.isClean)
        yield* peer.expectNothing
        yield* peer.send(1, { _tag: "channel.close-ok" })
        yield* resultOf(closing)
      }), options))

  it.effect("R7: concurrent closes of a channel send one frame, and all return", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { channel, session } = yield* openShared(peer)
        const fibers = yield* Effect.forEach([1, 2, 3], () => fork(session.channels.close(channel)))
        yield* peer.closeChannel()
        for (const fiber of fibers) yield* resultOf(fiber)
        yield* peer.expectNothing
      }), options))

  it.effect("the broker's close may cross the client's, and the number is free after both are answered", () =>
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

  for (
    const [what, end] of [
      ["closes", (peer: Peer) => peer.hangUp],
      ["is reset", (peer: Peer) => peer.failReads(reset)],
      ["fails in a write", (peer: Peer) => peer.failWrites(closeCode(1006))]
    ] as const
  ) {
    it.effect(`R8: requests that wait fail at once when the socket ${what}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const { channel } = yield* openShared(peer)
          const sent = yield* fork(channel.request(purge("sent")))
          const waiting = yield* fork(channel.request(purge("waiting")))
          yield* end(peer)
          // Another channel has something to write.
          const opening = yield* fork(AmqpChannel.run(AmqpQueue.purge("q")))
          yield* rest
          for (const fiber of [sent, waiting]) yield* reasonOf(fiber, "ConnectionLost")
          yield* reasonOf(opening, "ConnectionLost")
          assert.isFalse(peer.isOpen)
        }), options))
  }

  it.effect("channel.flow is answered and obeyed: messages wait, requests don't", () =>
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
