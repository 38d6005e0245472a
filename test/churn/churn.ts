/**
 * A connection that is lost again and again: what stays in memory.
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
import * as v8 from "node:v8"
import * as vm from "node:vm"
import { countingFibers } from "../support/countingFibers.ts"
import type { Place } from "./places.ts"

const queue = AmqpQueue.classic("churn")

/** What is alive after this many recoveries. */
export interface Sample {
  readonly recoveries: number
  /** After a garbage collection, in bytes. */
  readonly heap: number
  /** The buffers outside the heap, in bytes. */
  readonly buffers: number
  /** The number of running fibers of the client. */
  readonly fibers: number
  /** The number of sockets, timers and other resources of this process. */
  readonly resources: number
  /** How many of the observed objects are alive. */
  readonly observed: number
}

v8.setFlagsFromString("--expose-gc")
const gc: () => void = vm.runInNewContext("gc")
const collectGarbage = Effect.sync(gc)

/**
 * Loses a connection with a publisher and a consumer, and takes samples of what is alive between. `observe` returns an object of each
 * session, to see whether it is collected.
 */
export const churn = (
  place: Place,
  recoveries: number,
  samples: number,
  observe?: (connection: AmqpConnection.AmqpConnection["Service"]) => object
) =>
  Effect.suspend(() => {
    const fibers = countingFibers()
    const objects: Array<WeakRef<object>> = []
    const sample = (recoveries: number): Effect.Effect<Sample> =>
      // In turns of their own, as a weak reference keeps its object until the end of the turn, and buffers are freed after their objects.
      Effect.map(Effect.repeat(Effect.andThen(Effect.sleep("10 millis"), collectGarbage), { times: 2 }), () => {
        const { arrayBuffers, heapUsed } = process.memoryUsage()
        return {
          recoveries,
          heap: heapUsed,
          buffers: arrayBuffers,
          fibers: fibers.running,
          resources: process.getActiveResourcesInfo().length,
          observed: objects.filter((each) => each.deref() !== undefined).length
        }
      })
    return Effect.gen(function*() {
      const { connection, cut } = yield* place
      const taken: Array<Sample> = []
      const handled = new Set<string>()
      yield* Effect.gen(function*() {
        const { publish } = yield* AmqpPublisher.make({ retry: Schedule.forever })
        yield* AmqpConsumer.startServing(queue, ({ text }) =>
          Effect.sync(() => {
            handled.add(text)
            return AmqpDelivery.ack
          }))
        for (let done = 1; done <= recoveries; done++) {
          yield* cut
          // The message and its delivery show that publisher and consumer are back.
          const text = String(done)
          yield* publish(AmqpMessage.text(text), AmqpQueue.route(queue))
          while (!handled.delete(text)) yield* Effect.yieldNow
          if (observe !== undefined) objects.push(new WeakRef(observe(connection)))
          if (done % Math.floor(recoveries / samples) === 0) taken.push(yield* sample(done))
        }
      }).pipe(Effect.provideService(AmqpConnection.AmqpConnection, connection))
      return taken
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([])), fibers.counted)
  })
