import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  assertReason,
  assertWaits,
  connected,
  fork,
  nack,
  openPublisher,
  publishText,
  reasonOf,
  rest,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"

describe("confirmTimeout", () => {
  it.effect("P6: fails an unconfirmed publish with OutcomeUnknown, and its late nack affects no other publish", () =>
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

  it.effect("P6: is counted separately for each publish", () =>
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

  it.effect("is a minute by default, not counting the time in which the connection is blocked", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const first = yield* publishText(peer, publisher, "1")
        yield* TestClock.adjust("59 seconds")
        yield* assertWaits(first)
        yield* TestClock.adjust("1 seconds")
        assertReason((yield* reasonOf(first, "OutcomeUnknown")).cause, "ConfirmTimeout")
        const second = yield* publishText(peer, publisher, "2")
        yield* TestClock.adjust("30 seconds")
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        yield* TestClock.adjust("1 hours")
        yield* assertWaits(second)
        yield* peer.send(0, { _tag: "connection.unblocked" })
        yield* TestClock.adjust("29 seconds")
        yield* assertWaits(second)
        yield* TestClock.adjust("1 seconds")
        yield* reasonOf(second, "OutcomeUnknown")
      })
    ))

  it.effect("never ends when it is infinite", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { confirmTimeout: Infinity })
        const first = yield* publishText(peer, publisher, "1")
        yield* TestClock.adjust("10 days")
        yield* assertWaits(first)
        yield* peer.send(1, ack(1))
        yield* resultOf(first)
      })
    ))

  it.effect("starts for a large message when all of it has been sent", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const large = AmqpMessage.make(new Uint8Array(1024 * 1024))
        const publishing = yield* fork(publisher.publish(large, toQueue))
        for (let write = 0; write < 3; write++) {
          yield* TestClock.adjust("50 seconds")
          yield* assertWaits(publishing)
          yield* peer.takeOneWrite
          yield* rest
        }
        yield* peer.unstall
        yield* peer.expectPublish()
        yield* TestClock.adjust("59 seconds")
        yield* assertWaits(publishing)
        yield* TestClock.adjust("1 seconds")
        yield* reasonOf(publishing, "OutcomeUnknown")
      })
    ))
})

describe("sendTimeout", () => {
  it.effect("W4: fails a publish that waits too long for its turn with NotSent, and it is never sent", () =>
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

  it.effect("of 0 fails each message that would have to wait", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 1, sendTimeout: 0 })
        yield* publishText(peer, publisher, "0")
        for (const text of ["1", "2"]) {
          const fiber = yield* fork(publisher.publish(AmqpMessage.text(text), toQueue))
          yield* TestClock.adjust("1 seconds")
          const { cause } = yield* reasonOf(fiber, "NotSent")
          assert.strictEqual(cause.reason._tag, "SendTimeout")
        }
      })
    ))

  it.effect("fails a publish that waits behind a long batch", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 1, sendTimeout: "5 seconds" })
        const endless = function*() {
          while (true) yield AmqpMessage.text("batch")
        }
        const batch = yield* fork(publisher.publishAll(endless(), toQueue))
        const one = yield* fork(publisher.publish(AmqpMessage.text("one"), toQueue))
        for (let tag = 1; tag <= 20; tag++) {
          yield* peer.expectPublish()
          yield* TestClock.adjust("1 seconds")
          yield* peer.send(1, ack(tag))
          yield* rest
        }
        const ended = one.pollUnsafe()
        yield* Fiber.interrupt(batch)
        yield* Fiber.interrupt(one)
        assert.isDefined(ended, "it was neither sent nor failed for 20 seconds")
      })
    ))
})
