/** What RabbitMQ 4.x does with queues otherwise than 3.10. */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import {
  awaitMessages,
  connected,
  drain,
  eventually,
  failsWith,
  fill,
  fork,
  infoOf,
  queueName
} from "../../support/broker.ts"
import { declareQueue } from "../../support/calls.ts"
import { describeVersions } from "../../support/eachVersion.ts"
import { RawConnection } from "../../support/rawConnection.ts"

const { run } = AmqpChannel

const all = ["3.10", "4.0", "4.3"] as const

/** Gets the message of a queue and requeues it, again and again. */
const requeueTimes = (queue: string, times: number) =>
  Effect.gen(function*() {
    for (let time = 0; time < times; time++) {
      yield* awaitMessages(queue, 1)
      yield* run(AmqpQueue.get(queue, () => Effect.succeed(AmqpDelivery.requeue)))
    }
  })

describeVersions("a queue with an argument for mirrored queues", all, (_, url) => {
  it.live("V2: exists like one without it, because the broker ignores the argument", () =>
    connected(
      Effect.gen(function*() {
        const queue = yield* queueName
        yield* Effect.promise(async () => {
          const other = await RawConnection.open(url())
          const reply = await other.call(declareQueue(queue, { durable: true, arguments: { "x-ha-policy": "all" } }))
          await other.close()
          assert.strictEqual(reply, `queue.declare-ok ${queue} 0 0`)
        })
        yield* run(AmqpQueue.declare(AmqpQueue.classic(queue)))
      }),
      { url: url() }
    ))
})

describeVersions("a classic queue with arguments of earlier versions", all, (version, url) => {
  it.live("V7: of version 1 is refused from 4.3 on, with an error that says why, and the next declaration succeeds", () =>
    connected(
      Effect.gen(function*() {
        const name = yield* queueName
        const declare = run(AmqpQueue.declare(AmqpQueue.classic(name, { arguments: { "x-queue-version": 1 } })))
        if (version === "4.3") {
          const { replyText } = yield* failsWith(declare, "PreconditionFailed")
          assert.include(replyText, "x-queue-version")
        } else {
          yield* declare
          yield* run(AmqpQueue.delete(name))
        }
        yield* run(AmqpQueue.declare(AmqpQueue.classic(name)))
      }),
      { url: url() }
    ))

  it.live("V7: that is lazy is declared, and works like any other", () =>
    connected(
      Effect.gen(function*() {
        const queue = AmqpQueue.classic(yield* queueName, { arguments: { "x-queue-mode": "lazy" } })
        yield* run(AmqpQueue.declare(queue))
        yield* fill(queue.name, AmqpMessage.text("m"))
        assert.strictEqual((yield* infoOf(queue.name)).messageCount, 1)
      }),
      { url: url() }
    ))
})

describeVersions("a quorum queue", all, (version, url) => {
  it.live("V4: without a delivery limit dead-letters a message that came back 21 times, from 4.0 on", () =>
    connected(
      Effect.gen(function*() {
        const dead = AmqpQueue.classic(yield* queueName)
        const queue = AmqpQueue.quorum(yield* queueName, { deadLetterQueue: dead })
        yield* run(AmqpQueue.declare(queue))
        yield* fill(queue.name, AmqpMessage.text("m"))
        yield* requeueTimes(queue.name, 20)
        yield* awaitMessages(queue.name, 1)
        yield* requeueTimes(queue.name, 1)
        yield* awaitMessages(version === "3.10" ? queue.name : dead.name, 1)
      }),
      { url: url() }
    ))

  it.live("V4: with an unlimited delivery limit keeps a message that comes back, and is refused for 3.x", () =>
    connected(
      Effect.gen(function*() {
        const queue = AmqpQueue.quorum(yield* queueName, { deliveryLimit: "unlimited" })
        const declare = run(AmqpQueue.declare(queue))
        if (version === "3.10") {
          const { message } = yield* failsWith(declare, "InvalidArgument")
          return assert.include(message, `would take "unlimited" for 0`)
        }
        yield* declare
        yield* fill(queue.name, AmqpMessage.text("m"))
        yield* requeueTimes(queue.name, 25)
        yield* awaitMessages(queue.name, 1)
      }),
      { url: url() }
    ))
})

// In 4.0, the return of a message that no handler has seen counts like any other.
describeVersions("a worker", ["3.10", "4.3"], (_, url) => {
  it.live("V4: that is stopped in order 25 times loses no message that it had only buffered", () =>
    connected(
      Effect.gen(function*() {
        const total = 100
        const queue = AmqpQueue.quorum(yield* queueName)
        yield* run(AmqpQueue.declare(queue))
        yield* fill(queue.name, ...Array.from({ length: total }, (_, index) => AmqpMessage.text(String(index))))
        const handled = new Set<string>()
        for (let time = 0; time < 25; time++) {
          const before = handled.size
          const worker = yield* fork(AmqpConsumer.serve(queue, ({ text }) =>
            Effect.sync(() => {
              handled.add(text)
              return AmqpDelivery.ack
            }).pipe(Effect.delay(5)), { prefetch: 100, concurrency: 1 }))
          yield* eventually(Effect.sync(() => handled.size), (size) => size > before)
          yield* Fiber.interrupt(worker)
        }
        // RabbitMQ 4.3 loses an acknowledgement that many requeues precede, when the channel is closed right after it: the message
        // comes back, and so may be left though it was handled.
        yield* Effect.sleep("200 millis")
        const found = new Set([...handled, ...yield* drain(queue.name)])
        assert.strictEqual(found.size, total)
      }),
      { url: url() }
    ))
})
