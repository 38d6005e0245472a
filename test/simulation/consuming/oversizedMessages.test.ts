import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  channelClose,
  connected,
  declareOk,
  deliverBytes,
  fork,
  handedBack,
  openConsumer,
  rejected,
  rest,
  resultOf
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

const acking = () => Effect.succeed(AmqpDelivery.ack)

describe("a message larger than maxBodySize", () => {
  const client = { client: { maxBodySize: 10 } }
  const large = "x".repeat(11)

  const logging = () => {
    const logged: Array<string> = []
    return { logged, layer: Logger.layer([Logger.map(Logger.formatSimple, (line) => void logged.push(line))]) }
  }

  const consumers = {
    serve: (options: AmqpConsumer.Options) => AmqpConsumer.serve("q", acking, options),
    stream: (options: AmqpConsumer.Options) =>
      Stream.runForEach(AmqpConsumer.stream("q", options), (delivery) => delivery.ack)
  }
  for (const [name, consumer] of Object.entries(consumers)) {
    for (const onOversized of [undefined, "keep"] as const) {
      it.effect(`C12, K7: delivered to ${name} is logged and stays in its queue, and the next is handled (${onOversized})`, () => {
        const { layer, logged } = logging()
        return connected((peer) =>
          Effect.gen(function*() {
            const { consumerTag } = yield* openConsumer(peer, consumer({ onOversized }))
            yield* peer.push(deliverBytes(1, consumerTag, 1, large), deliverBytes(1, consumerTag, 2, "small"))
            assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2))
            yield* rest
            assert.match(
              logged.join(),
              /A message of 11 bytes from the queue \\?"q\\?" is larger than maxBodySize \(10 bytes\)/
            )
            assert.include(logged.join(), "level=ERROR")
            yield* TestClock.adjust("59999 millis")
            yield* peer.expectNothing
            yield* TestClock.adjust("1 millis")
            assert.deepStrictEqual(yield* peer.expect("basic.nack"), handedBack(1))
          }), client).pipe(Effect.provide(layer))
      })
    }

    it.effect(`C12, K7: delivered to ${name} is rejected with the option onOversized "reject"`, () => {
      const { layer, logged } = logging()
      return connected((peer) =>
        Effect.gen(function*() {
          const { consumerTag } = yield* openConsumer(peer, consumer({ onOversized: "reject" }))
          yield* peer.push(deliverBytes(1, consumerTag, 1, large))
          assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, false))
          assert.include(logged.join(), "It is rejected, because the option onOversized is")
          assert.notInclude(logged.join(), "dead-letter")
        }), client).pipe(Effect.provide(layer))
    })
  }

  it.effect("C12: delivered to an autoAck consumer is lost, which is logged", () => {
    const { layer, logged } = logging()
    return connected((peer) =>
      Effect.gen(function*() {
        const texts: Array<string> = []
        const stream = Stream.runForEach(
          AmqpConsumer.stream("q", { autoAck: true }),
          ({ text }) => Effect.sync(() => texts.push(text))
        )
        const { consumerTag } = yield* openConsumer(peer, stream, 1, false)
        yield* peer.push(deliverBytes(1, consumerTag, 1, large), deliverBytes(1, consumerTag, 2, "small"))
        yield* rest
        assert.deepStrictEqual(texts, ["small"])
        assert.include(logged.join(), "It is lost, because the consumer acknowledges automatically")
        yield* peer.expectNothing
      }), client).pipe(Effect.provide(layer))
  })

  it.effect("C12: is requeued with the others when its consumer stops", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, fiber } = yield* openConsumer(peer, AmqpConsumer.serve("q", acking))
        yield* peer.push(deliverBytes(1, consumerTag, 1, large))
        yield* rest
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* peer.closeChannel()
        yield* resultOf(stopping)
        yield* TestClock.adjust("1 minute")
        yield* peer.expectNothing
      }), client).pipe(Effect.provide(Logger.layer([]))))

  /** Serves a queue described with a dead-letter queue, and expects the check on channel 2 that this queue exists. */
  const checkingDeadLetterQueue = (peer: Peer) =>
    Effect.gen(function*() {
      const queue = AmqpQueue.classic("q", { deadLetterExchange: "", deadLetterRoutingKey: "dead" })
      yield* fork(AmqpConsumer.serve(queue, acking))
      yield* peer.openChannel()
      yield* peer.answer(1, "queue.declare", declareOk("q"))
      yield* peer.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
      const { consumerTag } = yield* peer.expect("basic.consume", 1)
      yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag })
      yield* peer.push(deliverBytes(1, consumerTag, 1, large))
      yield* peer.openChannel(2)
      const declare = yield* peer.expect("queue.declare", 2)
      assert.deepStrictEqual([declare.queue, declare.passive], ["dead", true])
    })

  it.effect("K7: is rejected when the dead-letter queue exists", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* checkingDeadLetterQueue(peer)
        yield* peer.send(2, declareOk("dead"))
        yield* peer.closeChannel(2)
        assert.deepStrictEqual(yield* peer.expect("basic.reject", 1), rejected(1, false))
      }), client).pipe(Effect.provide(Logger.layer([]))))

  it.effect("K7: stays in its queue when the dead-letter queue does not exist", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* checkingDeadLetterQueue(peer)
        yield* peer.send(2, channelClose(404, "no queue 'dead'"))
        yield* peer.expect("channel.close-ok", 2)
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* peer.expect("basic.nack", 1), handedBack(1))
      }), client).pipe(Effect.provide(Logger.layer([]))))

  it.effect("K7: from a stream is acknowledged, because a stream takes nothing back", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag } = yield* openConsumer(peer, AmqpConsumer.serve("q", acking, { offset: "first" }))
        yield* peer.push(deliverBytes(1, consumerTag, 1, large))
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(1))
      }), client).pipe(Effect.provide(Logger.layer([]))))
})
