/**
 * A scripted peer as the broker of an RPC client.
 */
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import type { BasicDeliver } from "@effect-amqp/core/protocol/methods.generated"
import * as Effect from "effect/Effect"
import { fork, resultOf } from "./scriptedPeer.ts"
import type { Peer } from "./scriptedPeer.ts"

/** The server options of a broker with direct reply-to. */
export const direct = {
  serverProperties: { capabilities: { publisher_confirms: true, direct_reply_to: true } }
} as const

/** Opens a client on channel 1. */
export const openClient = (peer: Peer, options?: AmqpRpc.ClientOptions) =>
  Effect.gen(function*() {
    const fiber = yield* fork(AmqpRpc.makeClient(options))
    const replyTag = yield* openReplies(peer)
    return { client: yield* resultOf(fiber), replyTag }
  })

/** Opens channel 1 of a client. Returns the consumer tag of its replies. */
export const openReplies = (peer: Peer) =>
  Effect.gen(function*() {
    yield* peer.openChannel(1)
    yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
    const { consumerTag } = yield* peer.expect("basic.consume", 1)
    yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag })
    return consumerTag
  })

/** The first message to a consumer, without its content. */
export const deliver = (consumerTag: string): BasicDeliver => ({
  _tag: "basic.deliver",
  consumerTag,
  deliveryTag: 1,
  redelivered: false,
  exchange: "",
  routingKey: "q"
})
