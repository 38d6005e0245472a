import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { recovering } from "../../support/scriptedNetwork.ts"
import { channelClose, fork, rest, resultOf } from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { acceptConsumer, acceptOnChannel, afterASecond, cancelled, deliverAt, nextSession } from "./recoverySupport.ts"

/** Acknowledges messages only when their gate is open. */
const gatedByOffset = (...offsets: ReadonlyArray<number>) => {
  const gates = new Map(offsets.map((offset) => [offset, Latch.makeUnsafe()]))
  const handler = ({ properties }: AmqpDelivery.ReceivedMessage) => {
    const gate = gates.get(Number(properties.headers?.["x-stream-offset"]))
    return Effect.as(gate === undefined ? Effect.void : gate.await, AmqpDelivery.ack)
  }
  return { gates, handler }
}

describe("a consumer of a stream", () => {
  const losses: ReadonlyArray<readonly [string, (peer: Peer, consumerTag: string) => Effect.Effect<unknown>]> = [
    ["a lost connection", (peer) => peer.hangUp],
    [
      "a closed channel",
      (peer) =>
        Effect.andThen(
          peer.send(1, channelClose(406, "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out")),
          peer.expect("channel.close-ok", 1)
        )
    ],
    ["a cancel", (peer, consumerTag) => Effect.andThen(cancelled(peer, consumerTag), peer.closeChannel())]
  ]
  for (const [what, lose] of losses) {
    it.effect(`K11: continues after the last message that was handled, after ${what}`, () =>
      recovering(({ network, peer }) =>
        Effect.gen(function*() {
          const { gates, handler } = gatedByOffset(11, 12, 13)
          const options = { ...afterASecond, concurrency: 3, drainTimeout: 0, offset: "first" } as const
          yield* fork(AmqpConsumer.serve("q", handler, options))
          const consumerTag = yield* acceptConsumer(peer, { offset: "first" })
          yield* deliverAt(peer, consumerTag, [1, 10], [2, 11], [3, 12], [4, 13], [5, 14])
          yield* rest
          // Out of order: the first that was not handled is 11.
          yield* gates.get(12)?.open ?? Effect.void
          yield* rest
          yield* peer.takeTags
          yield* lose(peer, consumerTag)
          const next = what === "a lost connection"
            ? yield* nextSession(network)
            : yield* Effect.as(TestClock.adjust("1 second"), peer)
          yield* acceptConsumer(next, { offset: 11 })
        })
      ))
  }

  it.effect("K11: continues after the last one if all were handled, and from there again if none follows", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* fork(AmqpConsumer.serve("q", gatedByOffset().handler, { offset: "next" }))
        yield* deliverAt(peer, yield* acceptConsumer(peer, { offset: "next" }), [1, 20], [2, 25])
        yield* rest
        yield* peer.hangUp
        const second = yield* nextSession(network)
        yield* acceptConsumer(second, { offset: 26 })
        yield* second.hangUp
        yield* acceptConsumer(yield* nextSession(network), { offset: 26 })
      })
    ))

  it.effect("K11: begins at the first message again if that was delivered and not handled, and not at `next`", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* fork(AmqpConsumer.serve("q", gatedByOffset(30).handler, { drainTimeout: 0, offset: "next" }))
        yield* deliverAt(peer, yield* acceptConsumer(peer, { offset: "next" }), [1, 30])
        yield* rest
        yield* peer.hangUp
        yield* acceptConsumer(yield* nextSession(network), { offset: 30 })
      })
    ))

  it.effect("begins as its options say if nothing was delivered", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* fork(AmqpConsumer.serve("q", gatedByOffset().handler, { offset: "last" }))
        yield* acceptConsumer(peer, { offset: "last" })
        yield* peer.hangUp
        yield* acceptConsumer(yield* nextSession(network), { offset: "last" })
      })
    ))

  it.effect("K11: as a Stream continues after what its program has acknowledged", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const received: Array<AmqpDelivery.AmqpDelivery> = []
        yield* fork(
          Stream.runForEach(
            AmqpConsumer.stream("q", { offset: "first" }),
            (delivery) => Effect.sync(() => void received.push(delivery))
          )
        )
        const consumerTag = yield* acceptConsumer(peer)
        yield* deliverAt(peer, consumerTag, [1, 0], [2, 1], [3, 2])
        yield* rest
        yield* received[0].ack
        yield* received[2].ack
        yield* peer.hangUp
        yield* acceptConsumer(yield* nextSession(network), { offset: 1 })
      })
    ))

  it.effect("K11: asks the broker whether a queue is a stream if only its name and the headers of its messages are known", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* fork(AmqpConsumer.serve("q", gatedByOffset().handler))
        yield* deliverAt(peer, yield* acceptConsumer(peer), [1, 7])
        yield* rest
        yield* peer.hangUp
        const second = yield* nextSession(network)
        yield* second.openChannel()
        yield* second.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
        yield* second.openChannel(2)
        yield* second.expect("basic.consume", 2)
        yield* second.send(
          2,
          channelClose(406, "PRECONDITION_FAILED - consumer prefetch count is not set for 'queue 'q''")
        )
        yield* second.expect("channel.close-ok", 2)
        const consume = yield* second.expect("basic.consume", 1)
        assert.deepEqual(consume.arguments, { "x-stream-offset": 8 })
      })
    ))

  it.effect("K11: finds out whether a queue is a stream without taking messages of it, which would count as attempts", () =>
    Effect.scoped(Effect.gen(function*() {
      const broker = yield* AmqpBroker.make()
      const app = yield* broker.connect({ connectionName: "app" })
      const counts: Array<unknown> = []
      const recovered = Latch.makeUnsafe()
      const declare = AmqpChannel.run(AmqpQueue.declare(AmqpQueue.quorum("copies")))
      yield* Effect.provideService(declare, AmqpConnection.AmqpConnection, app)
      const serving = AmqpConsumer.serve("copies", ({ properties }) => {
        counts.push(properties.headers?.["x-delivery-count"])
        return Effect.as(recovered.await, AmqpDelivery.ack)
      })
      yield* fork(Effect.provideService(serving, AmqpConnection.AmqpConnection, app))
      const other = yield* broker.connect()
      const copy = AmqpMessage.text("a copy", { headers: { "x-stream-offset": 7 } })
      yield* Effect.provideService(
        AmqpChannel.run(AmqpChannel.publish(copy, AmqpQueue.route("copies"))),
        AmqpConnection.AmqpConnection,
        other
      )
      yield* rest
      const [{ cut }] = (yield* broker.connections).filter(({ name }) => name === "app")
      yield* cut
      yield* TestClock.adjust("30 seconds")
      yield* recovered.open
      yield* rest
      // Once, by the loss.
      assert.deepStrictEqual(counts.map(Number), [NaN, 1])
    })))

  it.effect("K11: keeps its place over a change of its prefetch and a lost connection", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const opening = yield* fork(AmqpConsumer.make("q", { offset: "first" }))
        const consumerTag = yield* acceptConsumer(peer, { offset: "first" })
        const consumer = yield* resultOf(opening)
        yield* deliverAt(peer, consumerTag, [1, 40], [2, 41])
        yield* rest
        const changing = yield* fork(consumer.setPrefetch(9))
        yield* peer.answer(1, "basic.cancel", { _tag: "basic.cancel-ok", consumerTag })
        yield* acceptOnChannel(peer, 1, "q", 42, 9)
        yield* resultOf(changing)
        yield* peer.hangUp
        // Nothing was acknowledged.
        yield* acceptConsumer(yield* nextSession(network), { offset: 40, prefetch: 9 })
      })
    ))
})
