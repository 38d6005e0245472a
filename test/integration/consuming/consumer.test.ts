import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpFailurePolicy from "@effect-amqp/core/AmqpFailurePolicy"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import {
  awaitConsumers,
  awaitMessages,
  connected,
  connection,
  declaredQueue,
  eventually,
  failsWith,
  failureOf,
  fill,
  fork,
  infoOf,
  queueName,
  take,
  toQueue,
  uniqueName
} from "../../support/broker.ts"

const numbered = (count: number, text = "") =>
  Array.from({ length: count }, (_, index) => AmqpMessage.text(`${text}${index}`))

const texts = (count: number, text = "") => Array.from({ length: count }, (_, index) => `${text}${index}`)

describe("a stream of deliveries", () => {
  it.live("has the messages of the queue, which forgets those that are acknowledged", () =>
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

  it.live("leaves no consumer when it ends, and what was not acknowledged is back in the queue, as redelivered", () =>
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

  it.live("has no more messages on their way than its prefetch", () =>
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

  it.live("fails with NotFound for a queue that is not there", () =>
    connected(Effect.gen(function*() {
      const queue = uniqueName("queue")
      const reason = yield* failsWith(Stream.runDrain(AmqpConsumer.stream(queue)), "NotFound")
      assert.strictEqual(reason.method, "basic.consume")
      assert.include(reason.message, `no queue '${queue}'`)
    })))

  it.live("K9: fails with AccessRefused while another consumes the queue exclusively", () =>
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

  it.live("needs no acknowledgements with autoAck, and the queue forgets what it sent", () =>
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

  it.live("gives messages back, or to the dead-letter queue, as nack and reject say", () =>
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

  it.live("settles each delivery once, and none when its channel is gone (K4)", () =>
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

  it.live("does not mix its deliveries with those of another consumer on the same connection", () =>
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

  it.live("takes several queues, each with its own messages", () =>
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

  it.live("has 10,000 messages in the order in which they were published", () =>
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

describe("a consumer with a handle", () => {
  it.live("stops from another fiber: what has arrived is still handled, and the stream ends", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(10))
      const { cancel, queues, stream } = yield* AmqpConsumer.make(queue)
      assert.deepStrictEqual(queues, [queue])
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

  it.live("has a consumer tag of one's choice, and with it a second one on another channel", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const options = { consumerTag: "mine" }
      yield* AmqpConsumer.make(queue, options)
      yield* AmqpConsumer.make(queue, options)
      assert.strictEqual((yield* infoOf(queue)).consumerCount, 2)
    })))

  it.live("consumes a queue that it declares itself, by the name of the broker's making", () =>
    connected(Effect.gen(function*() {
      const { queues: [queue], stream } = yield* AmqpConsumer.make(AmqpQueue.serverNamed())
      assert.match(queue, /^amq\.gen-/)
      yield* fill(queue, ...numbered(1))
      const received = yield* Stream.runCollect(Stream.take(stream, 1))
      assert.deepStrictEqual(received.map(({ text }) => text), ["0"])
    })))
})

describe("a consumer that is particular", () => {
  it.live("has more messages on their way when its prefetch is raised, and keeps those that it has", () =>
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

  it.live("gets the messages before others when its priority is higher", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const low = yield* AmqpConsumer.make(queue, { priority: -1 })
      const high = yield* AmqpConsumer.make(queue, { priority: 5 })
      yield* fill(queue, ...numbered(10))
      const received = yield* Stream.runCollect(Stream.take(high.stream, 10))
      assert.deepStrictEqual(received.map(({ text }) => text), texts(10))
      yield* low.cancel
      assert.deepStrictEqual(yield* Stream.runCollect(low.stream), [])
    })))

  it.live("begins in a stream where its offset says, as often as one likes", () =>
    connected(Effect.gen(function*() {
      const name = yield* queueName
      yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.stream(name)))
      yield* fill(name, ...numbered(10))
      for (const [offset, first] of [["first", 0], [4, 4], [7n, 7]] as const) {
        const received = yield* AmqpConsumer.stream(name, { offset, prefetch: 100 }).pipe(
          Stream.take(10 - first),
          Stream.tap((delivery) => delivery.ack),
          Stream.runCollect
        )
        assert.deepStrictEqual(received.map(({ text }) => text), texts(10).slice(first))
      }
    })))

  it.live("K7: rejects a message that is larger than the limit to the queue for dead letters, and goes on", () =>
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

describe("a served queue", () => {
  it.live("has each message acknowledged, rejected or requeued as its handler decides", () =>
    connected(Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const queue = yield* declaredQueue({ deadLetterExchange: "", deadLetterRoutingKey: dead })
      yield* fill(queue, ...["ack", "reject", "requeue"].map((text) => AmqpMessage.text(text)))
      const handled: Array<string> = []
      const server = yield* fork(AmqpConsumer.serve(queue, ({ redelivered, text }) =>
        Effect.sync(() => {
          handled.push(redelivered ? `${text}, again` : text)
          if (text === "reject") return AmqpDelivery.reject
          return text === "requeue" && !redelivered ? AmqpDelivery.requeue : AmqpDelivery.ack
        })))
      yield* eventually(Effect.sync(() => handled), ({ length }) => length === 4)
      yield* awaitMessages(dead, 1)
      yield* Fiber.interrupt(server)
      assert.sameMembers(handled, ["ack", "reject", "requeue", "requeue, again"])
      assert.strictEqual((yield* take(dead)).text, "reject")
      assert.deepStrictEqual(yield* infoOf(queue), { name: queue, messageCount: 0, consumerCount: 0 })
    })))

  it.live.each(
    [
      ["fails", Effect.fail("no")],
      ["dies", Effect.die("never")],
      ["is interrupted", Effect.interrupt]
    ] as const
  )("K5: has a message whose handler %s tried again, and then dead-lettered", ([, failure]) =>
    connected(
      Effect.gen(function*() {
        const dead = yield* declaredQueue()
        const options = { deadLetterExchange: "", deadLetterRoutingKey: dead }
        const queue = yield* declaredQueue(options)
        yield* fill(queue, AmqpMessage.text("bad"), AmqpMessage.text("good"))
        const handled: Array<string> = []
        const server = yield* fork(AmqpConsumer.serve(
          AmqpQueue.classic(queue, options),
          ({ text }) =>
            Effect.suspend((): Effect.Effect<AmqpDelivery.Settlement, string> => {
              handled.push(text)
              return text === "bad" ? failure : Effect.succeed(AmqpDelivery.ack)
            }),
          { prefetch: 1, onFailure: AmqpFailurePolicy.retryInPlace({ pauses: [10] }) }
        ))
        yield* awaitMessages(dead, 1)
        // The consumer is as good as before.
        yield* fill(queue, AmqpMessage.text("good"))
        yield* eventually(Effect.sync(() => handled), ({ length }) => length === 4)
        yield* Fiber.interrupt(server)
        assert.sameMembers(handled, ["bad", "bad", "good", "good"])
        assert.strictEqual((yield* take(dead)).text, "bad")
      })
    ).pipe(Effect.provide(Logger.layer([]))))

  it.live("has as many handlers at once as the concurrency says, and not more", () =>
    connected(Effect.gen(function*() {
      const concurrency = 5
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(20))
      const gate = yield* Latch.make()
      let running = 0
      let most = 0
      let done = 0
      const handler = () =>
        Effect.gen(function*() {
          running++
          most = Math.max(most, running)
          if (running === concurrency) yield* gate.open
          yield* gate.await
          // Others get their turn while this one runs.
          yield* Effect.sleep("2 millis")
          running--
          done++
          return AmqpDelivery.ack
        })
      yield* fork(AmqpConsumer.serve(queue, handler, { concurrency }))
      yield* eventually(Effect.sync(() => done), (done) => done === 20)
      assert.strictEqual(most, concurrency)
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
    })))

  it.live("is handled in order, one message at a time, by default", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(20))
      const handled: Array<string> = []
      yield* fork(AmqpConsumer.serve(queue, ({ text }) =>
        Effect.gen(function*() {
          yield* Effect.yieldNow
          handled.push(text)
          return AmqpDelivery.ack
        })))
      yield* eventually(Effect.sync(() => handled), ({ length }) => length === 20)
      assert.deepStrictEqual(handled, texts(20))
    })))

  it.live("K10: lets the handler that runs finish when it stops, and gives the others back", () =>
    connected(Effect.gen(function*() {
      const queue = AmqpQueue.classic(yield* declaredQueue())
      yield* fill(queue.name, ...numbered(5))
      const begun = yield* Deferred.make<void>()
      const gate = yield* Latch.make()
      const server = yield* fork(
        AmqpConsumer.serve(
          queue,
          () => Deferred.succeed(begun, undefined).pipe(Effect.andThen(gate.await), Effect.as(AmqpDelivery.ack))
        )
      )
      yield* Deferred.await(begun)
      const stopping = yield* fork(Fiber.interrupt(server))
      yield* awaitConsumers(queue.name, 0)
      // The others are back before the handler has ended.
      yield* awaitMessages(queue.name, 4)
      assert.isUndefined(stopping.pollUnsafe())
      yield* gate.open
      yield* Fiber.join(stopping)
      yield* awaitMessages(queue.name, 4)
      assert.strictEqual((yield* take(queue.name)).text, "1")
    })))

  it.live("K1: ends with AmqpConsumerCancelled when the queue is deleted", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const server = yield* fork(AmqpConsumer.serve(queue, () => Effect.succeed(AmqpDelivery.ack)))
      yield* awaitConsumers(queue, 1)
      yield* AmqpChannel.run(AmqpQueue.delete(queue))
      assert.strictEqual((yield* failureOf(server))._tag, "AmqpConsumerCancelled")
    })))
})
