import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Scheduler from "effect/Scheduler"
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
  resultOf
} from "../../support/scriptedPeer.ts"

describe("a channel of a program", () => {
  const keeping = (maxIdleChannels: number, channelMax?: number) => ({
    client: { maxIdleChannels },
    server: { channelMax }
  })

  it.effect("is not kept when a message was fetched on it: the queue may be of another type the next time", () =>
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
      }), keeping(1)))

  it.effect("E13: a publish that waits for the broker to take publishes hears that its channel was closed", () =>
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

  it.effect("Q1: an idle channel gives its number up although another idle one is closed already", () =>
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
      }), keeping(2, 2)))

  it.effect("is not lost when the program is interrupted at any point", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        let lost = 0
        for (let turns = 0; turns < 40; turns++) {
          // Makes sure that one channel is idle.
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
          // A fiber that yields after each operation.
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
      }), keeping(1)))

  it.effect("has nothing to acknowledge after a recover, which is no success of the handler", () =>
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

  it.effect("is closed when it turns out not to be clean while it is idle", () =>
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
      }), keeping(1)))
})
