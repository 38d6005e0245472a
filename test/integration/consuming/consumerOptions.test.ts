import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  awaitConsumers,
  awaitMessages,
  connected,
  declaredQueue,
  eventually,
  failsWith,
  failureOf,
  fill,
  fork,
  infoOf,
  take
} from "../../support/broker.ts"
import { next, numbered, texts } from "./support.ts"

describe("a consumer", () => {
  it.live("K9: is the only consumer of its queue when it is exclusive, and is refused when there are others", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const scope = yield* Scope.make()
      yield* Scope.provide(AmqpConsumer.make(queue, { exclusive: true }), scope)
      for (const exclusive of [false, true]) {
        const reason = yield* failsWith(Effect.scoped(AmqpConsumer.make(queue, { exclusive })), "AccessRefused")
        assert.strictEqual(reason.method, "basic.consume")
        assert.include(reason.replyText, "in exclusive use")
      }
      yield* Scope.close(scope, Exit.void)
      yield* AmqpConsumer.make(queue)
      yield* failsWith(Effect.scoped(AmqpConsumer.make(queue, { exclusive: true })), "AccessRefused")
      yield* AmqpConsumer.make(queue)
      yield* awaitConsumers(queue, 2)
    })))

  it.live("of higher priority is sent messages up to its prefetch before the others", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const low = yield* AmqpConsumer.make(queue)
      const high = yield* AmqpConsumer.make(queue, { priority: 1, prefetch: 3 })
      yield* fill(queue, ...numbered(5))
      assert.deepStrictEqual(yield* next(low, 2), ["3", "4"])
      assert.deepStrictEqual(yield* next(high, 3), ["0", "1", "2"])
    })))

  it.live("has the given consumer tag, numbered when it consumes several queues", () =>
    connected(Effect.gen(function*() {
      const queues = [yield* declaredQueue(), yield* declaredQueue()]
      const one = yield* AmqpConsumer.make(queues[0], { consumerTag: "mine" })
      const two = yield* AmqpConsumer.make(queues, { consumerTag: "ours" })
      const ends = yield* Effect.forEach([one, two], ({ stream }) => fork(Stream.runDrain(stream)))
      yield* AmqpChannel.run(AmqpQueue.delete(queues[0]))
      const failures = yield* Effect.forEach(ends, failureOf)
      assert.deepStrictEqual(
        failures.map((error) => error._tag === "AmqpConsumerCancelled" ? [error.queue, error.consumerTag] : error),
        [[queues[0], "mine"], [queues[0], "ours-1"]]
      )
    })))

  it.live("marks each delivery with its queue and its tag, also for a server-named queue", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const consumer = yield* AmqpConsumer.make([queue, AmqpQueue.serverNamed()], { consumerTag: "mine" })
      const queues = yield* consumer.queues
      for (const name of queues) yield* fill(name, ...numbered(2))
      const received = yield* Stream.runCollect(Stream.take(consumer.stream, 4))
      assert.sameDeepMembers(
        received.map(({ consumerTag, queue, text }) => [consumerTag, queue, text]),
        queues.flatMap((name, index) => texts(2).map((text) => [`mine-${index + 1}`, name, text]))
      )
      assert.match(queues[1], /^amq\.gen-/)
    })))

  it.live("marks deliveries with autoAck too, and a fetched message has no tag", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(1))
      const [sent] = yield* AmqpConsumer.stream(queue, { autoAck: true, consumerTag: "mine" }).pipe(
        Stream.take(1),
        Stream.runCollect
      )
      assert.deepStrictEqual([sent.queue, sent.consumerTag], [queue, "mine"])
      yield* fill(queue, ...numbered(2))
      const fetched = yield* AmqpChannel.run(
        AmqpQueue.get(queue, (delivery) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.ack, delivery)))
      )
      if (fetched._tag === "None") return assert.fail("nothing was fetched")
      for (const delivery of [fetched.value, yield* take(queue)]) {
        assert.deepStrictEqual([delivery.queue, delivery.consumerTag], [queue, undefined])
      }
    })))

  it.live("of several queues has a prefetch for each of them, and settles each message separately", () =>
    connected(Effect.gen(function*() {
      const queues = [yield* declaredQueue(), yield* declaredQueue(), yield* declaredQueue()]
      for (const queue of queues) yield* fill(queue, ...numbered(5))
      const consumer = yield* AmqpConsumer.make(queues, { prefetch: 2 })
      assert.deepStrictEqual(yield* consumer.queues, queues)
      for (const queue of queues) yield* awaitMessages(queue, 3)
      const received = yield* Stream.runCollect(
        Stream.take(Stream.tap(consumer.stream, (delivery) => delivery.ack), 15)
      )
      for (const queue of queues) {
        assert.deepStrictEqual(
          received.filter(({ routingKey }) => routingKey === queue).map(({ text }) => text),
          texts(5)
        )
        assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
      }
    })))

  it.live("distributes its messages among the fibers that run its stream", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const consumer = yield* AmqpConsumer.make(queue, { prefetch: 1 })
      const workers = yield* Effect.forEach(Array(3), () => fork(next(consumer, 1)))
      yield* fill(queue, ...numbered(3))
      const received = yield* Effect.forEach(workers, Fiber.join).pipe(Effect.timeout("3 seconds"))
      assert.sameMembers(received.flat(), texts(3))
    })))

  it.live("can be cancelled while another fiber waits for messages, and the program continues", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const consumer = yield* AmqpConsumer.make(queue)
      const received: Array<string> = []
      const loop = yield* fork(Stream.runForEach(consumer.stream, (delivery) =>
        Effect.suspend(() => {
          received.push(delivery.text)
          return delivery.ack
        })))
      yield* fill(queue, ...numbered(10))
      yield* eventually(Effect.sync(() => received.length), (length) => length === 10)
      assert.isUndefined(loop.pollUnsafe())
      yield* Effect.all([consumer.cancel, consumer.cancel], { concurrency: "unbounded" })
      yield* Fiber.join(loop)
      assert.deepStrictEqual(received, texts(10))
      assert.deepStrictEqual(yield* infoOf(queue), { name: queue, messageCount: 0, consumerCount: 0 })
      // The program goes on after its consumer.
      yield* fill(queue, AmqpMessage.text("later"))
      assert.strictEqual((yield* take(queue)).text, "later")
    })))

  it.live("can settle its buffered messages after it was cancelled", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(3))
      const consumer = yield* AmqpConsumer.make(queue)
      yield* awaitMessages(queue, 0)
      yield* consumer.cancel
      assert.deepStrictEqual(yield* next(consumer, 3), texts(3))
      assert.deepStrictEqual(yield* Stream.runCollect(consumer.stream), [])
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
    })))
})

describe("the prefetch of a consumer", () => {
  it.live("can be raised while it consumes, and more messages are delivered", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(10))
      const { setPrefetch, stream } = yield* AmqpConsumer.make(queue, { prefetch: 2 })
      yield* awaitMessages(queue, 8)
      yield* setPrefetch(5)
      yield* awaitMessages(queue, 3)
      const received = yield* Stream.runCollect(Stream.take(Stream.tap(stream, (delivery) => delivery.ack), 10))
      assert.deepStrictEqual(received.map(({ text }) => text), texts(10))
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
    })))

  it.live.each([
    ["generated", undefined],
    ["given", "mine"]
  ])(
    "can be lowered while it consumes, and earlier deliveries can still be settled (%s tag)",
    ([, consumerTag]) =>
      connected(Effect.gen(function*() {
        const queue = yield* declaredQueue()
        yield* fill(queue, ...numbered(10))
        const consumer = yield* AmqpConsumer.make(queue, { prefetch: 5, consumerTag })
        const received: Array<AmqpDelivery.AmqpDelivery> = []
        yield* fork(Stream.runForEach(consumer.stream, (delivery) => Effect.sync(() => void received.push(delivery))))
        const awaitReceived = (count: number) =>
          eventually(Effect.sync(() => received.length), (length) => length === count)
        yield* awaitReceived(5)
        yield* consumer.setPrefetch(1)
        // The new consumer gets one message, whatever the former one has not settled.
        yield* awaitReceived(6)
        for (const { ack } of received.slice(0, 5)) assert.isTrue(yield* ack)
        assert.strictEqual((yield* infoOf(queue)).messageCount, 4)
        for (let count = 6; count < 10; count++) {
          assert.isTrue(yield* received[count - 1].ack)
          yield* awaitReceived(count + 1)
        }
        assert.deepStrictEqual(received.map(({ text }) => text), texts(10))
      }))
  )

  it.live("is refused when it is out of range, and the consumer is unaffected", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const consumer = yield* AmqpConsumer.make(queue)
      for (const prefetch of [-1, 1.5, 65536]) yield* failsWith(consumer.setPrefetch(prefetch), "InvalidArgument")
      yield* fill(queue, ...numbered(1))
      assert.deepStrictEqual(yield* next(consumer, 1), ["0"])
    })))

  it.live("does not restart a cancelled consumer when it is set", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const consumer = yield* AmqpConsumer.make(queue)
      yield* consumer.cancel
      yield* Effect.exit(consumer.setPrefetch(5))
      yield* fill(queue, ...numbered(1))
      assert.deepStrictEqual(yield* infoOf(queue), { name: queue, messageCount: 1, consumerCount: 0 })
    })))
})
