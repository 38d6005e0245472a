import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  assertWaits,
  connected,
  contentBytes,
  fork,
  methodBytes,
  nack,
  openPublisher,
  publishText,
  reasonOf,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"

const mandatory = { ...toQueue, mandatory: true } as const

const returnBytes = (text: string, channel = 1) =>
  contentBytes(
    channel,
    { _tag: "basic.return", replyCode: 312, replyText: "NO_ROUTE", exchange: "", routingKey: "q" },
    text
  )

describe("returns and late confirms", () => {
  it.effect("P3: a return is the failure of its publish, among many in flight and with empty bodies too", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const bodies = ["a", "", "b", "", "c", "b", "d", "d"]
        const fibers = yield* Effect.forEach(bodies, (text) =>
          Effect.tap(
            fork(publisher.publish(AmqpMessage.make(new TextEncoder().encode(text)), mandatory)),
            () => Effect.map(peer.expectPublish(text), ({ mandatory }) => assert.isTrue(mandatory))
          ))
        // The broker returns in the order of the publishes, each before its confirm.
        yield* peer.push(returnBytes(""), methodBytes(1, ack(2, true)), returnBytes("b"), returnBytes("c"))
        yield* peer.push(returnBytes("d"), returnBytes("d"))
        yield* resultOf(fibers[0])
        assert.strictEqual((yield* reasonOf(fibers[1], "Returned")).replyText, "NO_ROUTE")
        yield* assertWaits(fibers[2])
        yield* peer.send(1, ack(8, true))
        for (const index of [2, 4, 6, 7]) yield* reasonOf(fibers[index], "Returned")
        for (const index of [3, 5]) yield* resultOf(fibers[index])
      })
    ))

  it.effect("P3: a return that fits no publish changes nothing", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const plain = yield* publishText(peer, publisher, "m")
        const fiber = yield* fork(publisher.publish(AmqpMessage.text("other"), mandatory))
        yield* peer.expectPublish("other")
        yield* peer.push(returnBytes("m"), methodBytes(1, ack(2, true)))
        yield* resultOf(plain)
        yield* resultOf(fiber)
        yield* peer.expectNothing
      })
    ))

  it.effect("E2: a program without confirms fails with the message that came back", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpChannel.run(AmqpChannel.publish(AmqpMessage.text("m"), mandatory)))
        yield* peer.openChannel()
        yield* peer.expectPublish("m")
        yield* peer.expect("channel.close", 1)
        yield* peer.push(returnBytes("m"), methodBytes(1, { _tag: "channel.close-ok" }))
        assert.strictEqual((yield* reasonOf(fiber, "Returned")).replyCode, 312)
      })
    ))

  it.effect("P6: a confirm that does not come in time is OutcomeUnknown, and its number stays its own", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { confirmTimeout: "10 seconds", maxInFlight: 1 })
        const late = yield* publishText(peer, publisher, "late")
        const next = yield* fork(publisher.publish(AmqpMessage.text("next"), toQueue))
        yield* TestClock.adjust("9999 millis")
        yield* assertWaits(late)
        yield* TestClock.adjust("1 millis")
        assert.strictEqual((yield* reasonOf(late, "OutcomeUnknown")).cause.reason._tag, "ConfirmTimeout")
        yield* peer.expectPublish("next")
        yield* peer.send(1, nack(1))
        yield* assertWaits(next)
        yield* peer.send(1, ack(2))
        yield* resultOf(next)
      })
    ))

  it.effect("P6: each confirm has its own time", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { confirmTimeout: "10 seconds" })
        yield* TestClock.adjust("7 seconds")
        const one = yield* publishText(peer, publisher, "1")
        yield* TestClock.adjust("4 seconds")
        const two = yield* publishText(peer, publisher, "2")
        yield* TestClock.adjust("6 seconds")
        yield* reasonOf(one, "OutcomeUnknown")
        yield* TestClock.adjust("3999 millis")
        yield* assertWaits(two)
        yield* TestClock.adjust("1 millis")
        yield* reasonOf(two, "OutcomeUnknown")
      })
    ))

  it.effect("W4: a publish that waits for its turn for too long is NotSent, and never leaves", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { sendTimeout: "10 seconds", maxInFlight: 1 })
        const sent = yield* publishText(peer, publisher, "1")
        const waiting = yield* fork(publisher.publish(AmqpMessage.text("2"), toQueue))
        yield* TestClock.adjust("5 seconds")
        const younger = yield* fork(publisher.publish(AmqpMessage.text("3"), toQueue))
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual((yield* reasonOf(waiting, "NotSent")).cause.reason._tag, "SendTimeout")
        yield* assertWaits(younger)
        yield* peer.send(1, ack(1))
        yield* peer.expectPublish("3")
        yield* resultOf(sent)
      })
    ))

  it.effect("W1: publishes fail while the broker asks to pause, if that is what was chosen", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { whenBlocked: "fail", maxInFlight: 1 })
        const sent = yield* publishText(peer, publisher, "1")
        const inLine = yield* fork(publisher.publish(AmqpMessage.text("2"), toQueue))
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        const late = yield* fork(publisher.publish(AmqpMessage.text("3"), toQueue))
        for (const fiber of [inLine, late]) {
          const { cause } = yield* reasonOf(fiber, "NotSent")
          assert.strictEqual(cause.reason._tag, "ConnectionBlocked")
          assert.include(cause.message, "low on memory")
        }
        yield* peer.send(0, { _tag: "connection.unblocked" })
        yield* peer.send(1, ack(1))
        yield* resultOf(sent)
        yield* publishText(peer, publisher, "4")
      })
    ))

  for (const capabilities of [{ "basic.nack": true }, { publisher_confirms: false }]) {
    it.effect(`H14: a broker with only ${JSON.stringify(capabilities)} is not asked for confirms`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const fiber = yield* fork(AmqpPublisher.make())
          yield* peer.openChannel()
          yield* peer.closeChannel()
          assert.strictEqual((yield* reasonOf(fiber, "NotSupported")).capability, "publisher_confirms")
          yield* peer.expectNothing
        }), { server: { serverProperties: { capabilities } } }))
  }

  it.effect("H14: a broker that says nothing of its capabilities is asked", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const publish = yield* publishText(peer, publisher, "m")
        yield* peer.send(1, ack(1))
        yield* resultOf(publish)
      }), { server: { serverProperties: {} } }))
})
