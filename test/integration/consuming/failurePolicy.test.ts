import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import { AmqpDecodeError } from "@effect-amqp/core/AmqpError"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpFailurePolicy from "@effect-amqp/core/AmqpFailurePolicy"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import {
  awaitMessages,
  connected,
  declaredQueue,
  eventually,
  exchangeName,
  fill,
  fork,
  queueName,
  take,
  uniqueName
} from "../../support/broker.ts"

/** Messages with the texts 1 to `count`. */
const numbered = (count: number) => Array.from({ length: count }, (_, index) => AmqpMessage.text(String(index + 1)))

const quickRetry = AmqpFailurePolicy.retryInPlace({ pauses: [5, 5] })

/** A failure that a retry cannot mend. */
const unreadable = new AmqpDecodeError({ problem: "Text", part: "body", description: "it is no text" })

const withoutLogs = Effect.provide(Logger.layer([]))

describe("a message whose handler keeps failing", () => {
  it.live("is copied to the dead-letter target of its queue's description, with the failure, and acknowledged", () =>
    connected(Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const options = { deadLetterExchange: "", deadLetterRoutingKey: dead }
      const queue = yield* declaredQueue(options)
      const messages = numbered(20)
      yield* fill(queue, ...messages)
      yield* fork(AmqpConsumer.serve(AmqpQueue.classic(queue, options), () => Effect.fail(new RangeError("never")), {
        concurrency: 4,
        onFailure: quickRetry
      }))
      yield* awaitMessages(dead, 20)
      yield* awaitMessages(queue, 0)
      const letters = yield* Effect.forEach(messages, () => take(dead))
      assert.sameMembers(letters.map(({ text }) => text), messages.map(({ body }) => new TextDecoder().decode(body)))
      for (const { properties: { headers } } of letters) {
        assert.deepInclude(headers, { "x-failure-queue": queue, "x-failure-error": "RangeError: never" })
      }
    })).pipe(withoutLogs))

  it.live("is retried before the messages behind it, which keep their order", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(3))
      const handled: Array<string> = []
      yield* fork(AmqpConsumer.serve(queue, ({ text }) =>
        Effect.suspend(() => {
          handled.push(text)
          return handled.length < 3 ? Effect.fail("not now") : Effect.succeed(AmqpDelivery.ack)
        }), { onFailure: quickRetry }))
      yield* eventually(Effect.sync(() => handled), ({ length }) => length === 5)
      assert.deepStrictEqual(handled, ["1", "1", "1", "2", "3"])
    })).pipe(withoutLogs))

  const unroutable: ReadonlyArray<readonly [string, AmqpQueue.ClassicOptions]> = [
    ["no target is described", {}],
    ["the target queue does not exist", { deadLetterExchange: "", deadLetterRoutingKey: uniqueName("none") }],
    ["the dead-letter exchange does not exist", { deadLetterExchange: uniqueName("none") }]
  ]
  for (const [why, options] of unroutable) {
    it.live(`stays in its queue when ${why}, and is redelivered`, () =>
      connected(Effect.gen(function*() {
        const queue = yield* declaredQueue(options)
        yield* fill(queue, AmqpMessage.text("poison"))
        let handled = 0
        const server = yield* fork(AmqpConsumer.serve(AmqpQueue.classic(queue, options), () =>
          Effect.suspend(() => {
            handled++
            return Effect.fail("no")
          }), {
          onFailure: AmqpFailurePolicy.retryInPlace({
            pauses: [5],
            otherwise: AmqpFailurePolicy.deadLetterWith({ holdFor: "50 millis" })
          })
        }))
        // Two attempts, a requeue, and two more.
        yield* eventually(Effect.sync(() => handled), (handled) => handled >= 4)
        yield* Fiber.interrupt(server)
        yield* awaitMessages(queue, 1)
        assert.strictEqual((yield* take(queue)).text, "poison")
      })).pipe(withoutLogs))
  }

  for (const deadLetterRoutingKey of [undefined, "again"]) {
    it.live(`does not loop when its dead-letter target leads back to its queue (with key ${deadLetterRoutingKey})`, () =>
      connected(Effect.gen(function*() {
        const exchange = AmqpExchange.fanout(yield* exchangeName)
        const queue = AmqpQueue.classic(yield* queueName, { deadLetterExchange: exchange, deadLetterRoutingKey }).pipe(
          AmqpQueue.withBinding({ exchange })
        )
        yield* AmqpChannel.run(AmqpQueue.declare(queue))
        yield* fill(queue.name, AmqpMessage.text("poison"))
        let handled = 0
        const server = yield* fork(AmqpConsumer.serve(queue, () =>
          Effect.suspend(() => {
            handled++
            return Effect.fail(unreadable)
          })))
        yield* eventually(Effect.sync(() => handled), (handled) => handled >= 2)
        yield* Effect.sleep(200)
        assert.strictEqual(handled, 2)
        yield* Fiber.interrupt(server)
        yield* awaitMessages(queue.name, 1)
      })).pipe(withoutLogs))
  }

  it.live("does not hold up other messages while it is held", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, AmqpMessage.text("poison"), ...numbered(10))
      const handled: Array<string> = []
      const server = yield* fork(AmqpConsumer.serve(queue, ({ text }) =>
        Effect.suspend(() => {
          handled.push(text)
          return text === "poison" ? Effect.fail("no") : Effect.succeed(AmqpDelivery.ack)
        }), { onFailure: AmqpFailurePolicy.deadLetter }))
      yield* eventually(Effect.sync(() => handled), ({ length }) => length === 11)
      // The held message is not in the queue, and is requeued at once when the consumer stops.
      yield* awaitMessages(queue, 0)
      yield* Fiber.interrupt(server)
      yield* awaitMessages(queue, 1)
    })).pipe(withoutLogs))

  it.live("is retried even if it was redelivered before its first attempt", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(3))
      // A worker that is stopped: the messages that it buffered are redelivered.
      const first = yield* fork(AmqpConsumer.serve(queue, () => Effect.never, { prefetch: 3, drainTimeout: 0 }))
      yield* awaitMessages(queue, 0)
      yield* Fiber.interrupt(first)
      yield* awaitMessages(queue, 3)
      const tries = new Map<string, number>()
      yield* fork(AmqpConsumer.serve(queue, ({ redelivered, text }) =>
        Effect.suspend(() => {
          assert.isTrue(redelivered)
          tries.set(text, (tries.get(text) ?? 0) + 1)
          return tries.get(text) === 1 ? Effect.fail("not now") : Effect.succeed(AmqpDelivery.ack)
        })))
      yield* eventually(
        Effect.sync(() => [...tries.values()]),
        (counts) => counts.length === 3 && counts.every((count) => count === 2)
      )
      yield* awaitMessages(queue, 0)
    })).pipe(withoutLogs))

  it.live("ends the consumer with the policy stop, and stays in its queue", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(5))
      const error = yield* Effect.flip(
        AmqpConsumer.serve(queue, () => Effect.fail(new RangeError("no")), { onFailure: AmqpFailurePolicy.stop })
      )
      if (error._tag !== "AmqpConsumerStopped") return assert.fail(error._tag)
      assert.include(error.message, `The consumer of the queue "${queue}" was stopped`)
      assert.include(error.message, "RangeError: no")
      yield* awaitMessages(queue, 5)
    })).pipe(withoutLogs))
})

describe("a message of a stream", () => {
  const filledStream = Effect.gen(function*() {
    const name = yield* queueName
    yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.stream(name)))
    yield* fill(name, ...numbered(5))
    return name
  })

  const kinds = [
    ["the stream is described", (name: string) => AmqpQueue.stream(name)],
    ["the stream is known by name", (name: string) => name]
  ] as const
  // Compiles for a stream that is known by name only, and for any stream in JavaScript.
  const failures: ReadonlyArray<readonly [string, () => Effect.Effect<AmqpDelivery.Settlement<void, "Ack">, string>]> =
    [
      ["fails", () => Effect.fail("no")],
      ["rejects it", () => Effect.succeed(AmqpDelivery.reject as AmqpDelivery.Settlement<void, "Ack">)],
      ["requeues it", () => Effect.succeed(AmqpDelivery.requeue as AmqpDelivery.Settlement<void, "Ack">)]
    ]
  for (const [kind, describeQueue] of kinds) {
    for (const [what, failure] of failures) {
      it.live(`is skipped when its handler ${what}, and the connection stays open (${kind})`, () =>
        connected(Effect.gen(function*() {
          const name = yield* filledStream
          const handled: Array<string> = []
          const server = yield* fork(AmqpConsumer.serve(describeQueue(name), ({ text }) =>
            Effect.suspend(() => {
              handled.push(text)
              return text === "2" ? failure() : Effect.succeed(AmqpDelivery.ack)
            }), { offset: "first", onFailure: quickRetry }))
          yield* eventually(Effect.sync(() => new Set(handled)), ({ size }) => size === 5)
          yield* Effect.sleep("50 millis")
          assert.isUndefined(server.pollUnsafe())
          // The connection still works.
          yield* declaredQueue()
        })).pipe(withoutLogs))
    }
  }

  const policies: ReadonlyArray<readonly [string, AmqpFailurePolicy.AmqpFailurePolicy<unknown>]> = [
    ["AmqpFailurePolicy.reject", AmqpFailurePolicy.reject],
    ["AmqpFailurePolicy.deadLetter", AmqpFailurePolicy.deadLetter],
    ["a policy that rejects", () => Effect.succeed(AmqpDelivery.reject)],
    ["a policy that hands back", () => Effect.succeed(AmqpFailurePolicy.requeueAfter(10))],
    ["a policy that dies", () => Effect.die("a mistake")]
  ]
  for (const [what, onFailure] of policies) {
    it.live(`is skipped by ${what}, when the stream is known by name and has no offset`, () =>
      connected(Effect.gen(function*() {
        const name = yield* filledStream
        const handled: Array<string> = []
        yield* Effect.scoped(Effect.gen(function*() {
          yield* AmqpConsumer.startServing(name, ({ text }) =>
            Effect.suspend(() => {
              handled.push(text)
              return text === "bad" ? Effect.fail(unreadable) : Effect.succeed(AmqpDelivery.ack)
            }), { onFailure })
          yield* fill(name, AmqpMessage.text("bad"), AmqpMessage.text("good"))
          yield* eventually(Effect.sync(() => handled), (handled) => handled.includes("good"))
        }))
        yield* declaredQueue()
      })).pipe(withoutLogs))
  }

  it.live("that was copied to another queue is settled like a message of that queue", () =>
    connected(Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const queue = yield* declaredQueue({ deadLetterExchange: "", deadLetterRoutingKey: dead })
      yield* fill(queue, AmqpMessage.text("m", { headers: { "x-stream-offset": 7 } }))
      yield* fork(AmqpConsumer.serve(queue, () => Effect.succeed(AmqpDelivery.reject)))
      yield* awaitMessages(dead, 1)
    })).pipe(withoutLogs))
})
