/**
 * This project's client. The loops are Effects, as users write them, and `runPromise` runs a whole scenario.
 */
import {
  AmqpChannel,
  AmqpConsumer,
  AmqpDelivery,
  AmqpMessage,
  AmqpPublisher,
  AmqpQueue,
  AmqpRpc
} from "@effect-amqp/core"
import type { AmqpConnection } from "@effect-amqp/core"
import { NodeAmqp } from "@effect-amqp/node"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Pass } from "../task.ts"
import type { Client, Workload } from "../workload.ts"
import { callsAtOnce, shares } from "../workload.ts"
import { workloads } from "./ours/workloads.ts"

type Run = (workload: Workload) => Promise<void>

/** Everything but the stopwatch and the passes, of which a section does one. */
type Section = (pass: Pass, workload: Workload) => Effect.Effect<void, unknown, AmqpConnection.AmqpConnection>

/** Runs the section on the warm-up pass, and then, with the stopwatch running, on the measured pass. */
const measured = (section: Section, options: AmqpConnection.Options = {}): Run => (workload) =>
  Effect.gen(function*() {
    yield* section(workload.warmUp, workload)
    workload.stopwatch.start()
    yield* section(workload.measured, workload)
    workload.stopwatch.stop()
  }).pipe(Effect.provide(NodeAmqp.layer({ ...options, url: workload.url })), Effect.runPromise)

const inParallel = { concurrency: "unbounded", discard: true } as const

/** Splits the work of a pass among publishers, each of which has its own channel. They are opened before measuring, as by the peers. */
const withPublishers = (
  split: "channels" | "publishers",
  part: (
    publisher: AmqpPublisher.AmqpPublisher["Service"],
    pass: Pass,
    window: number,
    workload: Workload
  ) => Effect.Effect<void, unknown>
): Run =>
(workload) =>
  Effect.gen(function*() {
    const { split: { [split]: parts }, stopwatch, window } = workload
    const publishers = yield* Effect.replicateEffect(AmqpPublisher.make(), parts)
    const windows = shares(window, parts)
    const section = ({ count, queue }: Pass) => {
      const counts = shares(count, parts)
      return Effect.forEach(
        publishers,
        (publisher, index) => part(publisher, { queue, count: counts[index] }, Math.max(1, windows[index]), workload),
        inParallel
      )
    }
    yield* section(workload.warmUp)
    stopwatch.start()
    yield* section(workload.measured)
    stopwatch.stop()
  }).pipe(Effect.scoped, Effect.provide(NodeAmqp.layer({ url: workload.url })), Effect.runPromise)

// The runner ends when the channel is closed, which the broker confirms after it has handled every publish.
const publish = measured(({ count, queue }, { body }) => {
  const message = AmqpMessage.make(body)
  const route = { exchange: "", routingKey: queue }
  return AmqpChannel.run(AmqpChannel.gen(function*() {
    for (let published = 0; published < count; published++) {
      yield* AmqpChannel.publish(message, route)
    }
  }))
})

/** Runs `step` `count` times, at most `window` at once. */
const concurrently = <E, R>(count: number, window: number, step: Effect.Effect<unknown, E, R>) => {
  let left = count
  const loop = Effect.gen(function*() {
    while (left > 0) {
      left--
      yield* step
    }
  })
  return Effect.all(Array.from({ length: Math.min(window, count) }, () => loop), inParallel)
}

const publishConfirmed = withPublishers(
  "channels",
  (publisher, { count, queue }, window, { body }) =>
    concurrently(count, window, publisher.publish(AmqpMessage.make(body), { exchange: "", routingKey: queue }))
)

const publishConfirmedBatch = withPublishers(
  "publishers",
  (publisher, { count, queue }, window, { body }) =>
    Effect.gen(function*() {
      const message = AmqpMessage.make(body)
      const route = { exchange: "", routingKey: queue }
      for (let left = count; left > 0; left -= window) {
        yield* publisher.publishAll(Array.from({ length: Math.min(window, left) }, () => message), route)
      }
    })
)

// The stream ends when its channel is closed, which the broker confirms after it has handled every ack.
const consumeAlone: Section = ({ count, queue }, { window }) =>
  AmqpConsumer.stream(queue, { prefetch: window }).pipe(
    Stream.take(count),
    Stream.runForEach((delivery) => delivery.ack)
  )

/** Any of the consumers receives the last message; then all of them end. */
const consumeTogether: Section = ({ count, queue }, { split: { consumers }, window }) =>
  Effect.gen(function*() {
    const last = yield* Deferred.make<void>()
    let received = 0
    const consumer = AmqpConsumer.stream(queue, { prefetch: Math.ceil(window / consumers) }).pipe(
      Stream.interruptWhen(Deferred.await(last)),
      Stream.runForEach((delivery) =>
        ++received < count ? delivery.ack : Effect.andThen(delivery.ack, Deferred.succeed(last, undefined))
      )
    )
    yield* Effect.all(Array.from({ length: consumers }, () => consumer), inParallel)
  })

const consumeAck = measured((pass, workload) =>
  (workload.split.consumers === 1 ? consumeAlone : consumeTogether)(pass, workload)
)

const consumeAutoAck = measured(({ count, queue }) =>
  AmqpConsumer.stream(queue, { autoAck: true }).pipe(
    Stream.take(count),
    Stream.runDrain
  )
)

// When its scope closes, the consumer sends its settlements and closes its channel.
const serve = measured(({ count, queue }, { window }) =>
  Effect.gen(function*() {
    const last = yield* Deferred.make<void>()
    let received = 0
    const ack = Effect.succeed(AmqpDelivery.ack)
    const handler = () => {
      if (++received === count) Deferred.doneUnsafe(last, Effect.void)
      return ack
    }
    const ended = yield* AmqpConsumer.startServing(queue, handler, { prefetch: window })
    yield* Effect.raceFirst(Deferred.await(last), ended)
  }).pipe(Effect.scoped)
)

const rpc = (atOnce: number): Run =>
  measured(({ count, queue }, { body, window }) =>
    Effect.gen(function*() {
      const server = AmqpRpc.serve(queue, (request) => Effect.succeed(AmqpMessage.make(request.body)), {
        prefetch: window,
        concurrency: atOnce
      })
      const client = yield* AmqpRpc.makeClient()
      const call = client.call(AmqpMessage.make(body), { exchange: "", routingKey: queue })
      yield* Effect.raceFirst(server, concurrently(count, atOnce, call))
    }).pipe(Effect.scoped)
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
  serve,
  rpc: rpc(callsAtOnce),
  "rpc-sequential": rpc(1),
  declare,
  channel,
  ...workloads
}
