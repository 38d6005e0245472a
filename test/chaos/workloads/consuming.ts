/** Consumers of all kinds, which acknowledge everything that they get. */
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as Effect from "effect/Effect"
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

/** Handles messages. With a concurrency of 1 it gets them in order. */
export const server = (
  queue: Queue,
  options: {
    readonly concurrency: number
    /** Whether the program consumes again when its queue was deleted. Default: the end is a violation. */
    readonly whenEnded?: "retry"
  }
): Workload => {
  const name = `serve ${queue.name}`
  return {
    name,
    ends: false,
    run: (world, connection) => {
      const { concurrency, whenEnded } = options
      const serve = AmqpConsumer.serve(queue, (delivery) =>
        Effect.gen(function*() {
          const delivered = receive(world, name, connection, delivery)
          yield* work(delivered)
          if (delivered !== undefined) world.account.acknowledge(delivered)
          return AmqpDelivery.ack
        }), { concurrency, prefetch: concurrency * 20 })
      return whenEnded === "retry" ? Effect.retry(serve, whileRetryable) : serve
    }
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
        Stream.runForEach((delivery) =>
          Effect.gen(function*() {
            const delivered = receive(world, name, connection, delivery)
            yield* work(delivered)
            const isSent = yield* delivery.ack
            if (isSent && delivered !== undefined) world.account.acknowledge(delivered)
          })
        )
      )
  }
}

/** The offset of a message in its stream. */
const offsetOf = ({ properties }: AmqpDelivery.ReceivedMessage): number =>
  Number(properties.headers?.["x-stream-offset"])

/** Reads a RabbitMQ stream from its beginning, each message once. */
export const streamQueueReader = (queue: AmqpQueue.AmqpQueue<"stream">): Workload => {
  const name = `read ${queue.name}`
  return {
    name,
    ends: false,
    run: (world, connection) => {
      let handled = -1
      return AmqpConsumer.stream(queue, { prefetch: 100, offset: "first" }).pipe(
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
            if (delivered !== undefined) world.account.acknowledge(delivered)
            handled = Math.max(handled, offset)
            yield* delivery.ack
          })
        )
      )
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
