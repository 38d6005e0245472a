import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import type { AmqpChannelError } from "@effect-amqp/core/AmqpError"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import {
  ack,
  channelClose,
  connected,
  contentBytes,
  failureOf,
  fork,
  reasonOf,
  rejected,
  rest,
  resultOf
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

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

/** A program that fetches, in the midst of its handler, and what ends it. */
const handling = (peer: Peer, program: (handler: () => Effect.Effect<AmqpDelivery.Settlement>) => Fetch) =>
  Effect.gen(function*() {
    const gate = Latch.makeUnsafe()
    const fiber = yield* fork(AmqpChannel.run(program(() => Effect.as(gate.await, AmqpDelivery.ack))))
    yield* peer.openChannel()
    yield* give(peer, 1, "a")
    yield* rest
    return { fiber, goOn: gate.open }
  })

type Fetch = AmqpChannel.AmqpChannel<unknown, AmqpChannelError>

describe("a settlement that can't be sent is no success:", () => {
  const settlements = {
    ack: AmqpDelivery.ack,
    reject: AmqpDelivery.reject,
    requeue: AmqpDelivery.requeue
  }
  const programs: Readonly<Record<string, (handler: () => Effect.Effect<AmqpDelivery.Settlement>) => Fetch>> = {
    get: (handler) => AmqpQueue.get("q", handler),
    getAll: (handler) => AmqpQueue.getAll("q", handler),
    "getAll with a limit": (handler) => AmqpQueue.getAll("q", handler, { limit: 1 })
  }
  for (const [name, program] of Object.entries(programs)) {
    for (const [what, settlement] of Object.entries(settlements)) {
      const settled = (handler: () => Effect.Effect<AmqpDelivery.Settlement>) =>
        program(() => Effect.as(handler(), settlement))

      it.effect(`${name}, ${what}, fails with the broker's reason when the channel was closed meanwhile`, () =>
        connected((peer) =>
          Effect.gen(function*() {
            const { fiber, goOn } = yield* handling(peer, settled)
            yield* peer.send(1, channelClose(406, "delivery acknowledgement timed out"))
            yield* peer.expect("channel.close-ok")
            yield* goOn
            assert.include((yield* reasonOf(fiber, "PreconditionFailed")).message, "timed out")
            yield* peer.expectNothing
          })
        ))

      it.effect(`${name}, ${what}, fails with ConnectionLost when the connection was lost meanwhile`, () =>
        connected((peer) =>
          Effect.gen(function*() {
            const { fiber, goOn } = yield* handling(peer, settled)
            yield* peer.hangUp
            yield* rest
            yield* goOn
            yield* reasonOf(fiber, "ConnectionLost")
          })
        ))
    }
  }
})

describe("a message that is larger than maxBodySize", () => {
  it.effect("goes back to its queue, and get and getAll fail at once", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const unhandled = () => Effect.die("it was handled")
        for (const program of [AmqpQueue.get("q", unhandled), AmqpQueue.getAll("q", unhandled)]) {
          const fiber = yield* fork(AmqpChannel.run<unknown, AmqpChannelError, never>(program))
          yield* peer.openChannel()
          yield* give(peer, 1, "too large")
          assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, true))
          yield* peer.closeChannel()
          assert.include((yield* reasonOf(fiber, "ContentTooLarge")).message, "It is back in its queue")
        }
      }), { client: { maxBodySize: 3 } }))
})

describe("a queue that a program reads from and deletes", () => {
  it.effect("is not read from again by the program: one of another type would end the connection", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const handler = () => Effect.succeed(AmqpDelivery.ack)
        const fiber = yield* fork(AmqpChannel.run(AmqpChannel.all([
          AmqpQueue.delete("q"),
          AmqpQueue.get("q", handler),
          AmqpQueue.delete("q"),
          AmqpQueue.get("q", handler)
        ])))
        yield* peer.openChannel()
        yield* peer.answer(1, "queue.delete", { _tag: "queue.delete-ok", messageCount: 0 })
        yield* giveNothing(peer)
        yield* peer.answer(1, "queue.delete", { _tag: "queue.delete-ok", messageCount: 0 })
        yield* peer.closeChannel()
        assert.include((yield* reasonOf(fiber, "InvalidArgument")).message, "has read from \"q\" and deleted it")
      })
    ))
})
