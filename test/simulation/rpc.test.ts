import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import type { BasicDeliver } from "@effect-amqp/core/protocol/methods.generated"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { wire } from "../fixtures/wire.ts"
import { ack, bodyBytes, connected, fork, methodBytes, rest, resultOf, toQueue } from "../support/scriptedPeer.ts"
import type { Peer } from "../support/scriptedPeer.ts"

const deliver = (consumerTag: string): BasicDeliver => ({
  _tag: "basic.deliver",
  consumerTag,
  deliveryTag: 1,
  redelivered: false,
  exchange: "",
  routingKey: "q"
})

const direct = {
  serverProperties: { capabilities: { publisher_confirms: true, direct_reply_to: true } }
} as const

/** Opens a client on channel 1. */
const openClient = (peer: Peer) =>
  Effect.gen(function*() {
    const fiber = yield* fork(AmqpRpc.makeClient())
    yield* peer.openChannel(1)
    yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
    const { consumerTag } = yield* peer.expect("basic.consume", 1)
    yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag })
    return { client: yield* resultOf(fiber), replyTag: consumerTag }
  })

describe("a call", () => {
  it.effect("C9: a reply with properties that can't be read does not end the connection", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        const { client, replyTag } = yield* openClient(peer)
        yield* fork(client.call(AmqpMessage.text("request"), toQueue))
        yield* peer.expectPublish("request")
        yield* peer.send(1, ack(1))
        yield* peer.push(
          methodBytes(1, deliver(replyTag)),
          // A table with a field of the type `z`, which does not exist.
          wire(`02 0001 00000016 003c 0000 0000000000000001 2000 00000004 01"a" "z" 00 ce`),
          bodyBytes(1, wire(`"m"`))
        )
        yield* rest
        assert.strictEqual((yield* connection.state)._tag, "Open")
      }), { server: direct }))
})
