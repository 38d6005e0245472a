/**
 * For how long one turn of the event loop takes while many publishers and consumers come back.
 */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import { overTcp } from "./places.ts"

const queue = AmqpQueue.classic("churn")

/** The longest turn of the event loop, in milliseconds. */
export interface Turns {
  /** How long it took until all were back. */
  readonly recovery: number
  /** By the wall clock, which other processes on this machine lengthen. */
  readonly wall: number
  /** The processor time of this thread. */
  readonly cpu: number
}

const watchTurns = () => {
  let [wall, cpu] = [0, 0]
  let [lastWall, lastCpu] = [performance.now(), cpuMillis()]
  let timer: NodeJS.Immediate | undefined
  const turn = (): void => {
    const [nowWall, nowCpu] = [performance.now(), cpuMillis()]
    wall = Math.max(wall, nowWall - lastWall)
    cpu = Math.max(cpu, nowCpu - lastCpu)
    ;[lastWall, lastCpu] = [nowWall, nowCpu]
    timer = setImmediate(turn)
  }
  turn()
  return () => {
    if (timer !== undefined) clearImmediate(timer)
    return { wall, cpu }
  }
}

const cpuMillis = (): number => {
  const { system, user } = process.threadCpuUsage()
  return (system + user) / 1000
}

/** Loses a connection with many publishers and consumers, each on a channel, and measures the turns until all of them are back. */
export const comeBack = (count: number, rounds: number) =>
  Effect.gen(function*() {
    const place = yield* overTcp
    const found: Array<Turns> = []
    yield* Effect.gen(function*() {
      const publishers = yield* Effect.replicateEffect(AmqpPublisher.make({ retry: Schedule.forever }), count)
      for (let index = 0; index < count; index++) {
        yield* AmqpConsumer.startServing(queue, () => Effect.succeed(AmqpDelivery.ack))
      }
      const isBack = Effect.map(place.count, ({ channels, consumers }) => consumers === count && channels >= 2 * count)
      for (let round = 0; round < rounds; round++) {
        const begin = performance.now()
        const turns = watchTurns()
        yield* place.cut
        yield* Effect.forEach(publishers, ({ publish }) => publish(AmqpMessage.text("m"), AmqpQueue.route(queue)), {
          concurrency: "unbounded",
          discard: true
        })
        yield* Effect.repeat(Effect.andThen(Effect.sleep("20 millis"), isBack), { until: (isBack) => isBack })
        found.push({ recovery: performance.now() - begin, ...turns() })
      }
    }).pipe(Effect.provideService(AmqpConnection.AmqpConnection, place.connection))
    return found
  }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
