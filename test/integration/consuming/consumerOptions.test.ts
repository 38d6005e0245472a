import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpFailurePolicy from "@effect-amqp/core/AmqpFailurePolicy"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  assertReason,
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
  queueName,
  take,
  toQueue
} from "../../support/broker.ts"

const numbered = (count: number, first = 0) =>
  Array.from({ length: count }, (_, index) => AmqpMessage.text(String(first + index)))

const texts = (count: number, first = 0) => Array.from({ length: count }, (_, index) => String(first + index))

/** The next messages of a consumer, acknowledged. */
const next = (
  { stream }: AmqpConsumer.AmqpConsumer<AmqpDelivery.AmqpDelivery>,
  count: number
) =>
  Stream.take(Stream.tap(stream, (delivery) => delivery.ack), count).pipe(
    Stream.map(({ text }) => text),
    Stream.runCollect
  )

describe("a consumer", () => {
  it.live("K9: that is exclusive keeps others away, and is refused while there are others", () =>
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

  it.live("of a higher priority has its fill before others get something", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const low = yield* AmqpConsumer.make(queue)
      const high = yield* AmqpConsumer.make(queue, { priority: 1, prefetch: 3 })
      yield* fill(queue, ...numbered(5))
      assert.deepStrictEqual(yield* next(low, 2), ["3", "4"])
      assert.deepStrictEqual(yield* next(high, 3), ["0", "1", "2"])
    })))

  it.live("has the tag that was chosen, and one per queue when there are several", () =>
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

  it.live("has its queue and its tag on each message, also of a queue that the broker named", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const consumer = yield* AmqpConsumer.make([queue, AmqpQueue.serverNamed()], { consumerTag: "mine" })
      for (const name of consumer.queues) yield* fill(name, ...numbered(2))
      const received = yield* Stream.runCollect(Stream.take(consumer.stream, 4))
      assert.sameDeepMembers(
        received.map(({ consumerTag, queue, text }) => [consumerTag, queue, text]),
        consumer.queues.flatMap((name, index) => texts(2).map((text) => [`mine-${index + 1}`, name, text]))
      )
      assert.match(consumer.queues[1], /^amq\.gen-/)
    })))

  it.live("has a queue on what it is sent without acknowledgements, and one that is fetched has no tag", () =>
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

  it.live("of several queues has a prefetch for each, and settles each message on its own", () =>
    connected(Effect.gen(function*() {
      const queues = [yield* declaredQueue(), yield* declaredQueue(), yield* declaredQueue()]
      for (const queue of queues) yield* fill(queue, ...numbered(5))
      const consumer = yield* AmqpConsumer.make(queues, { prefetch: 2 })
      assert.deepStrictEqual(consumer.queues, queues)
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

  it.live("has its messages shared by those who take of its stream", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const consumer = yield* AmqpConsumer.make(queue, { prefetch: 1 })
      const workers = yield* Effect.forEach(Array(3), () => fork(next(consumer, 1)))
      yield* fill(queue, ...numbered(3))
      const received = yield* Effect.forEach(workers, Fiber.join).pipe(Effect.timeout("3 seconds"))
      assert.sameMembers(received.flat(), texts(3))
    })))

  it.live("stops while another fiber waits for messages, which has had them all and goes on", () =>
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
      // A program does not end with its consumer.
      yield* fill(queue, AmqpMessage.text("later"))
      assert.strictEqual((yield* take(queue)).text, "later")
    })))

  it.live("that was stopped can still settle what it has", () =>
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
  it.live.each([
    ["of the client's making", undefined],
    ["of one's choice", "mine"]
  ])(
    "can be lowered while it consumes: what it has stays its own, and it gets less ahead, with a tag %s",
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
        // The consumer that is made anew gets its one message, and no other for those that the former one had.
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

  it.live("is refused when it is out of its range, and the consumer goes on as before", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const consumer = yield* AmqpConsumer.make(queue)
      for (const prefetch of [-1, 1.5, 65536]) yield* failsWith(consumer.setPrefetch(prefetch), "InvalidArgument")
      yield* fill(queue, ...numbered(1))
      assert.deepStrictEqual(yield* next(consumer, 1), ["0"])
    })))

  it.live("does not bring back a consumer that was stopped", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const consumer = yield* AmqpConsumer.make(queue)
      yield* consumer.cancel
      yield* Effect.exit(consumer.setPrefetch(5))
      yield* fill(queue, ...numbered(1))
      assert.deepStrictEqual(yield* infoOf(queue), { name: queue, messageCount: 1, consumerCount: 0 })
    })))
})

describe("serve", () => {
  it.live("K10: lets all handlers that run finish when it is stopped, and gives back what none had begun with", () =>
    connected(Effect.gen(function*() {
      const described = AmqpQueue.classic(yield* declaredQueue())
      const queue = described.name
      yield* fill(queue, ...numbered(20))
      const gate = yield* Latch.make()
      const begun: Array<string> = []
      const server = yield* fork(AmqpConsumer.serve(
        described,
        ({ text }) =>
          Effect.suspend(() => {
            begun.push(text)
            return Effect.as(gate.await, AmqpDelivery.ack)
          }),
        { prefetch: 12, concurrency: 4 }
      ))
      yield* eventually(Effect.sync(() => begun.length), (length) => length === 4)
      yield* awaitMessages(queue, 8)
      const stopping = yield* fork(Fiber.interrupt(server))
      yield* awaitConsumers(queue, 0)
      assert.isUndefined(stopping.pollUnsafe())
      yield* gate.open
      yield* Fiber.join(stopping)
      assert.deepStrictEqual(begun, texts(4))
      yield* awaitMessages(queue, 16)
      const back = yield* Effect.forEach(Array(16), () => take(queue))
      assert.deepStrictEqual(back.map(({ text }) => text), texts(16, 4))
      assert.deepStrictEqual(back.map(({ redelivered }) => redelivered), back.map((_, index) => index < 8))
    })))

  it.live("K10: waits no longer than its drain timeout for a handler, whose message goes back", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(3))
      let begun = 0
      const server = yield* fork(AmqpConsumer.serve(
        queue,
        () =>
          Effect.suspend(() => {
            begun++
            return Effect.never
          }),
        { drainTimeout: "50 millis" }
      ))
      yield* eventually(Effect.sync(() => begun), (begun) => begun === 1)
      yield* Fiber.interrupt(server)
      yield* awaitMessages(queue, 3)
      assert.isTrue((yield* take(queue)).redelivered)
    })))

  it.live("K12: does not go round with a message that its handler can't handle, also where nothing limits deliveries", () =>
    connected(
      Effect.gen(function*() {
        const queue = yield* queueName
        yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.quorum(queue)))
        yield* fill(queue, ...numbered(5))
        let handled = 0
        const server = yield* fork(AmqpConsumer.serve(queue, () =>
          Effect.suspend(() => {
            handled++
            return Effect.fail("no")
          }), { prefetch: 5, onFailure: AmqpFailurePolicy.retryInPlace({ pauses: [1, 1] }) }))
        yield* eventually(Effect.sync(() => handled), (handled) => handled === 15)
        yield* Effect.sleep("100 millis")
        assert.strictEqual(handled, 15)
        // Nothing is known that takes dead letters, so they are where they were.
        yield* Fiber.interrupt(server)
        yield* awaitMessages(queue, 5)
      })
    ).pipe(Effect.provide(Logger.layer([]))))
})

const Order = Schema.Struct({ id: Schema.Int })

describe("serve with decoded values", () => {
  const unreadable = [
    AmqpMessage.text("{", { contentType: "application/json" }),
    AmqpMessage.json({ id: "one" }),
    AmqpMessage.text(`{"id":1}`, { contentType: "text/csv" }),
    AmqpMessage.make(new Uint8Array([0xff, 0xfe]))
  ]

  const serving = (onDecodeError: "reject" | "fail" | undefined) =>
    Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const queue = yield* declaredQueue({ deadLetterExchange: "", deadLetterRoutingKey: dead })
      const seen: Array<string> = []
      const handler = (order: typeof Order.Type) =>
        Effect.sync(() => {
          seen.push(`order ${order.id}`)
          return AmqpDelivery.ack
        })
      const serve = onDecodeError === "fail"
        ? AmqpConsumer.serve(queue, AmqpDelivery.handleDecoded(Order, handler, { onDecodeError }), {
          onFailure: (cause) =>
            Effect.sync(() => {
              const [failure] = cause.reasons
              const error = failure._tag === "Fail" ? failure.error : assert.fail(String(cause))
              seen.push(error.problem)
              return AmqpDelivery.reject
            })
        })
        : AmqpConsumer.serve(
          // Described, so that the default policy knows where to.
          onDecodeError === undefined
            ? AmqpQueue.classic(queue, { deadLetterExchange: "", deadLetterRoutingKey: dead })
            : queue,
          onDecodeError === undefined
            ? AmqpDelivery.handleDecoded(Order, handler)
            : AmqpDelivery.handleDecoded(Order, handler, { onDecodeError })
        )
      yield* fork(serve)
      yield* fill(queue, ...unreadable, AmqpMessage.json({ id: 7 }))
      yield* awaitMessages(dead, unreadable.length)
      yield* eventually(Effect.sync(() => seen), (seen) => seen.includes("order 7"))
      const letters = yield* Effect.forEach(unreadable, () => take(dead))
      return { seen, letters }
    })

  it.live.each([undefined, "reject"] as const)(
    "K7: dead-letters what can't be read and goes on, with the policy %s",
    (policy) =>
      connected(Effect.gen(function*() {
        const { letters, seen } = yield* serving(policy)
        assert.deepStrictEqual(seen, ["order 7"])
        assert.sameDeepMembers(letters.map(({ body }) => [...body]), unreadable.map(({ body }) => [...body]))
        for (const { properties } of letters) {
          if (policy === undefined) assert.include(properties.headers?.["x-failure-error"], "AmqpDecodeError")
          else assert.containSubset(properties.headers?.["x-death"], [{ reason: "rejected", count: 1 }])
        }
      })).pipe(Effect.provide(Logger.layer([])))
  )

  it.live("K7: leaves to onFailure what can't be read, with the policy fail", () =>
    connected(Effect.gen(function*() {
      const { letters, seen } = yield* serving("fail")
      assert.deepStrictEqual(seen, ["Json", "Schema", "ContentType", "Text", "order 7"])
      assert.strictEqual(letters.length, 4)
    })))
})

describe("a consumer of a stream", () => {
  const filledStream = Effect.gen(function*() {
    const name = yield* queueName
    yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.stream(name)))
    // One after the other, so that they are in several chunks.
    for (const message of numbered(10)) yield* fill(name, message)
    return name
  })

  const first = (queue: string, offset: AmqpConsumer.StreamOffset, count: number) =>
    Effect.scoped(Effect.flatMap(AmqpConsumer.make(queue, { offset }), (consumer) => next(consumer, count)))

  it.live("V8: begins with the oldest message, with a number, at a time or so long ago", () =>
    connected(Effect.gen(function*() {
      const queue = yield* filledStream
      assert.deepStrictEqual(yield* first(queue, "first", 10), texts(10))
      assert.deepStrictEqual(yield* first(queue, 0, 10), texts(10))
      assert.deepStrictEqual(yield* first(queue, 4, 6), texts(6, 4))
      assert.deepStrictEqual(yield* first(queue, 7n, 3), texts(3, 7))
      assert.deepStrictEqual(yield* first(queue, new Date(0), 10), texts(10))
      assert.deepStrictEqual(yield* first(queue, Duration.hours(1), 10), texts(10))
      const [last] = yield* first(queue, "last", 1)
      assert.isAbove(Number(last), 0)
    })))

  it.live("V8: begins with what comes next by default, when it says so and for a time to come", () =>
    connected(Effect.gen(function*() {
      const queue = yield* filledStream
      const consumers = [
        yield* AmqpConsumer.make(queue),
        yield* AmqpConsumer.make(queue, { offset: "next" }),
        yield* AmqpConsumer.make(queue, { offset: new Date(Date.now() + 3_600_000) })
      ]
      yield* fill(queue, AmqpMessage.text("new"))
      for (const consumer of consumers) assert.deepStrictEqual(yield* next(consumer, 1), ["new"])
    })))

  it.live("K11: goes on after the last message that it handled when it begins at the number after that", () =>
    connected(Effect.gen(function*() {
      const queue = yield* filledStream
      const received = yield* AmqpConsumer.stream(queue, { offset: "first", prefetch: 1 }).pipe(
        Stream.tap((delivery) => delivery.ack),
        Stream.take(4),
        Stream.runCollect
      )
      const offset = received[3].properties.headers?.["x-stream-offset"]
      assert.strictEqual(offset, 3)
      assert.deepStrictEqual(yield* first(queue, Number(offset) + 1, 6), texts(6, 4))
    })))

  it.live("V8: without acknowledgements or a prefetch is refused before anything is sent when it is described", () =>
    connected(Effect.gen(function*() {
      const queue = AmqpQueue.stream(yield* queueName)
      const { description } = yield* failsWith(
        Effect.scoped(AmqpConsumer.make(queue, { prefetch: 0 })),
        "InvalidArgument"
      )
      assert.include(description, "prefetch")
      yield* failsWith(infoOf(queue.name), "NotFound")
    })))

  it.live("V8: without acknowledgements or a prefetch is refused by the broker when it is only named", () =>
    connected(Effect.gen(function*() {
      const queue = yield* filledStream
      const refusals = [
        yield* Effect.flip(Effect.scoped(AmqpConsumer.make(queue, { prefetch: 0 }))),
        yield* Effect.flip(Effect.scoped(AmqpConsumer.make(queue, { autoAck: true })))
      ]
      for (const { reason } of refusals) {
        const said = reason._tag === "ConnectionLost" ? reason.cause.reason : reason
        assert.oneOf(said._tag, ["PreconditionFailed", "NotImplemented"])
      }
    })))

  it.live.each(
    [
      ["before the first message", -1],
      ["between two messages", 1.5],
      ["at no number", NaN],
      ["at no time", new Date(NaN)],
      ["no time ago", Duration.zero]
    ] as const
  )("that begins %s is refused", ([, offset]) =>
    connected(Effect.gen(function*() {
      const queue = yield* filledStream
      const exit = yield* Effect.exit(Effect.scoped(AmqpConsumer.make(queue, { offset })))
      assert.isTrue(Exit.isFailure(exit), "it consumes")
      yield* failsWith(Effect.scoped(AmqpConsumer.make(queue, { offset })), "InvalidArgument")
    })))
})

describe("what RabbitMQ 4 is strict about", () => {
  it.live("V1: a connection with the smallest frames that it takes carries bodies of many frames both ways", () =>
    connected(
      Effect.gen(function*() {
        const { negotiated } = yield* AmqpConnection
        assert.strictEqual(negotiated.frameMax, 8192)
        const queue = yield* declaredQueue()
        const bodies = [8183, 8184, 8185, 100_000].map((size) => Uint8Array.from({ length: size }, (_, at) => at % 251))
        const { publishAll } = yield* AmqpPublisher.make()
        const received = yield* fork(Stream.runCollect(
          Stream.take(AmqpConsumer.stream(queue), bodies.length)
        ))
        yield* publishAll(bodies.map((body) => AmqpMessage.make(body)), toQueue(queue))
        assert.deepStrictEqual((yield* Fiber.join(received)).map(({ body }) => body), bodies)
      }),
      { frameMax: 8192 }
    ))

  it.live("V1: smaller frames are refused before anything is sent", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(connected(Effect.void, { frameMax: 8191 }))
      if (error._tag !== "AmqpConnectionError") return assert.fail(String(error))
      assert.include(assertReason(error, "InvalidArgument").description, "frameMax")
    }))
})
