/**
 * The workloads `latency` and `latency-beside-publisher` of this project's client.
 */
import { AmqpChannel, AmqpConsumer, AmqpMessage } from "@effect-amqp/core"
import type { AmqpConnection } from "@effect-amqp/core"
import { NodeAmqp } from "@effect-amqp/node"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { LatencyRecorder, Schedule, stamped, stampOf, tick } from "../../latency.ts"
import type { Pass } from "../../task.ts"
import type { Run } from "../../workload.ts"
import { messagesPerSecond, nowhere } from "../../workload.ts"

const pause = AmqpChannel.fromEffect(Effect.sleep(tick))

const publishOnSchedule = ({ count, queue }: Pass, size: number) =>
  AmqpChannel.run(AmqpChannel.gen(function*() {
    const schedule = new Schedule(messagesPerSecond)
    const route = { exchange: "", routingKey: queue }
    let sent = 0
    while (sent < count) {
      for (let due = schedule.next(); due !== undefined && sent < count; due = schedule.next()) {
        sent++
        yield* AmqpChannel.publish(AmqpMessage.make(stamped(due, size)), route)
      }
      yield* pause
    }
  }))

const send = (pass: Pass, size: number) =>
  Effect.scoped(Effect.gen(function*() {
    const recorder = new LatencyRecorder()
    const { stream } = yield* AmqpConsumer.make(pass.queue, { autoAck: true })
    const receiving = yield* Effect.forkChild(
      stream.pipe(
        Stream.take(pass.count),
        Stream.runForEach(({ body }) => Effect.sync(() => recorder.record(stampOf(body))))
      )
    )
    yield* publishOnSchedule(pass, size)
    yield* Fiber.join(receiving)
    return recorder
  }))

const measured = <E>(
  { body, measured, stopwatch, warmUp }: Parameters<Run>[0],
  section: (pass: Pass, size: number) => Effect.Effect<LatencyRecorder, E, AmqpConnection.AmqpConnection>
) =>
  Effect.gen(function*() {
    yield* section(warmUp, body.length)
    stopwatch.start()
    const recorder = yield* section(measured, body.length)
    stopwatch.stop()
    return recorder.result()
  })

export const latency: Run = (workload) =>
  measured(workload, send).pipe(
    Effect.map((latencies) => ({ latencies })),
    Effect.provide(NodeAmqp.layer({ url: workload.url })),
    Effect.runPromise
  )

export const latencyBesidePublisher: Run = (workload) =>
  Effect.gen(function*() {
    const message = AmqpMessage.make(workload.body)
    const state = { published: 0, stopped: false }
    let beside = 0
    const neighbour = yield* Effect.forkChild(AmqpChannel.run(AmqpChannel.gen(function*() {
      while (!state.stopped) {
        state.published++
        yield* AmqpChannel.publish(message, { exchange: "", routingKey: nowhere })
      }
    })))
    const latencies = yield* measured(workload, (pass, size) =>
      Effect.gen(function*() {
        const before = state.published
        const recorder = yield* send(pass, size)
        beside = state.published - before
        return recorder
      }))
    state.stopped = true
    yield* Fiber.join(neighbour)
    return { latencies, beside }
  }).pipe(Effect.provide(NodeAmqp.layer({ url: workload.url })), Effect.runPromise)
