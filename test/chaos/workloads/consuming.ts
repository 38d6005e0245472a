/** Consumers of all kinds, which acknowledge everything that they get. */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { Delivered } from "../account.ts"
import { impatient, whileRetryable } from "../client.ts"
import type { Workload, World } from "../world.ts"
import { untilStopping } from "./publishing.ts"

type Queue = AmqpQueue.AmqpQueue<"classic" | "quorum">

/** Records a delivery to a consumer. */
export const receive = (
  { account, monitor }: World,
  consumer: string,
  connection: string,
  { consumerTag, properties, queue, redelivered, text }: AmqpDelivery.ReceivedMessage
): Delivered | undefined => {
  monitor.succeeded(consumer, performance.now())
  const by = `${consumer}, session ${monitor.sessionOf(connection)}, tag ${consumerTag}`
  return account.deliver({ text, messageId: properties.messageId, queue, redelivered, by })
}

/** Some handlers take a while, so that sessions end while they run. */
const work = ({ number }: { readonly number: number } = { number: 0 }): Effect.Effect<void> =>
  number % 97 === 0 ? Effect.sleep("30 millis") : Effect.void

interface ServerOptions {
  readonly concurrency: number
}

const handler = (world: World, name: string, connection: string) => (delivery: AmqpDelivery.ReceivedMessage) =>
  Effect.gen(function*() {
    const delivered = receive(world, name, connection, delivery)
    yield* work(delivered)
    if (delivered !== undefined) world.account.acknowledge(delivered)
    return AmqpDelivery.ack
  })

const acknowledging = (world: World, name: string, connection: string) => (delivery: AmqpDelivery.AmqpDelivery) =>
  Effect.gen(function*() {
    const delivered = receive(world, name, connection, delivery)
    yield* work(delivered)
    const isSent = yield* delivery.ack
    if (isSent && delivered !== undefined) world.account.acknowledge(delivered)
  })

/** Handles messages. With a concurrency of 1 it gets them in order. */
export const server = (queue: Queue, { concurrency }: ServerOptions): Workload => {
  const name = `serve ${queue.name}`
  return {
    name,
    ends: false,
    run: (world, connection) =>
      AmqpConsumer.serve(queue, handler(world, name, connection), { concurrency, prefetch: concurrency * 20 })
  }
}

/** The same as a layer. */
export const layerServer = (queue: Queue, { concurrency }: ServerOptions): Workload => {
  const name = `layerServe ${queue.name}`
  return {
    name,
    ends: false,
    run: (world, connection) =>
      Effect.gen(function*() {
        const ended = yield* Deferred.make<never, AmqpConsumer.ServeError>()
        const serving = AmqpConsumer.layerServe(queue, handler(world, name, connection), {
          concurrency,
          onEnd: (error) => Deferred.fail(ended, error)
        })
        yield* Layer.build(serving)
        return yield* Deferred.await(ended)
      })
  }
}

/** How many messages are prefetched, one after the other. */
const prefetches = [1, 10, 40]

/** Acknowledges the messages of a consumer whose prefetch changes again and again. */
export const prefetcher = (queue: Queue): Workload => {
  const name = `make ${queue.name}`
  return {
    name,
    ends: false,
    run: (world, connection) =>
      Effect.gen(function*() {
        const { setPrefetch, stream } = yield* AmqpConsumer.make(queue, { prefetch: prefetches[0] })
        const changing = Effect.forEach(prefetches, (prefetch) =>
          Effect.andThen(Effect.sleep("700 millis"), Effect.ignore(setPrefetch(prefetch))))
        yield* Effect.forkScoped(Effect.forever(changing))
        yield* Stream.runForEach(stream, acknowledging(world, name, connection))
      })
  }
}

/**
 * Consumes a queue, by its name or its description, that is deleted now and then. The consumer ends with an error that says so, and the
 * queue stays deleted until this program declares it again. If the connection was lost in the meantime, a description declares it too.
 */
export const deletableServer = (queue: Queue, consumed: string | Queue): Workload => {
  const name = `serve ${queue.name}`
  return {
    name,
    ends: false,
    run: (world, connection) =>
      Effect.gen(function*() {
        const { account, violations } = world
        const exists = AmqpChannel.run(AmqpQueue.declarePassive(queue.name)).pipe(
          Effect.as(true),
          Effect.catchIf(isNotFound, () => Effect.succeed(false)),
          Effect.retry(whileRetryable)
        )
        while (true) {
          // Before it is declared: it may be deleted before the reply to that arrives.
          const startedAt = performance.now()
          yield* Effect.retry(AmqpChannel.run(AmqpQueue.declare(queue)), whileRetryable)
          const error = yield* Effect.flip(
            AmqpConsumer.serve(consumed, handler(world, name, connection), { concurrency: 4, prefetch: 80 })
          )
          if (error._tag !== "AmqpConsumerCancelled" && !isNotFound(error)) {
            violations.add("the consumer of a deleted queue ended with another error", error.message)
          }
          if (!account.wasDeletedSince(queue.name, startedAt)) {
            violations.add("a consumer ended although its queue was not deleted", `${queue.name}: ${error.message}`)
          } else if (yield* exists) {
            violations.add("a deleted queue was declared again", queue.name)
          }
        }
      })
  }
}

const isNotFound = (error: AmqpConsumer.ServeError): boolean =>
  error._tag === "AmqpChannelError" && error.reason._tag === "NotFound"

/**
 * Consumes a queue by its name that a topology declares on each connection, and that is deleted with its connection. Messages are lost
 * with it, so only new ones have to arrive again.
 */
export const exclusiveServer = (queue: string): Workload => {
  const name = `serve ${queue}`
  return {
    name,
    ends: false,
    run: (world) =>
      Effect.gen(function*() {
        const { publish } = yield* AmqpPublisher.make(impatient)
        const publishing = untilStopping(
          world,
          100,
          Effect.ignore(publish(AmqpMessage.text("secret"), { exchange: "", routingKey: queue }))
        )
        const serving = AmqpConsumer.serve(
          queue,
          () => Effect.as(Effect.sync(() => world.monitor.succeeded(name, performance.now())), AmqpDelivery.ack)
        )
        yield* Effect.all([publishing, serving], { concurrency: 2 })
      })
  }
}

/** Forwards each message to another queue, in one transaction with its acknowledgement. */
export const forwarder = (from: Queue, to: string): Workload => {
  const name = `forward ${from.name}`
  const route = { ...AmqpQueue.route(to), mandatory: true }
  return {
    name,
    ends: false,
    run: ({ monitor }) =>
      AmqpConsumer.serveTransaction(from, ({ properties: { deliveryMode, messageId }, text }) => {
        const startedAt = performance.now()
        return AmqpChannel.publish(AmqpMessage.text(text, { messageId, deliveryMode }), route).pipe(
          AmqpChannel.map(() => {
            monitor.succeeded(name, startedAt)
            return AmqpDelivery.ack
          })
        )
      }, { prefetch: 20 })
  }
}

/** Acknowledges the messages of a stream of deliveries. */
export const streamer = (queue: Queue): Workload => {
  const name = `stream ${queue.name}`
  return {
    name,
    ends: false,
    run: (world, connection) =>
      AmqpConsumer.stream(queue, { prefetch: 50 }).pipe(
        Stream.runForEach(acknowledging(world, name, connection))
      )
  }
}

/** The offset of a message in its stream. */
const offsetOf = ({ properties }: AmqpDelivery.ReceivedMessage): number =>
  Number(properties.headers?.["x-stream-offset"])

/**
 * Waits until a stream can be consumed. RabbitMQ may refuse that for a moment after it has declared the stream, as its replica has not
 * started (406), and a consumer that is refused at its first start ends.
 */
const untilReadable = (queue: AmqpQueue.AmqpQueue<"stream">) =>
  Effect.retry(Effect.scoped(AmqpConsumer.make(queue, { offset: "next" })), whileRetryable)

/** Reads a RabbitMQ stream from its beginning, each message once. */
export const streamQueueReader = (queue: AmqpQueue.AmqpQueue<"stream">): Workload => {
  const name = `read ${queue.name}`
  return {
    name,
    ends: false,
    run: (world, connection) => {
      let handled = -1
      const reading = AmqpConsumer.stream(queue, { prefetch: 100, offset: "first" }).pipe(
        Stream.runForEach((delivery) =>
          Effect.gen(function*() {
            const offset = offsetOf(delivery)
            const delivered = receive(world, name, connection, delivery)
            if (!(offset > handled)) {
              world.violations.add(
                "a stream was read again from before the last message that was handled",
                `offset ${offset} of ${queue.name} after ${handled}`
              )
            }
            if (offset > handled + 1) {
              world.violations.add(
                "messages of a stream were left out",
                `${handled + 1} to ${offset - 1} of ${queue.name}`
              )
            }
            if (delivered !== undefined) world.account.acknowledge(delivered)
            handled = Math.max(handled, offset)
            yield* delivery.ack
          })
        )
      )
      return Effect.andThen(untilReadable(queue), reading)
    }
  }
}

/**
 * Reads a RabbitMQ stream with several handlers at the same time. After a loss some messages are handled again, but none is left out.
 */
export const streamQueueServer = (queue: AmqpQueue.AmqpQueue<"stream">): Workload => {
  const name = `serve ${queue.name}`
  return {
    name,
    ends: false,
    run: ({ account, checks, monitor }) => {
      /** All up to this one are handled, and some others. */
      let handled = -1
      const others = new Set<number>()
      const ids = new Set<string>()
      checks.push(() => {
        const missing = account.confirmedWithout(queue.name, ids)
        return [
          ...(others.size === 0 ? [] : [`${name} left out the message with offset ${handled + 1}`]),
          ...(missing.length === 0 ? [] : [`${name} did not get ${missing.length} messages, from ${missing[0]} on`])
        ]
      })
      const serving = AmqpConsumer.serve(queue, (delivery) =>
        Effect.sync(() => {
          monitor.succeeded(name, performance.now())
          const offset = offsetOf(delivery)
          if (offset > handled) others.add(offset)
          if (delivery.properties.messageId !== undefined) ids.add(delivery.properties.messageId)
          while (others.delete(handled + 1)) handled++
          return AmqpDelivery.ack
        }), { concurrency: 4, prefetch: 40, offset: "first" })
      return Effect.andThen(untilReadable(queue), serving)
    }
  }
}

/**
 * Subscribes with a queue that the broker names, and that ends with its connection. Messages that are published in between are
 * lost by design, so only new ones have to arrive again.
 */
export const subscriber = (exchange: string): Workload => {
  const name = `subscribe ${exchange}`
  return {
    name,
    ends: false,
    run: (world) =>
      Effect.gen(function*() {
        const { publish } = yield* AmqpPublisher.make(impatient)
        const publishing = untilStopping(
          world,
          100,
          Effect.ignore(publish(AmqpMessage.text("news"), { exchange, routingKey: "" }))
        )
        const queue = AmqpQueue.serverNamed().pipe(AmqpQueue.withBinding({ exchange }))
        const consuming = AmqpConsumer.stream(queue).pipe(
          Stream.runForEach(({ ack }) =>
            Effect.andThen(Effect.sync(() => world.monitor.succeeded(name, performance.now())), ack)
          )
        )
        yield* Effect.all([publishing, consuming], { concurrency: 2 })
      })
  }
}
