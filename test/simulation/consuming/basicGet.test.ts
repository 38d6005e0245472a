import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import type { AmqpChannelError } from "@effect-amqp/core/AmqpError"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import {
  ack,
  channelClose,
  connected,
  contentBytes,
  failureOf,
  fork,
  getOkBytes,
  reasonOf,
  rejected,
  rest,
  resultOf
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

/** Answers the next `basic.get` with a message. */
const getOk = (peer: Peer, deliveryTag: number, text: string) =>
  Effect.andThen(
    peer.expect("basic.get"),
    peer.push(contentBytes(
      1,
      { _tag: "basic.get-ok", deliveryTag, redelivered: false, exchange: "", routingKey: "q", messageCount: 0 },
      text
    ))
  )

const getEmpty = (peer: Peer) => Effect.andThen(peer.expect("basic.get"), peer.send(1, { _tag: "basic.get-empty" }))

const gettingAll = (
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

describe("get", () => {
  it.effect("returns the message or none, and settles as its handler decides", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const get = AmqpQueue.get("q", (delivery) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.ack, delivery.text)))
        const fiber = yield* fork(AmqpChannel.run(AmqpChannel.all([get, get])))
        yield* peer.openChannel()
        yield* peer.expect("basic.get", 1)
        yield* peer.push(getOkBytes(1, "m"))
        assert.strictEqual((yield* peer.expect("basic.ack", 1)).deliveryTag, 1)
        yield* peer.answer(1, "basic.get", { _tag: "basic.get-empty" })
        yield* peer.closeChannel()
        assert.deepStrictEqual(yield* resultOf(fiber), [Option.some("m"), Option.none()])
      })
    ))
})

describe("getAll", () => {
  it.effect("settles messages one by one until the queue is empty", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* gettingAll(
          peer,
          (text) => Effect.succeed(text === "a" ? AmqpDelivery.reject : AmqpDelivery.ack)
        )
        yield* getOk(peer, 1, "a")
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, false))
        yield* getOk(peer, 2, "b")
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2))
        yield* getEmpty(peer)
        yield* peer.closeChannel()
        assert.deepStrictEqual(yield* resultOf(fiber), ["a", "b"])
      })
    ))

  it.effect("holds what its handler requeues until the queue is empty, so as not to get it again", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* gettingAll(
          peer,
          (text) => Effect.succeed(text === "b" ? AmqpDelivery.ack : AmqpDelivery.requeue)
        )
        yield* getOk(peer, 1, "a")
        yield* getOk(peer, 2, "b")
        // `multiple` would include the first message, which is held.
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2))
        yield* getOk(peer, 3, "c")
        yield* getEmpty(peer)
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, true))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(3, true))
        yield* peer.closeChannel()
        assert.deepStrictEqual(yield* resultOf(fiber), ["a", "b", "c"])
      })
    ))

  it.effect("gets no more messages than its limit", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* gettingAll(peer, () => Effect.succeed(AmqpDelivery.requeue), { limit: 2 })
        yield* getOk(peer, 1, "a")
        yield* getOk(peer, 2, "b")
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, true))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(2, true))
        yield* peer.closeChannel()
        assert.deepStrictEqual(yield* resultOf(fiber), ["a", "b"])
      })
    ))

  it.effect("requeues the message whose handler failed, and those that it holds", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* gettingAll(
          peer,
          (text) => text === "a" ? Effect.succeed(AmqpDelivery.requeue) : Effect.fail("no")
        )
        yield* getOk(peer, 1, "a")
        yield* getOk(peer, 2, "b")
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(2, true))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, true))
        yield* peer.closeChannel()
        assert.strictEqual(yield* failureOf(fiber), "no")
      })
    ))

  it.effect("requeues everything when it is interrupted", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* gettingAll(
          peer,
          (text) => text === "a" ? Effect.succeed(AmqpDelivery.requeue) : Effect.never
        )
        yield* getOk(peer, 1, "a")
        yield* getOk(peer, 2, "b")
        yield* peer.expectNothing
        const interrupting = yield* fork(Fiber.interrupt(fiber))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(2, true))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, true))
        yield* peer.closeChannel()
        yield* resultOf(interrupting)
      })
    ))

  it.effect("refuses a limit below 1", () =>
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

/** Runs a program until its handler has started; `goOn` lets the handler finish. */
const handling = (peer: Peer, program: (handler: () => Effect.Effect<AmqpDelivery.Settlement>) => Get) =>
  Effect.gen(function*() {
    const gate = Latch.makeUnsafe()
    const fiber = yield* fork(AmqpChannel.run(program(() => Effect.as(gate.await, AmqpDelivery.ack))))
    yield* peer.openChannel()
    yield* getOk(peer, 1, "a")
    yield* rest
    return { fiber, goOn: gate.open }
  })

type Get = AmqpChannel.AmqpChannel<unknown, AmqpChannelError>

describe("a settlement that can't be sent", () => {
  const settlements = {
    ack: AmqpDelivery.ack,
    reject: AmqpDelivery.reject,
    requeue: AmqpDelivery.requeue
  }
  const programs: Readonly<Record<string, (handler: () => Effect.Effect<AmqpDelivery.Settlement>) => Get>> = {
    get: (handler) => AmqpQueue.get("q", handler),
    getAll: (handler) => AmqpQueue.getAll("q", handler),
    "getAll with a limit": (handler) => AmqpQueue.getAll("q", handler, { limit: 1 })
  }
  for (const [name, program] of Object.entries(programs)) {
    for (const [what, settlement] of Object.entries(settlements)) {
      const settled = (handler: () => Effect.Effect<AmqpDelivery.Settlement>) =>
        program(() => Effect.as(handler(), settlement))

      it.effect(`fails ${name} with the broker's reason when the channel was closed meanwhile (${what})`, () =>
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

      it.effect(`fails ${name} with ConnectionLost when the connection was lost meanwhile (${what})`, () =>
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

describe("a message larger than maxBodySize", () => {
  it.effect("is requeued, and fails get and getAll at once", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const unhandled = () => Effect.die("it was handled")
        for (const program of [AmqpQueue.get("q", unhandled), AmqpQueue.getAll("q", unhandled)]) {
          const fiber = yield* fork(AmqpChannel.run<unknown, AmqpChannelError, never>(program))
          yield* peer.openChannel()
          yield* getOk(peer, 1, "too large")
          assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, true))
          yield* peer.closeChannel()
          assert.include((yield* reasonOf(fiber, "ContentTooLarge")).message, "It is back in its queue")
        }
      }), { client: { maxBodySize: 3 } }))
})

describe("a queue that a program has read and deleted", () => {
  it.effect("can't be read by it again: a new queue of another type would end the connection", () =>
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
        yield* getEmpty(peer)
        yield* peer.answer(1, "queue.delete", { _tag: "queue.delete-ok", messageCount: 0 })
        yield* peer.closeChannel()
        assert.include((yield* reasonOf(fiber, "InvalidArgument")).message, "has read from \"q\" and deleted it")
      })
    ))
})
