import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import {
  ack,
  assertWaits,
  connected,
  deliverBytes,
  failureOf,
  gated,
  openConsumer,
  rejected
} from "../../support/scriptedPeer.ts"

describe("serve", () => {
  it.effect("K5: settles as onFailure decides from the cause and the message", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const serve = AmqpConsumer.serve("q", ({ text }) => Effect.fail(`not ${text}`), {
          onFailure: (cause, { text }, { attempt, isStream, queue }) =>
            Effect.sync(() => {
              seen.push(Cause.pretty(cause), text)
              assert.deepStrictEqual({ attempt, isStream, queue }, { attempt: 1, isStream: false, queue: undefined })
              return AmqpDelivery.ack
            })
        })
        const { consumerTag } = yield* openConsumer(peer, serve)
        yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(1))
        assert.include(seen[0], "not m")
        assert.strictEqual(seen[1], "m")
      })
    ))

  it.effect("settles messages one by one as its handler decides", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const settlements = [AmqpDelivery.ack, AmqpDelivery.reject, AmqpDelivery.requeue]
        const { consumerTag } = yield* openConsumer(
          peer,
          AmqpConsumer.serve("q", ({ deliveryTag }) => Effect.succeed(settlements[deliveryTag - 1]))
        )
        yield* peer.push(...[1, 2, 3].map((tag) => deliverBytes(1, consumerTag, tag, "m")))
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(1))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(2, false))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(3, true))
      })
    ))

  it.effect("handles as many messages at once as its concurrency allows", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { gate, handler, started } = gated()
        const { consumerTag, fiber } = yield* openConsumer(peer, AmqpConsumer.serve("q", handler, { concurrency: 2 }))
        yield* peer.push(...[1, 2, 3, 4, 5].map((tag) => deliverBytes(1, consumerTag, tag, String(tag))))
        yield* peer.expectNothing
        assert.deepStrictEqual(started, ["1", "2"])
        yield* gate.release
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2, true))
        assert.deepStrictEqual(started, ["1", "2", "3", "4"])
        yield* assertWaits(fiber)
        yield* gate.open
        yield* peer.hangUp
        yield* failureOf(fiber)
      })
    ))
})
