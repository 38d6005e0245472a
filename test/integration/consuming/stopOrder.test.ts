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
