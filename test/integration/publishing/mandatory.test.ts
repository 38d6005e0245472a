import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { inspect } from "node:util"
import {
  assertReason,
  connected,
  declaredExchange,
  declaredQueue,
  infoOf,
  take,
  toQueue,
  uniqueName
} from "../../support/broker.ts"

/** An exchange with a queue that is bound with the key `known`. */
const target = Effect.gen(function*() {
  const exchange = yield* declaredExchange(AmqpExchange.direct)
  const queue = yield* declaredQueue()
  yield* AmqpChannel.run(AmqpQueue.bind(queue, { exchange, routingKey: "known" }))
  return { exchange, queue }
})

const to = (exchange: string, isKnown: boolean): AmqpChannel.PublishOptions => ({
  exchange,
  routingKey: isKnown ? "known" : "unknown",
  mandatory: true
})

const headers = { "x-id": 1, "x-match": "any", CC: [], nested: { list: [1, "two", null] } }

/** A few messages, some of them empty, so that most are equal to another one in flight. */
const variants: ReadonlyArray<AmqpMessage.AmqpMessage> = [
  AmqpMessage.make(new Uint8Array()),
  AmqpMessage.make(new Uint8Array(), { headers }),
  AmqpMessage.text(""),
  AmqpMessage.text("a"),
  AmqpMessage.text("b", { headers }),
  AmqpMessage.text("x".repeat(5000))
]

describe("mandatory publishes", () => {
  it.live("E2, P3: each get the right result, with hundreds in flight on two publishers", () =>
    connected(Effect.gen(function*() {
      const { exchange, queue } = yield* target
      const publishers = yield* Effect.all([AmqpPublisher.make(), AmqpPublisher.make({ maxInFlight: 20 })])
      // A pattern that no plausible mistake would reproduce.
      const isKnown = (index: number) => (index * 2_654_435_761 >>> 7) % 3 !== 0
      const count = 900
      const results = yield* Effect.forEach(
        Array(count).keys(),
        (index) =>
          Effect.result(
            publishers[index % 2].publish(variants[index % variants.length], to(exchange, isKnown(index)))
          ),
        { concurrency: "unbounded" }
      )
      for (const [index, result] of results.entries()) {
        assert.strictEqual(Result.isSuccess(result), isKnown(index), `message ${index}: ${inspect(result)}`)
        if (Result.isSuccess(result)) continue
        const returned = assertReason(result.failure, "Returned")
        assert.include(returned, { replyCode: 312, replyText: "NO_ROUTE", exchange, routingKey: "unknown" })
        assert.isFalse(returned.isRetryable)
      }
      const known = [...Array(count).keys()].filter(isKnown).length
      assert.isAbove(count - known, 200)
      assert.strictEqual((yield* infoOf(queue)).messageCount, known)
    })))

  it.live("P3: in a batch fail with their index", () =>
    connected(Effect.gen(function*() {
      const { exchange, queue } = yield* target
      const { publishAll } = yield* AmqpPublisher.make({ maxInFlight: 100 })
      const isKnown = (index: number) => index % 11 < 6
      const batch = Array.from({ length: 440 }, (_, index) => variants[index % variants.length])
      const error = yield* Effect.flip(publishAll(batch, (_, index) => to(exchange, isKnown(index))))
      assert.deepStrictEqual(
        error.failures.map(({ index }) => index),
        [...batch.keys()].filter((index) => !isKnown(index))
      )
      for (const { error: failure } of error.failures) assertReason(failure, "Returned")
      assert.deepStrictEqual([error.taken, error.confirmed], [440, 240])
      assert.isFalse(error.isRetryable)
      assert.strictEqual((yield* infoOf(queue)).messageCount, 240)
    })))

  it.live("P3, P7: are distinguished from equal publishes that are not mandatory or are nacked", () =>
    connected(Effect.gen(function*() {
      const { exchange } = yield* target
      const full = yield* declaredQueue({ maxLength: 1, overflow: "reject-publish" })
      const { publish } = yield* AmqpPublisher.make()
      const message = AmqpMessage.text("the same")
      yield* publish(message, toQueue(full))
      const routes: ReadonlyArray<readonly [AmqpChannel.PublishOptions, string]> = [
        [to(exchange, true), "ok"],
        [to(exchange, false), "Returned"],
        [{ exchange, routingKey: "unknown" }, "ok"],
        [{ ...toQueue(full), mandatory: true }, "Nacked"],
        [{ exchange, routingKey: "other", mandatory: true }, "Returned"],
        [toQueue(full), "Nacked"]
      ]
      const outcomes = yield* Effect.forEach(
        Array.from({ length: 300 }, (_, index) => routes[index % routes.length]),
        ([route]) =>
          Effect.match(publish(message, route), {
            onSuccess: () => "ok",
            onFailure: ({ reason }) => reason._tag === "Returned" ? `Returned ${reason.routingKey}` : reason._tag
          }),
        { concurrency: "unbounded" }
      )
      for (const [index, outcome] of outcomes.entries()) {
        const [route, expected] = routes[index % routes.length]
        const whole = expected === "Returned" ? `Returned ${route.routingKey}` : expected
        assert.strictEqual(outcome, whole, `message ${index}`)
      }
    })))

  it.live("arrive with exactly the properties and headers that were given", () =>
    connected(Effect.gen(function*() {
      const { exchange, queue } = yield* target
      const { publish } = yield* AmqpPublisher.make()
      for (const message of variants) {
        yield* Effect.all([
          publish(message, to(exchange, true)),
          Effect.flip(publish(message, to(exchange, false)))
        ], { concurrency: "unbounded" })
        const { body, properties } = yield* take(queue)
        assert.deepStrictEqual(body, message.body)
        const sent = Object.entries(properties).filter(([, value]) => value !== undefined)
        assert.deepStrictEqual(Object.fromEntries(sent), message.properties)
      }
    })))

  it.live("in a program without confirms fail it with the first returned message", () =>
    connected(Effect.gen(function*() {
      const { exchange, queue } = yield* target
      const program = AmqpChannel.forEach(
        ["known", "first", "known", "second"],
        (routingKey) => AmqpChannel.publish(AmqpMessage.text(""), { exchange, routingKey, mandatory: true })
      )
      const error = yield* Effect.flip(AmqpChannel.run(program))
      assert.strictEqual(assertReason(error, "Returned").routingKey, "first")
      assert.strictEqual((yield* infoOf(queue)).messageCount, 2)
    })))

  it.live("to a queue that does not exist yet succeed once it is declared", () =>
    connected(Effect.gen(function*() {
      const { publish } = yield* AmqpPublisher.make()
      const queue = AmqpQueue.classic(uniqueName("queue"), { exclusive: true })
      const route = { ...toQueue(queue.name), mandatory: true }
      const attempt = publish(AmqpMessage.text("hello"), route)
      assertReason(yield* Effect.flip(attempt), "Returned")
      yield* AmqpChannel.run(AmqpQueue.declare(queue))
      yield* attempt
    })))
})
