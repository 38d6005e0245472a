import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { ack, connected, contentBytes, failureOf, fork, reasonOf, rejected, resultOf } from "../support/scriptedPeer.ts"
import type { Peer } from "../support/scriptedPeer.ts"

/** Takes the next `basic.get`, and answers it with a message. */
const give = (peer: Peer, deliveryTag: number, text: string) =>
  Effect.andThen(
    peer.expect("basic.get"),
    peer.push(contentBytes(
      1,
      { _tag: "basic.get-ok", deliveryTag, redelivered: false, exchange: "", routingKey: "q", messageCount: 0 },
      text
    ))
  )

const giveNothing = (peer: Peer) => Effect.andThen(peer.expect("basic.get"), peer.send(1, { _tag: "basic.get-empty" }))

const fetching = (
  peer: Peer,
  settlementOf: (text: string) => Effect.Effect<AmqpDelivery.Settlement<unknown>, string>,
  options?: { readonly limit?: number }
) =>
  Effect.tap(
    fork(AmqpChannel.run(
      AmqpQueue.getAll("q", ({ text }) => Effect.map(settlementOf(text), AmqpDelivery.as(text)), options)
    )),
    () => peer.openChannel()
  )

describe("getAll", () => {
  it.effect("settles one message after the other until the broker has no more", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fetching(
          peer,
          (text) => Effect.succeed(text === "a" ? AmqpDelivery.reject : AmqpDelivery.ack)
        )
        yield* give(peer, 1, "a")
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, false))
        yield* give(peer, 2, "b")
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2))
        yield* giveNothing(peer)
        yield* peer.closeChannel()
        assert.deepStrictEqual(yield* resultOf(fiber), ["a", "b"])
      })
    ))

  it.effect("keeps what its handler requeues until the queue is empty, as it would be given that next", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fetching(
          peer,
          (text) => Effect.succeed(text === "b" ? AmqpDelivery.ack : AmqpDelivery.requeue)
        )
        yield* give(peer, 1, "a")
        yield* give(peer, 2, "b")
        // Not merged with those below, which are open.
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2))
        yield* give(peer, 3, "c")
        yield* giveNothing(peer)
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, true))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(3, true))
        yield* peer.closeChannel()
        assert.deepStrictEqual(yield* resultOf(fiber), ["a", "b", "c"])
      })
    ))

  it.effect("fetches at most as many messages as its limit", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fetching(peer, () => Effect.succeed(AmqpDelivery.requeue), { limit: 2 })
        yield* give(peer, 1, "a")
        yield* give(peer, 2, "b")
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, true))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(2, true))
        yield* peer.closeChannel()
        assert.deepStrictEqual(yield* resultOf(fiber), ["a", "b"])
      })
    ))

  it.effect("gives back what its handler failed with, and what it kept", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fetching(
          peer,
          (text) => text === "a" ? Effect.succeed(AmqpDelivery.requeue) : Effect.fail("no")
        )
        yield* give(peer, 1, "a")
        yield* give(peer, 2, "b")
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(2, true))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, true))
        yield* peer.closeChannel()
        assert.strictEqual(yield* failureOf(fiber), "no")
      })
    ))

  it.effect("gives everything back when it is interrupted", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fetching(
          peer,
          (text) => text === "a" ? Effect.succeed(AmqpDelivery.requeue) : Effect.never
        )
        yield* give(peer, 1, "a")
        yield* give(peer, 2, "b")
        yield* peer.expectNothing
        const interrupting = yield* fork(Fiber.interrupt(fiber))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(2, true))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, true))
        yield* peer.closeChannel()
        yield* resultOf(interrupting)
      })
    ))

  it.effect("is refused a limit of less than one", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const program = AmqpQueue.getAll("q", () => Effect.succeed(AmqpDelivery.ack), { limit: 0 })
        const fiber = yield* fork(AmqpChannel.run(program))
        yield* peer.openChannel()
        yield* peer.closeChannel()
        assert.include((yield* reasonOf(fiber, "InvalidArgument")).message, "limit")
      })
    ))
})
