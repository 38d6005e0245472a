import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { countingFibers } from "../../support/countingFibers.ts"
import {
  ack,
  assertReason,
  assertWaits,
  channelClose,
  closeCode,
  connect,
  connected,
  connectionClose,
  declare,
  declareOk,
  deliverBytes,
  failureOf,
  fork,
  methodBytes,
  openConsumer,
  openPublisher,
  publishText,
  reasonOf,
  reset,
  rest,
  resultOf,
  script,
  waiters
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

/** Holds a channel until it is interrupted. */
const hold = AmqpChannel.run(AmqpChannel.fromEffect(Effect.never))

/** Runs a test with a connection, an effect that closes it, and the count of its fibers. */
const inScope = (
  body: (parts: {
    readonly peer: Peer
    readonly connection: AmqpConnection.AmqpConnection["Service"]
    readonly close: Effect.Effect<void>
    readonly fibers: ReturnType<typeof countingFibers>
  }) => Effect.Effect<void, unknown, Scope.Scope | AmqpConnection.AmqpConnection>
) =>
  script((peer) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const fibers = countingFibers()
      const connection = yield* fibers.counted(Scope.provide(connect(peer, { server: { heartbeat: 60 } }), scope))
      yield* Effect.provideService(
        body({ peer, connection, fibers, close: Scope.close(scope, Exit.void) }),
        AmqpConnection.AmqpConnection,
        connection
      )
    })
  )

describe("a connection that closes", () => {
  it.effect("X5: closes in order: consumers, publishers, channels, the connection, the socket", () =>
    inScope(({ close, connection, fibers, peer }) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const publisher = yield* fibers.counted(Scope.provide(openPublisher(peer, 1), scope))
        const publish = yield* publishText(peer, publisher, "m")
        yield* peer.send(1, ack(1))
        yield* resultOf(publish)
        const consumer = yield* fibers.counted(openConsumer(peer, Stream.runDrain(AmqpConsumer.stream("q")), 2))
        const stopping = yield* fork(Fiber.interrupt(consumer.fiber))
        yield* peer.closeConsumer(2)
        yield* resultOf(stopping)
        const closed = yield* fork(connection.awaitClosed)
        const closing = yield* fork(Effect.andThen(Scope.close(scope, Exit.void), close))
        yield* peer.closeChannel(1)
        const { replyCode } = yield* peer.expect("connection.close", 0)
        assert.strictEqual(replyCode, 200)
        assert.isTrue(peer.isOpen)
        yield* peer.send(0, { _tag: "connection.close-ok" })
        yield* resultOf(closing)
        assert.isFalse(peer.isOpen)
        assert.isFalse(peer.isWritable)
        yield* reasonOf(closed, "ConnectionClosed")
        yield* rest
        assert.strictEqual(fibers.running, 0)
        // No timer is left.
        yield* TestClock.adjust("1 days")
        yield* peer.expectNothing
        assert.strictEqual(peer.heartbeats, 0)
      })
    ))

  it.effect("fails operations that start after the close", () =>
    inScope(({ close, peer }) =>
      Effect.gen(function*() {
        const closing = yield* fork(close)
        yield* peer.answer(0, "connection.close", { _tag: "connection.close-ok" })
        yield* resultOf(closing)
        const { cause } = yield* reasonOf(yield* fork(declare("q")), "ConnectionLost")
        assertReason(cause, "ConnectionClosed")
      })
    ))

  it.effect("fails a request in flight", () =>
    inScope(({ close, peer }) =>
      Effect.gen(function*() {
        const request = yield* fork(declare("q"))
        yield* peer.openChannel()
        yield* peer.expect("queue.declare")
        const closing = yield* fork(close)
        yield* peer.answer(0, "connection.close", { _tag: "connection.close-ok" })
        yield* resultOf(closing)
        assertReason((yield* reasonOf(request, "ConnectionLost")).cause, "ConnectionClosed")
      })
    ))

  it.effect("has closed when the broker hangs up instead of answering the close", () =>
    inScope(({ close, connection, peer }) =>
      Effect.gen(function*() {
        const closing = yield* fork(close)
        yield* peer.expect("connection.close", 0)
        yield* peer.hangUp
        yield* resultOf(closing)
        yield* reasonOf(yield* fork(connection.awaitClosed), "ConnectionClosed")
      })
    ))

  it.effect("R5: replies to a broker's close that crosses its own", () =>
    inScope(({ close, peer }) =>
      Effect.gen(function*() {
        const closing = yield* fork(close)
        yield* peer.expect("connection.close", 0)
        yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED"))
        yield* peer.expect("connection.close-ok", 0)
        yield* resultOf(closing)
        assert.isFalse(peer.isOpen)
      })
    ))
})

describe("a lost connection", () => {
  it.effect("X5: leaves no socket and no fiber behind, even while its scope stays open", () =>
    inScope(({ connection, fibers, peer }) =>
      Effect.gen(function*() {
        yield* peer.failReads(reset)
        yield* reasonOf(yield* fork(connection.awaitClosed), "SocketLost")
        yield* rest
        assert.isFalse(peer.isOpen)
        assert.isFalse(peer.isWritable)
        assert.strictEqual(fibers.running, 0)
      })
    ))

  it.effect("X3: lets programs and publishers close at once", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const holding = yield* fork(hold)
        yield* peer.openChannel(1)
        yield* Scope.provide(openPublisher(peer, 2), scope)
        yield* peer.hangUp
        yield* resultOf(yield* fork(Fiber.interrupt(holding)))
        yield* resultOf(yield* fork(Scope.close(scope, Exit.void)))
      })
    ))

  it.effect("X4: ignores later errors of its socket", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        yield* peer.stall
        const request = yield* fork(declare("q"))
        yield* rest
        yield* peer.failReads(reset)
        yield* peer.failWrites(closeCode(1006))
        yield* peer.push(methodBytes(0, connectionClose(320, "late")))
        const { description } = yield* reasonOf(yield* fork(connection.awaitClosed), "SocketLost")
        assert.include(description, "ECONNRESET")
        yield* reasonOf(request, "ConnectionLost")
      })
    ))

  for (
    const [what, during] of [
      ["while idle", () => Effect.void],
      ["in the middle of a write", (peer: Peer) => Effect.tap(peer.stall, () => fork(hold))]
    ] as const
  ) {
    it.effect(`N1: fails every waiter at once after a reset, ${what}`, () =>
      connected((peer, connection) =>
        Effect.gen(function*() {
          const assertFailed = yield* waiters(peer, connection)
          yield* during(peer)
          yield* peer.failReads(reset)
          assert.include((yield* assertFailed("SocketLost")).description, "ECONNRESET")
        })
      ))
  }

  it.effect("N5: fails every waiter at once after a failed write, even if nothing is read", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const assertFailed = yield* waiters(peer, connection)
        yield* peer.failWrites(closeCode(1006))
        yield* fork(hold)
        yield* assertFailed("SocketLost")
        assert.isFalse(peer.isOpen)
      })
    ))

  it.effect("N2: still delivers what arrived before the end of the socket", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1)
        const publish = yield* publishText(peer, publisher, "m")
        const texts: Array<string> = []
        const { consumerTag, fiber } = yield* openConsumer(
          peer,
          Stream.runForEach(
            AmqpConsumer.stream("q", { autoAck: true }),
            ({ text }) => Effect.sync(() => void texts.push(text))
          ),
          2,
          false
        )
        const declared = yield* fork(declare("q"))
        yield* peer.openChannel(3)
        yield* peer.expect("queue.declare", 3)
        yield* Effect.all([
          peer.push(
            deliverBytes(2, consumerTag, 1, "last"),
            methodBytes(1, ack(1)),
            methodBytes(3, declareOk("q"))
          ),
          peer.hangUp
        ])
        yield* resultOf(publish)
        yield* failureOf(fiber)
        assert.deepStrictEqual(texts, ["last"])
        assert.strictEqual((yield* resultOf(declared)).name, "q")
      })
    ))

  it.effect("N2: fails with the connection.close that arrives together with the end of the socket", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const assertFailed = yield* waiters(peer, connection)
        yield* Effect.all([peer.push(methodBytes(0, connectionClose(320, "CONNECTION_FORCED - bye"))), peer.hangUp])
        assert.strictEqual((yield* assertFailed("ConnectionForced")).replyText, "CONNECTION_FORCED - bye")
      })
    ))

  it.effect("N2: still delivers what a channel was sent before connection.close, even if channel 0 is read first", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const publish = yield* publishText(peer, publisher, "m")
        yield* peer.push(
          methodBytes(0, { _tag: "connection.unblocked" }),
          methodBytes(1, ack(1)),
          methodBytes(0, connectionClose(320, "bye"))
        )
        yield* resultOf(publish)
      })
    ))

  it.effect("N2: ignores a truncated trailing frame", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const assertFailed = yield* waiters(peer, connection)
        yield* peer.push(methodBytes(1, declareOk("q")).slice(0, -1))
        yield* peer.hangUp
        yield* assertFailed("SocketLost")
      })
    ))
})

describe("a close by the broker", () => {
  for (
    const [code, tag] of [
      [320, "ConnectionForced"],
      [403, "AccessRefused"],
      [530, "NotAllowed"],
      [501, "FrameError"],
      [599, "UnknownReplyCode"]
    ] as const
  ) {
    it.effect(`E13, E15: of the connection with ${code} fails every waiter with the broker's text`, () =>
      connected((peer, connection) =>
        Effect.gen(function*() {
          const assertFailed = yield* waiters(peer, connection)
          yield* peer.send(0, { ...connectionClose(code, "because"), classId: 60, methodId: 40 })
          assert.deepStrictEqual(yield* peer.takeTags, ["connection.close-ok"])
          const { method, replyCode, replyText } = yield* assertFailed(tag)
          assert.deepStrictEqual([replyCode, replyText, method], [code, "because", "basic.publish"])
        })
      ))
  }

  it.effect("E15: of a channel with an unknown code fails with its number and text", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(declare("q"))
        yield* peer.openChannel()
        yield* peer.answer(1, "queue.declare", channelClose(599, "unknown"))
        const { method, replyCode, replyText } = yield* reasonOf(fiber, "UnknownReplyCode")
        assert.deepStrictEqual([replyCode, replyText, method], [599, "unknown", "queue.declare"])
        yield* peer.expect("channel.close-ok", 1)
        yield* peer.expectNothing
      })
    ))

  it.effect("E14: of a channel after a failed passive declare fails nothing else", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1)
        const publish = yield* publishText(peer, publisher, "m")
        const request = yield* fork(declare("there"))
        yield* peer.openChannel(2)
        yield* peer.expect("queue.declare", 2)
        const passive = yield* fork(AmqpChannel.run(AmqpQueue.declarePassive("not there")))
        yield* peer.openChannel(3)
        assert.isTrue((yield* peer.expect("queue.declare", 3)).passive)
        yield* peer.send(3, channelClose(404, "NOT_FOUND - no queue"))
        assert.strictEqual((yield* reasonOf(passive, "NotFound")).replyText, "NOT_FOUND - no queue")
        yield* peer.expect("channel.close-ok", 3)
        yield* assertWaits(publish)
        yield* assertWaits(request)
        yield* peer.send(1, ack(1))
        yield* resultOf(publish)
        yield* peer.send(2, declareOk("there"))
        yield* peer.closeChannel(2)
        assert.strictEqual((yield* resultOf(request)).name, "there")
      })
    ))

  it.effect("E13: of a channel fails every later step of its program with the broker's reason", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const program = AmqpChannel.gen(function*() {
          const first = yield* AmqpQueue.declarePassive("q").pipe(
            AmqpChannel.as("there"),
            AmqpChannel.catchTag("AmqpChannelError", ({ reason }) => AmqpChannel.succeed(reason._tag))
          )
          assert.strictEqual(first, "NotFound")
          return yield* AmqpQueue.declare("q")
        })
        const fiber = yield* fork(AmqpChannel.run(program))
        yield* peer.openChannel()
        yield* peer.answer(1, "queue.declare", channelClose(404, "NOT_FOUND"))
        yield* peer.expect("channel.close-ok")
        yield* reasonOf(fiber, "NotFound")
        yield* peer.expectNothing
      })
    ))

  it.effect("without a method id gives an error that names no method", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const declaring = yield* fork(declare("q"))
        yield* peer.openChannel(1)
        yield* peer.expect("queue.declare", 1)
        const close = { replyCode: 406, replyText: "PRECONDITION_FAILED", classId: 0, methodId: 0 }
        yield* peer.send(1, { _tag: "channel.close", ...close })
        const reason = yield* reasonOf(declaring, "PreconditionFailed")
        assert.include(reason, { method: "", message: "406 PRECONDITION_FAILED" })
        const closed = yield* fork(connection.awaitClosed)
        yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED - broker forced connection closure"))
        const forced = yield* reasonOf(closed, "ConnectionForced")
        assert.include(forced, { method: "", message: "320 CONNECTION_FORCED - broker forced connection closure" })
      })
    ))

  it.effect("with only a class id gives an error that names the class", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const closed = yield* fork(connection.awaitClosed)
        yield* peer.send(0, { ...connectionClose(501, "FRAME_ERROR"), classId: 60 })
        assert.strictEqual((yield* reasonOf(closed, "FrameError")).message, "class 60: 501 FRAME_ERROR")
      })
    ))
})
