/**
 * Limits that are set for a whole broker, tested on a private broker with small ones.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import type * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { afterAll, beforeAll } from "vitest"
import {
  assertReason,
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
  toQueue
} from "../../support/broker.ts"
import { embeddedVersion, isEmbedded, isVersionSince } from "../../support/brokerUnderTest.ts"
import { startEmbeddedBroker } from "../../support/embeddedBroker.ts"
import { canStartPrivateBroker, startPrivateBroker } from "../../support/privateBroker.ts"

const maxMessageSize = 65_536

describe.runIf(isEmbedded || canStartPrivateBroker())("a broker with small limits", () => {
  let broker: { readonly url: string; readonly version: string; readonly stop: () => Promise<void> }

  beforeAll(async () => {
    broker = isEmbedded
      ? await startEmbeddedBroker({ maxMessageSize, consumerTimeout: "300 millis", version: embeddedVersion })
      : await startPrivateBroker({
        advancedConfig: `[{rabbit, [
          {max_message_size, ${maxMessageSize}},
          {consumer_timeout, 300},
          {channel_tick_interval, 50}
        ]}]`
      })
  })

  afterAll(() => broker.stop())

  /** From 4.3 on, a consumer that does not settle in time is cancelled, and its channel stays open. */
  const cancelsConsumers = (): boolean => isVersionSince(broker.version, 4, 3)

  const onBroker = <A, E, R>(body: Effect.Effect<A, E, R>, options: Partial<NodeAmqp.Options> = {}) =>
    Effect.suspend(() => connected(body, { url: broker.url, ...options }))

  const ofSize = (size: number) => AmqpMessage.make(new Uint8Array(size))

  it.live("P8, V3: fails a publish over its size limit once, with its reply text, and accepts the next one", () =>
    onBroker(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { publish } = yield* AmqpPublisher.make()
      yield* publish(ofSize(maxMessageSize), toQueue(queue))
      const { cause } = yield* failsWith(publish(ofSize(maxMessageSize + 1), toQueue(queue)), "OutcomeUnknown")
      const reason = assertReason(cause, "PreconditionFailed")
      assert.include(reason.replyText, "message size 65537 is larger than configured max size 65536")
      assert.strictEqual(reason.method, "basic.publish")
      assert.isFalse(reason.isRetryable)
      yield* publish(ofSize(1), toQueue(queue))
      assert.strictEqual((yield* infoOf(queue)).messageCount, 2)
    })))

  it.live("P8: fails a message over its size limit, and of the others only those in flight", () =>
    onBroker(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { publishAll } = yield* AmqpPublisher.make()
      const batch = Array.from({ length: 50 }, (_, index) => ofSize(index === 20 ? maxMessageSize * 4 : index))
      const error = yield* Effect.flip(publishAll(batch, toQueue(queue)))
      assert.include(error.failures.map(({ index }) => index), 20)
      for (const { error: failure, index } of error.failures) {
        assertReason(assertReason(failure, "OutcomeUnknown").cause, index === 20 ? "PreconditionFailed" : "ChannelLost")
      }
      assert.strictEqual(error.confirmed + error.failures.length, 50)
      assert.isAtLeast((yield* infoOf(queue)).messageCount, error.confirmed)
    })))

  it.live("P8, E9: fails a program over its size limit, with confirms, without and in a transaction", () =>
    onBroker(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const publish = AmqpChannel.publish(ofSize(maxMessageSize + 1), toQueue(queue))
      yield* failsWith(AmqpChannel.run(publish), "PreconditionFailed")
      yield* failsWith(AmqpChannel.transaction(publish), "PreconditionFailed")
      const error = yield* Effect.flip(AmqpChannel.confirmed(publish))
      if (error._tag !== "AmqpPublishAllError") return assert.fail(String(error))
      assertReason(assertReason(error.failures[0].error, "OutcomeUnknown").cause, "PreconditionFailed")
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
    })))

  it.live("P8: is not sent a message over maxPublishSize", () =>
    Effect.suspend(() =>
      connected(
        Effect.gen(function*() {
          const queue = yield* declaredQueue()
          const { publish } = yield* AmqpPublisher.make()
          const results = yield* Effect.forEach(
            [1, maxMessageSize + 1, maxMessageSize],
            (size) => Effect.result(publish(ofSize(size), toQueue(queue))),
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual(results.map(Result.isSuccess), [true, false, true])
          const [, refused] = results
          if (Result.isSuccess(refused)) return assert.fail("it was sent")
          const { description } = assertReason(assertReason(refused.failure, "NotSent").cause, "InvalidArgument")
          assert.include(description, "65537 bytes are more than the limit of 65536")
        }),
        { url: broker.url, maxPublishSize: maxMessageSize }
      )
    ))

  it.live.each([["classic", AmqpQueue.classic], ["quorum", AmqpQueue.quorum]] as const)(
    "K2, E9: ends a consumer that does not settle in time, with the reason, and another can consume: %s queue",
    ([kind, describe]) =>
      onBroker(Effect.gen(function*() {
        const queue = yield* queueName
        yield* AmqpChannel.run(AmqpQueue.declare(describe(queue)))
        yield* fill(queue, AmqpMessage.text("slow"))
        const { awaitClosed } = yield* AmqpConnection
        const closed = yield* fork(awaitClosed)

        const consumer = yield* fork(Stream.runDrain(AmqpConsumer.stream(queue)))
        if (cancelsConsumers() && kind === "classic") {
          yield* Effect.sleep("1 second")
          return assert.isUndefined(consumer.pollUnsafe(), "from 4.3 on, classic queues have no such limit")
        }
        const error = yield* failureOf(consumer)
        if (cancelsConsumers()) {
          assert.strictEqual(error._tag, "AmqpConsumerCancelled")
        } else {
          if (error._tag !== "AmqpChannelError") return assert.fail(error._tag)
          const reason = assertReason(error, "PreconditionFailed")
          assert.match(
            reason.replyText,
            /^PRECONDITION_FAILED - delivery acknowledgement on channel \d+ timed out\. Timeout value used: 300 ms\. This timeout value can be configured, see consumers doc guide to learn more$/
          )
        }

        // The message is requeued.
        yield* awaitMessages(queue, 1)
        const [again] = yield* Stream.runCollect(
          Stream.take(Stream.tap(AmqpConsumer.stream(queue), (delivery) => delivery.ack), 1)
        )
        assert.deepStrictEqual([again.text, again.redelivered], ["slow", true])
        assert.isUndefined(closed.pollUnsafe())
      }))
  )

  it.live("K2: ends serve when a handler takes too long, and the late settlement is dropped", () =>
    onBroker(Effect.gen(function*() {
      const queue = yield* queueName
      yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.quorum(queue)))
      yield* fill(queue, AmqpMessage.text("slow"))
      let handled = 0
      const serve = AmqpConsumer.serve(queue, () => {
        handled++
        return handled === 1
          ? Effect.delay(Effect.succeed(AmqpDelivery.ack), "1 second")
          : Effect.succeed(AmqpDelivery.ack)
      })
      // Whether to consume again is up to the program.
      const error = yield* Effect.flip(serve)
      if (cancelsConsumers()) {
        assert.strictEqual(error._tag, "AmqpConsumerCancelled")
      } else {
        if (error._tag !== "AmqpChannelError") return assert.fail(error._tag)
        assertReason(error, "PreconditionFailed")
      }
      const server = yield* fork(Effect.retry(serve, Schedule.spaced("50 millis")))
      yield* awaitMessages(queue, 0)
      assert.isUndefined(server.pollUnsafe())
    })))

  it.live("K2: with recovery, serve consumes again after a handler took too long, and goes on", () =>
    onBroker(
      Effect.gen(function*() {
        const queue = yield* queueName
        yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.quorum(queue)))
        const { stateChanges } = yield* AmqpConnection
        const states: Array<string> = []
        yield* fork(Stream.runForEach(stateChanges, ({ _tag }) => Effect.sync(() => states.push(_tag))))
        yield* fill(queue, AmqpMessage.text("slow"))
        const begun: Array<readonly [text: string, redelivered: boolean]> = []
        const again = yield* Latch.make()
        const server = yield* fork(AmqpConsumer.serve(queue, ({ redelivered, text }) => {
          switch (begun.push([text, redelivered])) {
            // Too late: the broker has requeued the message, and it is being handled again.
            case 1:
              return Effect.as(again.await, AmqpDelivery.ack)
            case 2:
              return Effect.as(Effect.andThen(again.open, Effect.sleep("20 millis")), AmqpDelivery.requeue)
            default:
              return Effect.succeed(AmqpDelivery.ack)
          }
        }, { concurrency: 2 }))
        const awaitBegun = (count: number) => eventually(Effect.sync(() => begun.length), (length) => length === count)
        yield* awaitBegun(3)
        yield* awaitMessages(queue, 0)
        yield* fill(queue, AmqpMessage.text("next"))
        yield* awaitBegun(4)
        // Longer than the consumer timeout: what was not acknowledged comes back.
        yield* Effect.sleep("1 second")
        assert.deepStrictEqual(begun, [["slow", false], ["slow", true], ["slow", true], ["next", false]])
        assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
        assert.isUndefined(server.pollUnsafe())
        assert.deepStrictEqual(states, ["Open"], "only the channel is replaced")
      }),
      { recovery: true }
    ))
})
