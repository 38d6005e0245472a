/**
 * Connections that are lost again and again: what stays in memory, and for how long one turn of the event loop takes while many publishers
 * and consumers come back.
 *
 * The memory is that of the client and of the broker, which share a thread; the turns are those of the client alone.
 */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { NodeAmqp } from "@effect-amqp/node"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as v8 from "node:v8"
import * as vm from "node:vm"
import { Worker } from "node:worker_threads"
import { countingFibers } from "../support/countingFibers.ts"
import type { Report, Request } from "./brokerThread.ts"

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
  /** How many of the observed objects are alive. */
  readonly observed: number
}

v8.setFlagsFromString("--expose-gc")
const collectGarbage: () => void = vm.runInNewContext("gc")

/**
 * Loses a connection with a publisher and a consumer, and takes samples of what is alive between. `observe` returns an object of each
 * session, to see whether it is collected.
 */
export const churn = (recoveries: number, samples: number, observe?: (connection: Connection) => object) =>
  Effect.suspend(() => {
    const fibers = countingFibers()
    const objects: Array<WeakRef<object>> = []
    const sample = (recoveries: number): Effect.Effect<Sample> =>
      // In its own turn, as a weak reference keeps its object until the end of the turn.
      Effect.map(Effect.sleep("1 millis"), () => {
        collectGarbage()
        return {
          recoveries,
          heap: process.memoryUsage().heapUsed,
          fibers: fibers.running,
          observed: objects.filter((each) => each.deref() !== undefined).length
        }
      })
    return quietly((broker, connection) =>
      Effect.gen(function*() {
        const taken: Array<Sample> = []
        const handled = new Set<string>()
        const { publish } = yield* AmqpPublisher.make({ retry: Schedule.forever })
        yield* AmqpConsumer.startServing(queue, ({ text }) =>
          Effect.sync(() => {
            handled.add(text)
            return AmqpDelivery.ack
          }))
        for (let done = 1; done <= recoveries; done++) {
          yield* cut(broker, connection)
          // The message and its delivery show that publisher and consumer are back.
          const text = String(done)
          yield* publish(AmqpMessage.text(text), AmqpQueue.route(queue))
          while (!handled.delete(text)) yield* Effect.yieldNow
          if (observe !== undefined) objects.push(new WeakRef(observe(connection)))
          if (done % Math.floor(recoveries / samples) === 0) taken.push(yield* sample(done))
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

/** A broker on another thread. */
const startBroker = Effect.acquireRelease(
  Effect.promise(async () => {
    const worker = new Worker(new URL("./brokerThread.ts", import.meta.url))
    const tell = (request: Request): void => {
      // A port of this process, and not a window, so it has no origin.
      // oxlint-disable-next-line unicorn/require-post-message-target-origin
      worker.postMessage(request)
    }
    const next = () => new Promise<Report>((resolve) => worker.once("message", resolve))
    const first = await next()
    const ask = (request: Request) => {
      const reply = next()
      tell(request)
      return reply
    }
    return { url: `amqp://127.0.0.1:${"port" in first ? first.port : 0}`, worker, ask, tell }
  }),
  ({ worker }) => Effect.promise(() => worker.terminate())
)

/** Loses a connection with many publishers and consumers, each on a channel, and measures the turns until all of them are back. */
export const comeBack = (count: number, rounds: number) =>
  Effect.gen(function*() {
    const { ask, tell, url } = yield* startBroker
    const connection = yield* NodeAmqp.make({ url, ...atOnce })
    const found: Array<Turns> = []
    yield* Effect.gen(function*() {
      const publishers = yield* Effect.replicateEffect(AmqpPublisher.make({ retry: Schedule.forever }), count)
      for (let index = 0; index < count; index++) {
        yield* AmqpConsumer.startServing(queue, () => Effect.succeed(AmqpDelivery.ack))
      }
      const isBack = Effect.map(
        Effect.promise(() => ask("count")),
        (report) => "consumers" in report && report.consumers === count && report.channels >= 2 * count
      )
      for (let round = 0; round < rounds; round++) {
        const begin = performance.now()
        const turns = watchTurns()
        tell("cut")
        yield* awaitState(connection, (tag) => tag !== "Open")
        yield* Effect.forEach(publishers, ({ publish }) => publish(AmqpMessage.text("m"), AmqpQueue.route(queue)), {
          concurrency: "unbounded",
          discard: true
        })
        yield* Effect.repeat(Effect.andThen(Effect.sleep("20 millis"), isBack), { until: (isBack) => isBack })
        found.push({ recovery: performance.now() - begin, ...turns() })
      }
    }).pipe(Effect.provideService(AmqpConnection.AmqpConnection, connection))
    return found
  }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
