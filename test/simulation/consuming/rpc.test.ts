import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import { wire } from "../../fixtures/wire.ts"
import {
  ack,
  bodyBytes,
  channelClose,
  connected,
  contentBytes,
  fork,
  methodBytes,
  nack,
  reasonOf,
  rest,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"
import { deliver, direct, openClient, openReplies } from "../../support/scriptedRpc.ts"

describe("a call", () => {
  it.effect("C9: leaves the connection open when the reply has unreadable properties", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const { client, replyTag } = yield* openClient(peer)
        yield* fork(client.call(AmqpMessage.text("request"), toQueue))
        yield* peer.expectPublish("request")
        yield* peer.send(1, ack(1))
        yield* peer.push(
          methodBytes(1, deliver(replyTag)),
          // A header with the field type `z`, which does not exist.
          wire(`02 0001 00000016 003c 0000 0000000000000001 2000 00000004 01"a" "z" 00 ce`),
          bodyBytes(1, wire(`"m"`))
        )
        yield* rest
        assert.strictEqual((yield* connection.state)._tag, "Open")
      }), { server: direct }))

  it.effect("whose request waits to be sent when the channel is closed is sent on the next channel", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { client } = yield* openClient(peer, { maxInFlight: 1 })
        const sent = yield* fork(client.call(AmqpMessage.text("sent"), toQueue))
        yield* peer.expectPublish("sent")
        const waiting = yield* fork(client.call(AmqpMessage.text("waiting"), toQueue))
        yield* peer.expectNothing
        yield* peer.send(1, channelClose(404, "NOT_FOUND"))
        yield* reasonOf(sent, "OutcomeUnknown")
        yield* peer.expect("channel.close-ok", 1)
        const consumerTag = yield* openReplies(peer)
        const { properties } = yield* peer.expectPublish("waiting")
        yield* peer.push(contentBytes(1, deliver(consumerTag), "reply", properties))
        assert.strictEqual((yield* resultOf(waiting)).text, "reply")
      }), { server: direct }))

  it.effect("P2, B3: gets its reply before a channel that goes on nacking other requests is replaced", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { client, replyTag } = yield* openClient(peer, { retry: Schedule.spaced("100 millis") })
        const slow = yield* fork(client.call(AmqpMessage.text("slow"), toQueue))
        const { properties } = yield* peer.expectPublish("slow")
        yield* peer.send(1, ack(1))
        const refused = yield* fork(client.call(AmqpMessage.text("refused"), toQueue))
        yield* peer.expectPublish("refused")
        yield* peer.send(1, nack(2))
        yield* TestClock.adjust("300 millis")
        yield* peer.expectPublish("refused")
        yield* peer.send(1, nack(3))
        yield* TestClock.adjust("500 millis")
        yield* peer.expectNothing
        yield* peer.push(contentBytes(1, deliver(replyTag), "reply", properties))
        assert.strictEqual((yield* resultOf(slow)).text, "reply")
        yield* peer.closeChannel()
        const nextTag = yield* openReplies(peer)
        const again = yield* peer.expectPublish("refused")
        yield* peer.send(1, ack(1))
        yield* peer.push(contentBytes(1, deliver(nextTag), "late reply", again.properties))
        assert.strictEqual((yield* resultOf(refused)).text, "late reply")
      }), { server: direct }))
})
