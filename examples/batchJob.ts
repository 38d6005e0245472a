/**
 * A batch job: publishes many messages at once, reads the queue until it is empty, and prints a summary.
 */
import { AmqpChannel, AmqpConsumer, AmqpMessage, AmqpPublisher, AmqpQueue } from "@effect-amqp/core"
import { NodeAmqp } from "@effect-amqp/node"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

const READING_COUNT = 20_000

const Reading = Schema.Struct({ sensor: Schema.Literals(["cellar", "attic"]), celsius: Schema.Finite })
const decodeReading = AmqpMessage.decode(Reading)

const readings = AmqpQueue.classic("example.batch.readings")

/** The queue exists for as long as the example runs, and is empty at first. */
const QueueLive = Layer.effectDiscard(Effect.acquireRelease(
  AmqpChannel.run(AmqpChannel.andThen(AmqpQueue.delete(readings), AmqpQueue.declare(readings))),
  () => Effect.ignore(AmqpChannel.run(AmqpQueue.delete(readings)))
))

// -----------------------------------------------------------------------------
// publishing
// -----------------------------------------------------------------------------

/** Messages are made one by one as they can be sent, so the whole batch is never in memory. */
function* batch(): Generator<AmqpMessage.AmqpMessage> {
  for (let index = 0; index < READING_COUNT; index++) {
    const reading: typeof Reading.Type = index % 4 === 0
      ? { sensor: "attic", celsius: 25 + index % 8 }
      : { sensor: "cellar", celsius: 10 + index % 2 }
    yield AmqpMessage.json(reading)
  }
}

const publish = Effect.gen(function*() {
  const { publishAll } = yield* AmqpPublisher.AmqpPublisher
  yield* publishAll(batch(), { exchange: "", routingKey: readings.name, mandatory: true })
})

// -----------------------------------------------------------------------------
// reading
// -----------------------------------------------------------------------------

interface Summary {
  readonly count: number
  readonly hottest: number
}

type Report = Readonly<Record<(typeof Reading.Type)["sensor"], Summary>>

const nothing: Report = {
  cellar: { count: 0, hottest: -Infinity },
  attic: { count: 0, hottest: -Infinity }
}

const add = (report: Report, { celsius, sensor }: typeof Reading.Type): Report => {
  const { count, hottest } = report[sensor]
  return { ...report, [sensor]: { count: count + 1, hottest: Math.max(hottest, celsius) } }
}

/**
 * Reads what is in the queue now. A consumer waits for more messages when the queue is empty, so it takes only as many as there
 * are; no other consumer reads this queue.
 */
const summarize = Effect.gen(function*() {
  const { messageCount } = yield* AmqpChannel.run(AmqpQueue.declarePassive(readings))
  return yield* AmqpConsumer.stream(readings, { prefetch: 1000 }).pipe(
    Stream.take(messageCount),
    Stream.mapEffect((delivery) => Effect.tap(decodeReading(delivery), delivery.ack)),
    Stream.runFold(() => nothing, add)
  )
})

// -----------------------------------------------------------------------------
// main
// -----------------------------------------------------------------------------

const seconds = (duration: Duration.Duration): string => `${Duration.toSeconds(duration).toFixed(2)} s`

const main = Effect.gen(function*() {
  const [publishing] = yield* Effect.timed(publish)
  yield* Console.log(`published ${READING_COUNT} readings, all confirmed, in ${seconds(publishing)}`)

  const [reading, report] = yield* Effect.timed(summarize)
  yield* Console.log(`read ${report.attic.count + report.cellar.count} readings in ${seconds(reading)}`)
  for (const [sensor, { count, hottest }] of Object.entries(report)) {
    yield* Console.log(`${sensor}: ${count} readings, at most ${hottest} °C`)
  }

  const { messageCount } = yield* AmqpChannel.run(AmqpQueue.declarePassive(readings))
  yield* Console.log(`left in the queue: ${messageCount}`)
})

const AmqpLive = NodeAmqp.layerConfig({
  url: Config.Redacted("AMQP_URL").pipe(Config.withDefault(Redacted.make("amqp://guest:guest@127.0.0.1:5672"))),
  connectionName: Config.succeed("batch job example")
})

main.pipe(
  Effect.provide(Layer.mergeAll(AmqpPublisher.layer(), QueueLive).pipe(Layer.provideMerge(AmqpLive))),
  NodeRuntime.runMain
)
