import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { passiveQueueDeclare } from "@effect-amqp/core/internal/channel/methods"
import { supervisorOf } from "@effect-amqp/core/internal/connection/connectionRegistry"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  assertReason,
  assertWaits,
  channelClose,
  connect,
  connected,
  connectionClose,
  declare,
  declareOk,
  fork,
  getOkBytes,
  openPublisher,
  publishText,
  reasonOf,
  rest,
  resultOf,
  script,
  serveDeclare,
  toQueue
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

const megabytes = (count: number) => AmqpMessage.make(new Uint8Array(count * 1024 * 1024).fill(120))

/** The channels of the frames in order, each with the number of its frames in a row. */
const runsOf = (peer: Peer): ReadonlyArray<readonly [channel: number, frames: number]> => {
  const runs: Array<[number, number]> = []
  for (const { channel } of peer.frames) {
    const last = runs.at(-1)
    if (last?.[0] === channel) last[1]++
    else runs.push([channel, 1])
  }
  return runs
}

const bodyBytes = (peer: Peer, channel: number): number =>
  peer.frames.filter((frame) => frame.channel === channel && frame.type === "body")
    .reduce((sum, { size }) => sum + size, 0)

/** Lets the client send all that it has. */
const sent = (peer: Peer): Effect.Effect<void> =>
  Effect.gen(function*() {
    let before = -1
    while (peer.bytesTaken > before) {
      before = peer.bytesTaken
      yield* rest
    }
  })

describe("a large message", () => {
  it.effect("is interleaved with other channels", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const one = yield* openPublisher(peer, 1)
        const other = yield* openPublisher(peer, 2)
        yield* peer.stall
        peer.frames.length = 0
        const large = yield* fork(one.publish(megabytes(64), toQueue))
        yield* peer.takeOneWrite
        const small = yield* fork(other.publish(AmqpMessage.text("small"), toQueue))
        const declared = yield* fork(declare("q"))
        yield* rest
        yield* peer.takeOneWrite
        yield* rest
        yield* peer.takeOneWrite
        yield* rest
        // The peer has little of the large message, and all of the small one and of the request.
        assert.isBelow(bodyBytes(peer, 1), 2 * 1024 * 1024)
        assert.strictEqual(bodyBytes(peer, 2), 5)
        assert.isTrue(peer.frames.some(({ channel }) => channel === 3))
        yield* peer.unstall
        yield* sent(peer)
        assert.strictEqual(bodyBytes(peer, 1), 64 * 1024 * 1024)
        yield* peer.takeTags
        yield* peer.send(1, ack(1))
        yield* peer.send(2, ack(1))
        yield* resultOf(large)
        yield* resultOf(small)
        yield* peer.send(3, { _tag: "channel.open-ok" })
        yield* peer.answer(3, "queue.declare", declareOk("q"))
        yield* peer.answer(3, "channel.close", { _tag: "channel.close-ok" })
        yield* resultOf(declared)
      })
    ))

  it.effect("alternates with another one", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const one = yield* openPublisher(peer, 1)
        const other = yield* openPublisher(peer, 2)
        yield* peer.stall
        peer.frames.length = 0
        const fibers = [
          yield* fork(one.publish(megabytes(4), toQueue)),
          yield* fork(other.publish(megabytes(4), toQueue))
        ]
        yield* peer.unstall
        yield* rest
        assert.isAbove(runsOf(peer).length, 40)
        assert.strictEqual(bodyBytes(peer, 1), bodyBytes(peer, 2))
        yield* peer.takeTags
        yield* peer.send(1, ack(1))
        yield* peer.send(2, ack(1))
        yield* Effect.forEach(fibers, resultOf)
      })
    ))

  it.effect("arrives whole, followed by the next messages of its channel in order", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const messages = [megabytes(2), AmqpMessage.text("small"), megabytes(1), AmqpMessage.text("last")]
        const fiber = yield* fork(publisher.publishAll(messages, toQueue))
        yield* peer.unstall
        for (const { body } of messages) {
          const published = yield* peer.expectPublish()
          assert.deepStrictEqual(published.body, body)
        }
        yield* peer.send(1, ack(4, true))
        yield* resultOf(fiber)
      })
    ))

  it.effect("is sent whole when its publish is interrupted", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const fiber = yield* fork(publisher.publish(megabytes(3), toQueue))
        yield* peer.takeOneWrite
        yield* Fiber.interrupt(fiber)
        const next = yield* fork(publisher.publish(AmqpMessage.text("next"), toQueue))
        yield* peer.unstall
        assert.strictEqual((yield* peer.expectPublish()).body.length, 3 * 1024 * 1024)
        yield* peer.expectPublish("next")
        yield* peer.send(1, ack(2, true))
        yield* resultOf(next)
      })
    ))

  it.effect("delays the close of its channel until it has been sent", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const program = AmqpChannel.publish(megabytes(3), toQueue)
        const fiber = yield* fork(AmqpChannel.run(program))
        yield* peer.openChannel()
        yield* rest
        assert.deepStrictEqual(yield* peer.takeTags, ["basic.publish", "channel.close"])
        yield* assertWaits(fiber)
        yield* peer.send(1, { _tag: "channel.close-ok" })
        yield* resultOf(fiber)
      })
    ))

  it.effect("is sent to its end when the broker closes its channel meanwhile, since no method may interrupt it", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const fiber = yield* fork(publisher.publish(megabytes(3), toQueue))
        yield* peer.takeOneWrite
        yield* peer.send(1, channelClose(406, "PRECONDITION_FAILED"))
        // The broker has not read its end, and reads no more of the channel.
        const { cause } = yield* reasonOf(fiber, "NotSent")
        assertReason(cause, "PreconditionFailed")
        yield* peer.unstall
        const tags = yield* peer.takeTags
        assert.deepStrictEqual(tags.slice(0, 2), ["basic.publish", "channel.close-ok"])
      })
    ))

  it.effect("is followed by nothing that is sent as it fails, when the broker closes its channel meanwhile", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { latest: session } = supervisorOf(yield* AmqpConnection)
        const opening = yield* fork(session.channels.lease("confirm", (effect) => effect))
        yield* peer.openChannel(1)
        yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
        const channel = yield* resultOf(opening)
        const fetching = yield* fork(channel.get("q", false))
        yield* peer.expect("basic.get", 1)
        yield* peer.push(getOkBytes(1, "m"))
        yield* resultOf(fetching)
        let failure: unknown
        const settled = () => {
          channel.acknowledgements.nack(1, true)
          Effect.runFork(Effect.catch(channel.request(passiveQueueDeclare("q")), (error) =>
            Effect.sync(() => {
              failure = error.reason._tag
            })))
        }
        yield* peer.stall
        const { body, properties } = megabytes(3)
        channel.publish({ exchange: "", routingKey: "q" }, properties, body, { settled })
        yield* rest
        yield* peer.takeOneWrite
        yield* peer.send(1, channelClose(406, "PRECONDITION_FAILED"))
        yield* rest
        assert.strictEqual(failure, "PreconditionFailed")
        yield* peer.unstall
        assert.deepStrictEqual(yield* peer.takeTags, ["basic.publish", "channel.close-ok"])
      })
    ))

  it.effect("is interleaved with other channels even on a socket that accepts everything at once", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const one = yield* openPublisher(peer, 1)
        const other = yield* openPublisher(peer, 2)
        peer.frames.length = 0
        const large = yield* fork(one.publish(megabytes(64), toQueue))
        const small = yield* fork(other.publish(AmqpMessage.text("small"), toQueue))
        yield* peer.expectPublish("small", 2)
        assert.isBelow(bodyBytes(peer, 1), 64 * 1024 * 1024)
        yield* sent(peer)
        assert.strictEqual(bodyBytes(peer, 1), 64 * 1024 * 1024)
        yield* peer.expectPublish(undefined, 1)
        yield* peer.send(1, ack(1))
        yield* peer.send(2, ack(1))
        yield* resultOf(large)
        yield* resultOf(small)
      })
    ))

  it.effect("lets heartbeats pass between its frames when the peer reads slowly", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const fiber = yield* fork(publisher.publish(megabytes(16), toQueue))
        const before = peer.heartbeats
        for (let turn = 0; turn < 6; turn++) {
          for (let second = 0; second < 12; second++) {
            yield* TestClock.adjust("1 seconds")
            yield* peer.heartbeat
          }
          yield* peer.takeOneWrite
          yield* rest
        }
        assert.isAtLeast(peer.heartbeats, before + 2)
        assert.isBelow(bodyBytes(peer, 1), 16 * 1024 * 1024)
        yield* peer.unstall
        yield* sent(peer)
        yield* peer.send(1, ack(1))
        yield* resultOf(fiber)
      }), { client: { heartbeat: "10 seconds" }, server: { heartbeat: 10 } }))

  it.effect("delays acknowledgements of its channel until it has been sent", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const forward = AmqpQueue.get(
          "q",
          () => AmqpChannel.as(AmqpChannel.publish(megabytes(2), toQueue), AmqpDelivery.ack)
        )
        const fiber = yield* fork(AmqpChannel.run(forward))
        yield* peer.openChannel()
        yield* peer.expect("basic.get", 1)
        yield* peer.stall
        yield* peer.push(getOkBytes(1, "m"))
        yield* rest
        yield* peer.unstall
        assert.deepStrictEqual(yield* peer.takeTags, ["basic.publish", "basic.ack", "channel.close"])
        yield* peer.send(1, { _tag: "channel.close-ok" })
        yield* resultOf(fiber)
      })
    ))

  it.effect("delays later publishes of its channel, so that they can be withdrawn", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { sendTimeout: "10 seconds" })
        yield* peer.stall
        const large = yield* fork(publisher.publish(megabytes(2), toQueue))
        yield* peer.takeOneWrite
        const [expired, withdrawn] = [
          yield* fork(publisher.publish(AmqpMessage.text("expired"), toQueue)),
          yield* fork(publisher.publish(AmqpMessage.text("withdrawn"), toQueue))
        ]
        yield* Fiber.interrupt(withdrawn)
        yield* TestClock.adjust("10 seconds")
        const { cause } = yield* reasonOf(expired, "NotSent")
        assertReason(cause, "SendTimeout")
        const waits = yield* fork(publisher.publish(AmqpMessage.text("waits"), toQueue))
        yield* peer.unstall
        assert.strictEqual((yield* peer.expectPublish()).body.length, 2 * 1024 * 1024)
        yield* peer.expectPublish("waits")
        yield* peer.expectNothing
        yield* peer.send(1, ack(2, true))
        yield* resultOf(large)
        yield* resultOf(waits)
      })
    ))

  it.effect("does not hold up other channels while the peer does not read, until the buffer is full", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const one = yield* openPublisher(peer, 1)
        const other = yield* openPublisher(peer, 2, { maxInFlightBytes: 2 ** 40 })
        yield* peer.stall
        const large = yield* fork(one.publish(megabytes(8), toQueue))
        let taken = 0
        const messages = function*() {
          for (; taken < 100; taken++) yield AmqpMessage.make(new Uint8Array(64 * 1024))
        }
        const batch = yield* fork(other.publishAll(messages(), toQueue))
        yield* assertWaits(batch)
        assert.isAtLeast(taken, 8)
        assert.isAtMost(taken, 17)
        yield* peer.unstall
        yield* sent(peer)
        yield* peer.send(1, ack(1))
        yield* peer.send(2, ack(100, true))
        yield* resultOf(large)
        yield* resultOf(batch)
      })
    ))

  it.effect("is sent to its end when the connection is blocked meanwhile", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const large = yield* fork(publisher.publish(megabytes(2), toQueue))
        yield* peer.takeOneWrite
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        const next = yield* fork(publisher.publish(AmqpMessage.text("next"), toQueue))
        yield* peer.unstall
        assert.strictEqual((yield* peer.expectPublish()).body.length, 2 * 1024 * 1024)
        yield* peer.send(1, ack(1))
        yield* resultOf(large)
        yield* peer.expectNothing
        yield* peer.send(0, { _tag: "connection.unblocked" })
        yield* peer.expectPublish("next")
        yield* peer.send(1, ack(2))
        yield* resultOf(next)
      })
    ))

  it.effect("fails with NotSent when the connection is lost before its end, unlike the messages before it", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const before = yield* publishText(peer, publisher, "before")
        yield* peer.stall
        const large = yield* fork(publisher.publish(megabytes(2), toQueue))
        const behind = yield* fork(publisher.publish(AmqpMessage.text("behind"), toQueue))
        yield* peer.takeOneWrite
        yield* peer.hangUp
        yield* reasonOf(before, "OutcomeUnknown")
        yield* reasonOf(behind, "NotSent")
        const { cause, isRetryable } = yield* reasonOf(large, "NotSent")
        assertReason(cause, "ConnectionLost")
        assert.isTrue(isRetryable)
      })
    ))

  it.effect("fails with OutcomeUnknown when the connection is lost with its last piece in the socket", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const large = yield* fork(publisher.publish(megabytes(2), toQueue))
        while (bodyBytes(peer, 1) < 15 * 128 * 1024) {
          yield* peer.takeOneWrite
          yield* rest
        }
        yield* peer.hangUp
        yield* reasonOf(large, "OutcomeUnknown")
      })
    ))

  it.effect("is sent whole when its program fails meanwhile", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fails = AmqpChannel.andThen(AmqpChannel.publish(megabytes(2), toQueue), Effect.fail("failed"))
        const fiber = yield* fork(AmqpChannel.confirmed(fails))
        yield* peer.openChannel()
        yield* peer.expect("confirm.select", 1)
        yield* peer.stall
        yield* peer.send(1, { _tag: "confirm.select-ok" })
        yield* rest
        yield* peer.unstall
        assert.deepStrictEqual(yield* peer.takeTags, ["basic.publish", "channel.close"])
        yield* peer.send(1, { _tag: "channel.close-ok" })
        yield* Effect.flip(resultOf(fiber))
      })
    ))

  /** Runs a test while a large message is being sent, with an effect that closes the connection. */
  const closable = (
    body: (peer: Peer, close: Effect.Effect<void>) => Effect.Effect<void, unknown, Scope.Scope>
  ) =>
    script((peer) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const connection = yield* Scope.provide(connect(peer, { client: { closeTimeout: "5 seconds" } }), scope)
        const program = AmqpChannel.andThen(AmqpChannel.publish(megabytes(2), toQueue), Effect.never)
        yield* fork(Effect.provideService(AmqpChannel.run(program), AmqpConnection, connection))
        yield* peer.expect("channel.open", 1)
        yield* peer.stall
        yield* peer.send(1, { _tag: "channel.open-ok" })
        yield* rest
        yield* peer.takeOneWrite
        yield* body(peer, Scope.close(scope, Exit.void))
      })
    )

  it.effect("delays the close of its connection until it has been sent", () =>
    closable((peer, close) =>
      Effect.gen(function*() {
        const closing = yield* fork(close)
        yield* rest
        yield* peer.unstall
        yield* peer.expectPublish()
        yield* peer.answer(0, "connection.close", { _tag: "connection.close-ok" })
        yield* resultOf(closing)
        assert.isFalse(peer.isOpen)
      })
    ))

  it.effect("is given up when it can't be sent within the close timeout of its connection", () =>
    closable((peer, close) =>
      Effect.gen(function*() {
        const closing = yield* fork(close)
        yield* TestClock.adjust("4999 millis")
        yield* assertWaits(closing)
        yield* TestClock.adjust("1 millis")
        yield* resultOf(closing)
        assert.isFalse(peer.isOpen)
      })
    ))

  it.effect("does not delay a close when its buffer is transferred meanwhile", () =>
    script((peer) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const connection = yield* Scope.provide(connect(peer, { client: { closeTimeout: "5 seconds" } }), scope)
        const publisher = yield* Effect.provideService(openPublisher(peer), AmqpConnection, connection)
        const body = new Uint8Array(8 * 1024 * 1024)
        yield* peer.stall
        const fiber = yield* fork(publisher.publish(AmqpMessage.make(body), toQueue))
        yield* rest
        const closing = yield* fork(Scope.close(scope, Exit.void))
        yield* rest
        structuredClone(body.buffer, { transfer: [body.buffer] })
        yield* peer.unstall
        yield* peer.answer(0, "connection.close", { _tag: "connection.close-ok" })
        yield* resultOf(closing)
        yield* reasonOf(fiber, "NotSent")
      })
    ))

  it.effect("does not delay a close when the connection is lost meanwhile", () =>
    closable((peer, close) =>
      Effect.gen(function*() {
        const closing = yield* fork(close)
        yield* assertWaits(closing)
        yield* peer.hangUp
        yield* resultOf(closing)
      })
    ))

  it.effect("stops when the broker has closed the connection", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const fiber = yield* fork(publisher.publish(megabytes(8), toQueue))
        yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED"))
        yield* reasonOf(fiber, "NotSent")
        yield* peer.expect("connection.close-ok", 0)
        assert.isBelow(bodyBytes(peer, 1), 8 * 1024 * 1024)
        assert.deepStrictEqual(peer.frames.at(-1), { type: "method", channel: 0, size: 0 })
      })
    ))

  it.effect.each([[8192, 8192 - 8], [0, 128 * 1024 - 8], [16 * 1024 * 1024, 128 * 1024 - 8]])(
    "is sent in frames of at most 128 KiB with a frame_max of %i",
    ([frameMax, largest]) =>
      connected((peer) =>
        Effect.gen(function*() {
          const publisher = yield* openPublisher(peer)
          const body = Uint8Array.from({ length: 3_000_001 }, (_, index) => index % 251)
          const fiber = yield* fork(publisher.publish(AmqpMessage.make(body), toQueue))
          yield* sent(peer)
          const published = yield* peer.expectPublish()
          assert.deepStrictEqual(published.body, body)
          assert.strictEqual(Math.max(...peer.frames.map(({ size, type }) => type === "body" ? size : 0)), largest)
          yield* peer.send(1, ack(1))
          yield* resultOf(fiber)
        }), { client: { frameMax }, server: { frameMax } })
  )

  it.effect("keeps the number of its channel in use until the reply to the broker's close is sent", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const fiber = yield* fork(publisher.publish(megabytes(2), toQueue))
        yield* peer.takeOneWrite
        yield* peer.send(1, channelClose(404, "NOT_FOUND"))
        yield* reasonOf(fiber, "NotSent")
        const declared = yield* fork(declare("q"))
        yield* peer.unstall
        yield* serveDeclare(peer, "q", 2)
        yield* peer.expectPublish(undefined, 1)
        yield* peer.expect("channel.close-ok", 1)
        yield* resultOf(declared)
        const again = yield* fork(declare("q"))
        // The number that was freed last is used first.
        yield* serveDeclare(peer, "q", 1)
        yield* resultOf(again)
      })
    ))
})
