import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  awaitConsumers,
  awaitMessages,
  connected,
  declaredQueue,
  eventually,
  failsWith,
  fill,
  fork,
  infoOf,
  queueName,
  take,
  toQueue,
  uniqueName
} from "../../support/broker.ts"
import { administration, isAdministrable } from "../../support/brokerUnderTest.ts"

const hello = AmqpMessage.text("hello")

/** A program that holds its channel until it is interrupted. */
const holding = Effect.map(Deferred.make<void>(), (begun) => ({
  begun: Deferred.await(begun),
  program: AmqpChannel.gen(function*() {
    yield* Deferred.succeed(begun, undefined)
    return yield* Effect.never
  })
}))

describe("a channel program", () => {
  it.live("publishes a message to a queue", () =>
    connected(Effect.gen(function*() {
      const queue = yield* queueName
      const declared = yield* AmqpChannel.run(AmqpChannel.gen(function*() {
        const info = yield* AmqpQueue.declare(queue)
        yield* AmqpChannel.publish(hello, toQueue(info.name))
        return info
      }))
      assert.deepStrictEqual(declared, { name: queue, messageCount: 0, consumerCount: 0 })
      yield* awaitMessages(queue, 1)
      assert.strictEqual((yield* take(queue)).text, "hello")
    })))

  it.live("E7: fails with NotFound when it publishes to an exchange that does not exist", () =>
    connected(Effect.gen(function*() {
      const exchange = uniqueName("exchange")
      const publish = AmqpChannel.publish(hello, { exchange, routingKey: "" })
      const reason = yield* failsWith(AmqpChannel.run(publish), "NotFound")
      assert.strictEqual(reason.replyCode, 404)
      assert.strictEqual(reason.method, "basic.publish")
      assert.include(reason.replyText, `no exchange '${exchange}'`)
      assert.include(reason.message, "basic.publish: 404 NOT_FOUND")
    })))

  it.live("fails with Returned when no queue takes a mandatory message", () =>
    connected(Effect.gen(function*() {
      const routingKey = uniqueName("queue")
      const publish = AmqpChannel.publish(hello, { exchange: "", routingKey, mandatory: true })
      const reason = yield* failsWith(AmqpChannel.run(publish), "Returned")
      assert.strictEqual(reason.replyCode, 312)
      assert.strictEqual(reason.routingKey, routingKey)
    })))

  it.live("E14: fails with NotFound for a queue that does not exist, and nothing else fails with it", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const missing = uniqueName("queue")
      const { publish } = yield* AmqpPublisher.make()
      const consumer = yield* AmqpConsumer.stream(queue).pipe(Stream.runHead, fork)
      const { begun, program } = yield* holding
      const other = yield* fork(AmqpChannel.run(program))
      yield* begun

      const reason = yield* failsWith(infoOf(missing), "NotFound")
      assert.strictEqual(reason.method, "queue.declare")
      assert.include(reason.message, "404 NOT_FOUND")
      assert.include(reason.message, missing)

      yield* publish(hello, toQueue(queue))
      const received = yield* Fiber.join(consumer)
      assert.strictEqual(Option.getOrThrow(received).text, "hello")
      assert.isUndefined(other.pollUnsafe())
      yield* infoOf(queue)
    })))

  it.live("can recover from its own failure and continue", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const program = AmqpChannel.fail({ _tag: "NotToday" } as const).pipe(
        AmqpChannel.catchTag("NotToday", () => AmqpQueue.declarePassive(queue))
      )
      assert.strictEqual((yield* AmqpChannel.run(program)).name, queue)
    })))

  it.live("fails each further operation with the reason why the broker closed its channel", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const missing = uniqueName("queue")
      const program = AmqpQueue.declarePassive(missing).pipe(
        AmqpChannel.catchTag("AmqpChannelError", () => AmqpQueue.declarePassive(queue))
      )
      const reason = yield* failsWith(AmqpChannel.run(program), "NotFound")
      assert.include(reason.replyText, missing)
      // A recovery around the run has another channel.
      const recovered = AmqpChannel.run(AmqpQueue.declarePassive(missing)).pipe(
        Effect.catchReason("AmqpChannelError", "NotFound", () => infoOf(queue))
      )
      assert.strictEqual((yield* recovered).name, queue)
    })))

  it.live("runs its finalizer on the same channel when it fails or is interrupted", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const goodbye = AmqpChannel.publish(hello, toQueue(queue)).pipe(
        AmqpChannel.catchTag("AmqpChannelError", () => Effect.void)
      )
      const failing = AmqpChannel.ensuring(AmqpChannel.fail("no"), goodbye)
      assert.strictEqual(yield* Effect.flip(AmqpChannel.run(failing)), "no")
      yield* awaitMessages(queue, 1)

      const { begun, program } = yield* holding
      const fiber = yield* fork(AmqpChannel.run(AmqpChannel.ensuring(program, goodbye)))
      yield* begun
      yield* Fiber.interrupt(fiber)
      yield* awaitMessages(queue, 2)
    })))

  it.live("can time out a step, and its channel still works", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const program = AmqpChannel.gen(function*() {
        const late = yield* AmqpChannel.fromEffect(Effect.never).pipe(
          AmqpChannel.timeout("20 millis"),
          AmqpChannel.catchTag("TimeoutError", () => Effect.succeed("late"))
        )
        return [late, (yield* AmqpQueue.declarePassive(queue)).name]
      })
      assert.deepStrictEqual(yield* AmqpChannel.run(program), ["late", queue])
    })))

  it.live("closes its channel when it is interrupted, and the message it was handling is requeued", () =>
    connected(
      Effect.gen(function*() {
        const queue = yield* declaredQueue()
        yield* fill(queue, hello)
        const got = yield* Deferred.make<void>()
        const fiber = yield* fork(AmqpChannel.run(
          AmqpQueue.get(queue, () => Effect.andThen(Deferred.succeed(got, undefined), Effect.never))
        ))
        yield* Deferred.await(got)
        // The only channel is in use.
        yield* failsWith(infoOf(queue), "TooManyChannels")
        yield* Fiber.interrupt(fiber)
        yield* awaitMessages(queue, 1)
        assert.isTrue((yield* take(queue)).redelivered)
      }),
      { channelMax: 1, maxIdleChannels: 0, channelTimeout: "50 millis" }
    ))

  it.live("has its own channel number, which is reused after it", () =>
    connected(
      Effect.gen(function*() {
        const queue = yield* Effect.sync(() => uniqueName("queue"))
        const declare = AmqpChannel.run(AmqpQueue.declare(AmqpQueue.classic(queue, { exclusive: true })))
        for (let round = 0; round < 3; round++) {
          const publishers = yield* Scope.make()
          yield* Scope.provide(Effect.all([AmqpPublisher.make(), AmqpPublisher.make()]), publishers)
          const { limit } = yield* failsWith(declare, "TooManyChannels")
          assert.strictEqual(limit, 2)
          yield* Scope.close(publishers, Exit.void)
          for (let program = 0; program < 20; program++) yield* declare
        }
      }),
      { channelMax: 2, maxIdleChannels: 0, channelTimeout: "50 millis" }
    ))

  it.live.runIf(isAdministrable)("leaves no channel on the broker when it is interrupted", () => {
    const connectionName = uniqueName("connection")
    return connected(
      Effect.gen(function*() {
        const holders = yield* Effect.all([holding, holding, holding])
        const fibers = yield* Effect.forEach(holders, ({ program }) => fork(AmqpChannel.run(program)))
        yield* Effect.forEach(holders, ({ begun }) => begun)
        const numbers = Effect.map(
          administration().channelsOf(connectionName),
          (channels) => channels.map(({ number }) => number)
        )
        assert.deepStrictEqual(yield* numbers, [1, 2, 3])
        yield* Fiber.interruptAll(fibers.slice(0, 2))
        yield* eventually(numbers, (numbers) => numbers.join() === "3")
      }),
      { connectionName, url: administration().url }
    )
  })

  it.live("does not receive the messages of a consumer on the same connection", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const consumer = yield* AmqpConsumer.stream(queue, { prefetch: 1 }).pipe(
        Stream.take(1),
        Stream.tap((delivery) => delivery.ack),
        Stream.runHead,
        fork
      )
      yield* awaitConsumers(queue, 1)
      yield* AmqpChannel.run(AmqpChannel.publish(hello, toQueue(queue)))
      assert.strictEqual(Option.getOrThrow(yield* Fiber.join(consumer)).text, "hello")
      assert.deepStrictEqual(yield* infoOf(queue), { name: queue, messageCount: 0, consumerCount: 0 })
    })))
})
