import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { connected, eventually, fill, fork, queueName } from "../../support/broker.ts"
import { isSince } from "../../support/brokerUnderTest.ts"

const count = 12

const numbered = Array.from({ length: count }, (_, index) => AmqpMessage.text(String(index + 1)))

describe("a consumer that is stopped while another one waits", () => {
  const kinds: ReadonlyArray<
    readonly [string, (name: string) => AmqpQueue.AmqpQueue<"classic" | "quorum">, AmqpConsumer.Options, boolean]
  > = [
    ["a quorum queue", (name) => AmqpQueue.quorum(name, { singleActiveConsumer: true }), {}, true],
    ["a classic queue", (name) => AmqpQueue.classic(name, { singleActiveConsumer: true }), {}, true],
    [
      "a classic queue that is known by name",
      (name) => AmqpQueue.classic(name, { singleActiveConsumer: true }),
      {},
      false
    ]
  ]
  for (const [what, make, options, isDescribed] of kinds) {
    // In RabbitMQ 4.3 only a requeue after a cancel is not counted, so there the queue has to be described.
    it.live.runIf(isDescribed || !isSince(4, 3))(
      `hands over ${what} in order to the next single active consumer, without overlapping handlers`,
      () =>
        connected(Effect.gen(function*() {
          const name = yield* queueName
          const queue = make(name)
          yield* AmqpChannel.run(AmqpQueue.declare(queue))
          yield* fill(name, ...numbered)
          const handled: Array<string> = []
          let running = 0
          let most = 0
          const worker = (who: string, millis: number) =>
            AmqpConsumer.serve(isDescribed ? queue : name, ({ text }) =>
              Effect.gen(function*() {
                most = Math.max(most, ++running)
                yield* Effect.sleep(millis)
                running--
                handled.push(`${who}${text}`)
                return AmqpDelivery.ack
              }), { ...options, prefetch: 5 })
          const first = yield* fork(worker("A", 60))
          yield* eventually(Effect.sync(() => handled), ({ length }) => length === 1)
          const second = yield* fork(worker("B", 1))
          yield* eventually(Effect.sync(() => handled), ({ length }) => length === 2)
          // It handles its third message, and has buffered others.
          yield* Effect.sleep(10)
          yield* Fiber.interrupt(first)
          yield* eventually(Effect.sync(() => handled), ({ length }) => length === count)
          yield* Fiber.interrupt(second)
          assert.deepStrictEqual(handled.map((text) => Number(text.slice(1))), numbered.map((_, index) => index + 1))
          assert.deepStrictEqual(handled.slice(0, 4).map(([who]) => who), ["A", "A", "A", "B"])
          assert.strictEqual(most, 1)
        }))
    )
  }
})

describe("a consumer of a quorum queue that is stopped with many messages", () => {
  for (const isDescribed of [true, false]) {
    it.live(
      `settles what was handled, and requeues the others without counting attempts, if its queue is ${
        isDescribed ? "described" : "known by name"
      }`,
      () =>
        connected(Effect.gen(function*() {
          const queue = AmqpQueue.quorum(yield* queueName)
          yield* AmqpChannel.run(AmqpQueue.declare(queue))
          const texts = Array.from({ length: 200 }, (_, index) => String(index))
          yield* fill(queue.name, ...texts.map((text) => AmqpMessage.text(text)))
          const handled: Array<string> = []
          const first = yield* fork(AmqpConsumer.serve(isDescribed ? queue : queue.name, ({ text }) =>
            Effect.gen(function*() {
              yield* Effect.sleep(30)
              handled.push(text)
              return AmqpDelivery.ack
            }), { prefetch: 150, concurrency: 5 }))
          yield* eventually(
            Effect.sync(() =>
              handled
            ),
            ({ length }) => length >= 10
          )
          yield* Fiber.interrupt(first)
          const left = new Map<string, AmqpDelivery.ReceivedMessage>()
          yield* fork(AmqpConsumer.serve(queue, (delivery) => {
            left.set(delivery.text, delivery)
            return Effect.succeed(AmqpDelivery.ack)
          }))
          yield* eventually(Effect.sync(() => left), ({ size }) => size + handled.length >= texts.length)
          assert.sameMembers([...handled, ...left.keys()], texts)
          if (isSince(4, 3)) {
            const counts = [...left.values()].map(({ properties }) => properties.headers?.["x-delivery-count"])
            assert.deepStrictEqual(counts.filter((count) => count !== undefined), [])
          }
        }))
    )
  }
})
