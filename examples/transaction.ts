/**
 * Transactions: the publishes and acknowledgements of a program take effect together or not at all.
 *
 * The program fetches messages, publishes each to another queue and acknowledges it. In a transaction, publishes and acknowledgements
 * take effect when the program succeeds. If it fails halfway, nothing is published and the messages go back to their queue.
 *
 * Both queues are declared first, because a transaction does not detect an unroutable message. Where the target may be missing, use
 * `AmqpQueue.move`.
 */
import { AmqpChannel, AmqpDelivery, AmqpMessage, AmqpQueue, AmqpTopology } from "@effect-amqp/core"
import { NodeAmqp } from "@effect-amqp/node"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

const inbox = AmqpQueue.classic("example.transaction.inbox")
const archive = AmqpQueue.classic("example.transaction.archive")

const remove = AmqpChannel.all([AmqpQueue.delete(inbox), AmqpQueue.delete(archive)])

/** The queues exist for as long as the example runs, and are empty at first. */
const QueuesLive = Layer.effectDiscard(Effect.acquireRelease(
  AmqpChannel.run(AmqpChannel.andThen(remove, AmqpTopology.declare(AmqpTopology.make(inbox, archive)))),
  () => Effect.ignore(AmqpChannel.run(remove))
))

class Unreadable extends Schema.TaggedError<Unreadable>()("Unreadable", { text: Schema.String }) {}

// -----------------------------------------------------------------------------
// moving
// -----------------------------------------------------------------------------

/** Moves a message, if there is one, and yields its text. The handler is part of the program: it publishes on the same channel. */
const moveOne = AmqpQueue.get(inbox, (delivery) =>
  AmqpChannel.gen(function*() {
    const { body, properties, text } = delivery
    yield* AmqpChannel.publish(AmqpMessage.make(body, properties), { exchange: "", routingKey: archive.name })
    yield* Console.log(`  moving ${text}`)
    if (text.includes("?")) return yield* new Unreadable({ text })
    return AmqpDelivery.as(AmqpDelivery.ack, text)
  }))

/** Moves all messages, and yields their number. */
const moveAll = AmqpChannel.gen(function*() {
  let count = 0
  while (Option.isSome(yield* moveOne)) count++
  return count
})

// -----------------------------------------------------------------------------
// main
// -----------------------------------------------------------------------------

const fill = (...texts: ReadonlyArray<string>) =>
  AmqpChannel.confirmed(
    AmqpChannel.forEach(texts, (text) =>
      AmqpChannel.publish(AmqpMessage.text(text, { deliveryMode: "persistent" }), {
        exchange: "",
        routingKey: inbox.name
      }))
  )

const report = Effect.gen(function*() {
  const [{ messageCount: left }, { messageCount: moved }] = yield* AmqpChannel.run(
    AmqpChannel.all([AmqpQueue.declarePassive(inbox), AmqpQueue.declarePassive(archive)])
  )
  yield* Console.log(`${left} in the inbox, ${moved} in the archive`)
})

const main = Effect.gen(function*() {
  yield* fill("letter 1", "letter 2", "letter 3")
  yield* report

  yield* Console.log("A transaction that succeeds:")
  const count = yield* AmqpChannel.transaction(moveAll)
  yield* Console.log(`  committed ${count}`)
  yield* report

  yield* fill("letter 4", "letter 5", "l?tt?r 6")
  yield* report

  yield* Console.log("A transaction that fails:")
  yield* AmqpChannel.transaction(moveAll).pipe(
    Effect.catchTag("Unreadable", ({ text }) => Console.log(`  rolled back, because it is unreadable: ${text}`))
  )
  yield* report
})

const AmqpLive = NodeAmqp.layerConfig({
  url: Config.Redacted("AMQP_URL").pipe(Config.withDefault(Redacted.make("amqp://guest:guest@127.0.0.1:5672"))),
  connectionName: Config.succeed("transaction example")
})

main.pipe(Effect.provide(Layer.provideMerge(QueuesLive, AmqpLive)), NodeRuntime.runMain)
