import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import {
  assertReason,
  assertWaits,
  connected,
  contentBytes,
  deliverBytes,
  failureOf,
  gated,
  openConsumer,
  rest
} from "../../support/scriptedPeer.ts"

describe("buffered deliveries", () => {
  for (
    const [what, consumer, hasLimit] of [
      ["stream", Stream.runForEach(AmqpConsumer.stream("q", { autoAck: true }), () => Effect.never), false],
      ["serve", AmqpConsumer.serve("q", () => Effect.never, { prefetch: 0, drainTimeout: 0 }), true]
    ] as const
  ) {
    it.effect(`K6: count with their properties and headers: a slow ${what} stops the reader`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const { consumerTag } = yield* openConsumer(peer, consumer, 1, hasLimit)
          yield* rest
          const header = "h".repeat(100_000)
          for (let tag = 1; tag <= 400; tag++) {
            yield* peer.push(contentBytes(
              1,
              {
                _tag: "basic.deliver",
                consumerTag,
                deliveryTag: tag,
                redelivered: false,
                exchange: "",
                routingKey: "q"
              },
              "",
              { headers: { header } }
            ))
          }
          yield* rest
          // 40 MB of headers were sent, and at most 16 MiB are buffered.
          assert.isAbove(peer.bytesUnread, 20_000_000)
        })
      ))
  }

  it.effect("K6: are handled one by one, and then the reader continues", () =>
    connected((peer) =>
      Effect.gen(function*() {
        let handled = 0
        const serve = AmqpConsumer.serve("q", () => Effect.as(Effect.sleep(1), AmqpDelivery.ack), {
          prefetch: 0,
          drainTimeout: 0
        })
        const { consumerTag } = yield* openConsumer(peer, serve)
        const megabyte = "x".repeat(1024 * 1024)
        for (let tag = 1; tag <= 40; tag++) yield* peer.push(deliverBytes(1, consumerTag, tag, megabyte))
        yield* rest
        assert.isAbove(peer.bytesUnread, 0)
        for (; handled < 60 && peer.bytesUnread > 0; handled++) {
          yield* TestClock.adjust(1)
          yield* rest
        }
        assert.strictEqual(peer.bytesUnread, 0)
      }), { server: { frameMax: 0 }, client: { frameMax: 0 } }))

  for (
    const [name, autoAck, expected] of [
      ["are handled after the connection is lost, because the broker has forgotten them", true, ["1", "2", "3"]],
      ["are dropped when the connection is lost, because the broker delivers them again", false, ["1"]]
    ] as const
  ) {
    it.effect(
      `${name} (autoAck: ${autoAck})`,
      () =>
        connected((peer) =>
          Effect.gen(function*() {
            const { gate, handler, started } = gated()
            const consumer = autoAck
              ? Stream.runForEach(AmqpConsumer.stream("q", { autoAck }), handler)
              : Stream.runForEach(AmqpConsumer.stream("q"), handler)
            const { consumerTag, fiber } = yield* openConsumer(peer, consumer, 1, !autoAck)
            yield* peer.push(deliverBytes(1, consumerTag, 1, "1"))
            yield* peer.push(deliverBytes(1, consumerTag, 2, "2"), deliverBytes(1, consumerTag, 3, "3"))
            yield* peer.hangUp
            yield* assertWaits(fiber)
            yield* gate.open
            const error = yield* failureOf(fiber)
            if (error._tag !== "AmqpChannelError") return assert.fail(error._tag)
            assertReason(error, "ConnectionLost")
            assert.deepStrictEqual(started, [...expected])
          })
        )
    )
  }
})
