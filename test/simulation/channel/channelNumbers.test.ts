import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import {
  assertWaits,
  channelClose,
  connected,
  declare,
  fork,
  reasonOf,
  resultOf,
  serveDeclare
} from "../../support/scriptedPeer.ts"

/** Holds a channel until it is interrupted. */
const hold = AmqpChannel.run(AmqpChannel.fromEffect(Effect.never))

describe("channel numbers", () => {
  it.effect("Q1: are reused once they are free, and opening a channel fails in time while all are in use", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const first = yield* fork(hold)
        yield* peer.openChannel(1)
        yield* fork(hold)
        yield* peer.openChannel(2)
        const waiting = yield* fork(declare("q"))
        yield* TestClock.adjust("9 seconds")
        yield* assertWaits(waiting)
        yield* TestClock.adjust("1 seconds")
        const refused = yield* reasonOf(waiting, "TooManyChannels")
        assert.strictEqual(refused.limit, 2)
        assert.isTrue(refused.isRetryable)
        yield* peer.expectNothing
        const stopping = yield* fork(Fiber.interrupt(first))
        yield* peer.expect("channel.close", 1)
        // It is not free before the broker confirms the close.
        const next = yield* fork(declare("q"))
        yield* assertWaits(next)
        yield* peer.expectNothing
        yield* peer.send(1, { _tag: "channel.close-ok" })
        yield* resultOf(stopping)
        yield* serveDeclare(peer, "q", 1)
        yield* resultOf(next)
      }), { server: { channelMax: 2 } }))

  it.effect("Q1: are freed when the broker refuses an open", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const refused = yield* fork(declare("q"))
        yield* peer.answer(1, "channel.open", channelClose(504, "CHANNEL_ERROR"))
        yield* reasonOf(refused, "ChannelError")
        yield* peer.expect("channel.close-ok", 1)
        const next = yield* fork(declare("q"))
        yield* serveDeclare(peer, "q", 1)
        yield* resultOf(next)
      }), { server: { channelMax: 1 } }))

  for (
    const [what, abandon] of [
      ["times out", () => TestClock.adjust("30 seconds")],
      ["is interrupted", (fiber: Fiber.Fiber<unknown, unknown>) => Fiber.interrupt(fiber)]
    ] as const
  ) {
    it.effect(`Q1: are freed after an open that ${what} as soon as the broker confirms the close`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const opening = yield* fork(declare("q"))
          yield* peer.expect("channel.open", 1)
          yield* abandon(opening)
          yield* peer.expect("channel.close", 1)
          const next = yield* fork(declare("q"))
          yield* assertWaits(next)
          yield* peer.expectNothing
          yield* peer.send(1, { _tag: "channel.open-ok" }, { _tag: "channel.close-ok" })
          yield* serveDeclare(peer, "q", 1)
          yield* resultOf(next)
        }), { client: { requestTimeout: "30 seconds" }, server: { channelMax: 1 } }))
  }

  it.effect("Q1: are reused by thousands of consecutive channels", () =>
    connected((peer) =>
      Effect.gen(function*() {
        for (let round = 0; round < 2000; round++) {
          const fiber = yield* fork(declare("q"))
          yield* serveDeclare(peer, "q", 1)
          yield* Fiber.join(fiber)
        }
      })
    ))
})
