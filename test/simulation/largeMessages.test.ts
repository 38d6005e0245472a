import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import {
  ack,
  assertWaits,
  connected,
  declare,
  declareOk,
  fork,
  openPublisher,
  reasonOf,
  rest,
  resultOf,
  toQueue
} from "../support/scriptedPeer.ts"
import type { Peer } from "../support/scriptedPeer.ts"

const megabytes = (count: number) => AmqpMessage.make(new Uint8Array(count * 1024 * 1024).fill(120))

/** The channels of the frames, each as often as it has some in a row. */
const runsOf = (peer: Peer): ReadonlyArray<readonly [channel: number, frames: number]> => {
  const runs: Array<[number, number]> = []
  for (const { channel } of peer.frames) {
    const last = runs.at(-1)
    if (last?.[0] === channel) last[1]++
    else runs.push([channel, 1])
  }
  return runs
}

const bodyBytes = (peer: Peer, channel: number): number =>
  peer.frames.filter((frame) => frame.channel === channel && frame.type === "body")
    .reduce((sum, { size }) => sum + size, 0)

describe("a large message", () => {
  it.effect("lets others have their turn between its frames", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const one = yield* openPublisher(peer, 1)
        const other = yield* openPublisher(peer, 2)
        yield* peer.stall
        peer.frames.length = 0
        const large = yield* fork(one.publish(megabytes(64), toQueue))
        yield* peer.takeOneWrite
        const small = yield* fork(other.publish(AmqpMessage.text("small"), toQueue))
        const declared = yield* fork(declare("q"))
        yield* rest
        yield* peer.takeOneWrite
        yield* rest
        yield* peer.takeOneWrite
        yield* rest
        // The peer has little of the large message, and all of the small one and of the request.
        assert.isBelow(bodyBytes(peer, 1), 2 * 1024 * 1024)
        assert.strictEqual(bodyBytes(peer, 2), 5)
        assert.isTrue(peer.frames.some(({ channel }) => channel === 3))
        yield* peer.unstall
        yield* rest
        assert.strictEqual(bodyBytes(peer, 1), 64 * 1024 * 1024)
        yield* peer.takeTags
        yield* peer.send(1, ack(1))
        yield* peer.send(2, ack(1))
        yield* resultOf(large)
        yield* resultOf(small)
        yield* peer.send(3, { _tag: "channel.open-ok" })
        yield* peer.answer(3, "queue.declare", declareOk("q"))
        yield* peer.answer(3, "channel.close", { _tag: "channel.close-ok" })
        yield* resultOf(declared)
      })
    ))

  it.effect("takes turns with another", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const one = yield* openPublisher(peer, 1)
        const other = yield* openPublisher(peer, 2)
        yield* peer.stall
        peer.frames.length = 0
        const fibers = [
          yield* fork(one.publish(megabytes(4), toQueue)),
          yield* fork(other.publish(megabytes(4), toQueue))
        ]
        yield* peer.unstall
        yield* rest
        assert.isAbove(runsOf(peer).length, 40)
        assert.strictEqual(bodyBytes(peer, 1), bodyBytes(peer, 2))
        yield* peer.takeTags
        yield* peer.send(1, ack(1))
        yield* peer.send(2, ack(1))
        yield* Effect.forEach(fibers, resultOf)
      })
    ))

  it.effect("comes whole, and what its channel sends next comes behind it in its order", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const messages = [megabytes(2), AmqpMessage.text("small"), megabytes(1), AmqpMessage.text("last")]
        const fiber = yield* fork(publisher.publishAll(messages, toQueue))
        yield* peer.unstall
        for (const { body } of messages) {
          const published = yield* peer.expectPublish()
          assert.deepStrictEqual(published.body, body)
        }
        yield* peer.send(1, ack(4, true))
        yield* resultOf(fiber)
      })
    ))

  it.effect("is not cut by the interruption of its publisher", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const fiber = yield* fork(publisher.publish(megabytes(3), toQueue))
        yield* peer.takeOneWrite
        yield* Fiber.interrupt(fiber)
        const next = yield* fork(publisher.publish(AmqpMessage.text("next"), toQueue))
        yield* peer.unstall
        assert.strictEqual((yield* peer.expectPublish()).body.length, 3 * 1024 * 1024)
        yield* peer.expectPublish("next")
        yield* peer.send(1, ack(2, true))
        yield* resultOf(next)
      })
    ))

  it.effect("has the close of its channel wait for its end", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const program = AmqpChannel.publish(megabytes(3), toQueue)
        const fiber = yield* fork(AmqpChannel.run(program))
        yield* peer.openChannel()
        yield* rest
        assert.deepStrictEqual(yield* peer.takeTags, ["basic.publish", "channel.close"])
        yield* assertWaits(fiber)
        yield* peer.send(1, { _tag: "channel.close-ok" })
        yield* resultOf(fiber)
      })
    ))

  it.effect("goes on to its end when the broker closes its channel meanwhile, since no method may come within", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const fiber = yield* fork(publisher.publish(megabytes(3), toQueue))
        yield* peer.takeOneWrite
        yield* peer.send(1, {
          _tag: "channel.close",
          replyCode: 406,
          replyText: "PRECONDITION_FAILED",
          classId: 60,
          methodId: 40
        })
        yield* reasonOf(fiber, "OutcomeUnknown")
        yield* peer.unstall
        const tags = yield* peer.takeTags
        assert.deepStrictEqual(tags.slice(0, 2), ["basic.publish", "channel.close-ok"])
      })
    ))
})
