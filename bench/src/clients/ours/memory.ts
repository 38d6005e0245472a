/**
 * The workloads `through` and `consumers-settled` of this project's client.
 */
import { AmqpConsumer, AmqpMessage, AmqpPublisher } from "@effect-amqp/core"
import { NodeAmqp } from "@effect-amqp/node"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Countdown } from "../../countdown.ts"
import { settledRssBytes } from "../../memory.ts"
import type { Pass } from "../../task.ts"
import type { Run } from "../../workload.ts"
import { messagesPerConsumer } from "../../workload.ts"

const publishInBatches = (
  publisher: AmqpPublisher.AmqpPublisher["Service"],
  { count, queue }: Pass,
  window: number,
  body: Buffer
) =>
  Effect.gen(function*() {
    const message = AmqpMessage.make(body)
    const route = { exchange: "", routingKey: queue }
    for (let left = count; left > 0; left -= window) {
      yield* publisher.publishAll(Array.from({ length: Math.min(window, left) }, () => message), route)
    }
  })

export const through: Run = ({ body, measured, stopwatch, url, warmUp, window }) =>
  Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.make()
    const section = (pass: Pass) =>
      Effect.all([
        AmqpConsumer.stream(pass.queue, { prefetch: window }).pipe(
          Stream.take(pass.count),
          Stream.runForEach((delivery) => delivery.ack)
        ),
        publishInBatches(publisher, pass, window, body)
      ], { concurrency: 2, discard: true })
    yield* section(warmUp)
    stopwatch.start()
    yield* section(measured)
    stopwatch.stop()
  }).pipe(Effect.scoped, Effect.provide(NodeAmqp.layer({ url })), Effect.runPromise)

export const consumersSettled: Run = ({ body, measured, stopwatch, url, warmUp, window }) =>
  Effect.gen(function*() {
    const section = Effect.fnUntraced(function*({ count, queue }: Pass) {
      const messages = count * messagesPerConsumer
      const received = new Countdown(messages)
      for (let started = 0; started < count; started++) {
        const { stream } = yield* AmqpConsumer.make(queue, { prefetch: messagesPerConsumer })
        yield* Effect.forkScoped(Stream.runForEach(stream, (delivery) => {
          received.count()
          return delivery.ack
        }))
      }
      const publisher = yield* AmqpPublisher.make()
      yield* publishInBatches(publisher, { queue, count: messages }, window, body)
      yield* Effect.promise(() => received.ended)
    })
    yield* section(warmUp)
    stopwatch.start()
    yield* section(measured)
    stopwatch.stop()
    const settled = yield* Effect.promise(settledRssBytes)
    return { settledRssBytes: settled }
  }).pipe(Effect.scoped, Effect.provide(NodeAmqp.layer({ url })), Effect.runPromise)
