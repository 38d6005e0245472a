import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import { connected, contentBytes, declareOk, fork, rest, resultOf } from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

const count = 300

const texts = Array.from({ length: count }, (_, index) => String(index))

const fill = AmqpChannel.confirmed(AmqpChannel.gen(function*() {
  yield* AmqpQueue.declare("from")
  yield* AmqpQueue.declare("to")
  for (const text of texts) yield* AmqpChannel.publish(AmqpMessage.text(text), AmqpQueue.route("from"))
}))

const textsIn = (queue: string) =>
  Effect.flatMap(
    AmqpBroker.AmqpBroker,
    (broker) => Effect.map(broker.messages(queue), (messages) => messages.map(({ text }) => text))
  )

const moveAll = Effect.andThen(fill, AmqpQueue.move("from", "to"))

/** Runs a test on a broker with filled queues. */
const withBroker = <A, E>(body: Effect.Effect<A, E, AmqpBroker.AmqpBroker | AmqpConnection.AmqpConnection>) =>
  Effect.provide(Effect.andThen(fill, body), AmqpBroker.layer())

describe("a move whose connection is lost", () => {
  it.effect("loses no message at any byte, and reports how many it has moved", () =>
    Effect.gen(function*() {
      let failures = 0
      for (let cutAfterSent = 2000; cutAfterSent < 60_000; cutAfterSent += 1777) {
        yield* withBroker(Effect.gen(function*() {
          const broker = yield* AmqpBroker.AmqpBroker
          const exit = yield* Effect.scoped(Effect.gen(function*() {
            const connection = yield* broker.connect({}, { cutAfterSent })
            const moving = yield* Effect.forkChild(
              AmqpQueue.move("from", "to", { prefetch: 50 }).pipe(
                Effect.provideService(AmqpConnection.AmqpConnection, connection)
              )
            )
            yield* TestClock.adjust("1 minute")
            return yield* Fiber.await(moving)
          }))
          const [left, moved] = [yield* textsIn("from"), yield* textsIn("to")]
          const twice = moved.filter((text) => left.includes(text))
          // In order, with none missing; those in flight may be in both queues.
          assert.deepStrictEqual([...moved, ...left.slice(twice.length)], texts, `cut after ${cutAfterSent} bytes`)
          if (Exit.isSuccess(exit)) return
          failures++
          const error = yield* Effect.flip(exit)
          if (error._tag !== "AmqpMoveError") return assert.deepStrictEqual(moved, [])
          assert.deepInclude(error, { total: count, skipped: 0 })
          assert.isAtMost(error.moved, moved.length)
          assert.strictEqual(error.moved + error.failed <= count, true)
        }))
      }
      assert.isAbove(failures, 5)
    }))
})

describe("a move of a queue that delivers nothing", () => {
  it.effect("fails after 10 seconds, and leaves all messages in the queue", () =>
    Effect.gen(function*() {
      const queue = AmqpQueue.classic("single", { singleActiveConsumer: true })
      yield* AmqpChannel.run(AmqpQueue.declare(queue))
      const fillSingle = AmqpChannel.confirmed(AmqpChannel.forEach(
        texts,
        (text) => AmqpChannel.publish(AmqpMessage.text(text), AmqpQueue.route("single"))
      ))
      yield* Effect.scoped(Effect.gen(function*() {
        yield* AmqpConsumer.make("single", { prefetch: 1 })
        yield* fillSingle
        const moving = yield* Effect.forkChild(AmqpQueue.move("single", "to"), { startImmediately: true })
        yield* TestClock.adjust("9 seconds")
        assert.isUndefined(moving.pollUnsafe())
        yield* TestClock.adjust("3 seconds")
        const error = yield* Effect.flip(Fiber.join(moving))
        assert.strictEqual(error._tag === "AmqpChannelError" && error.reason._tag, "RequestTimeout")
      }))
      assert.deepStrictEqual(yield* textsIn("single"), texts)
    }).pipe(withBroker))
})

describe("a move", () => {
  const get = { redelivered: false, exchange: "x", routingKey: "k" }

  /** Starts a move of this many messages. */
  const startMove = (peer: Peer, total: number, options?: AmqpQueue.MoveOptions) =>
    Effect.gen(function*() {
      const fiber = yield* fork(AmqpQueue.move("from", "to", options))
      yield* peer.openChannel(1)
      yield* peer.answer(1, "queue.declare", { ...declareOk("from"), messageCount: total })
      yield* peer.answer(1, "queue.declare", declareOk("to"))
      yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
      yield* peer.openChannel(2)
      yield* peer.answer(2, "basic.qos", { _tag: "basic.qos-ok" })
      const { consumerTag } = yield* peer.expect("basic.consume", 2)
      yield* peer.send(2, { _tag: "basic.consume-ok", consumerTag })
      const deliver = (deliveryTag: number, text: string) =>
        peer.push(contentBytes(2, { _tag: "basic.deliver", consumerTag, deliveryTag, ...get }, text))
      const published = (text: string) =>
        Effect.tap(peer.expectPublish(text, 1), ({ mandatory }) => Effect.sync(() => assert.isTrue(mandatory)))
      return { fiber, consumerTag, deliver, published }
    })

  const expectCancel = (peer: Peer, consumerTag: string) =>
    Effect.andThen(
      peer.answer(2, "basic.cancel", { _tag: "basic.cancel-ok", consumerTag }),
      rest
    )

  it.effect("publishes as mandatory, and acknowledges only once the copy is confirmed", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, deliver, fiber, published } = yield* startMove(peer, 2)
        yield* deliver(1, "a")
        yield* deliver(2, "b")
        yield* published("a")
        yield* published("b")
        yield* peer.expectNothing
        yield* peer.send(1, { _tag: "basic.ack", deliveryTag: 1, multiple: false })
        assert.deepInclude(yield* peer.expect("basic.ack", 2), { deliveryTag: 1, multiple: false })
        yield* peer.send(1, { _tag: "basic.ack", deliveryTag: 2, multiple: false })
        yield* rest
        assert.deepInclude(yield* peer.expect("basic.ack", 2), { deliveryTag: 2 })
        yield* expectCancel(peer, consumerTag)
        yield* peer.closeChannel(2)
        yield* peer.closeChannel(1)
        assert.deepStrictEqual(yield* resultOf(fiber), { total: 2, moved: 2, skipped: 0, failed: 0 })
      })
    ))

  it.effect("when interrupted, takes no more messages, waits for its confirms, and requeues the rest with one nack", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, deliver, fiber, published } = yield* startMove(peer, 9, { limit: 2 })
        for (const [index, text] of ["a", "b", "c", "d"].entries()) yield* deliver(index + 1, text)
        yield* published("a")
        yield* published("b")
        // The others are above the limit.
        yield* peer.expectNothing
        const interrupting = yield* fork(Fiber.interrupt(fiber))
        yield* peer.answer(2, "basic.cancel", { _tag: "basic.cancel-ok", consumerTag })
        yield* peer.expectNothing
        yield* peer.send(1, { _tag: "basic.ack", deliveryTag: 1, multiple: true })
        assert.deepInclude(yield* peer.expect("basic.ack", 2), { deliveryTag: 1, multiple: false })
        yield* peer.send(1, { _tag: "basic.nack", deliveryTag: 2, multiple: false, requeue: false })
        const nack = { deliveryTag: 4, multiple: true, requeue: true }
        assert.deepInclude(yield* peer.expect("basic.nack", 2), nack)
        yield* peer.closeChannel(2)
        yield* peer.closeChannel(1)
        yield* resultOf(interrupting)
      })
    ))

  it.effect("when interrupted, waits for confirms no longer than the close timeout", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, deliver, fiber, published } = yield* startMove(peer, 2)
        yield* deliver(1, "a")
        yield* published("a")
        const interrupting = yield* fork(Fiber.interrupt(fiber))
        yield* peer.answer(2, "basic.cancel", { _tag: "basic.cancel-ok", consumerTag })
        yield* peer.expectNothing
        yield* TestClock.adjust("6 seconds")
        assert.deepInclude(yield* peer.expect("basic.nack", 2), { deliveryTag: 1, requeue: true })
        yield* peer.closeChannel(2)
        yield* peer.closeChannel(1)
        yield* resultOf(interrupting)
      })
    ))

  it.effect("ends when the queue was found empty twice, because other consumers took its messages", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, deliver, fiber, published } = yield* startMove(peer, 5)
        yield* deliver(1, "a")
        yield* published("a")
        yield* peer.send(1, { _tag: "basic.ack", deliveryTag: 1, multiple: false })
        yield* peer.expect("basic.ack", 2)
        for (let ask = 0; ask < 2; ask++) {
          for (let turn = 0; turn < 3; turn++) yield* TestClock.adjust("100 millis")
          yield* peer.answer(2, "queue.declare", declareOk("from"))
        }
        yield* expectCancel(peer, consumerTag)
        yield* peer.closeChannel(2)
        yield* peer.closeChannel(1)
        assert.deepStrictEqual(yield* resultOf(fiber), { total: 5, moved: 1, skipped: 0, failed: 0 })
      })
    ))
})

describe("a move whose connection has no channel left", () => {
  it.effect("fails instead of taking a stream for another queue, because it can't ask", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.AmqpBroker
      yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.stream("stream")))
      yield* AmqpChannel.confirmed(AmqpChannel.publish(AmqpMessage.text("text"), AmqpQueue.route("stream")))
      // RabbitMQ counts the messages of a stream now and then.
      yield* TestClock.adjust("20 seconds")
      for (const [channelMax, dryRun] of [[1, true], [2, false]] as const) {
        const connection = yield* broker.connect({ channelMax, channelTimeout: "1 second", maxIdleChannels: 0 })
        const moving = yield* fork(
          Effect.flip(AmqpQueue.move("stream", "to", { dryRun })).pipe(
            Effect.provideService(AmqpConnection.AmqpConnection, connection)
          )
        )
        yield* TestClock.adjust("1 minute")
        const error = yield* resultOf(moving)
        assert.strictEqual(error._tag === "AmqpChannelError" ? error.reason._tag : error._tag, "TooManyChannels")
      }
      assert.lengthOf(yield* textsIn("to"), count)
    }).pipe(Effect.scoped, Effect.provide(Layer.effectDiscard(moveAll).pipe(Layer.provideMerge(AmqpBroker.layer())))))
})
