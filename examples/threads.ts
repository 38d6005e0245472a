/**
 * The program from rabbitpy's "Multi-threaded Use Notes" with fibers instead of threads: one connection, a fiber that
 * publishes and a fiber that consumes, each on its own channel.
 *
 * `npm start` runs it against the broker in `AMQP_URL`, otherwise the one on this machine, otherwise an embedded one in the
 * same process.
 */
import {
  AmqpChannel,
  AmqpConnection,
  AmqpConsumer,
  AmqpExchange,
  AmqpMessage,
  AmqpPublisher,
  AmqpQueue
} from "@effect-amqp/core"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { NodeAmqp } from "@effect-amqp/node"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

const EXCHANGE = "threading_example"
const QUEUE = "threading_queue"
const ROUTING_KEY = "test"
const MESSAGE_COUNT = 100

/** Reports every 25th message. */
const progress = (fiber: string, verb: string, count: number) =>
  count % 25 === 0 ? Console.log(`${fiber}: ${verb} ${count} of ${MESSAGE_COUNT}`) : Effect.void

// A channel program: all its steps run on one channel.
const topology = AmqpChannel.gen(function*() {
  yield* AmqpExchange.declare(EXCHANGE)
  yield* AmqpQueue.declare(QUEUE)
  yield* AmqpQueue.bind(QUEUE, { exchange: EXCHANGE, routingKey: ROUTING_KEY })
  const left = yield* AmqpQueue.purge(QUEUE)
  if (left > 0) yield* Console.log(`main: purged ${left} messages that an earlier run left in ${QUEUE}`)
})

const consumer = Effect.gen(function*() {
  let received = 0
  yield* Console.log(`consumer: opens a channel and consumes ${QUEUE}`)
  yield* AmqpConsumer.stream(QUEUE).pipe(
    Stream.take(MESSAGE_COUNT),
    Stream.runForEach((delivery) =>
      Effect.gen(function*() {
        yield* delivery.ack
        received++
        if (received === 1) yield* Console.log(`consumer: the first message says "${delivery.text}"`)
        yield* progress("consumer", "acknowledged", received)
      })
    )
  )
  return received
})

const publisher = Effect.scoped(Effect.gen(function*() {
  yield* Console.log(`publisher: opens a channel and publishes to ${EXCHANGE}`)
  const { publish } = yield* AmqpPublisher.make()
  for (let index = 0; index < MESSAGE_COUNT; index++) {
    yield* publish(AmqpMessage.text(`Message #${index}`), { exchange: EXCHANGE, routingKey: ROUTING_KEY })
    yield* progress("publisher", "confirmed", index + 1)
  }
}))

const cleanUp = AmqpChannel.all([AmqpQueue.delete(QUEUE), AmqpExchange.delete(EXCHANGE)])

const main = Effect.gen(function*() {
  yield* Console.log(`main: opens a channel and declares ${EXCHANGE} and ${QUEUE}`)
  yield* AmqpChannel.run(topology)
  // Two concurrent fibers. If one fails, the other is interrupted and closes its channel too.
  const [elapsed, [received]] = yield* Effect.timed(Effect.all([consumer, publisher], { concurrency: 2 }))
  yield* AmqpChannel.run(cleanUp)
  yield* Console.log(`main: ${received} messages in ${Math.round(Duration.toMillis(elapsed))} ms`)
})

/** Prints which broker is used, once it is connected. */
const using = <A, E>(broker: string, connection: Layer.Layer<A, E>) =>
  Layer.provideMerge(Layer.effectDiscard(Console.log(`main: uses ${broker}`)), connection)

const connectionName = "threads example"

// The broker in AMQP_URL, otherwise the one on this machine, otherwise an embedded one.
const AmqpLive = Layer.unwrap(Effect.gen(function*() {
  const url = yield* Config.option(Config.Redacted("AMQP_URL"))
  return Option.isSome(url)
    ? using("the broker of AMQP_URL", NodeAmqp.layer({ url: url.value, connectionName }))
    : using(
      "the broker at 127.0.0.1:5672",
      NodeAmqp.layer({ url: "amqp://guest:guest@127.0.0.1:5672", connectionName })
    ).pipe(
      Layer.catchTag("AmqpConnectionError", (error) =>
        error.reason._tag === "ConnectFailed"
          ? using("an embedded broker, because none runs at 127.0.0.1:5672", AmqpBroker.layer())
          : Layer.effect(AmqpConnection.AmqpConnection, Effect.fail(error)))
    )
}))

/** Prints what to do. A service would leave its errors to `runMain`, which logs them with all their causes. */
const reportError = (error: { readonly _tag: string; readonly message: string }) =>
  Effect.gen(function*() {
    yield* Console.error(`main: ${error.message}`)
    if (error._tag === "AmqpUriError" || error._tag === "AmqpConnectionError") {
      yield* Console.error("main: AMQP_URL says which broker to use, for example amqp://user:password@host:5672/vhost")
    }
    process.exitCode = 1
  })

main.pipe(Effect.provide(AmqpLive), Effect.catch(reportError), NodeRuntime.runMain)
