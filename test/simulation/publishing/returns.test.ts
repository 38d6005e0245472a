import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import type { BasicReturn } from "@effect-amqp/core/protocol/methods.generated"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import {
  ack,
  assertWaits,
  connected,
  contentBytes,
  fork,
  methodBytes,
  openPublisher,
  publishText,
  reasonOf,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"

const mandatory = { ...toQueue, mandatory: true } as const

const returnBytes = (text: string, channel = 1) =>
  contentBytes(
    channel,
    { _tag: "basic.return", replyCode: 312, replyText: "NO_ROUTE", exchange: "", routingKey: "q" },
    text
  )

describe("a return", () => {
  it.effect("P3: fails its publish, among many in flight and with empty bodies", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const bodies = ["a", "", "b", "", "c", "b", "d", "d"]
        const fibers = yield* Effect.forEach(bodies, (text) =>
          Effect.tap(
            fork(publisher.publish(AmqpMessage.make(new TextEncoder().encode(text)), mandatory)),
            () => Effect.map(peer.expectPublish(text), ({ mandatory }) => assert.isTrue(mandatory))
          ))
        // The broker returns in the order of the publishes, each before its confirm.
        yield* peer.push(returnBytes(""), methodBytes(1, ack(2, true)), returnBytes("b"), returnBytes("c"))
        yield* peer.push(returnBytes("d"), returnBytes("d"))
        yield* resultOf(fibers[0])
        assert.strictEqual((yield* reasonOf(fibers[1], "Returned")).replyText, "NO_ROUTE")
        yield* assertWaits(fibers[2])
        yield* peer.send(1, ack(8, true))
        for (const index of [2, 4, 6, 7]) yield* reasonOf(fibers[index], "Returned")
        for (const index of [3, 5]) yield* resultOf(fibers[index])
      })
    ))

  it.effect("P3: is ignored when it matches no publish", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const plain = yield* publishText(peer, publisher, "m")
        const fiber = yield* fork(publisher.publish(AmqpMessage.text("other"), mandatory))
        yield* peer.expectPublish("other")
        yield* peer.push(returnBytes("m"), methodBytes(1, ack(2, true)))
        yield* resultOf(plain)
        yield* resultOf(fiber)
        yield* peer.expectNothing
      })
    ))

  it.effect("E2: fails a program without confirms", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpChannel.run(AmqpChannel.publish(AmqpMessage.text("m"), mandatory)))
        yield* peer.openChannel()
        yield* peer.expectPublish("m")
        yield* peer.expect("channel.close", 1)
        yield* peer.push(returnBytes("m"), methodBytes(1, { _tag: "channel.close-ok" }))
        assert.strictEqual((yield* reasonOf(fiber, "Returned")).replyCode, 312)
      })
    ))

  it.effect("P3, C12: is matched to its publish even if the message is larger than maxBodySize", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const fiber = yield* fork(publisher.publish(AmqpMessage.text("x".repeat(11)), { ...toQueue, mandatory: true }))
        yield* peer.expectPublish()
        const returned: BasicReturn = {
          _tag: "basic.return",
          replyCode: 312,
          replyText: "NO_ROUTE",
          exchange: "",
          routingKey: "q"
        }
        yield* peer.push(contentBytes(1, returned, "x".repeat(11)), methodBytes(1, ack(1)))
        yield* reasonOf(fiber, "Returned")
      }), { client: { maxBodySize: 10 } }))
})
