/**
 * How to test a program that uses AMQP: with a broker for each test, under the test's clock. `npm test` runs it.
 */
import {
  AmqpChannel,
  AmqpConnection,
  AmqpConsumer,
  AmqpDelivery,
  AmqpExchange,
  AmqpMessage,
  AmqpPublisher,
  AmqpQueue,
  AmqpTopology
} from "@effect-amqp/core"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { assert, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import * as TestClock from "effect/testing/TestClock"

// -----------------------------------------------------------------------------
// the program: a worker that bills orders
// -----------------------------------------------------------------------------

/** The billing service. */
class Billing extends Context.Service<Billing, {
  readonly bill: (order: string) => Effect.Effect<void, Error>
}>()("Billing") {}

const exchange = AmqpExchange.topic("shop")

const failed = AmqpQueue.classic("orders.failed")

const orders = AmqpQueue.classic("orders", {
  deadLetterExchange: "",
  deadLetterRoutingKey: failed.name,
  messageTtl: "1 hour"
}).pipe(AmqpQueue.withBinding({ exchange, routingKey: "order.placed" }))

const topology = AmqpTopology.make(exchange, failed, orders)

/** Places an order; succeeds when the order is in a queue. */
const place = Effect.fnUntraced(function*(order: string) {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  yield* publisher.publish(AmqpMessage.text(order, { deliveryMode: "persistent" }), {
    exchange: exchange.name,
    routingKey: "order.placed",
    mandatory: true
  })
})

/** Bills the orders that are placed, for as long as the layer is built. */
const worker = AmqpConsumer.layerServe(orders, ({ text }) =>
  Effect.gen(function*() {
    const billing = yield* Billing
    yield* billing.bill(text)
    return AmqpDelivery.ack
  }))

/** The layer for the worker and for placing orders. */
const layer = AmqpPublisher.layer().pipe(
  Layer.provideMerge(AmqpTopology.layer(topology))
)

/** The number of orders that could not be billed. */
const countFailed = AmqpChannel.run(
  AmqpChannel.map(AmqpQueue.declarePassive(failed), ({ messageCount }) => messageCount)
)

// -----------------------------------------------------------------------------
// its tests
// -----------------------------------------------------------------------------

/** A broker and a connection of its own for each test, and the topology and the publisher of the program. */
const TestLive = layer.pipe(Layer.provideMerge(AmqpBroker.layer({ heartbeat: "10 seconds" })))

/** Lets the fibers run until all of them wait. */
const settled = Effect.repeat(Effect.yieldNow, { times: 50 })

it.effect("bills an order once", () =>
  Effect.gen(function*() {
    const billed = yield* Ref.make<ReadonlyArray<string>>([])
    const BillingTest = Layer.succeed(Billing, {
      bill: (order) => Ref.update(billed, (orders) => [...orders, order])
    })
    yield* Effect.gen(function*() {
      yield* place("one coffee")
      yield* settled
    }).pipe(Effect.provide(Layer.provide(worker, BillingTest)))
    assert.deepStrictEqual(yield* Ref.get(billed), ["one coffee"])
    const broker = yield* AmqpBroker.AmqpBroker
    assert.deepStrictEqual(yield* broker.messages("orders"), [])
  }).pipe(Effect.provide(TestLive)))

it.effect("dead-letters an order after five attempts", () =>
  Effect.gen(function*() {
    const attempts = yield* Ref.make(0)
    const BillingTest = Layer.succeed(Billing, {
      bill: () => Effect.andThen(Ref.update(attempts, (count) => count + 1), Effect.fail(new Error("no money")))
    })
    yield* Effect.gen(function*() {
      yield* place("one coffee")
      yield* TestClock.adjust("10 seconds")
      yield* settled
      assert.strictEqual(yield* countFailed, 1)
    }).pipe(Effect.provide(Layer.provide(worker, BillingTest)))
    assert.strictEqual(yield* Ref.get(attempts), 5)
    const broker = yield* AmqpBroker.AmqpBroker
    const [dead] = yield* broker.messages("orders.failed")
    assert.strictEqual(dead.text, "one coffee")
    assert.strictEqual(dead.properties.headers?.["x-failure-error"], "Error: no money")
  }).pipe(Effect.provide(TestLive)))

it.effect("dead-letters an order that is not consumed for an hour", () =>
  Effect.gen(function*() {
    const broker = yield* AmqpBroker.AmqpBroker
    yield* place("one coffee")
    assert.lengthOf(yield* broker.messages("orders"), 1)
    yield* TestClock.adjust("1 hour")
    assert.lengthOf(yield* broker.messages("orders"), 0)
    assert.lengthOf(yield* broker.messages("orders.failed"), 1)
  }).pipe(Effect.provide(TestLive)))

it.effect("reports an unknown outcome when the connection is lost", () =>
  Effect.gen(function*() {
    const broker = yield* AmqpBroker.AmqpBroker
    const [connection] = yield* broker.connections
    // The order reaches the broker, and its confirm does not reach the publisher.
    yield* connection.stall("toClient")
    const placing = yield* Effect.forkChild(Effect.flip(place("one coffee")))
    yield* settled
    yield* connection.cut
    assert.strictEqual((yield* Fiber.join(placing)).reason._tag, "OutcomeUnknown")
    assert.lengthOf(yield* broker.messages("orders"), 1)
    assert.strictEqual((yield* (yield* AmqpConnection.AmqpConnection).state)._tag, "Recovering")
  }).pipe(Effect.provide(TestLive)))
