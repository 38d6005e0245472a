/**
 * Connections that are lost again and again: what stays in memory, and for how long one turn of the event loop takes while many publishers
 * and consumers come back.
 *
 * Client and broker share this process, so the memory and the turns of both are measured.
 */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { countingFibers } from "../support/countingFibers.ts"
import { instancesOf } from "../support/heap.ts"

/** Dials again without a pause, however short the session was. */
const atOnce = { recovery: { stableAfter: 0 } } as const

const queue = AmqpQueue.classic("churn")

type Broker = AmqpBroker.AmqpBroker["Service"]
type Connection = AmqpConnection.AmqpConnection["Service"]

const quietly = <A, E>(
  body: (broker: Broker, connection: Connection) => Effect.Effect<A, E, AmqpConnection.AmqpConnection | Scope.Scope>
) =>
  Effect.gen(function*() {
    const broker = yield* AmqpBroker.make()
    const connection = yield* broker.connect(atOnce)
    return yield* Effect.provideService(body(broker, connection), AmqpConnection.AmqpConnection, connection)
  }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))

/** Cuts all connections, and waits until the client has noticed it. */
const cut = (broker: Broker, connection: Connection) =>
  Effect.gen(function*() {
    yield* Effect.flatMap(broker.connections, Effect.forEach((each) => each.cut, { discard: true }))
    yield* awaitState(connection, (tag) => tag !== "Open")
  })

const awaitState = ({ stateChanges }: Connection, isRight: (tag: AmqpConnection.State["_tag"]) => boolean) =>
  Stream.runDrain(Stream.takeUntil(stateChanges, ({ _tag }) => isRight(_tag)))

/** What is alive after this many recoveries. */
export interface Sample {
  readonly recoveries: number
  /** After a garbage collection, in bytes. */
  readonly heap: number
  /** The number of running fibers of the client. */
  readonly fibers: number
  /** The number of instances of each class. */
  readonly instances: Readonly<Record<string, number>>
}

/** A class whose instances are counted: those of the client are known only to tests that run on the sources. */
export type Class = Parameters<typeof instancesOf>[0]

class Sampled {}

/** Loses a connection with a publisher and a consumer, and takes samples of what is alive between. */
export const churn = (recoveries: number, samples: number, classes: ReadonlyArray<Class> = []) =>
  Effect.suspend(() => {
    const fibers = countingFibers()
    const sample = (recoveries: number): Sample => ({
      recoveries,
      // Counting instances collects the garbage first. There are few of this class.
      instances: Object.fromEntries([Sampled, ...classes].map((each) => [each.name, instancesOf(each).length])),
      heap: process.memoryUsage().heapUsed,
      fibers: fibers.running
    })
    return quietly((broker, connection) =>
      Effect.gen(function*() {
        const taken: Array<Sample> = []
        const handled: Array<string> = []
        const { publish } = yield* AmqpPublisher.make({ retry: Schedule.forever })
        yield* AmqpConsumer.startServing(queue, ({ text }) =>
          Effect.sync(() => {
            handled.push(text)
            return AmqpDelivery.ack
          }))
        for (let done = 0; done < recoveries; done++) {
          yield* cut(broker, connection)
          // The message and its delivery show that publisher and consumer are back.
          const text = String(done)
          yield* publish(AmqpMessage.text(text), AmqpQueue.route(queue))
          while (!handled.includes(text)) yield* Effect.yieldNow
          handled.length = 0
          if ((done + 1) % Math.floor(recoveries / samples) === 0) taken.push(sample(done + 1))
        }
        return taken
      })
    ).pipe(fibers.counted)
  })

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
  quietly((broker, connection) =>
    Effect.gen(function*() {
      const publishers = yield* Effect.replicateEffect(AmqpPublisher.make({ retry: Schedule.forever }), count)
      for (let index = 0; index < count; index++) {
        yield* AmqpConsumer.startServing(queue, () => Effect.succeed(AmqpDelivery.ack))
      }
      const isBack = Effect.map(broker.connections, ([connection]) =>
        connection !== undefined &&
        connection.channels.length >= 2 * count &&
        connection.channels.filter(({ consumers }) => consumers === 1).length === count)
      const found: Array<Turns> = []
      for (let round = 0; round < rounds; round++) {
        const begin = performance.now()
        const turns = watchTurns()
        yield* cut(broker, connection)
        const publishing = yield* Effect.forkChild(
          Effect.forEach(publishers, ({ publish }) => publish(AmqpMessage.text("m"), AmqpQueue.route(queue)), {
            concurrency: "unbounded",
            discard: true
          })
        )
        yield* Fiber.join(publishing)
        yield* Effect.repeat(Effect.andThen(Effect.sleep("20 millis"), isBack), { until: (isBack) => isBack })
        found.push({ recovery: performance.now() - begin, ...turns() })
      }
      return found
    })
  )
