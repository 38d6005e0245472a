/**
 * Publish and subscribe: a topic exchange, and subscribers that each have their own queue. The broker names the queues, and
 * deletes them with the connection.
 *
 * Messages are values of a schema. Each subscriber gets those that match its pattern, and those for everyone.
 */
import { AmqpChannel, AmqpConsumer, AmqpExchange, AmqpMessage, AmqpPublisher, AmqpQueue } from "@effect-amqp/core"
import { NodeAmqp } from "@effect-amqp/node"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

const News = Schema.TaggedUnion({
  Report: { headline: Schema.String, at: Schema.Date },
  SignOff: { reports: Schema.Int }
})

const newsMessage = AmqpMessage.schema(News)
const decodeNews = AmqpMessage.decode(News)

const news = AmqpExchange.topic("example.pubsub.news")
const EVERYONE = "everyone"

/** The exchange exists for as long as the example runs. */
const ExchangeLive = Layer.effectDiscard(Effect.acquireRelease(
  AmqpChannel.run(AmqpExchange.declare(news)),
  () => Effect.ignore(AmqpChannel.run(AmqpExchange.delete(news)))
))

/**
 * Subscribes to what is published from now on, and yields the subscriber, which reads until the sign-off. Until it is run,
 * messages wait in its queue.
 */
const subscribe = Effect.fn("subscribe")(function*(name: string, pattern: string) {
  const queue = AmqpQueue.serverNamed().pipe(
    AmqpQueue.withBinding({ exchange: news, routingKey: pattern }),
    AmqpQueue.withBinding({ exchange: news, routingKey: EVERYONE })
  )
  const consumer = yield* AmqpConsumer.make(queue)
  yield* Console.log(`${name}: reads ${pattern} from queue ${(yield* consumer.queues)[0]}`)
  return consumer.stream.pipe(
    Stream.mapEffect((delivery) =>
      Effect.tap(decodeNews(delivery), (item) =>
        Effect.andThen(
          item._tag === "Report"
            ? Console.log(`${name}: ${delivery.routingKey}, "${item.headline}" of ${item.at.toISOString()}`)
            : Console.log(`${name}: received the end after ${item.reports} reports`),
          delivery.ack
        ))
    ),
    Stream.takeUntil((item) => item._tag === "SignOff"),
    Stream.runDrain
  )
})

const publishNews = Effect.gen(function*() {
  const { publish } = yield* AmqpPublisher.AmqpPublisher
  const report = Effect.fn("report")(function*(topic: string, headline: string) {
    const message = yield* newsMessage({ _tag: "Report", headline, at: new Date("2026-01-31T12:00:00Z") })
    yield* publish(message, { exchange: news.name, routingKey: topic })
  })
  yield* report("sport.football", "Two all")
  yield* report("science.physics", "Neutrinos weighed")
  yield* report("sport.chess", "Draw in Zürich")
  yield* report("science.biology", "A new beetle")
  yield* publish(yield* newsMessage({ _tag: "SignOff", reports: 4 }), { exchange: news.name, routingKey: EVERYONE })
  yield* Console.log("publisher: published 4 reports and the sign-off")
})

const main = Effect.scoped(Effect.gen(function*() {
  // Unroutable messages are dropped, so the subscribers come first.
  const subscribers = yield* Effect.all([
    subscribe("sports fan", "sport.#"),
    subscribe("physicist", "science.physics"),
    subscribe("archive", "#")
  ])
  yield* Effect.all([publishNews, ...subscribers], { concurrency: "unbounded" })
  yield* Console.log("main: all have signed off")
}))

const AmqpLive = NodeAmqp.layerConfig({
  url: Config.Redacted("AMQP_URL").pipe(Config.withDefault(Redacted.make("amqp://guest:guest@127.0.0.1:5672"))),
  connectionName: Config.succeed("publish and subscribe example")
})

main.pipe(
  Effect.provide(Layer.mergeAll(AmqpPublisher.layer(), ExchangeLive).pipe(Layer.provideMerge(AmqpLive))),
  NodeRuntime.runMain
)
