import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as TestClock from "effect/testing/TestClock"
import {
  assertWaits,
  connected,
  declare,
  fork,
  reasonOf,
  rest,
  resultOf,
  serveDeclare
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

const one = (client: { readonly maxIdleChannels?: number; readonly channelTimeout?: string } = {}) => ({
  // The types require a template literal.
  client: client as { readonly maxIdleChannels?: number; readonly channelTimeout?: "1 seconds" },
  server: { channelMax: 1 }
})

/** Holds the only channel until the latch opens. */
const holding = (peer: Peer) =>
  Effect.gen(function*() {
    const gate = Latch.makeUnsafe()
    const fiber = yield* fork(AmqpChannel.run(AmqpChannel.fromEffect(gate.await)))
    yield* peer.openChannel(1)
    return { fiber, gate }
  })

describe("with all channels in use", () => {
  it.effect("programs wait, and get the channel in their order", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { gate } = yield* holding(peer)
        const waiting = yield* Effect.forEach(["a", "b", "c"], (queue) => fork(declare(queue)))
        for (const fiber of waiting) yield* assertWaits(fiber)
        yield* peer.expectNothing
        yield* gate.open
        yield* peer.closeChannel(1)
        for (const [index, queue] of ["a", "b", "c"].entries()) {
          yield* serveDeclare(peer, queue, 1)
          yield* resultOf(waiting[index])
        }
      }), one()))

  it.effect("the next program of the same mode takes over a channel without a round trip", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { gate } = yield* holding(peer)
        const waiting = yield* fork(AmqpChannel.run(AmqpChannel.succeed("done")))
        yield* assertWaits(waiting)
        yield* gate.open
        assert.strictEqual(yield* resultOf(waiting), "done")
        yield* peer.expectNothing
      }), one({ maxIdleChannels: 1 })))

  it.effect("a waiting publisher gets the number of a program's channel, which is closed for it", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { gate } = yield* holding(peer)
        const opening = yield* fork(AmqpPublisher.make())
        // A later program does not overtake the publisher, although it could use the open channel.
        const later = yield* fork(AmqpChannel.run(AmqpChannel.succeed("later")))
        yield* assertWaits(opening)
        yield* gate.open
        yield* peer.closeChannel(1)
        yield* peer.openChannel(1)
        yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
        yield* resultOf(opening)
        yield* assertWaits(later)
        yield* Fiber.interrupt(later)
      }), one({ maxIdleChannels: 1 })))

  it.effect("an interrupted program leaves the queue, even at the moment of its turn", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        for (let turns = 0; turns < 12; turns++) {
          const { gate } = yield* holding(peer)
          const first = yield* fork(declare("first"))
          const second = yield* fork(AmqpChannel.run(AmqpChannel.succeed("second")))
          yield* gate.open
          yield* peer.closeChannel(1)
          yield* Effect.repeat(Effect.yieldNow, { times: turns })
          yield* fork(Fiber.interrupt(first))
          // What the first program has started is completed, and then it is the second one's turn.
          for (let step = 0; step < 6; step++) {
            for (const tag of yield* peer.takeTags) {
              if (tag === "channel.open") yield* peer.send(1, { _tag: "channel.open-ok" })
              if (tag === "channel.close") yield* peer.send(1, { _tag: "channel.close-ok" })
              if (tag === "queue.declare") {
                yield* peer.send(1, { _tag: "queue.declare-ok", queue: "first", messageCount: 0, consumerCount: 0 })
              }
            }
          }
          assert.strictEqual(yield* resultOf(second), "second")
          yield* rest
          assert.strictEqual(yield* connection.channelCount, 0)
        }
      }), one()))

  it.effect("a program fails with TooManyChannels after channelTimeout, and the others continue to wait", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { gate } = yield* holding(peer)
        const early = yield* fork(declare("early"))
        yield* TestClock.adjust("600 millis")
        const late = yield* fork(declare("late"))
        yield* TestClock.adjust("400 millis")
        const reason = yield* reasonOf(early, "TooManyChannels")
        assert.include(reason, { limit: 1, isRetryable: true })
        yield* assertWaits(late)
        yield* gate.open
        yield* peer.closeChannel(1)
        yield* serveDeclare(peer, "late", 1)
        yield* resultOf(late)
      }), one({ channelTimeout: "1 seconds" })))

  it.effect("nothing waits with a channelTimeout of 0, except while an idle channel closes", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { fiber, gate } = yield* holding(peer)
        const refused = yield* fork(declare("q"))
        yield* rest
        yield* reasonOf(refused, "TooManyChannels")
        yield* gate.open
        yield* resultOf(fiber)
        const opening = yield* fork(AmqpPublisher.make())
        yield* peer.closeChannel(1)
        yield* peer.openChannel(1)
        yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
        yield* resultOf(opening)
      }), one({ maxIdleChannels: 1, channelTimeout: "0 seconds" })))

  it.effect("waiting programs fail at once when the connection is lost", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* holding(peer)
        const waiting = yield* Effect.forEach(["a", "b"], (queue) => fork(declare(queue)))
        yield* peer.hangUp
        for (const fiber of waiting) yield* reasonOf(fiber, "ConnectionLost")
      }), one()))
})
