/**
 * `npm run bench -- embedded`: the throughput of the embedded broker when client and broker share one process, as in a test.
 * Messages are published with confirms, delivered and acknowledged concurrently.
 */
import { AmqpChannel, AmqpConsumer, AmqpMessage, AmqpPublisher, AmqpQueue } from "@effect-amqp/core"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { NodeAmqp, NodeAmqpBroker } from "@effect-amqp/node"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { integerFlag, size } from "./flags.ts"
import { Stopwatch, windowFor } from "./workload.ts"

const transports = {
  "in memory": AmqpBroker.layer(),
  "over TCP": Layer.unwrap(
    Effect.map(
      NodeAmqpBroker.listen({ port: 0 }),
      ({ host, port }) => NodeAmqp.layer({ url: `amqp://guest:guest@${host}:${port}` })
    )
  ).pipe(Layer.provideMerge(AmqpBroker.layerBroker()))
}

const queue = AmqpQueue.classic("benchmark")

/** Succeeds when `count` messages are published, confirmed, received and acknowledged. */
const sendThrough = Effect.fnUntraced(function*(count: number, body: Uint8Array) {
  const window = windowFor(body.length)
  const publishing = Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.make()
    const message = AmqpMessage.make(body)
    for (let left = count; left > 0; left -= window) {
      const messages = Array.from({ length: Math.min(window, left) }, () => message)
      yield* publisher.publishAll(messages, AmqpQueue.route(queue))
    }
  })
  // The stream ends when its channel is closed, which the broker confirms after it has handled every ack.
  const consuming = AmqpConsumer.stream(queue, { prefetch: window }).pipe(
    Stream.take(count),
    Stream.runForEach((delivery) => delivery.ack)
  )
  yield* Effect.all([Effect.scoped(publishing), consuming], { concurrency: 2, discard: true })
  const broker = yield* AmqpBroker.AmqpBroker
  const [{ messagesReady, messagesUnacknowledged }] = yield* broker.queues()
  const left = messagesReady + messagesUnacknowledged
  if (left > 0) yield* Effect.fail(new Error(`${left} messages are left in the queue`))
})

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 })

/** Runs the rounds after a warm-up, and yields a line with the result. */
const measure = Effect.fnUntraced(function*(options: { count: number; rounds: number; size: number }) {
  const body = new Uint8Array(options.size)
  yield* AmqpChannel.run(AmqpQueue.declare(queue))
  yield* sendThrough(Math.min(20_000, options.count), body)
  const rates: Array<number> = []
  let cpuMicroseconds = 0
  for (let round = 0; round < options.rounds; round++) {
    const stopwatch = new Stopwatch()
    stopwatch.start()
    yield* sendThrough(options.count, body)
    stopwatch.stop()
    const result = stopwatch.result()
    rates.push(options.count / result.nanoseconds * 1e9)
    cpuMicroseconds += result.cpuMicroseconds
  }
  rates.sort((a, b) => a - b)
  const [slowest, median, fastest] = [rates[0], rates[rates.length >> 1], rates.at(-1)].map((rate) =>
    whole.format(rate ?? 0)
  )
  const cpu = (cpuMicroseconds / options.count / options.rounds).toFixed(2)
  return `${median} messages/s (${slowest} – ${fastest}), ${cpu} µs of processor time each`
})

export const embedded = Command.make(
  "embedded",
  {
    count: integerFlag("count", 1, 100_000_000).pipe(
      Flag.withDescription("Messages per round (default: 200000)"),
      Flag.withDefault(200_000)
    ),
    rounds: integerFlag("rounds", 1, 1000).pipe(
      Flag.withDescription("Number of rounds; the median is reported (default: 5)"),
      Flag.withDefault(5)
    ),
    size
  },
  Effect.fnUntraced(function*(options) {
    for (const [transport, layer] of Object.entries(transports)) {
      yield* Console.log(`${transport}: ${yield* Effect.provide(measure(options), layer)}`)
    }
  })
).pipe(Command.withDescription("Measures the throughput of the embedded broker, in memory and over TCP"))
