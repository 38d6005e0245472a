import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import type * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import {
  ack,
  assertReason,
  assertWaits,
  channelClose,
  connected,
  connectionClose,
  deliverBytes,
  failureOf,
  fork,
  methodBytes,
  openConsumer,
  rejected,
  resultOf
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

/** Consumes, and collects every delivery for the test to settle. */
const collecting = (peer: Peer) =>
  Effect.gen(function*() {
    const deliveries: Array<AmqpDelivery.AmqpDelivery> = []
    const collect = Stream.runForEach(
      AmqpConsumer.stream("q"),
      (delivery) => Effect.sync(() => void deliveries.push(delivery))
    )
    const consumer = yield* openConsumer(peer, collect)
    /** Delivers this many messages in one read. */
    const deliver = (count: number) =>
      peer.push(
        ...Array.from(
          { length: count },
          (_, index) => deliverBytes(1, consumer.consumerTag, deliveries.length + index + 1, "m")
        )
      )
    return { ...consumer, deliveries, deliver }
  })

describe("a consumer", () => {
  it.effect("sets its prefetch before it consumes", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const consumer = yield* fork(Stream.runDrain(AmqpConsumer.stream("orders", { prefetch: 7 })))
        yield* peer.openChannel()
        const qos = yield* peer.expect("basic.qos", 1)
        assert.deepStrictEqual(qos, { _tag: "basic.qos", prefetchSize: 0, prefetchCount: 7, global: false })
        yield* peer.expectNothing
        yield* peer.send(1, { _tag: "basic.qos-ok" })
        const { consumerTag, noAck, queue } = yield* peer.expect("basic.consume", 1)
        assert.deepStrictEqual([queue, noAck], ["orders", false])
        assert.notStrictEqual(consumerTag, "")
        yield* assertWaits(consumer)
      })
    ))

  for (const [code, reason] of [[404, "NotFound"], [403, "AccessRefused"]] as const) {
    it.effect(`K9, E6, E7: fails with ${reason} when the broker refuses it with ${code}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const consumer = yield* fork(Stream.runDrain(AmqpConsumer.stream("q")))
          yield* peer.openChannel()
          yield* peer.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
          yield* peer.answer(1, "basic.consume", channelClose(code, "no"))
          const error = yield* failureOf(consumer)
          if (error._tag !== "AmqpChannelError") return assert.fail(error._tag)
          assertReason(error, reason)
          yield* peer.expect("channel.close-ok", 1)
          yield* peer.expectNothing
        })
      ))
  }

  for (const noWait of [true, false]) {
    it.effect(`K1: fails when the broker cancels it, after the deliveries before that (noWait: ${noWait})`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const { consumerTag, deliveries, fiber } = yield* collecting(peer)
          yield* peer.push(
            deliverBytes(1, consumerTag, 1, "before"),
            methodBytes(1, { _tag: "basic.cancel", consumerTag, noWait })
          )
          if (!noWait) yield* peer.expect("basic.cancel-ok", 1)
          yield* peer.closeChannel()
          const error = yield* failureOf(fiber)
          if (error._tag !== "AmqpConsumerCancelled") return assert.fail(error._tag)
          assert.deepStrictEqual([error.queue, error.consumerTag], ["q", consumerTag])
          assert.isTrue(error.isRetryable)
          assert.deepStrictEqual(deliveries.map(({ text }) => text), ["before"])
        })
      ))
  }
})

describe("a settlement", () => {
  it.effect("K4: returns true the first time, then false without sending anything", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { deliver, deliveries } = yield* collecting(peer)
        yield* deliver(3)
        const [acked, nacked, refused] = deliveries
        assert.isTrue(yield* acked.ack)
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(1))
        assert.isTrue(yield* nacked.nack())
        const nack = yield* peer.expect("basic.nack")
        assert.deepStrictEqual(nack, { _tag: "basic.nack", deliveryTag: 2, multiple: false, requeue: true })
        assert.isTrue(yield* refused.reject())
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(3, false))
        for (const delivery of deliveries) {
          assert.isFalse(yield* delivery.ack)
          assert.isFalse(yield* delivery.nack({ requeue: false }))
          assert.isFalse(yield* delivery.reject({ requeue: true }))
        }
        yield* peer.expectNothing
      })
    ))

  it.effect("K4: returns false the second time even within the same turn", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { deliver, deliveries } = yield* collecting(peer)
        yield* deliver(1)
        assert.deepStrictEqual(
          yield* Effect.all([deliveries[0].ack, deliveries[0].ack, deliveries[0].nack()]),
          [true, false, false]
        )
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(1))
        yield* peer.expectNothing
      })
    ))

  for (
    const [what, end] of [
      ["channel", (peer: Peer) => peer.send(1, channelClose(406, "PRECONDITION_FAILED"))],
      ["connection", (peer: Peer) => peer.send(0, connectionClose(320, "bye"))],
      ["socket", (peer: Peer) => peer.hangUp]
    ] as const
  ) {
    it.effect(`K3: returns false and sends nothing after the ${what} has closed`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const { deliver, deliveries, fiber } = yield* collecting(peer)
          yield* deliver(3)
          yield* end(peer)
          yield* failureOf(fiber)
          yield* peer.takeTags
          const before = peer.bytesTaken
          const [one, two, three] = deliveries
          assert.deepStrictEqual(yield* Effect.all([one.ack, two.nack(), three.reject()]), [false, false, false])
          yield* peer.expectNothing
          assert.strictEqual(peer.bytesTaken, before)
        })
      ))
  }

  it.effect("K3: returns false after its consumer has ended, even if the channel number is in use again", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { deliver, deliveries, fiber } = yield* collecting(peer)
        yield* deliver(1)
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* peer.closeConsumer()
        yield* resultOf(stopping)
        const { consumerTag } = yield* openConsumer(peer, Stream.runDrain(AmqpConsumer.stream("q")))
        yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
        assert.isFalse(yield* deliveries[0].ack)
        yield* peer.expectNothing
      })
    ))
})

describe("acknowledgements", () => {
  it.effect("of one turn are sent as one", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { deliver, deliveries } = yield* collecting(peer)
        yield* deliver(200)
        yield* Effect.forEach(deliveries.toReversed(), ({ ack }) => ack)
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(200, true))
        yield* peer.expectNothing
      })
    ))

  it.effect("above a gap are sent one by one, and one that fills the gap covers only itself", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { deliver, deliveries } = yield* collecting(peer)
        yield* deliver(6)
        yield* Effect.forEach([1, 2, 4, 6], (tag) => deliveries[tag - 1].ack)
        for (const expected of [ack(2, true), ack(4), ack(6)]) {
          assert.deepStrictEqual(yield* peer.expect("basic.ack"), expected)
        }
        yield* peer.expectNothing
        yield* deliveries[2].ack
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(3))
        yield* deliveries[4].ack
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(5))
        yield* peer.expectNothing
      })
    ))

  it.effect("and rejects of one turn are sent in the order in which they were made", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { deliver, deliveries } = yield* collecting(peer)
        yield* deliver(4)
        const [one, two, three, four] = deliveries
        yield* Effect.all([one.ack, two.ack, three.reject({ requeue: true }), four.ack])
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2, true))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(3, true))
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(4))
        yield* peer.expectNothing
      })
    ))

  it.effect("are sent before the consumer closes", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, fiber } = yield* openConsumer(
          peer,
          AmqpConsumer.stream("q").pipe(Stream.tap(({ ack }) => ack), Stream.take(2), Stream.runDrain)
        )
        yield* peer.push(...[1, 2, 3].map((tag) => deliverBytes(1, consumerTag, tag, "m")))
        const tags = yield* peer.takeTags
        assert.sameMembers([...new Set(tags)], ["basic.ack", "channel.close"])
        assert.strictEqual(tags.at(-1), "channel.close")
        yield* peer.send(1, { _tag: "channel.close-ok" })
        yield* resultOf(fiber)
      })
    ))
})

describe("a consumer tag that is not UTF-8", () => {
  it.effect("is sent back unchanged", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* openConsumer(peer, Stream.runDrain(AmqpConsumer.stream("q")))
        const consumerTag = "\udcff".repeat(255)
        yield* peer.push(methodBytes(1, { _tag: "basic.cancel", consumerTag, noWait: false }))
        assert.strictEqual((yield* peer.expect("basic.cancel-ok", 1)).consumerTag, consumerTag)
      })
    ))
})
