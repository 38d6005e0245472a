/**
 * An order service that keeps running while its broker is restarted.
 *
 * It places orders, bills each of them once, and prints what an operator wants to see: how far it is, that the connection is lost and
 * why, and that it is back. It ends when all orders are billed. Restart the broker meanwhile, as often as you like.
 *
 * - The program may start before its broker, and the queue is declared again on each connection.
 * - An order whose confirm was lost with the connection is published again, so it may arrive twice; so may one that was billed and
 *   whose acknowledgement was lost. The message id shows that it is the same order.
 */
import {
  AmqpChannel,
  AmqpConnection,
  AmqpConsumer,
  AmqpDelivery,
  AmqpMessage,
  AmqpPublisher,
  AmqpQueue,
  AmqpTopology
} from "@effect-amqp/core"
import { NodeAmqp } from "@effect-amqp/node"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"

const Order = Schema.Struct({ id: Schema.Int })
const orderMessage = AmqpMessage.schema(Order)

const orders = AmqpQueue.classic("example.orders")

// -----------------------------------------------------------------------------
// the ledger: stands for the database of a real service
// -----------------------------------------------------------------------------

class Ledger extends Context.Service<Ledger, {
  /** How many orders were placed and billed, and how many messages were recognized as repetitions. */
  readonly totals: SubscriptionRef.SubscriptionRef<{
    readonly placed: number
    readonly billed: number
    readonly repeated: number
  }>
  readonly place: Effect.Effect<void>
  /** Bills an order, unless the message with this id was handled before. */
  readonly bill: (messageId: string) => Effect.Effect<void>
}>()("Ledger") {
  static readonly layer = Layer.effect(
    Ledger,
    Effect.gen(function*() {
      const totals = yield* SubscriptionRef.make({ placed: 0, billed: 0, repeated: 0 })
      const handled = new Set<string>()
      return {
        totals,
        place: SubscriptionRef.update(totals, (now) => ({ ...now, placed: now.placed + 1 })),
        bill: (messageId) =>
          SubscriptionRef.update(totals, (now) => {
            if (handled.has(messageId)) return { ...now, repeated: now.repeated + 1 }
            handled.add(messageId)
            return { ...now, billed: now.billed + 1 }
          })
      }
    })
  )
}

// -----------------------------------------------------------------------------
// the service
// -----------------------------------------------------------------------------

const placeOrders = Effect.fn("placeOrders")(function*(count: number) {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  const ledger = yield* Ledger
  for (let id = 1; id <= count; id++) {
    yield* publisher.publish(yield* orderMessage({ id }), AmqpQueue.route(orders.name))
    yield* ledger.place
    yield* Effect.sleep("50 millis")
  }
})

const billOrders = AmqpConsumer.layerServe(
  orders,
  ({ properties: { messageId = "" } }) =>
    Effect.gen(function*() {
      const ledger = yield* Ledger
      yield* ledger.bill(messageId)
      return AmqpDelivery.ack
    }),
  { concurrency: 5 }
)

// -----------------------------------------------------------------------------
// what the operator sees
// -----------------------------------------------------------------------------

const describeState = AmqpConnection.State.$match({
  Connecting: ({ endpoint }) => `connecting to ${endpoint ?? "the broker"}`,
  Open: ({ endpoint }) => `connected to ${endpoint}`,
  Blocked: ({ reason }) => `the broker accepts no orders: ${reason}`,
  Recovering: ({ attempt, cause, lastError, nextAttempt }) => {
    const reason = (lastError ?? cause).message
    return nextAttempt === undefined
      ? `NOT CONNECTED, attempt ${attempt}. ${reason}`
      : `NOT CONNECTED, next attempt at ${nextAttempt.toISOString().slice(11, 23)}. ${reason}`
  },
  Closed: ({ error }) => `the connection is closed. ${error.message}`
})

const showConnection = Effect.gen(function*() {
  const connection = yield* AmqpConnection.AmqpConnection
  yield* Stream.runForEach(connection.stateChanges, (state) => Console.log(`connection: ${describeState(state)}`))
})

const showTotals = Effect.gen(function*() {
  const { totals } = yield* Ledger
  yield* Console.log("orders: begin")
  yield* Effect.repeat(
    Effect.flatMap(
      SubscriptionRef.get(totals),
      ({ billed, placed, repeated }) =>
        Console.log(`orders: ${placed} placed, ${billed} billed, ${repeated} recognized as repeated`)
    ),
    Schedule.spaced("1 second")
  )
})

// -----------------------------------------------------------------------------
// main
// -----------------------------------------------------------------------------

const main = Effect.gen(function*() {
  const count = yield* Config.Int("ORDERS").pipe(Config.withDefault(60))
  const { totals } = yield* Ledger
  yield* Effect.forkScoped(showConnection)
  yield* Effect.forkScoped(showTotals)
  yield* placeOrders(count)
  yield* Stream.runDrain(Stream.takeUntil(SubscriptionRef.changes(totals), ({ billed }) => billed === count))
  const { billed, placed } = yield* SubscriptionRef.get(totals)
  yield* Console.log(`orders: all ${placed} placed and all ${billed} billed, each once`)
})

const AmqpLive = NodeAmqp.layerConfig({
  url: Config.Redacted("AMQP_URL").pipe(Config.withDefault(Redacted.make("amqp://guest:guest@127.0.0.1:5672"))),
  connectionName: Config.succeed("order service example"),
  recovery: Config.succeed({ initial: "retry" })
})

/** The queue exists for as long as the example runs. */
const QueueLive = Layer.effectDiscard(Effect.acquireRelease(
  AmqpChannel.run(AmqpQueue.delete(orders)),
  () => Effect.ignore(AmqpChannel.run(AmqpQueue.delete(orders)))
))

const ServiceLive = billOrders.pipe(
  Layer.provideMerge(Layer.mergeAll(
    AmqpPublisher.layer({
      retry: Schedule.recurs(100),
      stamp: { messageId: true },
      defaults: { deliveryMode: "persistent", mandatory: true }
    }),
    Ledger.layer
  )),
  Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(orders))),
  Layer.provideMerge(QueueLive),
  Layer.provideMerge(AmqpLive)
)

Effect.scoped(main).pipe(Effect.provide(ServiceLive), NodeRuntime.runMain)
