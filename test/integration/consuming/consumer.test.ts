import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import type * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import {
  awaitConsumers,
  awaitMessages,
  connected,
  connection,
  declaredQueue,
  failsWith,
  failureOf,
  fill,
  fork,
  infoOf,
  take,
  toQueue,
  uniqueName
} from "../../support/broker.ts"

const numbered = (count: number, text = "") =>
  Array.from({ length: count }, (_, index) => AmqpMessage.text(`${text}${index}`))

const texts = (count: number, text = "") => Array.from({ length: count }, (_, index) => `${text}${index}`)

describe("a consumer's stream", () => {
  it.live("delivers the messages of its queue, which removes those that are acknowledged", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(10))
      const received = yield* AmqpConsumer.stream(queue).pipe(
        Stream.take(10),
        Stream.mapEffect((delivery) => Effect.map(delivery.ack, (isFirst) => [delivery.text, isFirst])),
        Stream.runCollect
      )
      assert.deepStrictEqual(received, texts(10).map((text) => [text, true]))
      assert.deepStrictEqual(yield* infoOf(queue), { name: queue, messageCount: 0, consumerCount: 0 })
    })))

  it.live("leaves no consumer when it ends, and its unacknowledged messages are redelivered", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(3))
      const received = yield* AmqpConsumer.stream(queue, { prefetch: 1 }).pipe(
        Stream.map(({ redelivered, text }) => ({ redelivered, text })),
        Stream.take(1),
        Stream.runCollect
      )
      assert.deepStrictEqual(received, [{ redelivered: false, text: "0" }])
      const info = yield* awaitMessages(queue, 3)
      assert.strictEqual(info.consumerCount, 0)
      const first = yield* take(queue)
      assert.deepStrictEqual([first.text, first.redelivered], ["0", true])
      const second = yield* take(queue)
      assert.deepStrictEqual([second.text, second.redelivered], ["1", false])
    })))

  it.live("has at most as many unacknowledged messages as its prefetch", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(10))
      const begun = yield* Deferred.make<void>()
      yield* AmqpConsumer.stream(queue, { prefetch: 3 }).pipe(
        Stream.runForEach(() => Effect.andThen(Deferred.succeed(begun, undefined), Effect.never)),
        fork
      )
      yield* Deferred.await(begun)
      yield* awaitMessages(queue, 7)
    })))

  it.live("closes its channel when its fiber is interrupted", () =>
    connected(
      Effect.gen(function*() {
        const queue = yield* declaredQueue()
        yield* fill(queue, ...numbered(2))
        const begun = yield* Deferred.make<void>()
        const consumer = yield* AmqpConsumer.stream(queue).pipe(
          Stream.runForEach(() => Effect.andThen(Deferred.succeed(begun, undefined), Effect.never)),
          fork
        )
        yield* Deferred.await(begun)
        // The only channel is the consumer's.
        yield* failsWith(infoOf(queue), "TooManyChannels")
        yield* Fiber.interrupt(consumer)
        const info = yield* awaitMessages(queue, 2)
        assert.strictEqual(info.consumerCount, 0)
      }),
      { channelMax: 1, maxIdleChannels: 0, channelTimeout: "50 millis" }
    ))

  it.live("K1: fails with AmqpConsumerCancelled when the queue is deleted", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const consumer = yield* fork(Stream.runDrain(AmqpConsumer.stream(queue)))
      yield* awaitConsumers(queue, 1)
      yield* AmqpChannel.run(AmqpQueue.delete(queue))
      const error = yield* failureOf(consumer)
      if (error._tag !== "AmqpConsumerCancelled") return assert.fail(String(error))
      assert.strictEqual(error.queue, queue)
      assert.isTrue(error.isRetryable)
      assert.include(error.message, queue)
      // The broker gives no reason with its cancel.
      assert.include(error.message, "may have been deleted")
    })))

  it.live("fails with NotFound when its queue does not exist", () =>
    connected(Effect.gen(function*() {
      const queue = uniqueName("queue")
      const reason = yield* failsWith(Stream.runDrain(AmqpConsumer.stream(queue)), "NotFound")
      assert.strictEqual(reason.method, "basic.consume")
      assert.include(reason.message, `no queue '${queue}'`)
    })))

  it.live("K9: fails with AccessRefused while the queue has an exclusive consumer", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const exclusive = AmqpConsumer.stream(queue, { exclusive: true })
      const consumer = yield* fork(Stream.runDrain(exclusive))
      yield* awaitConsumers(queue, 1)
      for (const second of [AmqpConsumer.stream(queue), exclusive]) {
        const reason = yield* failsWith(Stream.runDrain(second), "AccessRefused")
        assert.strictEqual(reason.replyCode, 403)
        assert.include(reason.message, queue)
        assert.include(reason.message, "in exclusive use")
      }
      assert.isUndefined(consumer.pollUnsafe())
      yield* Fiber.interrupt(consumer)
      yield* awaitConsumers(queue, 0)
      yield* fill(queue, ...numbered(1))
      yield* Stream.runHead(exclusive)
    })))

  it.live("E8: fails with ResourceLocked for another connection's exclusive queue", () =>
    connected(Effect.gen(function*() {
      const queue = AmqpQueue.classic(uniqueName("queue"), { exclusive: true })
      yield* AmqpChannel.run(AmqpQueue.declare(queue))
      const onAnother = Effect.provide(Stream.runDrain(AmqpConsumer.stream(queue.name)), connection())
      const reason = yield* failsWith(onAnother, "ResourceLocked")
      assert.include(reason.message, queue.name)
    })))

  it.live("needs no acknowledgements with autoAck, as the queue removes what it delivers", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(50))
      const received = yield* AmqpConsumer.stream(queue, { autoAck: true }).pipe(
        Stream.take(50),
        Stream.map(({ text }) => text),
        Stream.runCollect
      )
      assert.deepStrictEqual(received, texts(50))
      yield* awaitConsumers(queue, 0)
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
    })))

  it.live("requeues or dead-letters a message according to the options of nack and reject", () =>
    connected(Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const queue = yield* declaredQueue({ deadLetterExchange: "", deadLetterRoutingKey: dead })
      yield* fill(
        queue,
        ...["nack", "reject", "nack and forget", "reject and requeue"].map((text) => AmqpMessage.text(text))
      )
      const settle = (delivery: AmqpDelivery.AmqpDelivery) => {
        if (delivery.redelivered) return delivery.ack
        switch (delivery.text) {
          case "nack":
            return delivery.nack()
          case "reject":
            return delivery.reject()
          case "nack and forget":
            return delivery.nack({ requeue: false })
          default:
            return delivery.reject({ requeue: true })
        }
      }
      const received = yield* AmqpConsumer.stream(queue, { prefetch: 1 }).pipe(
        Stream.tap(settle),
        Stream.map(({ redelivered, text }) => redelivered ? `${text}, again` : text),
        Stream.take(6),
        Stream.runCollect
      )
      assert.sameMembers(received, [
        "nack",
        "nack, again",
        "reject",
        "nack and forget",
        "reject and requeue",
        "reject and requeue, again"
      ])
      yield* awaitMessages(dead, 2)
      assert.strictEqual((yield* take(dead)).text, "reject")
      assert.strictEqual((yield* take(dead)).text, "nack and forget")
    })))

  it.live("K4: settles each delivery once, and none after its channel has closed", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(2))
      const [first, second] = yield* Stream.runCollect(
        Stream.take(AmqpConsumer.stream(queue), 2).pipe(
          Stream.tap((delivery) => delivery.text === "0" ? delivery.ack : Effect.void)
        )
      )
      assert.isFalse(yield* first.ack)
      assert.isFalse(yield* first.reject())
      assert.isFalse(yield* second.ack)
      yield* awaitMessages(queue, 1)
    })))

  it.live("does not mix its deliveries with those of other consumers on the same connection", () =>
    connected(Effect.gen(function*() {
      const count = 500
      const names = ["a", "b", "c"]
      const queues = yield* Effect.forEach(names, () => declaredQueue())
      const { publish } = yield* AmqpPublisher.make()
      const consumers = yield* Effect.forEach(queues, (queue) =>
        AmqpConsumer.stream(queue, { prefetch: 7 }).pipe(
          Stream.take(count),
          Stream.tap((delivery) => delivery.ack),
          Stream.map(({ text }) => text),
          Stream.runCollect,
          fork
        ))
      yield* Effect.forEach(
        Array(count).keys(),
        (index) =>
          Effect.forEach(names, (name, which) => publish(AmqpMessage.text(`${name}${index}`), toQueue(queues[which]))),
        { concurrency: 20, discard: true }
      )
      for (const [which, name] of names.entries()) {
        const received = yield* Fiber.join(consumers[which])
        assert.sameMembers(received, texts(count, name))
      }
    })))

  it.live("consumes several queues at once", () =>
    connected(Effect.gen(function*() {
      const queues = [yield* declaredQueue(), yield* declaredQueue()]
      for (const queue of queues) yield* fill(queue, ...numbered(3, queue))
      const received = yield* AmqpConsumer.stream(queues).pipe(
        Stream.take(6),
        Stream.tap((delivery) => delivery.ack),
        Stream.runCollect
      )
      assert.sameMembers(received.map(({ routingKey, text }) => `${routingKey}: ${text}`), [
        ...texts(3, `${queues[0]}: ${queues[0]}`),
        ...texts(3, `${queues[1]}: ${queues[1]}`)
      ])
    })))

  it.live("delivers 10,000 messages in the order in which they were published", () =>
    connected(Effect.gen(function*() {
      const count = 10_000
      const queue = yield* declaredQueue()
      const { publishAll } = yield* AmqpPublisher.make()
      const consumer = yield* AmqpConsumer.stream(queue, { prefetch: 500 }).pipe(
        Stream.take(count),
        Stream.tap((delivery) => delivery.ack),
        Stream.map(({ text }) => text),
        Stream.runCollect,
        fork
      )
      yield* publishAll(numbered(count), toQueue(queue))
      assert.deepStrictEqual(yield* Fiber.join(consumer), texts(count))
      yield* awaitConsumers(queue, 0)
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
    })))
})

describe("a consumer", () => {
  it.live("can be cancelled by another fiber, and its stream ends after the messages that have arrived", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(10))
      const { cancel, queues, stream } = yield* AmqpConsumer.make(queue)
      assert.deepStrictEqual(yield* queues, [queue])
      const tenth = yield* Deferred.make<void>()
      let received = 0
      const loop = yield* fork(Stream.runForEach(stream, (delivery) =>
        Effect.suspend(() => {
          received++
          return received === 10 ? Effect.andThen(delivery.ack, Deferred.succeed(tenth, undefined)) : delivery.ack
        })))
      yield* Deferred.await(tenth)
      yield* cancel
      yield* Fiber.join(loop)
      yield* fill(queue, ...numbered(1))
      assert.deepStrictEqual(yield* infoOf(queue), { name: queue, messageCount: 1, consumerCount: 0 })
      assert.strictEqual(received, 10)
    })))

  it.live("has the given consumer tag, which a consumer on another channel may share", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const options = { consumerTag: "mine" }
      yield* AmqpConsumer.make(queue, options)
      yield* AmqpConsumer.make(queue, options)
      assert.strictEqual((yield* infoOf(queue)).consumerCount, 2)
    })))

  it.live("declares and consumes a server-named queue", () =>
    connected(Effect.gen(function*() {
      const { queues, stream } = yield* AmqpConsumer.make(AmqpQueue.serverNamed())
      const [queue] = yield* queues
      assert.match(queue, /^amq\.gen-/)
      yield* fill(queue, ...numbered(1))
      const received = yield* Stream.runCollect(Stream.take(stream, 1))
      assert.deepStrictEqual(received.map(({ text }) => text), ["0"])
    })))

  it.live("K7: dead-letters a message larger than maxBodySize, and continues", () =>
    connected(
      Effect.gen(function*() {
        const dead = yield* declaredQueue()
        const options = { deadLetterExchange: "", deadLetterRoutingKey: dead }
        const queue = AmqpQueue.classic(yield* declaredQueue(options), options)
        yield* fill(queue.name, AmqpMessage.text("x".repeat(1001)), AmqpMessage.text("x".repeat(1000)))
        const received = yield* AmqpConsumer.stream(queue, { prefetch: 1 }).pipe(
          Stream.take(1),
          Stream.tap((delivery) => delivery.ack),
          Stream.runCollect
        )
        assert.strictEqual(received[0].body.length, 1000)
        yield* awaitMessages(dead, 1)
      }),
      { maxBodySize: 1000 }
    ))
})
