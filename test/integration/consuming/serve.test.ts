import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpFailurePolicy from "@effect-amqp/core/AmqpFailurePolicy"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import {
  awaitConsumers,
  awaitMessages,
  connected,
  declaredQueue,
  eventually,
  failureOf,
  fill,
  fork,
  infoOf,
  queueName,
  take
} from "../../support/broker.ts"
import { numbered, texts } from "./support.ts"

describe("serve", () => {
  it.live("acknowledges, rejects or requeues each message as its handler decides", () =>
    connected(Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const queue = yield* declaredQueue({ deadLetterExchange: "", deadLetterRoutingKey: dead })
      yield* fill(queue, ...["ack", "reject", "requeue"].map((text) => AmqpMessage.text(text)))
      const handled: Array<string> = []
      const server = yield* fork(AmqpConsumer.serve(queue, ({ redelivered, text }) =>
        Effect.sync(() => {
          handled.push(redelivered ? `${text}, again` : text)
          if (text === "reject") return AmqpDelivery.reject
          return text === "requeue" && !redelivered ? AmqpDelivery.requeue : AmqpDelivery.ack
        })))
      yield* eventually(Effect.sync(() => handled), ({ length }) => length === 4)
      yield* awaitMessages(dead, 1)
      yield* Fiber.interrupt(server)
      assert.sameMembers(handled, ["ack", "reject", "requeue", "requeue, again"])
      assert.strictEqual((yield* take(dead)).text, "reject")
      assert.deepStrictEqual(yield* infoOf(queue), { name: queue, messageCount: 0, consumerCount: 0 })
    })))

  it.live.each(
    [
      ["fails", Effect.fail("no")],
      ["dies", Effect.die("never")],
      ["is interrupted", Effect.interrupt]
    ] as const
  )("K5: retries a message whose handler %s, and then dead-letters it", ([, failure]) =>
    connected(
      Effect.gen(function*() {
        const dead = yield* declaredQueue()
        const options = { deadLetterExchange: "", deadLetterRoutingKey: dead }
        const queue = yield* declaredQueue(options)
        yield* fill(queue, AmqpMessage.text("bad"), AmqpMessage.text("good"))
        const handled: Array<string> = []
        const server = yield* fork(AmqpConsumer.serve(
          AmqpQueue.classic(queue, options),
          ({ text }) =>
            Effect.suspend((): Effect.Effect<AmqpDelivery.Settlement, string> => {
              handled.push(text)
              return text === "bad" ? failure : Effect.succeed(AmqpDelivery.ack)
            }),
          { prefetch: 1, onFailure: AmqpFailurePolicy.retryInPlace({ pauses: [10] }) }
        ))
        yield* awaitMessages(dead, 1)
        // The consumer still works.
        yield* fill(queue, AmqpMessage.text("good"))
        yield* eventually(Effect.sync(() => handled), ({ length }) => length === 4)
        yield* Fiber.interrupt(server)
        assert.sameMembers(handled, ["bad", "bad", "good", "good"])
        assert.strictEqual((yield* take(dead)).text, "bad")
      })
    ).pipe(Effect.provide(Logger.layer([]))))

  it.live("runs as many handlers at once as its concurrency, and no more", () =>
    connected(Effect.gen(function*() {
      const concurrency = 5
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(20))
      const gate = yield* Latch.make()
      let running = 0
      let most = 0
      let done = 0
      const handler = () =>
        Effect.gen(function*() {
          running++
          most = Math.max(most, running)
          if (running === concurrency) yield* gate.open
          yield* gate.await
          // Gives the other handlers time to run.
          yield* Effect.sleep("2 millis")
          running--
          done++
          return AmqpDelivery.ack
        })
      yield* fork(AmqpConsumer.serve(queue, handler, { concurrency }))
      yield* eventually(Effect.sync(() => done), (done) => done === 20)
      assert.strictEqual(most, concurrency)
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
    })))

  it.live("handles one message at a time, in order, by default", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(20))
      const handled: Array<string> = []
      yield* fork(AmqpConsumer.serve(queue, ({ text }) =>
        Effect.gen(function*() {
          yield* Effect.yieldNow
          handled.push(text)
          return AmqpDelivery.ack
        })))
      yield* eventually(Effect.sync(() => handled), ({ length }) => length === 20)
      assert.deepStrictEqual(handled, texts(20))
    })))

  it.live("K10: lets the running handler finish when it is stopped, and requeues the other messages", () =>
    connected(Effect.gen(function*() {
      const queue = AmqpQueue.classic(yield* declaredQueue())
      yield* fill(queue.name, ...numbered(5))
      const begun = yield* Deferred.make<void>()
      const gate = yield* Latch.make()
      const server = yield* fork(
        AmqpConsumer.serve(
          queue,
          () => Deferred.succeed(begun, undefined).pipe(Effect.andThen(gate.await), Effect.as(AmqpDelivery.ack))
        )
      )
      yield* Deferred.await(begun)
      const stopping = yield* fork(Fiber.interrupt(server))
      yield* awaitConsumers(queue.name, 0)
      // The other messages are requeued before the handler has ended.
      yield* awaitMessages(queue.name, 4)
      assert.isUndefined(stopping.pollUnsafe())
      yield* gate.open
      yield* Fiber.join(stopping)
      yield* awaitMessages(queue.name, 4)
      assert.strictEqual((yield* take(queue.name)).text, "1")
    })))

  it.live("K1: ends with AmqpConsumerCancelled when the queue is deleted", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const server = yield* fork(AmqpConsumer.serve(queue, () => Effect.succeed(AmqpDelivery.ack)))
      yield* awaitConsumers(queue, 1)
      yield* AmqpChannel.run(AmqpQueue.delete(queue))
      assert.strictEqual((yield* failureOf(server))._tag, "AmqpConsumerCancelled")
    })))

  it.live("K10: lets all running handlers finish when it is stopped, and requeues the messages behind them", () =>
    connected(Effect.gen(function*() {
      const described = AmqpQueue.classic(yield* declaredQueue())
      const queue = described.name
      yield* fill(queue, ...numbered(20))
      const gate = yield* Latch.make()
      const begun: Array<string> = []
      const server = yield* fork(AmqpConsumer.serve(
        described,
        ({ text }) =>
          Effect.suspend(() => {
            begun.push(text)
            return Effect.as(gate.await, AmqpDelivery.ack)
          }),
        { prefetch: 12, concurrency: 4 }
      ))
      yield* eventually(Effect.sync(() => begun.length), (length) => length === 4)
      yield* awaitMessages(queue, 8)
      const stopping = yield* fork(Fiber.interrupt(server))
      yield* awaitConsumers(queue, 0)
      assert.isUndefined(stopping.pollUnsafe())
      yield* gate.open
      yield* Fiber.join(stopping)
      assert.deepStrictEqual(begun, texts(4))
      yield* awaitMessages(queue, 16)
      const back = yield* Effect.forEach(Array(16), () => take(queue))
      assert.deepStrictEqual(back.map(({ text }) => text), texts(16, 4))
      assert.deepStrictEqual(back.map(({ redelivered }) => redelivered), back.map((_, index) => index < 8))
    })))

  it.live("K10: waits for a handler no longer than its drain timeout, and requeues its message", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(3))
      let begun = 0
      const server = yield* fork(AmqpConsumer.serve(
        queue,
        () =>
          Effect.suspend(() => {
            begun++
            return Effect.never
          }),
        { drainTimeout: "50 millis" }
      ))
      yield* eventually(Effect.sync(() => begun), (begun) => begun === 1)
      yield* Fiber.interrupt(server)
      yield* awaitMessages(queue, 3)
      assert.isTrue((yield* take(queue)).redelivered)
    })))

  it.live("K12: does not loop over a message that its handler cannot handle, even without a delivery limit", () =>
    connected(
      Effect.gen(function*() {
        const queue = yield* queueName
        yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.quorum(queue)))
        yield* fill(queue, ...numbered(5))
        let handled = 0
        const server = yield* fork(AmqpConsumer.serve(queue, () =>
          Effect.suspend(() => {
            handled++
            return Effect.fail("no")
          }), { prefetch: 5, onFailure: AmqpFailurePolicy.retryInPlace({ pauses: [1, 1] }) }))
        yield* eventually(Effect.sync(() => handled), (handled) => handled === 15)
        yield* Effect.sleep("100 millis")
        assert.strictEqual(handled, 15)
        // The queue is not described with a dead-letter target, so the messages stay.
        yield* Fiber.interrupt(server)
        yield* awaitMessages(queue, 5)
      })
    ).pipe(Effect.provide(Logger.layer([]))))
})

const Order = Schema.Struct({ id: Schema.Int })

describe("serve with decoded values", () => {
  const undecodable = [
    AmqpMessage.text("{", { contentType: "application/json" }),
    AmqpMessage.json({ id: "one" }),
    AmqpMessage.text(`{"id":1}`, { contentType: "text/csv" }),
    AmqpMessage.make(new Uint8Array([0xff, 0xfe]))
  ]

  const serveOrders = (onDecodeError: "reject" | "fail" | undefined) =>
    Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const queue = yield* declaredQueue({ deadLetterExchange: "", deadLetterRoutingKey: dead })
      const seen: Array<string> = []
      const handler = (order: typeof Order.Type) =>
        Effect.sync(() => {
          seen.push(`order ${order.id}`)
          return AmqpDelivery.ack
        })
      const serve = onDecodeError === "fail"
        ? AmqpConsumer.serve(queue, AmqpDelivery.handleDecoded(Order, handler, { onDecodeError }), {
          onFailure: (cause) =>
            Effect.sync(() => {
              const [failure] = cause.reasons
              const error = failure._tag === "Fail" ? failure.error : assert.fail(String(cause))
              seen.push(error.problem)
              return AmqpDelivery.reject
            })
        })
        : AmqpConsumer.serve(
          // Described, so that the default policy knows the dead-letter target.
          onDecodeError === undefined
            ? AmqpQueue.classic(queue, { deadLetterExchange: "", deadLetterRoutingKey: dead })
            : queue,
          onDecodeError === undefined
            ? AmqpDelivery.handleDecoded(Order, handler)
            : AmqpDelivery.handleDecoded(Order, handler, { onDecodeError })
        )
      yield* fork(serve)
      yield* fill(queue, ...undecodable, AmqpMessage.json({ id: 7 }))
      yield* awaitMessages(dead, undecodable.length)
      yield* eventually(Effect.sync(() => seen), (seen) => seen.includes("order 7"))
      const letters = yield* Effect.forEach(undecodable, () => take(dead))
      return { seen, letters }
    })

  it.live.each([undefined, "reject"] as const)(
    "K7: dead-letters a message that cannot be decoded, and continues, with the policy %s",
    (policy) =>
      connected(Effect.gen(function*() {
        const { letters, seen } = yield* serveOrders(policy)
        assert.deepStrictEqual(seen, ["order 7"])
        assert.sameDeepMembers(letters.map(({ body }) => [...body]), undecodable.map(({ body }) => [...body]))
        for (const { properties } of letters) {
          if (policy === undefined) assert.include(properties.headers?.["x-failure-error"], "AmqpDecodeError")
          else assert.containSubset(properties.headers?.["x-death"], [{ reason: "rejected", count: 1 }])
        }
      })).pipe(Effect.provide(Logger.layer([])))
  )

  it.live("K7: leaves a message that cannot be decoded to onFailure, with the policy fail", () =>
    connected(Effect.gen(function*() {
      const { letters, seen } = yield* serveOrders("fail")
      assert.deepStrictEqual(seen, ["Json", "Schema", "ContentType", "Text", "order 7"])
      assert.strictEqual(letters.length, 4)
    })))
})
