import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import {
  channelClose,
  connected,
  declare,
  declareOk,
  fork,
  reasonOf,
  resultOf,
  serveDeclare,
  toQueue
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

const keeping = { client: { maxIdleChannels: 1 } } as const

/** A program that leaves its channel clean. */
const declareClean = (peer: Peer, channel: "opened" | "kept") =>
  Effect.gen(function*() {
    const fiber = yield* fork(declare("q"))
    if (channel === "opened") yield* peer.openChannel(1)
    yield* peer.answer(1, "queue.declare", declareOk("q"))
    yield* resultOf(fiber)
    yield* peer.expectNothing
  })

describe("channels of programs", () => {
  it.effect("are kept for the next program when nothing is left on them", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* declareClean(peer, "opened")
        yield* declareClean(peer, "kept")
      }), keeping))

  it.effect("are never used by two programs at once", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* declareClean(peer, "opened")
        const one = yield* fork(declare("one"))
        const two = yield* fork(declare("two"))
        assert.strictEqual((yield* peer.expect("queue.declare", 1)).queue, "one")
        yield* peer.openChannel(2)
        assert.strictEqual((yield* peer.expect("queue.declare", 2)).queue, "two")
        yield* peer.send(2, declareOk("two"))
        assert.strictEqual((yield* resultOf(two)).name, "two")
        yield* peer.send(1, declareOk("one"))
        // One more than are kept.
        yield* peer.closeChannel(1)
        assert.strictEqual((yield* resultOf(one)).name, "one")
      }), keeping))

  it.effect("are closed when a program published without confirms, failed or was interrupted", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publish = yield* fork(AmqpChannel.run(AmqpChannel.publish(AmqpMessage.text("m"), toQueue)))
        yield* peer.openChannel()
        yield* peer.expectPublish("m")
        yield* peer.closeChannel()
        yield* resultOf(publish)
        const failing = yield* fork(AmqpChannel.run(AmqpChannel.fail({ reason: new Error("no") })))
        yield* peer.openChannel()
        yield* peer.closeChannel()
        yield* Fiber.await(failing)
        const holding = yield* fork(AmqpChannel.run(AmqpQueue.declare("q")))
        yield* peer.openChannel()
        yield* peer.expect("queue.declare")
        const stopping = yield* fork(Fiber.interrupt(holding))
        yield* peer.closeChannel()
        yield* resultOf(stopping)
      }), keeping))

  it.effect("are closed when a request of the program may still be answered", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const program = AmqpQueue.declare("slow").pipe(
          AmqpChannel.timeout("1 seconds"),
          AmqpChannel.as(undefined),
          AmqpChannel.catchTag("TimeoutError", () => AmqpChannel.succeed(undefined))
        )
        const fiber = yield* fork(AmqpChannel.run(program))
        yield* peer.openChannel()
        yield* peer.expect("queue.declare")
        yield* TestClock.adjust("1 seconds")
        yield* peer.closeChannel()
        yield* resultOf(fiber)
      }), keeping))

  it.effect("are not used again when the broker closed them meanwhile", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* declareClean(peer, "opened")
        yield* peer.send(1, channelClose(541, "INTERNAL_ERROR"))
        yield* peer.expect("channel.close-ok", 1)
        yield* declareClean(peer, "opened")
      }), keeping))

  it.effect("leave no request behind when the connection is lost while they are kept", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* declareClean(peer, "opened")
        yield* peer.hangUp
        yield* reasonOf(yield* fork(declare("q")), "ConnectionLost")
      }), keeping))

  it.effect("Q1: a kept channel is no reason to refuse another kind of program", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* declareClean(peer, "opened")
        const fiber = yield* fork(AmqpChannel.confirmed(AmqpQueue.declare("q")))
        yield* peer.closeChannel(1)
        yield* peer.openChannel(1)
        yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
        yield* peer.answer(1, "queue.declare", declareOk("q"))
        yield* resultOf(fiber)
      }), { ...keeping, server: { channelMax: 1 } }))

  it.effect("are closed at once when none are to be kept", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(declare("q"))
        yield* serveDeclare(peer, "q")
        yield* resultOf(fiber)
      }), { client: { maxIdleChannels: 0 } }))
})
