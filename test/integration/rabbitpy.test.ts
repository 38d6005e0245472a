/**
 * What rabbitpy 3.0.2 tests, and where it fails, on a broker. Failures that need a misbehaving broker are among the simulations.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as OneShot from "@effect-amqp/node/NodeAmqpOneShot"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import {
  assertReason,
  awaitConsumers,
  awaitMessages,
  connected,
  declaredExchange,
  declaredQueue,
  eventually,
  failsWith,
  fill,
  fork,
  infoOf,
  take,
  toQueue,
  uniqueName
} from "../support/broker.ts"
import { administration, brokerUrl, isAdministrable } from "../support/brokerUnderTest.ts"

const { confirmed, run, transaction } = AmqpChannel

const hello = AmqpMessage.text("hello")

const numbered = (count: number) => Array.from({ length: count }, (_, index) => AmqpMessage.text(String(index)))

const texts = (count: number) => Array.from({ length: count }, (_, index) => String(index))

describe("rabbitpy's tests", () => {
  it.live("rabbitpy: five confirmed publishes are five messages in the queue", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { publish } = yield* AmqpPublisher.make()
      yield* Effect.forEach(numbered(5), (message) => publish(message, toQueue(queue)))
      assert.strictEqual((yield* infoOf(queue)).messageCount, 5)
    })))

  it.live("rabbitpy: properties arrive unchanged", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const properties = {
        appId: "rabbitpy",
        messageId: crypto.randomUUID(),
        timestamp: new Date(1_700_000_000_000),
        type: "test"
      }
      yield* fill(queue, AmqpMessage.text("hello", properties))
      assert.deepInclude((yield* take(queue)).properties, properties)
    })))

  it.live("rabbitpy: a consumer that stops after one message consumes no more", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(5))
      const [first] = yield* Stream.runCollect(
        Stream.take(Stream.tap(AmqpConsumer.stream(queue, { prefetch: 1 }), (delivery) => delivery.ack), 1)
      )
      assert.strictEqual(first.text, "0")
      yield* awaitMessages(queue, 4)
      assert.strictEqual((yield* infoOf(queue)).consumerCount, 0)
    })))

  it.live("rabbitpy: a consumer cancelled by another fiber has received all ten messages, and its loop ends", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { cancel, stream } = yield* AmqpConsumer.make(queue)
      const received: Array<string> = []
      const loop = yield* fork(Stream.runForEach(stream, (delivery) =>
        Effect.suspend(() => {
          received.push(delivery.text)
          return delivery.ack
        })))
      const { publish } = yield* AmqpPublisher.make()
      yield* Effect.forEach(numbered(10), (message) => publish(message, toQueue(queue)))
      yield* eventually(Effect.sync(() => received.length), (length) => length === 10)
      yield* fork(cancel)
      yield* Fiber.join(loop)
      assert.deepStrictEqual(received, texts(10))
      assert.strictEqual((yield* infoOf(queue)).consumerCount, 0)
    })))

  it.live("rabbitpy: a consumer has the given consumer tag", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const consumer = yield* fork(Stream.runDrain(AmqpConsumer.stream(queue, { consumerTag: "rabbitpy-1" })))
      yield* awaitConsumers(queue, 1)
      yield* run(AmqpQueue.delete(queue))
      const error = yield* Effect.flip(Fiber.join(consumer))
      assert.include(error, { _tag: "AmqpConsumerCancelled", consumerTag: "rabbitpy-1" })
    })))

  it.live("rabbitpy: a message rejected with requeue is redelivered", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, hello)
      const get = (settlement: AmqpDelivery.Settlement) =>
        run(AmqpQueue.get(queue, ({ redelivered }) => Effect.succeed(AmqpDelivery.as(settlement, redelivered))))
      assert.deepStrictEqual(yield* get(AmqpDelivery.requeue), Option.some(false))
      assert.deepStrictEqual(yield* get(AmqpDelivery.ack), Option.some(true))
    })))

  it.live("rabbitpy: a queue without a name is named by the broker", () =>
    connected(Effect.gen(function*() {
      assert.match((yield* run(AmqpQueue.declare(AmqpQueue.serverNamed()))).name, /^amq\.gen-/)
    })))

  it.live.each([AmqpExchange.direct, AmqpExchange.fanout, AmqpExchange.headers, AmqpExchange.topic])(
    "rabbitpy: an exchange of each type exists after a one-shot declare",
    (describe) =>
      Effect.gen(function*() {
        const exchange = describe(uniqueName("exchange"))
        yield* OneShot.declare(brokerUrl, exchange)
        yield* OneShot.run(brokerUrl, AmqpExchange.declarePassive(exchange)).pipe(
          Effect.ensuring(Effect.orDie(OneShot.deleteExchange(brokerUrl, exchange.name)))
        )
      })
  )

  it.live("rabbitpy: an empty name is refused before connecting", () =>
    Effect.forEach([
      OneShot.get("amqp://127.0.0.1:1", ""),
      OneShot.deleteQueue("amqp://127.0.0.1:1", ""),
      OneShot.deleteExchange("amqp://127.0.0.1:1", "")
    ], (operation) => failsWith(operation, "InvalidArgument")))

  it.live("rabbitpy: a deleted queue or exchange is not found", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const exchange = yield* declaredExchange(AmqpExchange.topic)
      yield* run(AmqpQueue.delete(queue))
      yield* run(AmqpExchange.delete(exchange))
      yield* failsWith(infoOf(queue), "NotFound")
      yield* failsWith(run(AmqpExchange.declarePassive(exchange)), "NotFound")
    })))

  it.live("rabbitpy: a get from an empty queue returns none", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      assert.isTrue(Option.isNone(yield* run(AmqpQueue.getAutoAck(queue))))
      assert.isTrue(Option.isNone(yield* run(AmqpQueue.get(queue, () => Effect.die("there is none")))))
    })))

  it.live("rabbitpy: a confirmed mandatory publish to a missing exchange fails promptly with NotFound", () =>
    connected(Effect.gen(function*() {
      const { publish } = yield* AmqpPublisher.make()
      const failing = publish(hello, { exchange: uniqueName("exchange"), routingKey: "", mandatory: true })
      assertReason((yield* failsWith(failing, "OutcomeUnknown")).cause, "NotFound")
    })))

  it.live("rabbitpy: a denied login fails promptly with AuthenticationFailed", () =>
    Effect.gen(function*() {
      const url = new URL(brokerUrl)
      url.password = "wrong"
      const error = yield* Effect.flip(connected(Effect.void, { url: url.href }))
      if (error._tag !== "AmqpConnectionError") return assert.fail(String(error))
      assertReason(error, "AuthenticationFailed")
    }))

  it.live.runIf(isAdministrable)("rabbitpy: each channel has its own number, which is reused", () => {
    const connectionName = uniqueName("connection")
    return connected(
      Effect.gen(function*() {
        const publishers = Effect.all([AmqpPublisher.make(), AmqpPublisher.make(), AmqpPublisher.make()])
        for (let round = 0; round < 50; round++) yield* Effect.scoped(publishers)
        yield* publishers
        const channels = yield* administration().channelsOf(connectionName)
        assert.deepStrictEqual(channels.map(({ number }) => number), [1, 2, 3])
      }),
      { connectionName, url: administration().url }
    )
  })

  it.live("rabbitpy: a message nacked without requeue is removed", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, hello)
      yield* Stream.runDrain(
        Stream.take(Stream.tap(AmqpConsumer.stream(queue), (delivery) => delivery.nack({ requeue: false })), 1)
      )
      yield* awaitConsumers(queue, 0)
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
    })))

  it.live("rabbitpy: a queue of five messages is empty after a purge", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(5))
      assert.strictEqual(yield* run(AmqpQueue.purge(queue)), 5)
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
    })))

  it.live("rabbitpy: a message of 300,000 bytes arrives in many frames", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const body = crypto.getRandomValues(new Uint8Array(60_000))
      const large = new Uint8Array(300_000).map((_, index) => body[index % body.length])
      yield* fill(queue, AmqpMessage.make(large))
      assert.deepStrictEqual((yield* take(queue)).body, large)
    })))

  it.live("rabbitpy: a transaction's messages arrive when it is committed, and not when it is rolled back", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const publish = AmqpChannel.publish(hello, toQueue(queue))
      yield* Effect.exit(transaction(AmqpChannel.andThen(publish, AmqpChannel.fail("no"))))
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
      yield* transaction(publish)
      assert.strictEqual((yield* infoOf(queue)).messageCount, 1)
    })))
})

describe("rabbitpy's failures", () => {
  it.live("rabbitpy failure 1: an idle connection, publisher and consumer use no CPU time", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* AmqpPublisher.make()
      yield* fork(Stream.runDrain(AmqpConsumer.stream(queue)))
      yield* awaitConsumers(queue, 1)
      const before = process.cpuUsage()
      // The measured time.
      yield* Effect.sleep("500 millis")
      const { system, user } = process.cpuUsage(before)
      assert.isBelow(system + user, 250_000, "microseconds of 500,000")
    })))

  it.live("rabbitpy failure 3: a return followed by an ack of another message confirms the right one", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const missing = uniqueName("queue")
      const { publish } = yield* AmqpPublisher.make()
      const outcomes = yield* Effect.forEach(
        Array(100).keys(),
        (index) =>
          Effect.match(publish(hello, { ...toQueue(index % 2 === 0 ? missing : queue), mandatory: true }), {
            onSuccess: () => "confirmed",
            onFailure: ({ reason }) => reason._tag
          }),
        { concurrency: "unbounded" }
      )
      for (const [index, outcome] of outcomes.entries()) {
        assert.strictEqual(outcome, index % 2 === 0 ? "Returned" : "confirmed", `message ${index}`)
      }
    })))

  it.live("rabbitpy failure 4: after the broker closes a channel, each operation on it fails at once, and other channels work", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const missing = uniqueName("queue")
      const closed = AmqpQueue.declarePassive(missing).pipe(
        AmqpChannel.map(() => "found"),
        AmqpChannel.catchTag("AmqpChannelError", () => Effect.succeed("closed"))
      )
      const publish = AmqpChannel.publish(hello, toQueue(queue))
      for (const step of [publish, AmqpChannel.map(AmqpQueue.declarePassive(queue), () => undefined)]) {
        const program = run(AmqpChannel.andThen(closed, step)).pipe(Effect.timeoutOrElse({
          duration: "5 seconds",
          orElse: () => Effect.die(new Error("it hangs"))
        }))
        assert.include((yield* failsWith(program, "NotFound")).replyText, missing)
      }
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
      yield* confirmed(publish)
      assert.strictEqual((yield* infoOf(queue)).messageCount, 1)
    })))

  it.live("rabbitpy failure 5: a connection with a running consumer can be closed", () =>
    Effect.gen(function*() {
      const queue = AmqpQueue.classic(uniqueName("queue"), { exclusive: true })
      const consumer = yield* connected(Effect.gen(function*() {
        yield* run(AmqpQueue.declare(queue))
        yield* fill(queue.name, ...numbered(10))
        // Detached, so that it outlives the connection.
        const consumer = yield* Effect.forkDetach(
          Stream.runForEach(AmqpConsumer.stream(queue.name, { prefetch: 3 }), () => Effect.void)
        )
        yield* awaitConsumers(queue.name, 1)
        return consumer
      }))
      const error = yield* Effect.flip(Fiber.join(consumer))
      if (error._tag !== "AmqpChannelError") return assert.fail(error._tag)
      assertReason(error, "ConnectionLost")
    }))

  it.live.runIf(isAdministrable)("rabbitpy failure 6: the broker receives the client's properties", () => {
    const connectionName = uniqueName("connection")
    return connected(
      Effect.gen(function*() {
        assert.strictEqual(yield* administration().connectionsNamed(connectionName), 1)
      }),
      { connectionName, url: administration().url }
    )
  })

  it.live("rabbitpy failure 7: body frames with their overhead do not exceed the negotiated frame size", () =>
    connected(
      Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const { frameMax } = yield* (yield* AmqpConnection).negotiated
        const sizes = [-9, -8, -7, -1, 0, 1].map((offset) => frameMax + offset)
        yield* fill(queue, ...sizes.map((size) => AmqpMessage.make(new Uint8Array(size).fill(7))))
        for (const size of sizes) assert.deepStrictEqual((yield* take(queue)).body, new Uint8Array(size).fill(7))
      }),
      { frameMax: 8192 }
    ))

  it.live("rabbitpy failure 9: each delivery tag comes with its own body, in order, during other requests", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const count = 1000
      const asking = yield* fork(Effect.forever(infoOf(queue)))
      const consumer = yield* fork(
        AmqpConsumer.stream(queue, { prefetch: 10 }).pipe(
          Stream.tap((delivery) => delivery.ack),
          Stream.take(count),
          Stream.map(({ deliveryTag, text }) => [deliveryTag, text] as const),
          Stream.runCollect
        )
      )
      const { publishAll } = yield* AmqpPublisher.make()
      yield* publishAll(numbered(count), toQueue(queue))
      const received = yield* Fiber.join(consumer)
      yield* Fiber.interrupt(asking)
      assert.deepStrictEqual(received, texts(count).map((text, index) => [index + 1, text] as const))
    })))

  it.live("rabbitpy failure 11: two consumers on one channel each receive their own messages", () =>
    connected(Effect.gen(function*() {
      const queues = [yield* declaredQueue(), yield* declaredQueue()]
      // Consumers of one stream share a channel.
      const received = yield* fork(
        AmqpConsumer.stream(queues, { prefetch: 3 }).pipe(
          Stream.tap((delivery) => delivery.ack),
          Stream.take(200),
          Stream.map(({ routingKey, text }) => [routingKey, text] as const),
          Stream.runCollect
        )
      )
      const { publish } = yield* AmqpPublisher.make()
      yield* Effect.forEach(
        Array(100).keys(),
        (index) => Effect.forEach(queues, (queue) => publish(AmqpMessage.text(`${queue} ${index}`), toQueue(queue))),
        {
          concurrency: 10
        }
      )
      for (const queue of queues) {
        const own = (yield* Fiber.join(received)).filter(([routingKey]) => routingKey === queue)
        assert.sameMembers(own.map(([, text]) => text), texts(100).map((index) => `${queue} ${index}`))
      }
    })))
})
