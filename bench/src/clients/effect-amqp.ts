/**
 * This project's client. The loops are Effects, as users write them, and `runPromise` runs a whole scenario.
 */
import { AmqpChannel, AmqpConsumer, AmqpMessage, AmqpPublisher, AmqpQueue } from "@effect-amqp/core"
import type { AmqpConnection } from "@effect-amqp/core"
import { NodeAmqp } from "@effect-amqp/node"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Client, Pass, Workload } from "../workload.ts"
import { batch, inFlight, prefetch } from "../workload.ts"

type Scenario = (workload: Workload) => Promise<void>

const measured = (
  section: (pass: Pass, body: Uint8Array) => Effect.Effect<void, unknown, AmqpConnection.AmqpConnection>,
  options: AmqpConnection.Options = {}
): Scenario =>
({ body, measured, stopwatch, url, warmUp }) =>
  Effect.gen(function*() {
    yield* section(warmUp, body)
    stopwatch.start()
    yield* section(measured, body)
    stopwatch.stop()
  }).pipe(Effect.provide(NodeAmqp.layer({ ...options, url })), Effect.runPromise)

// The runner ends when the channel is closed, which the broker confirms after it has handled every publish.
const publish = measured(({ count, queue }, body) => {
  const message = AmqpMessage.make(body)
  const route = { exchange: "", routingKey: queue }
  return AmqpChannel.run(AmqpChannel.gen(function*() {
    for (let published = 0; published < count; published++) {
      yield* AmqpChannel.publish(message, route)
    }
  }))
})

const publishConfirmed = measured(({ count, queue }, body) =>
  Effect.scoped(Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.make()
    const message = AmqpMessage.make(body)
    const route = { exchange: "", routingKey: queue }
    let left = count
    const awaiter = Effect.gen(function*() {
      while (left > 0) {
        left--
        yield* publisher.publish(message, route)
      }
    })
    yield* Effect.all(Array.from({ length: Math.min(inFlight, count) }, () => awaiter), {
      concurrency: "unbounded",
      discard: true
    })
  }))
)

const publishConfirmedBatch = measured(({ count, queue }, body) =>
  Effect.scoped(Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.make()
    const message = AmqpMessage.make(body)
    const route = { exchange: "", routingKey: queue }
    for (let left = count; left > 0; left -= batch) {
      yield* publisher.publishAll(Array.from({ length: Math.min(batch, left) }, () => message), route)
    }
  }))
)

// The stream ends when its channel is closed, which the broker confirms after it has handled every ack.
const consumeAck = measured(({ count, queue }) =>
  AmqpConsumer.stream(queue, { prefetch }).pipe(
    Stream.take(count),
    Stream.runForEach((delivery) => delivery.ack)
  )
)

const consumeAutoAck = measured(({ count, queue }) =>
  AmqpConsumer.stream(queue, { autoAck: true }).pipe(
    Stream.take(count),
    Stream.runDrain
  )
)

const declare = measured(({ count, queue }) =>
  AmqpChannel.run(AmqpChannel.gen(function*() {
    for (let declared = 0; declared < count; declared++) {
      yield* AmqpQueue.declarePassive(queue)
    }
  }))
)

// Without idle channels to reuse, each program opens and closes a channel, as the peers do.
const channel = measured(
  ({ count }) =>
    Effect.gen(function*() {
      for (let opened = 0; opened < count; opened++) {
        yield* AmqpChannel.run(AmqpChannel.succeed(undefined))
      }
    }),
  { maxIdleChannels: 0 }
)

export const client: Client = {
  publish,
  "publish-confirmed": publishConfirmed,
  "publish-confirmed-batch": publishConfirmedBatch,
  "consume-ack": consumeAck,
  "consume-auto-ack": consumeAutoAck,
  declare,
  channel
}
