import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Scheduler from "effect/Scheduler"
import * as TestClock from "effect/testing/TestClock"
import {
  channelClose,
  connected,
  contentBytes,
  declare,
  declareOk,
  fork,
  getOkBytes,
  reasonOf,
  rest,
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

describe("a channel of a program", () => {
  it.effect("is kept for the next program when it is clean", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* declareClean(peer, "opened")
        yield* declareClean(peer, "kept")
      }), keeping))

  it.effect("is never used by two programs at once", () =>
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
        // One idle channel is kept already.
        yield* peer.closeChannel(1)
        assert.strictEqual((yield* resultOf(one)).name, "one")
      }), keeping))

  it.effect("is closed when its program published without confirms, failed or was interrupted", () =>
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

  it.effect("is closed when a reply to its program may still arrive", () =>
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

  it.effect("is not used again when the broker has closed it meanwhile", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* declareClean(peer, "opened")
        yield* peer.send(1, channelClose(541, "INTERNAL_ERROR"))
        yield* peer.expect("channel.close-ok", 1)
        yield* declareClean(peer, "opened")
      }), keeping))

  it.effect("fails the next program when the connection is lost while it is idle", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* declareClean(peer, "opened")
        yield* peer.hangUp
        yield* reasonOf(yield* fork(declare("q")), "ConnectionLost")
      }), keeping))

  it.effect("Q1: is closed while idle when a program of another mode needs its number", () =>
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

  it.effect("is closed at once with maxIdleChannels 0", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(declare("q"))
        yield* serveDeclare(peer, "q")
        yield* resultOf(fiber)
      }), { client: { maxIdleChannels: 0 } }))

  it.effect("is not kept after a basic.get: the queue may have another type the next time", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const get = AmqpChannel.run(AmqpQueue.get("q", () => Effect.succeed(AmqpDelivery.ack)))
        const fiber = yield* fork(get)
        yield* peer.openChannel()
        yield* peer.expect("basic.get")
        yield* peer.push(getOkBytes(1, "m"))
        const tags = yield* peer.takeTags
        yield* peer.send(1, { _tag: "channel.close-ok" })
        yield* resultOf(fiber)
        assert.deepStrictEqual(tags, ["basic.ack", "channel.close"])
      }), keeping))

  it.effect("E13: fails a publish that waits for connection.unblocked when the broker closes it", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publish = AmqpChannel.publish(AmqpMessage.text("m"), { exchange: "missing", routingKey: "" })
        const gate = Latch.makeUnsafe()
        const program = AmqpChannel.gen(function*() {
          yield* publish
          yield* gate.await
          yield* publish
        })
        const fiber = yield* fork(AmqpChannel.run(program))
        yield* peer.openChannel()
        yield* peer.expectPublish("m")
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        yield* rest
        yield* gate.open
        yield* peer.send(1, channelClose(404, "no exchange 'missing'"))
        yield* peer.expect("channel.close-ok")
        yield* reasonOf(fiber, "NotFound")
      })
    ))

  it.effect("Q1: is closed while idle to free its number even if another idle one is already closed", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const one = yield* fork(declare("one"))
        yield* peer.openChannel(1)
        yield* peer.expect("queue.declare", 1)
        const two = yield* fork(declare("two"))
        yield* peer.openChannel(2)
        yield* peer.expect("queue.declare", 2)
        yield* peer.send(1, declareOk("one"))
        yield* peer.send(2, declareOk("two"))
        yield* resultOf(one)
        yield* resultOf(two)
        yield* peer.send(2, channelClose(541, "INTERNAL_ERROR"))
        yield* peer.expect("channel.close-ok", 2)
        yield* fork(AmqpChannel.confirmed(AmqpChannel.fromEffect(Effect.never)))
        yield* peer.openChannel(2)
        yield* peer.answer(2, "confirm.select", { _tag: "confirm.select-ok" })
        yield* fork(AmqpChannel.transaction(AmqpChannel.succeed(1)))
        yield* peer.expect("channel.close", 1)
      }), { client: { maxIdleChannels: 2 }, server: { channelMax: 2 } }))

  it.effect("is not lost when the program is interrupted at any point", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        let lost = 0
        for (let turns = 0; turns < 40; turns++) {
          // This leaves one channel idle.
          const first = yield* fork(declare("q"))
          yield* rest
          for (const tag of yield* peer.takeTags) {
            if (tag === "channel.open") {
              yield* peer.send(1, { _tag: "channel.open-ok" })
              yield* rest
              yield* peer.takeTags
            }
          }
          const channel = yield* connection.channelCount
          yield* peer.send(channel, declareOk("q"))
          yield* resultOf(first)
          const before = yield* connection.channelCount
          // A fiber that yields after every few operations.
          const program = yield* AmqpChannel.run(AmqpChannel.fromEffect(Effect.never)).pipe(
            Effect.provideService(Scheduler.MaxOpsBeforeYield, 3),
            fork
          )
          for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
          const stopping = yield* fork(Fiber.interrupt(program))
          const tags = yield* peer.takeTags
          if (tags.includes("channel.close")) yield* peer.send(channel, { _tag: "channel.close-ok" })
          else if (tags.length > 0) assert.fail(tags.join())
          yield* rest
          yield* rest
          yield* resultOf(stopping)
          if ((yield* connection.channelCount) < before) continue
          // It is open, so it must be idle.
          const next = yield* fork(declare("q"))
          const opened = yield* peer.takeTags
          if (opened.includes("channel.open")) {
            lost++
            break
          }
          yield* peer.send(channel, declareOk("q"))
          yield* resultOf(next)
        }
        assert.strictEqual(lost, 0)
      }), keeping))

  it.effect("fails a basic.get whose handler acknowledges after a recover", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const program = AmqpQueue.get("q", () => AmqpChannel.as(AmqpChannel.recover, AmqpDelivery.ack))
        const fiber = yield* fork(AmqpChannel.run(program))
        yield* peer.openChannel()
        yield* peer.expect("basic.get")
        yield* peer.push(getOkBytes(1, "m"))
        yield* peer.answer(1, "basic.recover", { _tag: "basic.recover-ok" })
        const tags = yield* peer.takeTags
        yield* peer.send(1, { _tag: "channel.close-ok" })
        assert.include((yield* reasonOf(fiber, "InvalidArgument")).message, "AmqpChannel.recover")
        assert.notInclude(tags, "basic.ack")
      })
    ))

  it.effect("is closed when a late return arrives while it is idle", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const one = yield* fork(AmqpChannel.transaction(AmqpChannel.succeed(1)))
        yield* peer.openChannel()
        yield* peer.answer(1, "tx.select", { _tag: "tx.select-ok" })
        yield* peer.answer(1, "tx.commit", { _tag: "tx.commit-ok" })
        yield* resultOf(one)
        yield* peer.push(
          contentBytes(1, {
            _tag: "basic.return",
            replyCode: 312,
            replyText: "NO_ROUTE",
            exchange: "",
            routingKey: "q"
          }, "late")
        )
        yield* rest
        const two = yield* fork(AmqpChannel.transaction(AmqpChannel.succeed(2)))
        const tags = yield* peer.takeTags
        yield* Fiber.interrupt(two).pipe(Effect.forkChild)
        assert.include(tags, "channel.close")
        assert.isAtMost(yield* connection.channelCount, 2)
      }), keeping))
})
