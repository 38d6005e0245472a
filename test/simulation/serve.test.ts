import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { wire } from "../fixtures/wire.ts"
import {
  ack,
  assertWaits,
  bodyBytes,
  connected,
  deliverBytes,
  failureOf,
  fork,
  gated,
  methodBytes,
  openConsumer,
  rejected,
  resultOf
} from "../support/scriptedPeer.ts"

describe("serve", () => {
  it.effect("K1: a handler that runs when the broker cancels can still settle its message", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { gate, handler } = gated()
        const { consumerTag, fiber } = yield* openConsumer(peer, AmqpConsumer.serve("q", handler))
        yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
        yield* peer.send(1, { _tag: "basic.cancel", consumerTag, noWait: true })
        yield* assertWaits(fiber)
        yield* gate.open
        assert.deepStrictEqual(yield* peer.expect("basic.ack", 1), ack(1))
        yield* peer.closeChannel()
        assert.strictEqual((yield* failureOf(fiber))._tag, "AmqpConsumerCancelled")
      })
    ))

  const failures: ReadonlyArray<readonly [string, Effect.Effect<never, string>]> = [
    ["fails", Effect.fail("no")],
    ["dies", Effect.die(new Error("no"))],
    ["is interrupted", Effect.interrupt]
  ]
  for (const [what, failure] of failures) {
    it.effect(`K5: serve requeues a message the first time its handler ${what}, and then rejects it`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const { consumerTag, fiber } = yield* openConsumer(peer, AmqpConsumer.serve("q", () => failure))
          yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
          assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, true))
          yield* peer.push(deliverBytes(1, consumerTag, 2, "m", true))
          assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(2, false))
          yield* assertWaits(fiber)
        })
      ))
  }

  it.effect("K5: onFailure decides with the cause and the message", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const serve = AmqpConsumer.serve("q", ({ text }) => Effect.fail(`not ${text}`), {
          onFailure: (cause, { text }) =>
            Effect.sync(() => {
              seen.push(Cause.pretty(cause), text)
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

  it.effect("serve settles as its handler decides, one after the other", () =>
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

  it.effect("serve handles as many at once as asked for", () =>
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

  it.effect("K10: an interrupted serve stops its consumer, lets handlers finish, and gives back what they had not begun", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { gate, handler, started } = gated()
        const { consumerTag, fiber } = yield* openConsumer(peer, AmqpConsumer.serve("q", handler, { concurrency: 2 }))
        yield* peer.push(...[1, 2, 3].map((tag) => deliverBytes(1, consumerTag, tag, String(tag))))
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* peer.answer(1, "basic.cancel", { _tag: "basic.cancel-ok", consumerTag })
        yield* peer.expectNothing
        yield* assertWaits(stopping)
        yield* gate.open
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2, true))
        yield* peer.closeChannel()
        yield* resultOf(stopping)
        assert.deepStrictEqual(started, ["1", "2"])
        yield* peer.expectNothing
      })
    ))

  it.effect("K10: a handler that goes on for longer than the drain timeout is interrupted, and its message goes back", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const interrupted = yield* Deferred.make<void>()
        const { handler } = gated()
        const serve = AmqpConsumer.serve(
          "q",
          (delivery) => Effect.onInterrupt(handler(delivery), () => Deferred.succeed(interrupted, undefined)),
          { drainTimeout: "3 seconds" }
        )
        const { consumerTag, fiber } = yield* openConsumer(peer, serve)
        yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* peer.answer(1, "basic.cancel", { _tag: "basic.cancel-ok", consumerTag })
        yield* TestClock.adjust("2999 millis")
        yield* peer.expectNothing
        yield* TestClock.adjust("1 millis")
        const tags = yield* peer.takeTags
        assert.notInclude(tags, "basic.ack")
        assert.strictEqual(tags.at(-1), "channel.close")
        yield* peer.send(1, { _tag: "channel.close-ok" })
        yield* resultOf(stopping)
        yield* Deferred.await(interrupted)
      })
    ))

  it.effect("C9, K7: a message with properties that can't be read is settled by policy, and the next one is handled", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag } = yield* openConsumer(
          peer,
          AmqpConsumer.serve("q", ({ properties }) =>
            Effect.succeed(properties.headers === undefined ? AmqpDelivery.ack : AmqpDelivery.requeue))
        )
        yield* peer.push(
          methodBytes(1, {
            _tag: "basic.deliver",
            consumerTag,
            deliveryTag: 1,
            redelivered: true,
            exchange: "",
            routingKey: "q"
          }),
          // A table with a field of the type `z`, which does not exist.
          wire(`02 0001 00000016 003c 0000 0000000000000001 2000 00000004 01"a" "z" 00 ce`),
          bodyBytes(1, wire(`"m"`)),
          deliverBytes(1, consumerTag, 2, "m")
        )
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, false))
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2))
      })
    ))
})
