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

const quickly = AmqpFailurePolicy.retryInPlace({ pauses: [5, 5] })

/** What another try does not help. */
const unreadable = new AmqpDecodeError({ problem: "Text", part: "body", description: "it is no text" })

const silently = Effect.provide(Logger.layer([]))

describe("a message whose handler keeps failing", () => {
  it.live("is copied to the dead-letter target of its description, with the failure, and acknowledged", () =>
    connected(Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const options = { deadLetterExchange: "", deadLetterRoutingKey: dead }
      const queue = yield* declaredQueue(options)
      const messages = numbered(20)
      yield* fill(queue, ...messages)
      yield* fork(AmqpConsumer.serve(AmqpQueue.classic(queue, options), () => Effect.fail(new RangeError("never")), {
        concurrency: 4,
        onFailure: quickly
      }))
      yield* awaitMessages(dead, 20)
      yield* awaitMessages(queue, 0)
      const letters = yield* Effect.forEach(messages, () => take(dead))
      assert.sameMembers(letters.map(({ text }) => text), messages.map(({ body }) => new TextDecoder().decode(body)))
      for (const { properties: { headers } } of letters) {
        assert.deepInclude(headers, { "x-failure-queue": queue, "x-failure-error": "RangeError: never" })
      }
    })).pipe(silently))

  it.live("keeps the order of those behind it, and is tried again before they are handled", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(3))
      const handled: Array<string> = []
      yield* fork(AmqpConsumer.serve(queue, ({ text }) =>
        Effect.suspend(() => {
          handled.push(text)
          return handled.length < 3 ? Effect.fail("not now") : Effect.succeed(AmqpDelivery.ack)
        }), { onFailure: quickly }))
      yield* eventually(Effect.sync(() => handled), ({ length }) => length === 5)
      assert.deepStrictEqual(handled, ["1", "1", "1", "2", "3"])
    })).pipe(silently))

  const nowhere: ReadonlyArray<readonly [string, AmqpQueue.ClassicOptions]> = [
    ["there is no such target", {}],
    ["the queue for it is not there", { deadLetterExchange: "", deadLetterRoutingKey: uniqueName("none") }],
    ["the exchange for it is not there", { deadLetterExchange: uniqueName("none") }]
  ]
  for (const [why, options] of nowhere) {
    it.live(`stays in its queue when ${why}, and comes back`, () =>
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
        // Two tries, and then two more: it was handed back in between.
        yield* eventually(Effect.sync(() => handled), (handled) => handled >= 4)
        yield* Fiber.interrupt(server)
        yield* awaitMessages(queue, 1)
        assert.strictEqual((yield* take(queue)).text, "poison")
      })).pipe(silently))
  }

  for (const deadLetterRoutingKey of [undefined, "again"]) {
    it.live(`does not go round in circles when its dead-letter target leads back to its queue (${deadLetterRoutingKey})`, () =>
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
      })).pipe(silently))
  }

  it.live("does not keep others from being handled while it is held", () =>
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
      // Meanwhile it is nobody else's, and at the stop it goes back at once.
      yield* awaitMessages(queue, 0)
      yield* Fiber.interrupt(server)
      yield* awaitMessages(queue, 1)
    })).pipe(silently))

  it.live("is not given up because it was redelivered, whatever its first delivery was for", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(3))
      // A worker that is stopped: what it was sent ahead comes back as redelivered.
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
    })).pipe(silently))

  it.live("ends the consumer when the policy says so, and stays in its queue", () =>
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
    })).pipe(silently))
})

describe("on a stream", () => {
  const filledStream = Effect.gen(function*() {
    const name = yield* queueName
    yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.stream(name)))
    yield* fill(name, ...numbered(5))
    return name
  })

  const kinds = [
    ["described", (name: string) => AmqpQueue.stream(name)],
    ["known by its name", (name: string) => name]
  ] as const
  // What compiles for a stream that is known by its name only, and for any in JavaScript.
  const failures: ReadonlyArray<readonly [string, () => Effect.Effect<AmqpDelivery.Settlement<void, "Ack">, string>]> =
    [
      ["fails", () => Effect.fail("no")],
      ["wants to reject", () => Effect.succeed(AmqpDelivery.reject as AmqpDelivery.Settlement<void, "Ack">)],
      ["wants to requeue", () => Effect.succeed(AmqpDelivery.requeue as AmqpDelivery.Settlement<void, "Ack">)]
    ]
  for (const [kind, describeQueue] of kinds) {
    for (const [what, failure] of failures) {
      it.live(`${kind}, a message whose handler ${what} is skipped, and the connection goes on`, () =>
        connected(Effect.gen(function*() {
          const name = yield* filledStream
          const handled: Array<string> = []
          const server = yield* fork(AmqpConsumer.serve(describeQueue(name), ({ text }) =>
            Effect.suspend(() => {
              handled.push(text)
              return text === "2" ? failure() : Effect.succeed(AmqpDelivery.ack)
            }), { offset: "first", onFailure: quickly }))
          yield* eventually(Effect.sync(() => new Set(handled)), ({ size }) => size === 5)
          yield* Effect.sleep("50 millis")
          assert.isUndefined(server.pollUnsafe())
          // The connection is as good as before.
          yield* declaredQueue()
        })).pipe(silently))
    }
  }

  const policies: ReadonlyArray<readonly [string, AmqpFailurePolicy.AmqpFailurePolicy<unknown>]> = [
    ["reject", AmqpFailurePolicy.reject],
    ["deadLetter", AmqpFailurePolicy.deadLetter],
    ["a rejection", () => Effect.succeed(AmqpDelivery.reject)],
    ["a handback", () => Effect.succeed(AmqpFailurePolicy.requeueAfter(10))],
    ["a policy that dies", () => Effect.die("a mistake")]
  ]
  for (const [what, onFailure] of policies) {
    it.live(`known by its name, without an offset, ${what} goes on after the message`, () =>
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
      })).pipe(silently))
  }

  it.live("a copy of a stream's message in another queue is settled as that queue's", () =>
    connected(Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const queue = yield* declaredQueue({ deadLetterExchange: "", deadLetterRoutingKey: dead })
      yield* fill(queue, AmqpMessage.text("m", { headers: { "x-stream-offset": 7 } }))
      yield* fork(AmqpConsumer.serve(queue, () => Effect.succeed(AmqpDelivery.reject)))
      yield* awaitMessages(dead, 1)
    })).pipe(silently))
})
