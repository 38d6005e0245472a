/** Channel programs and calls, which are retried as a user would. */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Outcome, SourceOptions } from "../account.ts"
import { whileRetryable } from "../client.ts"
import type { Workload } from "../world.ts"
import { receive } from "./consuming.ts"
import { messageOf, untilStopping } from "./publishing.ts"

const everyMillis = 200

/** How many messages a program publishes. */
const publishes = 4

/** Publishes a few messages in each program. `success` is their outcome when it has succeeded. */
export const programs = (
  runner: "confirmed" | "transaction",
  options: Omit<SourceOptions, "isOrdered">,
  success: Outcome = "confirmed"
): Workload => {
  const name = `${runner} ${options.name}`
  const route = { exchange: "", routingKey: options.queue, mandatory: true }
  return {
    name,
    ends: true,
    run: (world) => {
      const source = world.account.source({ ...options, isOrdered: false })
      return untilStopping(
        world,
        everyMillis,
        Effect.suspend(() => {
          const numbers = Array.from({ length: publishes }, () => source.publish())
          const ended = world.monitor.begin(`program of ${source.idOf(numbers[0])}`)
          let attempts = 0
          let startedAt = 0
          const program = AmqpChannel.forEach(
            numbers,
            (number) => AmqpChannel.publish(messageOf(source, number), route)
          )
          return Effect.suspend(() => {
            attempts++
            startedAt = performance.now()
            return runner === "confirmed"
              ? Effect.asVoid(AmqpChannel.confirmed(program))
              : Effect.asVoid(AmqpChannel.transaction(program))
          }).pipe(
            Effect.retry(whileRetryable),
            Effect.match({
              onSuccess: () => {
                for (const number of numbers) source.settle(number, success, attempts === 1)
                world.monitor.succeeded(name, startedAt)
              },
              onFailure: () => {
                for (const number of numbers) source.settle(number, "unknown", attempts === 1)
              }
            }),
            Effect.andThen(Effect.sync(ended))
          )
        })
      )
    }
  }
}

/** Fetches the messages of a queue by programs, and acknowledges them. */
export const fetcher = (queue: string): Workload => {
  const name = `fetch ${queue}`
  return {
    name,
    ends: false,
    run: (world, connection) => {
      let programs = 0
      const fetch = Effect.suspend(() => {
        const startedAt = performance.now()
        // Each attempt has a channel of its own, whose messages return when it is closed.
        const consumer = `${name} ${programs++}`
        const program = AmqpQueue.getAll(queue, (delivery) =>
          AmqpChannel.fromEffect(Effect.sync(() => {
            const delivered = receive(world, consumer, connection, delivery)
            if (delivered !== undefined) world.account.acknowledge(delivered)
            return AmqpDelivery.ack
          })), { limit: 20 })
        return Effect.map(AmqpChannel.run(program), () => world.monitor.succeeded(name, startedAt))
      })
      return Effect.forever(Effect.andThen(Effect.retry(fetch, whileRetryable), Effect.sleep(everyMillis)))
    }
  }
}

/** Replies to each request with its text. */
export const replier = (queue: AmqpQueue.AmqpQueue<"classic" | "quorum">): Workload => ({
  name: `replies ${queue.name}`,
  ends: false,
  run: ({ monitor }) =>
    AmqpRpc.serve(queue, ({ text }) =>
      Effect.sync(() => {
        monitor.succeeded(`replies ${queue.name}`, performance.now())
        return AmqpMessage.text(`reply to ${text}`)
      }), { concurrency: 10 })
})

/** How long a call may take: the reply is lost with the connection of the server, and no one can tell. */
const callTimeout = "20 seconds"

/**
 * Calls the replier. A call has to end, and to get the reply to its own request. It may fail, unless the client sends requests again
 * as long as it takes.
 */
export const caller = (queue: string, options: AmqpRpc.ClientOptions): Workload => {
  const isRetrying = options.retry !== undefined
  const name = `calls ${queue}${isRetrying ? " again" : ""}`
  return {
    name,
    ends: true,
    run: (world) =>
      Effect.gen(function*() {
        const { monitor, violations } = world
        const { call } = yield* AmqpRpc.makeClient(options)
        let number = 0
        const callOnce = Effect.suspend(() => {
          const text = `request ${number++} of ${name}`
          const startedAt = performance.now()
          const ended = monitor.begin(`call of ${text}`)
          const attempt = Effect.timeoutOption(
            call(AmqpMessage.text(text), { exchange: "", routingKey: queue }),
            callTimeout
          )
          return (isRetrying ? Effect.repeat(attempt, { until: Option.isSome }) : attempt).pipe(
            Effect.match({
              onSuccess: (reply) => {
                if (Option.isNone(reply)) return
                if (reply.value.text === `reply to ${text}`) monitor.succeeded(name, startedAt)
                else violations.add("a call got the reply to another one", `${text} got ${reply.value.text}`)
              },
              onFailure: (error) => {
                if (isRetrying) violations.add("a call failed although its client tries again", error.message)
              }
            }),
            Effect.andThen(Effect.sync(ended))
          )
        })
        const callSome = Effect.all([callOnce, callOnce, callOnce], { concurrency: 3 })
        yield* untilStopping(world, everyMillis, callSome)
      })
  }
}
