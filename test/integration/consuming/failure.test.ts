import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpFailurePolicy from "@effect-amqp/core/AmqpFailurePolicy"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import {
  awaitMessages,
  connected,
  declaredExchange,
  declaredQueue,
  eventually,
  fill,
  infoOf,
  queueName,
  take,
  toQueue,
  uniqueName
} from "../../support/broker.ts"
import { brokerUrl } from "../../support/brokerUnderTest.ts"

/** The delay queues of a queue, which are deleted at the end of the scope. */
const deletedDelays = (queue: string, ...delays: ReadonlyArray<number>) =>
  Effect.addFinalizer(() =>
    Effect.forEach(
      delays,
      (delay) => Effect.orDie(AmqpChannel.run(AmqpQueue.delete(AmqpFailurePolicy.delayQueue(queue, delay)))),
      { discard: true }
    )
  )

/** Serves a queue with a new publisher, until the scope closes. */
const startServing = <E, R>(
  queue: string | AmqpQueue.AmqpQueue<"classic">,
  handler: AmqpConsumer.Handler<E, never>,
  onFailure: AmqpFailurePolicy.AmqpFailurePolicy<E, R>,
  concurrency = 1
) =>
  Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.make()
    const serve = AmqpConsumer.startServing(queue, handler, { onFailure, concurrency })
    yield* serve.pipe(
      Effect.provideService(AmqpPublisher.AmqpPublisher, publisher),
      // The failures are intended.
      Effect.provide(Logger.layer([]))
    )
  })

/** A handler that fails for the first messages, and what it received, and when. */
const failing = (failures: number) => {
  const seen: Array<AmqpDelivery.ReceivedMessage> = []
  const times: Array<number> = []
  const handler = (delivery: AmqpDelivery.ReceivedMessage) =>
    Effect.suspend(() => {
      seen.push(delivery)
      times.push(performance.now())
      return seen.length > failures
        ? Effect.succeed(AmqpDelivery.ack)
        : Effect.fail(new RangeError(`no ${seen.length}`))
    })
  return { seen, times, handler }
}

const awaitSeen = (seen: ReadonlyArray<unknown>, count: number) =>
  eventually(Effect.sync(() => seen.length), (length) => length === count)

describe("a retry", () => {
  it.live("redelivers the message unchanged after each delay, with the history of its failures", () =>
    connected(Effect.gen(function*() {
      const exchange = yield* declaredExchange(AmqpExchange.topic)
      const queue = yield* declaredQueue()
      yield* deletedDelays(queue, 50, 150)
      yield* AmqpChannel.run(AmqpQueue.bind(queue, { exchange, routingKey: "order.*" }))
      const { handler, seen, times } = failing(2)
      yield* startServing(queue, handler, AmqpFailurePolicy.retry({ delays: ["50 millis", "150 millis"] }))
      const properties = {
        contentType: "text/plain",
        deliveryMode: "persistent" as const,
        priority: 3,
        correlationId: "c",
        messageId: "m",
        timestamp: new Date(1_700_000_000_000),
        headers: { mine: [1, null, new Date(0)], "x-mine": true }
      }
      const { publish } = yield* AmqpPublisher.make()
      yield* publish(AmqpMessage.text("order", properties), { exchange, routingKey: "order.new" })
      yield* awaitSeen(seen, 3)
      assert.isAtLeast(times[1] - times[0], 50)
      assert.isAtLeast(times[2] - times[1], 150)
      assert.deepStrictEqual(seen.map(AmqpFailurePolicy.historyOf), [
        { count: 0, exchange, routingKey: "order.new", error: undefined },
        { count: 1, exchange, routingKey: "order.new", error: "RangeError: no 1" },
        { count: 2, exchange, routingKey: "order.new", error: "RangeError: no 2" }
      ])
      for (const { properties: received, text } of seen) {
        assert.strictEqual(text, "order")
        // The broker and the retry add headers.
        assert.deepInclude(received, { ...properties, headers: received.headers })
        assert.deepInclude(received.headers, properties.headers)
      }
      // Only the latest death, by which it came back.
      assert.lengthOf(seen[2].properties.headers?.["x-death"] as ReadonlyArray<unknown>, 1)
      yield* awaitMessages(queue, 0)
    })))

  it.live("ends at the dead-letter target of the queue's description", () =>
    connected(Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const options = { deadLetterExchange: "", deadLetterRoutingKey: dead }
      const queue = yield* declaredQueue(options)
      yield* deletedDelays(queue, 20)
      const { handler, seen } = failing(Infinity)
      yield* startServing(
        AmqpQueue.classic(queue, options),
        handler,
        AmqpFailurePolicy.retry({ delays: Schedule.spaced(20).pipe(Schedule.upTo({ times: 2 })) })
      )
      yield* fill(queue, AmqpMessage.text("m"))
      yield* awaitMessages(dead, 1)
      assert.lengthOf(seen, 3)
      const letter = yield* take(dead)
      assert.strictEqual(letter.text, "m")
      assert.deepInclude(letter.properties.headers, { "x-failure-count": 3, "x-failure-queue": queue })
      // It has not failed in the other queue yet.
      assert.strictEqual(AmqpFailurePolicy.historyOf(letter).count, 0)
      yield* awaitMessages(queue, 0)
    })))

  it.live("does not hold up the messages behind it, and without a delay goes to the end of the queue", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...["a", "b", "c"].map((text) => AmqpMessage.text(text)))
      const { handler, seen } = failing(1)
      yield* startServing(queue, handler, AmqpFailurePolicy.retry({ delays: [0] }))
      yield* awaitSeen(seen, 4)
      assert.deepStrictEqual(seen.map(({ text }) => text), ["a", "b", "c", "a"])
    })))

  it.live("returns a message to a server-named queue", () =>
    connected(Effect.gen(function*() {
      const { name } = yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.serverNamed()))
      yield* deletedDelays(name, 20)
      const { handler, seen } = failing(1)
      yield* startServing(name, handler, AmqpFailurePolicy.retry({ delays: [20] }))
      yield* fill(name, AmqpMessage.text("m"))
      yield* awaitSeen(seen, 2)
    })))

  it.live("returns the message to its own queue only, without its CC and its expiration", () =>
    connected(Effect.gen(function*() {
      const [queue, copied] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* deletedDelays(queue, 50)
      const { handler, seen } = failing(1)
      yield* startServing(queue, handler, AmqpFailurePolicy.retry({ delays: [50] }))
      yield* fill(queue, AmqpMessage.text("m", { headers: { CC: [copied] }, expiration: "20 seconds" }))
      yield* awaitSeen(seen, 2)
      assert.strictEqual((yield* infoOf(copied)).messageCount, 1)
      assert.strictEqual(Duration.toMillis(seen[0].properties.expiration ?? 0), 20_000)
      assert.isUndefined(seen[1].properties.expiration)
    })))

  it.live("does not keep the user id of the message", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { handler, seen } = failing(1)
      yield* startServing(queue, handler, AmqpFailurePolicy.retry({ delays: [0] }))
      const userId = decodeURIComponent(new URL(brokerUrl).username) || "guest"
      yield* fill(queue, AmqpMessage.text("m", { userId }))
      yield* awaitSeen(seen, 2)
      assert.deepStrictEqual(seen.map(({ properties }) => properties.userId), [userId, undefined])
    })))

  it.live("can wait in a quorum queue", () =>
    connected(Effect.gen(function*() {
      const [queue, delayName] = [yield* declaredQueue(), yield* queueName]
      const { handler, seen, times } = failing(1)
      yield* startServing(
        queue,
        handler,
        AmqpFailurePolicy.retry({
          delays: ["50 millis"],
          delayQueue: (queue, delay) =>
            AmqpQueue.quorum(delayName, {
              messageTtl: delay,
              deadLetterExchange: "",
              deadLetterRoutingKey: queue,
              deadLetterStrategy: "at-least-once",
              overflow: "reject-publish"
            })
        })
      )
      yield* fill(queue, AmqpMessage.text("m"))
      yield* awaitSeen(seen, 2)
      assert.isAtLeast(times[1] - times[0], 50)
    })))

  it.live("of many messages at once loses and duplicates none", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* deletedDelays(queue, 30)
      const handled: Array<string> = []
      const handler = (delivery: AmqpDelivery.ReceivedMessage) =>
        Effect.suspend(() => {
          if (AmqpFailurePolicy.historyOf(delivery).count < 2) return Effect.fail("not yet")
          handled.push(delivery.text)
          return Effect.succeed(AmqpDelivery.ack)
        })
      yield* startServing(queue, handler, AmqpFailurePolicy.retry({ delays: [30, 0] }), 20)
      const texts = Array.from({ length: 100 }, (_, index) => String(index))
      yield* fill(queue, ...texts.map((text) => AmqpMessage.text(text)))
      yield* awaitSeen(handled, 100)
      assert.sameMembers(handled, texts)
      yield* awaitMessages(queue, 0)
    })))

  it.live("relies on a delay queue that does not expire while it is declared again", () =>
    connected(Effect.gen(function*() {
      const name = yield* queueName
      const declare = AmqpChannel.run(AmqpQueue.declare(AmqpQueue.classic(name, { expires: "400 millis" })))
      yield* declare
      yield* fill(name, AmqpMessage.text("m"))
      for (let time = 0; time < 5; time++) {
        yield* Effect.sleep("200 millis")
        assert.strictEqual((yield* declare).messageCount, 1)
      }
    })))
})

describe("a message that is forwarded", () => {
  it.live("arrives in the other queue with the failure in its headers", () =>
    connected(Effect.gen(function*() {
      const [queue, failed] = [yield* declaredQueue(), yield* declaredQueue()]
      const { handler } = failing(Infinity)
      yield* startServing(queue, handler, AmqpFailurePolicy.forward(toQueue(failed)))
      yield* fill(queue, AmqpMessage.text("m", { messageId: "1", headers: { mine: 1 } }))
      yield* awaitMessages(failed, 1)
      const { properties, text } = yield* take(failed)
      assert.strictEqual(text, "m")
      assert.strictEqual(properties.messageId, "1")
      assert.deepStrictEqual(properties.headers, {
        mine: 1,
        "x-failure-count": 1,
        "x-failure-queue": queue,
        "x-failure-exchange": "",
        "x-failure-routing-key": queue,
        "x-failure-error": "RangeError: no 1"
      })
      yield* awaitMessages(queue, 0)
    })))

  it.live("keeps its routing key, also after retries, unless another is given", () =>
    connected(Effect.gen(function*() {
      const [source, target] = [
        yield* declaredExchange(AmqpExchange.topic),
        yield* declaredExchange(AmqpExchange.topic)
      ]
      const [queue, failed] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* AmqpChannel.run(AmqpChannel.all([
        AmqpQueue.bind(queue, { exchange: source, routingKey: "#" }),
        AmqpQueue.bind(failed, { exchange: target, routingKey: "order.#" })
      ]))
      const { handler } = failing(Infinity)
      yield* startServing(
        queue,
        handler,
        AmqpFailurePolicy.retry({
          delays: [0, 0],
          otherwise: AmqpFailurePolicy.forward({ exchange: AmqpExchange.topic(target) })
        })
      )
      const { publish } = yield* AmqpPublisher.make()
      yield* publish(AmqpMessage.text("m"), { exchange: source, routingKey: "order.new" })
      yield* awaitMessages(failed, 1)
      const { properties, routingKey } = yield* take(failed)
      assert.strictEqual(routingKey, "order.new")
      assert.strictEqual(properties.headers?.["x-failure-count"], 3)
      assert.strictEqual(properties.headers?.["x-failure-error"], "RangeError: no 3")
    })))

  it.live("goes to a target chosen by its failure, with a custom description", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const [bugs, failed] = [yield* declaredQueue(), yield* declaredQueue()]
      const onFailure = AmqpFailurePolicy.forward(
        (cause: Cause.Cause<string>) => toQueue(Cause.hasDies(cause) ? bugs : failed),
        { describe: (cause) => Cause.hasDies(cause) ? "a bug" : "é".repeat(1000) }
      )
      yield* startServing(queue, ({ text }) => text === "bug" ? Effect.die("oh") : Effect.fail("no"), onFailure)
      yield* fill(queue, AmqpMessage.text("bug"), AmqpMessage.text("other"))
      yield* awaitMessages(failed, 1)
      const [bug, other] = [yield* take(bugs), yield* take(failed)]
      assert.deepStrictEqual([bug.text, other.text], ["bug", "other"])
      assert.strictEqual(bug.properties.headers?.["x-failure-error"], "a bug")
      assert.strictEqual(other.properties.headers?.["x-failure-error"], "é".repeat(512))
    })))

  const unroutable = [
    ["no queue takes it", "Returned", declaredExchange(AmqpExchange.fanout)],
    ["the exchange does not exist", "OutcomeUnknown", Effect.sync(() => uniqueName("exchange"))]
  ] as const
  for (const [what, expected, name] of unroutable) {
    it.live(`stays in its queue when ${what}`, () =>
      connected(Effect.gen(function*() {
        const queue = yield* declaredQueue()
        yield* fill(queue, AmqpMessage.text("m"))
        const exchange = yield* name
        const reasons: Array<string> = []
        const onFailure = AmqpFailurePolicy.forward({ exchange }, {
          onCopyFailure: ({ reason }) =>
            Effect.sync(() => {
              reasons.push(reason._tag)
              return AmqpDelivery.requeue
            })
        })
        yield* Effect.scoped(Effect.andThen(
          startServing(queue, () => Effect.fail("no"), onFailure),
          eventually(Effect.sync(() => reasons.length), (length) => length >= 3)
        ))
        assert.deepStrictEqual([...new Set(reasons)], [expected])
        yield* awaitMessages(queue, 1)
      })))
  }
})
