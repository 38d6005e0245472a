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

const withoutLogs = Effect.provide(Logger.layer([]))

const forward = (to: string) => ({ text }: AmqpDelivery.ReceivedMessage) =>
  AmqpChannel.as(AmqpChannel.publish(AmqpMessage.text(text), toQueue(to)), AmqpDelivery.ack)

/** Empties a queue, and returns the texts as sorted numbers. */
const texts = (queue: string) =>
  Effect.map(
    AmqpChannel.run(AmqpQueue.getAll(queue, ({ text }) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.ack, text)))),
    (all) => all.map(Number).toSorted((a, b) => a - b)
  )

describe("serveTransaction", () => {
  it.live("forwards each message once", () =>
    connected(Effect.gen(function*() {
      const [from, to] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* fill(from, ...numbered(50))
      const server = yield* fork(AmqpConsumer.serveTransaction(from, forward(to)))
      yield* awaitMessages(to, 50)
      yield* Fiber.interrupt(server)
      assert.strictEqual((yield* infoOf(from)).messageCount, 0)
      assert.deepStrictEqual(yield* texts(to), Array.from({ length: 50 }, (_, index) => index + 1))
    })))

  it.live("rolls back what a handler published when it fails, dies or is interrupted, and retries the message", () =>
    connected(Effect.gen(function*() {
      const [from, to] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* fill(from, ...numbered(9))
      const failures = [Effect.fail("no"), Effect.die("no"), Effect.interrupt]
      const tries = new Map<string, number>()
      const server = yield* fork(AmqpConsumer.serveTransaction(from, (delivery) =>
        AmqpChannel.gen(function*() {
          const settlement = yield* forward(to)(delivery)
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
    })).pipe(withoutLogs))

  it.live("loses and duplicates nothing when it is stopped and restarted many times", () =>
    connected(Effect.gen(function*() {
      const [from, to] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* fill(from, ...numbered(200))
      for (let round = 0; round < 20; round++) {
        const server = yield* fork(AmqpConsumer.serveTransaction(from, (delivery) =>
          AmqpChannel.gen(function*() {
            const settlement = yield* forward(to)(delivery)
            // Between the publish and the commit.
            yield* Effect.yieldNow
            return settlement
          }), { drainTimeout: 0 }))
        yield* Effect.sleep(3 * (round % 5))
        yield* Fiber.interrupt(server)
      }
      const last = yield* fork(AmqpConsumer.serveTransaction(from, forward(to)))
      yield* awaitMessages(to, 200)
      yield* Fiber.interrupt(last)
      assert.deepStrictEqual(yield* texts(to), Array.from({ length: 200 }, (_, index) => index + 1))
      assert.strictEqual((yield* infoOf(from)).messageCount, 0)
    })))

  it.live("keeps the message and publishes nothing when the broker closes its channel for a handler's mistake", () =>
    connected(Effect.gen(function*() {
      const [from, to] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* fill(from, AmqpMessage.text("1"))
      const error = yield* Effect.flip(AmqpConsumer.serveTransaction(from, (delivery) =>
        AmqpChannel.gen(function*() {
          const settlement = yield* forward(to)(delivery)
          yield* AmqpChannel.publish(AmqpMessage.text("2"), { exchange: uniqueName("none"), routingKey: "" })
          return settlement
        })))
      assert.strictEqual(error._tag, "AmqpChannelError")
      yield* awaitMessages(from, 1)
      assert.strictEqual((yield* infoOf(to)).messageCount, 0)
    })).pipe(withoutLogs))

  it.live("keeps a message whose handler published a mandatory message that no queue takes", () =>
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
    })).pipe(withoutLogs))

  it.live("dead-letters a message whose program fails, and requeues what that program fetched", () =>
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
    })).pipe(withoutLogs))

  it.live("commits the rejection of a message larger than maxBodySize although a handler rolls back", () =>
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
    ).pipe(withoutLogs))

  it.live("publishes nothing and ends when a handler continues with a value that is not an Effect", () =>
    connected(Effect.gen(function*() {
      const [from, to] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* fill(from, AmqpMessage.text("1"), AmqpMessage.text("2"))
      const error = yield* Effect.flip(AmqpConsumer.serveTransaction(
        from,
        (delivery) =>
          delivery.text === "2" ? forward(to)(delivery) : AmqpChannel.gen(function*() {
            yield* forward(to)(delivery)
            yield* Effect.flatMap(Effect.void, (): Effect.Effect<void> => undefined as never)
            return AmqpDelivery.ack
          })
      ))
      assert.strictEqual(error._tag, "AmqpConsumerStopped")
      yield* awaitMessages(from, 2)
      assert.strictEqual((yield* infoOf(to)).messageCount, 0)
    })).pipe(withoutLogs))

  it.live("refuses a handler that does not return a program", () =>
    connected(Effect.gen(function*() {
      const from = yield* declaredQueue()
      yield* fill(from, AmqpMessage.text("m"))
      const causes: Array<string> = []
      // Compiles in JavaScript.
      const handler = (() => undefined) as unknown as AmqpConsumer.TransactionHandler<never, never>
      yield* fork(AmqpConsumer.serveTransaction(from, handler, {
        onFailure: (cause) =>
          Effect.as(Effect.sync(() => causes.push(Cause.pretty(cause))), AmqpFailurePolicy.requeueAfter("1 hour"))
      }))
      yield* eventually(Effect.sync(() => causes), ({ length }) => length > 0)
      assert.include(causes[0], "The handler returned undefined instead of")
    })).pipe(withoutLogs))
})

describe("a delivery of another consumer", () => {
  for (const settle of ["ack", "nack", "reject"] as const) {
    it.live(`cannot be settled within a transaction (${settle})`, () =>
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
