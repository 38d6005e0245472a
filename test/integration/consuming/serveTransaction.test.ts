import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpFailurePolicy from "@effect-amqp/core/AmqpFailurePolicy"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import {
  awaitConsumers,
  awaitMessages,
  connected,
  declaredQueue,
  eventually,
  fill,
  fork,
  infoOf,
  queueName,
  take,
  toQueue,
  uniqueName
} from "../../support/broker.ts"

const numbered = (count: number) => Array.from({ length: count }, (_, index) => AmqpMessage.text(String(index + 1)))

const silently = Effect.provide(Logger.layer([]))

const passOn = (to: string) => ({ text }: AmqpDelivery.ReceivedMessage) =>
  AmqpChannel.as(AmqpChannel.publish(AmqpMessage.text(text), toQueue(to)), AmqpDelivery.ack)

/** Takes all that is there, and answers the texts. */
const texts = (queue: string) =>
  Effect.map(
    AmqpChannel.run(AmqpQueue.getAll(queue, ({ text }) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.ack, text)))),
    (all) => all.map(Number).toSorted((a, b) => a - b)
  )

describe("a consumer whose handlers are transactions", () => {
  it.live("passes messages on, each once", () =>
    connected(Effect.gen(function*() {
      const [from, to] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* fill(from, ...numbered(50))
      const server = yield* fork(AmqpConsumer.serveTransaction(from, passOn(to)))
      yield* awaitMessages(to, 50)
      yield* Fiber.interrupt(server)
      assert.strictEqual((yield* infoOf(from)).messageCount, 0)
      assert.deepStrictEqual(yield* texts(to), Array.from({ length: 50 }, (_, index) => index + 1))
    })))

  it.live("takes back what a handler published that fails, dies or is interrupted, and tries it again", () =>
    connected(Effect.gen(function*() {
      const [from, to] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* fill(from, ...numbered(9))
      const failures = [Effect.fail("no"), Effect.die("no"), Effect.interrupt]
      const tries = new Map<string, number>()
      const server = yield* fork(AmqpConsumer.serveTransaction(from, (delivery) =>
        AmqpChannel.gen(function*() {
          const settlement = yield* passOn(to)(delivery)
          const count = (tries.get(delivery.text) ?? 0) + 1
          tries.set(delivery.text, count)
          if (count === 1) yield* failures[Number(delivery.text) % 3]
          return settlement
        }), { onFailure: AmqpFailurePolicy.retryInPlace({ pauses: [5, 5] }) }))
      yield* awaitMessages(to, 9)
      yield* Fiber.interrupt(server)
      assert.deepStrictEqual([...tries.values()], Array(9).fill(2))
      assert.strictEqual((yield* infoOf(from)).messageCount, 0)
      assert.deepStrictEqual(yield* texts(to), [1, 2, 3, 4, 5, 6, 7, 8, 9])
    })).pipe(silently))

  it.live("loses and doubles nothing when it is stopped in the middle, again and again", () =>
    connected(Effect.gen(function*() {
      const [from, to] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* fill(from, ...numbered(200))
      for (let round = 0; round < 20; round++) {
        const server = yield* fork(AmqpConsumer.serveTransaction(from, (delivery) =>
          AmqpChannel.gen(function*() {
            const settlement = yield* passOn(to)(delivery)
            // After it was sent, and before it is committed.
            yield* Effect.yieldNow
            return settlement
          }), { drainTimeout: 0 }))
        yield* Effect.sleep(3 * (round % 5))
        yield* Fiber.interrupt(server)
      }
      const last = yield* fork(AmqpConsumer.serveTransaction(from, passOn(to)))
      yield* awaitMessages(to, 200)
      yield* Fiber.interrupt(last)
      assert.deepStrictEqual(yield* texts(to), Array.from({ length: 200 }, (_, index) => index + 1))
      assert.strictEqual((yield* infoOf(from)).messageCount, 0)
    })))

  it.live("neither loses nor passes on what was not committed when its channel is closed by a mistake of the handler", () =>
    connected(Effect.gen(function*() {
      const [from, to] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* fill(from, AmqpMessage.text("1"))
      const error = yield* Effect.flip(AmqpConsumer.serveTransaction(from, (delivery) =>
        AmqpChannel.gen(function*() {
          const settlement = yield* passOn(to)(delivery)
          yield* AmqpChannel.publish(AmqpMessage.text("2"), { exchange: uniqueName("none"), routingKey: "" })
          return settlement
        })))
      assert.strictEqual(error._tag, "AmqpChannelError")
      yield* awaitMessages(from, 1)
      assert.strictEqual((yield* infoOf(to)).messageCount, 0)
    })).pipe(silently))

  it.live("keeps a message whose handler published a mandatory one that no queue takes", () =>
    connected(Effect.gen(function*() {
      const from = yield* declaredQueue()
      yield* fill(from, AmqpMessage.text("m"))
      const causes: Array<string> = []
      const server = yield* fork(
        AmqpConsumer.serveTransaction(
          from,
          ({ text }) =>
            AmqpChannel.publish(AmqpMessage.text(text), { ...toQueue(uniqueName("none")), mandatory: true }).pipe(
              AmqpChannel.as(AmqpDelivery.ack)
            ),
          {
            onFailure: (cause) =>
              Effect.sync(() => {
                causes.push(Cause.pretty(cause))
                return AmqpFailurePolicy.requeueAfter("1 hour")
              })
          }
        )
      )
      yield* eventually(Effect.sync(() => causes), ({ length }) => length > 0)
      assert.include(causes[0], "NO_ROUTE")
      yield* Fiber.interrupt(server)
      yield* awaitMessages(from, 1)
    })).pipe(silently))

  it.live("gives a message up to the dead-letter target, and has what was fetched within a failed program back", () =>
    connected(Effect.gen(function*() {
      const [dead, other] = [yield* declaredQueue(), yield* declaredQueue()]
      const options = { deadLetterExchange: "", deadLetterRoutingKey: dead }
      const from = yield* declaredQueue(options)
      yield* fill(from, AmqpMessage.text("m"))
      yield* fill(other, AmqpMessage.text("fetched"))
      const server = yield* fork(
        AmqpConsumer.serveTransaction(AmqpQueue.classic(from, options), () =>
          AmqpChannel.gen(function*() {
            yield* AmqpQueue.get(other, () => Effect.succeed(AmqpDelivery.ack))
            return yield* Effect.fail("no")
          }), { onFailure: AmqpFailurePolicy.deadLetter })
      )
      yield* awaitMessages(dead, 1)
      yield* awaitMessages(from, 0)
      yield* awaitMessages(other, 1)
      yield* Fiber.interrupt(server)
      assert.strictEqual((yield* take(other)).text, "fetched")
    })).pipe(silently))

  it.live("commits what becomes of a message that is larger than maxBodySize, apart from what a handler takes back", () =>
    connected(
      Effect.gen(function*() {
        const dead = yield* declaredQueue()
        const queue = AmqpQueue.classic(yield* queueName, { deadLetterExchange: "", deadLetterRoutingKey: dead })
        yield* AmqpChannel.run(AmqpQueue.declare(queue))
        const server = yield* fork(AmqpConsumer.serveTransaction(
          queue,
          () =>
            AmqpChannel.gen(function*() {
              yield* Effect.sleep(50)
              return yield* Effect.fail("no")
            }),
          { onFailure: () => Effect.succeed(AmqpFailurePolicy.retryAfter(50)) }
        ))
        yield* awaitConsumers(queue.name, 1)
        yield* fill(queue.name, AmqpMessage.text("small"), AmqpMessage.text("x".repeat(2000)))
        yield* awaitMessages(dead, 1)
        yield* Fiber.interrupt(server)
        yield* awaitMessages(queue.name, 1)
      }),
      { maxBodySize: 1000 }
    ).pipe(silently))

  it.live("passes nothing on of a handler that goes on with what is no Effect, and ends", () =>
    connected(Effect.gen(function*() {
      const [from, to] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* fill(from, AmqpMessage.text("1"), AmqpMessage.text("2"))
      const error = yield* Effect.flip(AmqpConsumer.serveTransaction(
        from,
        (delivery) =>
          delivery.text === "2" ? passOn(to)(delivery) : AmqpChannel.gen(function*() {
            yield* passOn(to)(delivery)
            yield* Effect.flatMap(Effect.void, (): Effect.Effect<void> => undefined as never)
            return AmqpDelivery.ack
          })
      ))
      assert.strictEqual(error._tag, "AmqpConsumerStopped")
      yield* awaitMessages(from, 2)
      assert.strictEqual((yield* infoOf(to)).messageCount, 0)
    })).pipe(silently))

  it.live("refuses a handler that is no program, and says so", () =>
    connected(Effect.gen(function*() {
      const from = yield* declaredQueue()
      yield* fill(from, AmqpMessage.text("m"))
      const causes: Array<string> = []
      // What compiles in JavaScript.
      const handler = (() => undefined) as unknown as AmqpConsumer.TransactionHandler<never, never>
      yield* fork(AmqpConsumer.serveTransaction(from, handler, {
        onFailure: (cause) =>
          Effect.as(Effect.sync(() => causes.push(Cause.pretty(cause))), AmqpFailurePolicy.requeueAfter("1 hour"))
      }))
      yield* eventually(Effect.sync(() => causes), ({ length }) => length > 0)
      assert.include(causes[0], "The handler returned undefined instead of")
    })).pipe(silently))
})

describe("a delivery of another consumer", () => {
  for (const settle of ["ack", "nack", "reject"] as const) {
    it.live(`is not settled (${settle}) within a transaction, which it is no part of`, () =>
      connected(Effect.gen(function*() {
        const [from, other] = [yield* declaredQueue(), yield* declaredQueue()]
        yield* fill(from, AmqpMessage.text("m"))
        yield* fill(other, AmqpMessage.text("other"))
        const causes: Array<string> = []
        yield* AmqpConsumer.stream(other).pipe(
          Stream.take(1),
          Stream.runForEach((delivery) =>
            Effect.scoped(Effect.gen(function*() {
              yield* AmqpConsumer.startServingTransaction(from, () =>
                AmqpChannel.gen(function*() {
                  yield* settle === "ack" ? delivery.ack : delivery[settle]()
                  return AmqpDelivery.ack
                }), {
                onFailure: (cause) =>
                  Effect.as(
                    Effect.sync(() => causes.push(Cause.pretty(cause))),
                    AmqpFailurePolicy.requeueAfter("1 hour")
                  )
              })
              yield* eventually(Effect.sync(() => causes), ({ length }) => length > 0)
            }))
          )
        )
        assert.include(causes[0], "A delivery of another channel can't be settled within AmqpChannel.transaction")
        yield* awaitMessages(other, 1)
        yield* awaitMessages(from, 1)
      })))
  }
})
