/**
 * The workload `large-body` of this project's client.
 */
import { AmqpMessage, AmqpPublisher } from "@effect-amqp/core"
import { NodeAmqp } from "@effect-amqp/node"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { LatencyRecorder, Schedule, stamped, stampSize, tick } from "../../latency.ts"
import type { Pass } from "../../task.ts"
import type { Run } from "../../workload.ts"
import { heartbeatSeconds, nowhere, smallPerSecond } from "../../workload.ts"

const route = { exchange: "", routingKey: nowhere }

const publishBoth = Effect.fnUntraced(function*(
  large: AmqpPublisher.AmqpPublisher["Service"],
  small: AmqpPublisher.AmqpPublisher["Service"],
  { count }: Pass,
  body: Buffer
) {
  const recorder = new LatencyRecorder()
  const state = { over: false }
  const publishLarge = Effect.gen(function*() {
    const message = AmqpMessage.make(body)
    for (let published = 0; published < count; published++) {
      yield* large.publish(message, route)
    }
    state.over = true
  })
  const publishSmall = Effect.gen(function*() {
    const schedule = new Schedule(smallPerSecond)
    const confirms: Array<Effect.Effect<unknown, unknown>> = []
    while (!state.over) {
      for (let due = schedule.next(); due !== undefined; due = schedule.next()) {
        const intended = due
        const publishing = Effect.map(
          small.publish(AmqpMessage.make(stamped(intended, stampSize)), route),
          () => recorder.record(intended)
        )
        confirms.push(Fiber.join(yield* Effect.forkChild(publishing)))
      }
      yield* Effect.sleep(tick)
    }
    yield* Effect.all(confirms, { discard: true })
  })
  yield* Effect.all([publishLarge, publishSmall], { concurrency: 2, discard: true })
  return recorder
})

export const largeBody: Run = ({ body, measured, stopwatch, url, warmUp }) =>
  Effect.gen(function*() {
    const large = yield* AmqpPublisher.make()
    const small = yield* AmqpPublisher.make()
    yield* publishBoth(large, small, warmUp, body)
    stopwatch.start()
    const recorder = yield* publishBoth(large, small, measured, body)
    stopwatch.stop()
    return { latencies: recorder.result() }
  }).pipe(
    Effect.scoped,
    Effect.provide(NodeAmqp.layer({ url, heartbeat: Duration.seconds(heartbeatSeconds) })),
    Effect.runPromise
  )
