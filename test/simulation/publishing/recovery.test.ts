import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  assertReason,
  assertWaits,
  channelClose,
  connectionClose,
  fork,
  openPublisher,
  publishText,
  reasonOf,
  rest,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"
import { nextSession, openForPublishing, recovering, takeTexts } from "../../support/severalPeers.ts"

type Publisher = AmqpPublisher.AmqpPublisher["Service"]

const publish = (publisher: Publisher, text: string) => fork(publisher.publish(AmqpMessage.text(text), toQueue))

const texts = (...texts: ReadonlyArray<string>) => texts.map((text) => AmqpMessage.text(text))

describe("a publisher whose connection is lost", () => {
  it.effect("P4, N1: fails what was in flight at once, and sends what waits and what is new on the next", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { maxInFlight: 2 })
        const sent = [yield* publishText(first, publisher, "1"), yield* publishText(first, publisher, "2")]
        const waiting = yield* publish(publisher, "3")
        yield* first.hangUp
        for (const fiber of sent) {
          const { cause } = yield* reasonOf(fiber, "OutcomeUnknown")
          assertReason(assertReason(cause, "ConnectionLost").cause, "SocketLost")
        }
        const later = yield* publish(publisher, "4")
        yield* assertWaits(waiting)
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["3", "4"])
        // Its publish numbers begin at 1 again.
        yield* second.send(1, ack(2, true))
        yield* resultOf(waiting)
        yield* resultOf(later)
      })
    ))

  it.effect("N7: waits for the third one if the second is lost before its channel is open", () =>
    recovering(([first, second, third]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first)
        yield* first.hangUp
        const waiting = yield* publish(publisher, "1")
        yield* second.handshake()
        yield* second.openChannel(1)
        yield* second.expect("confirm.select")
        yield* second.hangUp
        yield* nextSession(third)
        yield* third.expectPublish("1")
        yield* third.send(1, ack(1))
        yield* resultOf(waiting)
      })
    ))

  it.effect("continues a batch with the messages that were not sent", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { maxInFlight: 2 })
        const batch = yield* fork(publisher.publishAll(texts("0", "1", "2", "3"), toQueue))
        assert.deepStrictEqual(yield* takeTexts(first), ["0", "1"])
        yield* first.hangUp
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["2", "3"])
        yield* second.send(1, ack(2, true))
        const { confirmed, failures } = yield* Effect.flip(resultOf(batch))
        assert.strictEqual(confirmed, 2)
        assert.deepStrictEqual(failures.map(({ error, index }) => [index, error.reason._tag]), [
          [0, "OutcomeUnknown"],
          [1, "OutcomeUnknown"]
        ])
      })
    ))

  it.effect("with whenDisconnected fail, refuses what waits and what is new until it has the next one", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { maxInFlight: 1, whenDisconnected: "fail" })
        const sent = yield* publishText(first, publisher, "1")
        const waiting = yield* publish(publisher, "2")
        yield* TestClock.adjust("3 seconds")
        yield* first.hangUp
        yield* reasonOf(sent, "OutcomeUnknown")
        yield* TestClock.adjust("5 seconds")
        for (const fiber of [waiting, yield* publish(publisher, "3")]) {
          const { cause } = yield* reasonOf(fiber, "NotSent")
          const lost = assertReason(cause, "ConnectionLost")
          assert.deepStrictEqual(lost.since, new Date(3_000))
          assert.isTrue(cause.isRetryable)
        }
        yield* second.handshake()
        yield* rest
        const next = yield* publish(publisher, "4")
        yield* openForPublishing(second)
        yield* second.expectPublish("4")
        yield* second.send(1, ack(1))
        yield* resultOf(next)
      })
    ))

  it.effect("fails what waits for longer than sendTimeout with NotSent, and it is never sent", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { sendTimeout: "10 seconds" })
        yield* first.hangUp
        yield* rest
        const waiting = yield* publish(publisher, "1")
        yield* TestClock.adjust("6 seconds")
        const younger = yield* publish(publisher, "2")
        yield* TestClock.adjust("4 seconds")
        const { cause } = yield* reasonOf(waiting, "NotSent")
        assert.deepStrictEqual(assertReason(cause, "ConnectionLost").since, new Date(0))
        yield* assertWaits(younger)
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["2"])
      })
    ))

  it.effect("Q2: refuses a publish at once if maxWaiting others wait", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { maxWaiting: 2 })
        yield* first.hangUp
        yield* rest
        const waiting = yield* publish(publisher, "one")
        const batch = yield* fork(publisher.publishAll(texts("two", "three"), toQueue))
        const { cause } = yield* reasonOf(yield* publish(publisher, "refused"), "NotSent")
        assert.include(assertReason(cause, "TooManyPublishes"), { waiting: 2, waitingBytes: 3, isRetryable: true })
        yield* Fiber.interrupt(waiting)
        yield* publish(publisher, "four")
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["two", "three", "four"])
        yield* second.send(1, ack(3, true))
        yield* resultOf(batch)
        yield* resultOf(yield* publishText(second, publisher, "five").pipe(Effect.tap(() => second.send(1, ack(4)))))
      })
    ))

  it.effect("Q2: refuses a publish at once if others of maxWaitingBytes wait", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { maxWaitingBytes: 10 })
        yield* first.hangUp
        yield* rest
        yield* publish(publisher, "123456789")
        yield* publish(publisher, "12345")
        const { cause } = yield* reasonOf(yield* publish(publisher, "x"), "NotSent")
        assert.include(assertReason(cause, "TooManyPublishes"), { waiting: 2, waitingBytes: 14 })
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["123456789", "12345"])
        yield* rest
        yield* publishText(second, publisher, "x")
      })
    ))

  it.effect("Q2: refuses a publish at once by default if others of 128 MiB wait", () =>
    recovering(([first]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first)
        yield* first.hangUp
        yield* rest
        // All waiting messages have the same body.
        const publishLarge = fork(publisher.publish(AmqpMessage.make(new Uint8Array(1024 * 1024)), toQueue))
        const waiting = yield* Effect.replicateEffect(publishLarge, 128)
        for (const fiber of waiting) yield* assertWaits(fiber)
        const { cause } = yield* reasonOf(yield* publish(publisher, "refused"), "NotSent")
        const limit = { waiting: 128, waitingBytes: 128 * 1024 * 1024, isRetryable: true }
        assert.include(assertReason(cause, "TooManyPublishes"), limit)
      })
    ))

  it.effect("W3: sends what waited because the broker blocked it", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first)
        const refusing = yield* openPublisher(first, 2, { whenBlocked: "fail" })
        yield* first.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        yield* rest
        const waiting = yield* publish(publisher, "1")
        const { cause } = yield* reasonOf(yield* publish(refusing, "2"), "NotSent")
        assertReason(cause, "ConnectionBlocked")
        yield* first.hangUp
        yield* rest
        const other = yield* publish(refusing, "3")
        yield* second.handshake()
        // Two publishers open their channels at the same time.
        yield* second.expect("channel.open", 1)
        yield* second.expect("channel.open", 2)
        yield* second.send(1, { _tag: "channel.open-ok" })
        yield* second.send(2, { _tag: "channel.open-ok" })
        yield* second.expect("confirm.select", 1)
        yield* second.expect("confirm.select", 2)
        yield* second.send(1, { _tag: "confirm.select-ok" })
        yield* second.send(2, { _tag: "confirm.select-ok" })
        assert.deepStrictEqual(yield* takeTexts(second), ["1", "3"])
        yield* second.send(1, ack(1))
        yield* second.send(2, ack(1))
        yield* resultOf(waiting)
        yield* resultOf(other)
        // The block of the next session counts again.
        yield* second.send(0, { _tag: "connection.blocked", reason: "low on disk" })
        yield* rest
        assertReason((yield* reasonOf(yield* publish(refusing, "4"), "NotSent")).cause, "ConnectionBlocked")
      })
    ))

  it.effect("B11: ends all that waits when its scope closes, and opens no channel later", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const publisher = yield* Scope.provide(openPublisher(first), scope)
        yield* first.hangUp
        yield* rest
        const waiting = yield* publish(publisher, "1")
        yield* Scope.close(scope, Exit.void)
        assertReason((yield* reasonOf(waiting, "NotSent")).cause, "ChannelClosed")
        yield* second.handshake()
        yield* second.expectNothing
      })
    ))

  it.effect("B11: ends all that waits when the connection is given up", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first)
        yield* first.hangUp
        const waiting = yield* publish(publisher, "1")
        yield* second.handshake()
        yield* second.openChannel()
        yield* second.send(0, connectionClose(530, "NOT_ALLOWED"))
        yield* second.expect("confirm.select")
        const { cause } = yield* reasonOf(waiting, "NotSent")
        assertReason(assertReason(cause, "ConnectionLost").cause, "NotAllowed")
        assertReason((yield* reasonOf(yield* publish(publisher, "2"), "NotSent")).cause, "ConnectionLost")
      }), { client: { recovery: { isRecoverable: ({ reason }) => reason._tag !== "NotAllowed" } } }))
})

describe("a publisher whose channel can't be opened", () => {
  it.effect("tries again with pauses if the reason may pass, while its messages wait", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first)
        yield* first.hangUp
        const waiting = yield* publish(publisher, "1")
        yield* second.handshake()
        for (let attempt = 0; attempt < 3; attempt++) {
          yield* second.answer(1, "channel.open", channelClose(506, "RESOURCE_ERROR"))
          yield* second.expect("channel.close-ok")
          yield* second.expectNothing
          yield* TestClock.adjust("1 seconds")
        }
        yield* assertWaits(waiting)
        yield* openForPublishing(second)
        yield* second.expectPublish("1")
        yield* second.send(1, ack(1))
        yield* resultOf(waiting)
      })
    ))

  it.effect("pauses after a close whose reason may pass, even if a message is published again at once", () =>
    recovering(([first]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first)
        const sent = yield* publishText(first, publisher, "1")
        yield* first.send(1, channelClose(506, "RESOURCE_ERROR"))
        yield* first.expect("channel.close-ok")
        yield* reasonOf(sent, "OutcomeUnknown")
        yield* publish(publisher, "2")
        yield* first.expectNothing
        yield* TestClock.adjust("250 millis")
        yield* openForPublishing(first)
        yield* first.expectPublish("2")
      })
    ))

  it.effect("refuses what waits if the reason does not pass, and tries again with the next message", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first)
        yield* first.hangUp
        const refused = yield* publish(publisher, "1")
        yield* second.handshake()
        yield* second.answer(1, "channel.open", channelClose(403, "ACCESS_REFUSED"))
        yield* second.expect("channel.close-ok")
        assertReason((yield* reasonOf(refused, "NotSent")).cause, "AccessRefused")
        yield* second.expectNothing
        yield* publish(publisher, "2")
        yield* openForPublishing(second)
        yield* second.expectPublish("2")
      })
    ))
})

describe("making a publisher while there is no connection", () => {
  it.effect("waits for one", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        yield* first.hangUp
        yield* rest
        const making = yield* fork(AmqpPublisher.make())
        yield* TestClock.adjust("20 seconds")
        yield* assertWaits(making)
        yield* nextSession(second)
        yield* publishText(second, yield* resultOf(making), "1")
      })
    ))

  it.effect("waits for the next one if the connection is lost while its channel opens", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const making = yield* fork(AmqpPublisher.make())
        yield* first.expect("channel.open")
        yield* first.hangUp
        yield* nextSession(second)
        yield* publishText(second, yield* resultOf(making), "1")
      })
    ))

  it.effect("fails after waitTimeout", () =>
    recovering(([first]) =>
      Effect.gen(function*() {
        yield* first.hangUp
        yield* rest
        const making = yield* fork(AmqpPublisher.make())
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual((yield* reasonOf(making, "ConnectionLost")).since, new Date(0))
      }), { client: { recovery: { waitTimeout: "5 seconds" } } }))
})

describe("an ordered replacement of the connection", () => {
  it.effect("waits for the confirms of what is in flight, and sends what is new on the next one", () =>
    recovering(([first, second], { reconnect }) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { maxInFlight: 2 })
        const sent = [yield* publishText(first, publisher, "1"), yield* publishText(first, publisher, "2")]
        const waiting = yield* publish(publisher, "3")
        const reconnecting = yield* fork(reconnect)
        const later = yield* publish(publisher, "4")
        yield* first.send(1, ack(1))
        yield* first.expectNothing
        yield* first.send(1, ack(2))
        for (const fiber of sent) yield* resultOf(fiber)
        yield* first.closeChannel()
        yield* first.answer(0, "connection.close", { _tag: "connection.close-ok" })
        yield* nextSession(second)
        yield* resultOf(reconnecting)
        assert.deepStrictEqual(yield* takeTexts(second), ["3", "4"])
        yield* second.send(1, ack(2, true))
        yield* resultOf(waiting)
        yield* resultOf(later)
      })
    ))

  it.effect("fails what is not confirmed within closeTimeout with OutcomeUnknown", () =>
    recovering(([first, second], { reconnect }) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first)
        const sent = yield* publishText(first, publisher, "1")
        yield* fork(reconnect)
        yield* TestClock.adjust("4999 millis")
        yield* assertWaits(sent)
        yield* TestClock.adjust("1 millis")
        const { cause } = yield* reasonOf(sent, "OutcomeUnknown")
        assertReason(assertReason(cause, "ConnectionLost").cause, "ConnectionReplaced")
        yield* first.answer(0, "connection.close", { _tag: "connection.close-ok" })
        yield* nextSession(second)
        yield* publishText(second, publisher, "2")
      })
    ))

  it.effect("loses, duplicates and fails nothing of a publisher that publishes meanwhile", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.AmqpBroker
      const { reconnect } = yield* AmqpConnection.AmqpConnection
      yield* AmqpChannel.run(AmqpQueue.declare("q"))
      yield* broker.confirmWith(() => ({ confirmation: "ack", after: "20 millis" }))
      const publisher = yield* AmqpPublisher.make({ maxInFlight: 8 })
      const indexes = Array.from({ length: 200 }, (_, index) => index)
      const publishing = yield* fork(Effect.forEach(
        indexes,
        (index) => Effect.delay(publisher.publish(AmqpMessage.text(String(index)), toQueue), index * 5),
        { concurrency: "unbounded" }
      ))
      for (let count = 0; count < 5; count++) {
        yield* TestClock.adjust("100 millis")
        const reconnecting = yield* fork(reconnect)
        yield* TestClock.adjust("100 millis")
        yield* resultOf(reconnecting)
      }
      yield* TestClock.adjust("1 seconds")
      yield* resultOf(publishing)
      assert.deepStrictEqual((yield* broker.messages("q")).map(({ text }) => Number(text)), indexes)
    }).pipe(Effect.scoped, Effect.provide(AmqpBroker.layer())))
})
