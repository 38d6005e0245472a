import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import type * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import type * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { recovering } from "../../support/scriptedNetwork.ts"
import type { Parts } from "../../support/scriptedNetwork.ts"
import {
  ack,
  assertWaits,
  declare,
  declareOk,
  fork,
  gated,
  handedBack,
  openPublisher,
  rest,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { acceptConsumer, acceptDescribed, acceptOnChannel, deliver } from "./recoverySupport.ts"

/** The server's part of an ordered replacement, once nothing uses the session: its close, and the next one. */
const replaced = ({ network, peer }: Parts) =>
  Effect.gen(function*() {
    yield* peer.answer(0, "connection.close", { _tag: "connection.close-ok" })
    return yield* network.serve()
  })

const openDescribed = (peer: Peer) =>
  Effect.gen(function*() {
    yield* peer.openChannel()
    yield* peer.answer(1, "queue.declare", declareOk("q"))
    return yield* acceptOnChannel(peer, 1, "q")
  })

describe("a consumer whose connection is replaced in order", () => {
  it.effect("K10: lets its handlers finish and settle, hands back the rest, and goes on with the next connection", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { connection, peer } = parts
        const { gate, handler, started } = gated()
        const fiber = yield* fork(AmqpConsumer.serve(AmqpQueue.quorum("q"), handler, { prefetch: 10 }))
        const consumerTag = yield* openDescribed(peer)
        yield* deliver(peer, consumerTag, 1, 2, 3)
        yield* rest
        const reconnecting = yield* fork(connection.reconnect)
        yield* peer.expectNothing
        yield* gate.open
        assert.deepStrictEqual(yield* peer.expect("basic.ack", 1), ack(1))
        yield* peer.answer(1, "basic.cancel", { _tag: "basic.cancel-ok", consumerTag })
        assert.deepStrictEqual(yield* peer.expect("basic.nack", 1), { ...handedBack(3), multiple: true })
        yield* peer.closeChannel()
        const second = yield* replaced(parts)
        yield* deliver(second, yield* acceptDescribed(second), 1)
        yield* second.expect("basic.ack", 1)
        yield* resultOf(reconnecting)
        assert.deepStrictEqual(started, ["1", "1"])
        yield* assertWaits(fiber)
      })
    ))

  it.effect("K10: of which only the name is known does not cancel, begins nothing more, and closes its channel", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { connection, peer } = parts
        const { gate, handler, started } = gated()
        const fiber = yield* fork(AmqpConsumer.serve("q", handler, { prefetch: 10 }))
        const consumerTag = yield* acceptConsumer(peer)
        yield* deliver(peer, consumerTag, 1, 2)
        yield* rest
        yield* fork(connection.reconnect)
        yield* deliver(peer, consumerTag, 3)
        yield* peer.expectNothing
        yield* gate.open
        assert.deepStrictEqual(yield* peer.expect("basic.ack", 1), ack(1))
        yield* peer.closeChannel()
        const second = yield* replaced(parts)
        yield* acceptConsumer(second)
        assert.deepStrictEqual(started, ["1"])
        yield* assertWaits(fiber)
      })
    ))

  it.effect("K10: waits for its handlers within closeTimeout, and drops what they decide later", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { connection, peer } = parts
        const { gate, handler } = gated()
        const fiber = yield* fork(AmqpConsumer.serve("q", handler))
        yield* deliver(peer, yield* acceptConsumer(peer), 1)
        yield* rest
        yield* fork(connection.reconnect)
        yield* TestClock.adjust("1999 millis")
        yield* peer.expectNothing
        yield* TestClock.adjust("1 millis")
        yield* peer.closeChannel()
        const second = yield* replaced(parts)
        yield* acceptConsumer(second)
        yield* gate.open
        yield* second.expectNothing
        yield* assertWaits(fiber)
      }), { closeTimeout: "2 seconds" }))

  it.effect("K10: lets its handlers publish and run programs until they end", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { connection, network, peer } = parts
        const { gate, handler } = gated()
        const publishing = yield* Deferred.make<AmqpPublisher.AmqpPublisher["Service"]>()
        const fiber = yield* fork(AmqpConsumer.serve("q", (delivery) =>
          Effect.gen(function*() {
            const { publish } = yield* Deferred.await(publishing)
            const decision = yield* handler(delivery)
            yield* publish(AmqpMessage.text("result"), toQueue)
            yield* declare("q2")
            return decision
          })))
        const consumerTag = yield* acceptConsumer(peer)
        yield* Deferred.succeed(publishing, yield* openPublisher(peer, 2))
        yield* deliver(peer, consumerTag, 1)
        yield* rest
        const reconnecting = yield* fork(connection.reconnect)
        const again = yield* fork(connection.reconnect)
        assert.strictEqual((yield* connection.state)._tag, "Open")
        // A consumer that starts now starts on the next connection.
        const late = yield* fork(AmqpConsumer.make("late"))
        yield* gate.open
        yield* peer.expectPublish("result", 2)
        yield* peer.send(2, ack(1))
        yield* peer.openChannel(3)
        yield* peer.answer(3, "queue.declare", declareOk("q2"))
        assert.strictEqual((yield* connection.state)._tag, "Open")
        yield* peer.closeChannel(3)
        // The publisher leaves. The consumer is there until it has left, as its queue may end with it.
        yield* peer.expect("channel.close", 2)
        assert.deepStrictEqual(yield* peer.expect("basic.ack", 1), ack(1))
        yield* peer.expectNothing
        assert.strictEqual((yield* connection.state)._tag, "Connecting")
        yield* peer.send(2, { _tag: "channel.close-ok" })
        yield* peer.closeChannel(1)
        yield* peer.answer(0, "connection.close", { _tag: "connection.close-ok" })
        const second = yield* network.serve()
        yield* resultOf(reconnecting)
        yield* resultOf(again)
        yield* assertWaits(late)
        yield* assertWaits(fiber)
        yield* second.hangUp
      })
    ))

  it.effect("K10: as a Stream waits until its program has settled what it has, and hands back the rest", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { connection, peer } = parts
        const received: Array<AmqpDelivery.AmqpDelivery> = []
        const opening = yield* fork(AmqpConsumer.make(AmqpQueue.quorum("q")))
        const consumerTag = yield* openDescribed(peer)
        const consumer = yield* resultOf(opening)
        yield* deliver(peer, consumerTag, 1)
        const stream = yield* fork(
          Stream.runForEach(consumer.stream, (delivery) =>
            Effect.andThen(Effect.sync(() => void received.push(delivery)), Effect.sleep("1 second")))
        )
        yield* rest
        yield* deliver(peer, consumerTag, 2)
        yield* rest
        yield* fork(connection.reconnect)
        yield* deliver(peer, consumerTag, 3)
        yield* peer.expectNothing
        yield* received[0].ack
        assert.deepStrictEqual(yield* peer.expect("basic.ack", 1), ack(1))
        yield* peer.expect("basic.cancel", 1)
        yield* deliver(peer, consumerTag, 4)
        yield* peer.send(1, { _tag: "basic.cancel-ok", consumerTag })
        assert.deepStrictEqual(yield* peer.expect("basic.nack", 1), { ...handedBack(4), multiple: true })
        yield* peer.closeChannel()
        const second = yield* replaced(parts)
        yield* deliver(second, yield* acceptDescribed(second), 1)
        yield* TestClock.adjust("1 second")
        yield* rest
        assert.lengthOf(received, 2)
        yield* assertWaits(stream)
      })
    ))

  it.effect("K10: without acknowledgements takes everything that the broker has sent before it leaves", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { connection, peer } = parts
        const opening = yield* fork(AmqpConsumer.make("q", { autoAck: true }))
        yield* peer.openChannel()
        const { consumerTag } = yield* peer.expect("basic.consume", 1)
        yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag })
        const consumer = yield* resultOf(opening)
        yield* deliver(peer, consumerTag, 1)
        yield* fork(connection.reconnect)
        yield* peer.expect("basic.cancel", 1)
        yield* deliver(peer, consumerTag, 2)
        yield* peer.send(1, { _tag: "basic.cancel-ok", consumerTag })
        yield* peer.closeChannel()
        const second = yield* replaced(parts)
        yield* second.openChannel()
        const again = yield* second.expect("basic.consume", 1)
        yield* second.send(1, { _tag: "basic.consume-ok", consumerTag: again.consumerTag })
        yield* deliver(second, again.consumerTag, 3)
        const texts = yield* fork(Stream.runCollect(Stream.map(Stream.take(consumer.stream, 3), ({ text }) => text)))
        assert.deepStrictEqual(yield* resultOf(texts), ["1", "2", "3"])
      })
    ))

  it.effect("K10: does not call a handler again that waits for its next attempt", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { connection, peer } = parts
        let attempts = 0
        const fiber = yield* fork(AmqpConsumer.serve(AmqpQueue.quorum("q"), () =>
          Effect.suspend(() => {
            attempts++
            return Effect.fail("not yet")
          })))
        const consumerTag = yield* openDescribed(peer)
        yield* deliver(peer, consumerTag, 1)
        yield* rest
        yield* fork(connection.reconnect)
        yield* peer.answer(1, "basic.cancel", { _tag: "basic.cancel-ok", consumerTag })
        assert.deepStrictEqual(yield* peer.expect("basic.nack", 1), handedBack(1))
        yield* peer.closeChannel()
        const second = yield* replaced(parts)
        yield* acceptDescribed(second)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(attempts, 1)
        yield* assertWaits(fiber)
      })
    ))
})
