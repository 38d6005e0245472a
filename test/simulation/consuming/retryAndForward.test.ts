import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpFailurePolicy from "@effect-amqp/core/AmqpFailurePolicy"
import { AmqpPublisher } from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import { wire } from "../../fixtures/wire.ts"
import {
  ack,
  assertWaits,
  bodyBytes,
  channelClose,
  connected,
  contentBytes,
  declareOk,
  deliverBytes,
  fork,
  handedBack,
  methodBytes,
  nack,
  openConsumer,
  openPublisher,
  rejected,
  rest,
  resultOf
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

/** Serves the queue `q` on channel 2, with a publisher on channel 1. Its handler fails by default. */
const serving = <R>(
  peer: Peer,
  onFailure: AmqpFailurePolicy.AmqpFailurePolicy<string, R>,
  handler: AmqpConsumer.Handler<string, never> = () => Effect.fail("no"),
  // The failures are intended, so they are not logged by default.
  loggers: ReadonlyArray<Logger.Logger<unknown, unknown>> = []
) =>
  Effect.gen(function*() {
    const publisher = yield* openPublisher(peer)
    const serve = AmqpConsumer.serve("q", handler, { onFailure, drainTimeout: "3 seconds" })
    const consumer = serve.pipe(
      Effect.provideService(AmqpPublisher, publisher),
      Effect.provide(Logger.layer(loggers))
    )
    return yield* openConsumer(peer, consumer, 2)
  })

const afterOneSecond = AmqpFailurePolicy.retry({ delays: ["1 second"] })

/** Answers the declaration of a delay queue, on channel 3. */
const declared = (peer: Peer, queue: string) =>
  Effect.gen(function*() {
    yield* peer.openChannel(3)
    const declaration = yield* peer.expect("queue.declare", 3)
    assert.strictEqual(declaration.queue, queue)
    yield* peer.send(3, declareOk(queue))
    yield* peer.closeChannel(3)
    return declaration
  })

/** A delivery that has failed before. */
const deliverWith = (consumerTag: string, deliveryTag: number, headers: FieldTable) =>
  contentBytes(
    2,
    { _tag: "basic.deliver", consumerTag, deliveryTag, redelivered: false, exchange: "", routingKey: "q" },
    "m",
    { headers }
  )

const failedBefore = (count: unknown, queue: unknown = "q"): FieldTable =>
  // A publisher can send anything here.
  ({ "x-failure-count": count, "x-failure-queue": queue }) as FieldTable

describe("the copy of a message whose handler failed", () => {
  it.effect("is confirmed before the original is acknowledged", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag } = yield* serving(peer, afterOneSecond)
        yield* peer.push(deliverBytes(2, consumerTag, 1, "m"))
        yield* declared(peer, "retry.q.1000")
        const { exchange, mandatory, routingKey } = yield* peer.expectPublish("m", 1)
        assert.deepStrictEqual([exchange, routingKey, mandatory], ["", "retry.q.1000", true])
        yield* peer.expectNothing
        yield* peer.send(1, ack(1))
        assert.deepStrictEqual(yield* peer.expect("basic.ack", 2), ack(1))
      })
    ))

  it.effect("is confirmed before the next message is handled, with a concurrency of 1", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const handled: Array<string> = []
        const { consumerTag } = yield* serving(
          peer,
          AmqpFailurePolicy.forward(AmqpQueue.route("failed")),
          ({ text }) => {
            handled.push(text)
            return text === "a" ? Effect.fail("no") : Effect.succeed(AmqpDelivery.ack)
          }
        )
        yield* peer.push(deliverBytes(2, consumerTag, 1, "a"), deliverBytes(2, consumerTag, 2, "b"))
        yield* peer.expectPublish("a", 1)
        yield* peer.expectNothing
        assert.deepStrictEqual(handled, ["a"])
        yield* peer.send(1, ack(1))
        assert.deepStrictEqual(yield* peer.expect("basic.ack", 2), ack(2, true))
        assert.deepStrictEqual(handled, ["a", "b"])
      })
    ))

  for (
    const [name, answer, expected] of [
      ["is logged as forwarded once it is confirmed", ack(1), ["is forwarded (exchange \"\", routing key \"failed\")"]],
      ["is logged as not forwarded when it is nacked", nack(1), [
        "could not be forwarded (exchange \"\", routing key \"failed\")",
        "The copy of a message failed, and the original stays in its queue"
      ]]
    ] as const
  ) {
    it.effect(name, () => {
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => void logged.push(String(message)))
      return connected((peer) =>
        Effect.gen(function*() {
          const onFailure = AmqpFailurePolicy.forward(AmqpQueue.route("failed"))
          const { consumerTag } = yield* serving(peer, onFailure, () => Effect.fail("no"), [logger])
          yield* peer.push(deliverBytes(2, consumerTag, 1, "a"))
          yield* peer.expectPublish("a", 1)
          yield* peer.expectNothing
          assert.isEmpty(logged)
          yield* peer.send(1, answer)
          yield* rest
          yield* TestClock.adjust("1 second")
          assert.lengthOf(logged, expected.length)
          for (const [index, text] of expected.entries()) assert.include(logged[index], text)
          yield* peer.next
        })
      )
    })
  }

  const copyFailures: ReadonlyArray<readonly [string, (peer: Peer) => Effect.Effect<unknown>]> = [
    ["is nacked", (peer) => peer.send(1, nack(1))],
    ["is not confirmed within a minute", () => TestClock.adjust("1 minute")],
    [
      "closes the publisher's channel",
      (peer) => Effect.andThen(peer.send(1, channelClose(404, "no exchange")), peer.expect("channel.close-ok", 1))
    ]
  ]
  for (const [what, failCopy] of copyFailures) {
    it.effect(`that ${what} has the original requeued a second later`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const { consumerTag, fiber } = yield* serving(peer, AmqpFailurePolicy.forward(AmqpQueue.route("failed")))
          yield* peer.push(deliverBytes(2, consumerTag, 1, "m"))
          yield* peer.expectPublish("m", 1)
          yield* failCopy(peer)
          yield* peer.expectNothing
          yield* TestClock.adjust("999 millis")
          yield* peer.expectNothing
          yield* TestClock.adjust("1 millis")
          assert.deepStrictEqual(yield* peer.expect("basic.nack", 2), handedBack(1))
          yield* assertWaits(fiber)
        })
      ))
  }

  it.effect("is not published when the delay queue exists with other arguments, and the original is requeued", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag } = yield* serving(peer, afterOneSecond)
        yield* peer.push(deliverBytes(2, consumerTag, 1, "m"))
        yield* peer.openChannel(3)
        yield* peer.expect("queue.declare", 3)
        yield* peer.send(3, channelClose(406, "inequivalent arg"))
        yield* peer.expect("channel.close-ok", 3)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* peer.expect("basic.nack", 2), handedBack(1))
      })
    ))

  it.effect("is not published when the delay queue's name is too long, and the original is requeued", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const retry = AmqpFailurePolicy.retry({
          delays: ["1 second"],
          delayQueue: (queue) => AmqpQueue.classic(queue.repeat(256))
        })
        const { consumerTag } = yield* serving(peer, retry)
        yield* peer.push(deliverBytes(2, consumerTag, 1, "m"))
        yield* peer.expectNothing
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* peer.expect("basic.nack", 2), handedBack(1))
      })
    ))

  it.effect("passes its failure to onCopyFailure, which settles the original", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const onFailure = AmqpFailurePolicy.forward(AmqpQueue.route("failed"), {
          onCopyFailure: ({ reason }, { text }) =>
            Effect.sync(() => {
              seen.push(reason._tag, text)
              return AmqpDelivery.reject
            })
        })
        const { consumerTag } = yield* serving(peer, onFailure)
        yield* peer.push(deliverBytes(2, consumerTag, 1, "m"))
        yield* peer.expectPublish("m", 1)
        yield* peer.send(1, nack(1))
        assert.deepStrictEqual(yield* peer.expect("basic.reject", 2), rejected(1, false))
        assert.deepStrictEqual(seen, ["Nacked", "m"])
      })
    ))

  it.effect("that does not fit a frame has the original requeued a minute later", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag } = yield* serving(peer, AmqpFailurePolicy.forward(AmqpQueue.route("failed")))
        yield* peer.push(deliverWith(consumerTag, 1, { large: "a".repeat(4000) }))
        yield* peer.expectNothing
        yield* TestClock.adjust("59 seconds")
        yield* peer.expectNothing
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* peer.expect("basic.nack", 2), handedBack(1))
      }), { server: { frameMax: 4096 } }))

  it.effect("is awaited no longer than the drain timeout when the consumer stops, and the original is requeued", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, fiber } = yield* serving(peer, AmqpFailurePolicy.forward(AmqpQueue.route("failed")))
        yield* peer.push(deliverBytes(2, consumerTag, 1, "m"))
        yield* peer.expectPublish("m", 1)
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* TestClock.adjust("2999 millis")
        yield* peer.expectNothing
        yield* TestClock.adjust("1 millis")
        // Closing the channel requeues it.
        yield* peer.closeChannel(2)
        yield* resultOf(stopping)
        yield* peer.send(1, ack(1))
        yield* peer.expectNothing
      })
    ))

  it.effect("is awaited when the consumer stops", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, fiber } = yield* serving(peer, AmqpFailurePolicy.forward(AmqpQueue.route("failed")))
        yield* peer.push(deliverBytes(2, consumerTag, 1, "m"))
        yield* peer.expectPublish("m", 1)
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* peer.send(1, ack(1))
        assert.deepStrictEqual(yield* peer.expect("basic.ack", 2), ack(1))
        yield* peer.closeChannel(2)
        yield* resultOf(stopping)
      })
    ))

  it.effect("is not published when the properties are unreadable, and the original is requeued", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag } = yield* serving(peer, afterOneSecond)
        for (const redelivered of [false, true]) {
          const deliveryTag = redelivered ? 2 : 1
          yield* peer.push(
            methodBytes(2, {
              _tag: "basic.deliver",
              consumerTag,
              deliveryTag,
              redelivered,
              exchange: "",
              routingKey: "q"
            }),
            // A header with the field type `z`, which does not exist.
            wire(`02 0002 00000016 003c 0000 0000000000000001 2000 00000004 01"a" "z" 00 ce`),
            bodyBytes(2, wire(`"m"`))
          )
          // The policy fails each time, and the default policy calls the handler again until it gives up.
          yield* TestClock.adjust("9 seconds")
          yield* peer.expectNothing
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual(yield* peer.expect("basic.nack", 2), handedBack(deliveryTag))
        }
      })
    ))
})

describe("the delays of a retry", () => {
  /** Asserts in which delay queue a message with these headers waits; `undefined` when it is given up and requeued. */
  const waitsIn = (
    delays: AmqpFailurePolicy.RetryOptions<unknown>["delays"],
    cases: ReadonlyArray<readonly [FieldTable, string | undefined]>
  ) =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag } = yield* serving(peer, AmqpFailurePolicy.retry({ delays }))
        let published = 0
        for (const [index, [headers, queue]] of cases.entries()) {
          yield* peer.push(deliverWith(consumerTag, index + 1, headers))
          if (queue === undefined) {
            yield* peer.expectNothing
            yield* TestClock.adjust("1 minute")
            assert.deepStrictEqual(yield* peer.expect("basic.nack", 2), handedBack(index + 1))
            continue
          }
          if (queue !== "q") yield* declared(peer, queue)
          assert.strictEqual((yield* peer.expectPublish("m", 1)).routingKey, queue)
          yield* peer.send(1, ack(++published))
          yield* peer.expect("basic.ack", 2)
        }
      })
    )

  it.effect("are used in order, and after the last one the message is given up", () =>
    waitsIn(["1 second", 0, "1 minute"], [
      [{}, "retry.q.1000"],
      [failedBefore(1), "q"],
      [failedBefore(2), "retry.q.60000"],
      [failedBefore(3), undefined],
      [failedBefore(4), undefined]
    ]))

  it.effect("can come from a schedule, and end with it", () =>
    waitsIn(Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 3 })), [
      [{}, "retry.q.1000"],
      [failedBefore(1), "retry.q.2000"],
      [failedBefore(2), "retry.q.4000"],
      [failedBefore(3), undefined]
    ]))

  it.effect("can come from a schedule that ends after a time", () =>
    waitsIn(Schedule.spaced("10 seconds").pipe(Schedule.upTo({ duration: "15 seconds" })), [
      [{}, "retry.q.10000"],
      [failedBefore(1), "retry.q.10000"],
      [failedBefore(2), undefined]
    ]))

  it.effect("are limited to the longest TTL of a queue", () =>
    waitsIn(Schedule.exponential("1 day"), [[failedBefore(20), "retry.q.4294367295"]]))

  it.effect("exist for any failure count that a publisher claims", () =>
    waitsIn(Schedule.spaced("1 second"), [[failedBefore(2 ** 50), "retry.q.1000"]]))

  it.effect("start over for a message that failed in another queue, or has no valid count", () =>
    waitsIn(["1 second"], [
      [failedBefore(1, "other"), "retry.q.1000"],
      [failedBefore(-1), "retry.q.1000"],
      [failedBefore(1.5), "retry.q.1000"],
      [failedBefore("1"), "retry.q.1000"],
      [failedBefore(null), "retry.q.1000"],
      [failedBefore(1, 1), "retry.q.1000"],
      [failedBefore(1), undefined]
    ]))

  it("are checked when the retry is made", () => {
    for (const delay of [-1, Number.NaN, Infinity, Duration.days(50)]) {
      assert.throws(() => AmqpFailurePolicy.retry({ delays: [1000, delay] }), /delays: must be/)
    }
  })
})

describe("a delay queue", () => {
  it("dead-letters messages to their queue after the delay, and expires when it is unused", () => {
    const { arguments: table, durable, exclusive, name } = AmqpFailurePolicy.delayQueue("orders", "1.5 seconds")
    assert.deepStrictEqual({ durable, exclusive, name }, {
      durable: true,
      exclusive: false,
      name: "retry.orders.1500"
    })
    assert.deepStrictEqual(table, {
      "x-queue-type": "classic",
      "x-message-ttl": 1500,
      "x-expires": 601_500,
      "x-dead-letter-exchange": "",
      "x-dead-letter-routing-key": "orders"
    })
  })

  it("needs a delay, and a name that fits", () => {
    for (const delay of [0, -1, Number.NaN, Infinity]) {
      assert.throws(() => AmqpFailurePolicy.delayQueue("orders", delay), /delay: must be/)
    }
    assert.throws(
      () => AmqpFailurePolicy.delayQueue("o".repeat(250), "1 second"),
      /queue: a name holds at most 255 bytes/
    )
  })
})
