import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import type { AmqpPublishError } from "@effect-amqp/core/AmqpError"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  assertReason,
  assertWaits,
  channelClose,
  connectionClose,
  contentBytes,
  exitOf,
  failureOf,
  fork,
  methodBytes,
  nack,
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

const publishAll = (publisher: Publisher, ...texts: ReadonlyArray<string>) =>
  fork(publisher.publishAll(texts.map((text) => AmqpMessage.text(text)), toQueue))

const retry = Schedule.forever

describe("a publisher with a retry whose connection is lost", () => {
  it.effect("P4: publishes again what was in flight, in the old order and before anything newer", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { retry, maxInFlight: 6 })
        const one = yield* publish(publisher, "1")
        const batch = yield* publishAll(publisher, "a0", "a1", "a2")
        const two = yield* publish(publisher, "2")
        const other = yield* publishAll(publisher, "b0", "b1")
        const waiting = yield* publish(publisher, "3")
        assert.deepStrictEqual(yield* takeTexts(first), ["1", "a0", "a1", "a2", "2", "b0"])
        // What was confirmed is not published again, and made room for the next.
        yield* first.send(1, ack(2))
        assert.deepStrictEqual(yield* takeTexts(first), ["b1"])
        yield* first.hangUp
        yield* rest
        const newer = yield* publish(publisher, "4")
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["1", "a1", "a2", "2", "b0", "b1"])
        yield* second.send(1, ack(6, true))
        assert.deepStrictEqual(yield* takeTexts(second), ["3", "4"])
        yield* second.send(1, ack(8, true))
        for (const fiber of [one, two, waiting, newer]) yield* resultOf(fiber)
        for (const fiber of [batch, other]) yield* resultOf(fiber)
      })
    ))

  it.effect("keeps the old order if the next one is lost before all of it was published again", () =>
    recovering(([first, second, third]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { retry })
        const indexes = [0, 1, 2, 3]
        // Larger than one turn of the socket, so that they are sent one after the other.
        const batch = yield* fork(publisher.publishAll(
          indexes.map((index) => AmqpMessage.make(new Uint8Array(300_000).fill(index))),
          toQueue
        ))
        for (const index of indexes) assert.strictEqual((yield* first.expectPublish()).body[0], index)
        const waiting = yield* publish(publisher, "4")
        yield* first.hangUp
        yield* second.handshake()
        yield* second.openChannel()
        yield* second.expect("confirm.select")
        yield* second.stall
        yield* second.send(1, { _tag: "confirm.select-ok" })
        yield* rest
        for (let write = 0; write < 3; write++) yield* Effect.andThen(second.takeOneWrite, rest)
        assert.strictEqual((yield* second.expectPublish()).body[0], 0)
        yield* second.expectNothing
        yield* second.hangUp
        yield* nextSession(third)
        for (const index of indexes) assert.strictEqual((yield* third.expectPublish()).body[0], index)
        yield* third.send(1, ack(5, true))
        yield* resultOf(batch)
        yield* resultOf(waiting)
      })
    ))

  it.effect("publishes the same message, with the same id", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { retry, stamp: { messageId: true, timestamp: true } })
        yield* publish(publisher, "1")
        yield* publishAll(publisher, "2")
        const before = [yield* first.expectPublish("1"), yield* first.expectPublish("2")]
        yield* TestClock.adjust("5 seconds")
        yield* first.hangUp
        yield* nextSession(second)
        const after = [yield* second.expectPublish("1"), yield* second.expectPublish("2")]
        assert.isDefined(before[0].properties.messageId)
        assert.deepStrictEqual(after, before)
      })
    ))

  it.effect("counts each loss as a step of the schedule, whose pauses do not apply", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const schedule = Schedule.spaced("1 hours").pipe(Schedule.upTo({ times: 1 }))
        const publisher = yield* openPublisher(first, 1, { retry: schedule })
        const one = yield* publishText(first, publisher, "one")
        const batch = yield* publishAll(publisher, "0", "1")
        assert.deepStrictEqual(yield* takeTexts(first), ["0", "1"])
        yield* first.hangUp
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["one", "0", "1"])
        yield* second.send(1, ack(2))
        yield* rest
        yield* second.hangUp
        // At once, although there is no connection.
        assertReason((yield* reasonOf(one, "OutcomeUnknown")).cause, "ConnectionLost")
        const { confirmed, failures } = yield* failureOf(batch)
        assert.strictEqual(confirmed, 1)
        assert.deepStrictEqual(failures.map(({ error, index }) => [index, error.reason._tag]), [[1, "OutcomeUnknown"]])
      })
    ))

  it.effect("does not publish again for a caller that is interrupted meanwhile", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { retry })
        const one = yield* publish(publisher, "1")
        yield* publish(publisher, "2")
        const batch = yield* publishAll(publisher, "a0", "a1")
        const other = yield* publishAll(publisher, "b0", "b1")
        yield* publish(publisher, "3")
        yield* takeTexts(first)
        yield* Fiber.interrupt(one)
        yield* Fiber.interrupt(batch)
        yield* first.hangUp
        yield* rest
        yield* Fiber.interrupt(other)
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["2", "3"])
      })
    ))

  it.effect("does not refuse what is published again, however much waits", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, {
          retry,
          maxWaiting: 1,
          whenDisconnected: "fail",
          sendTimeout: "1 seconds"
        })
        const batch = yield* publishAll(publisher, "0", "1", "2")
        yield* takeTexts(first)
        yield* first.hangUp
        yield* TestClock.adjust("1 minutes")
        yield* assertWaits(batch)
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["0", "1", "2"])
        yield* second.send(1, ack(3, true))
        yield* resultOf(batch)
      })
    ))

  it.effect("Q2: refuses a publish at once if maxWaiting others wait", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { retry, maxWaiting: 1 })
        yield* first.hangUp
        yield* rest
        const waiting = yield* publish(publisher, "0")
        const { cause } = yield* reasonOf(yield* publish(publisher, "1"), "NotSent")
        assertReason(cause, "TooManyPublishes")
        yield* TestClock.adjust("1 minutes")
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["0"])
        yield* second.send(1, ack(1))
        yield* resultOf(waiting)
      })
    ))

  it.effect("publishes a large message again of which only a part was sent", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { retry })
        const sent = yield* publishText(first, publisher, "before")
        yield* first.stall
        const body = new Uint8Array(1024 * 1024).fill(7)
        const large = yield* fork(publisher.publish(AmqpMessage.make(body), toQueue))
        const waiting = yield* publish(publisher, "after")
        yield* first.takeOneWrite
        yield* first.hangUp
        yield* nextSession(second)
        yield* second.expectPublish("before")
        assert.strictEqual((yield* second.expectPublish()).body.length, body.length)
        yield* second.expectPublish("after")
        yield* second.send(1, ack(3, true))
        for (const fiber of [sent, large, waiting]) yield* resultOf(fiber)
      })
    ))

  it.effect("has an unknown outcome if an earlier attempt may have arrived, although the last one is nacked or returned", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { retry: Schedule.recurs(1) })
        const returned = yield* fork(publisher.publish(AmqpMessage.text("1"), { ...toQueue, mandatory: true }))
        const refused = yield* publish(publisher, "2")
        yield* takeTexts(first)
        yield* first.hangUp
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["1", "2"])
        yield* second.send(1, nack(2))
        yield* reasonOf(refused, "OutcomeUnknown")
        yield* second.push(
          contentBytes(
            1,
            { _tag: "basic.return", replyCode: 312, replyText: "NO_ROUTE", exchange: "", routingKey: "q" },
            "1",
            { contentType: "text/plain", contentEncoding: "utf-8" }
          ),
          methodBytes(1, ack(1))
        )
        assertReason((yield* reasonOf(returned, "OutcomeUnknown")).cause, "ConnectionLost")
      })
    ))

  it.effect("ends what it would publish again when its scope closes", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const publisher = yield* Scope.provide(openPublisher(first, 1, { retry }), scope)
        const one = yield* publishText(first, publisher, "1")
        const batch = yield* publishAll(publisher, "0")
        yield* takeTexts(first)
        yield* first.hangUp
        yield* rest
        yield* Scope.close(scope, Exit.void)
        assertReason((yield* reasonOf(one, "OutcomeUnknown")).cause, "ConnectionLost")
        yield* failureOf(batch)
        yield* second.handshake()
        yield* second.expectNothing
      })
    ))

  it.effect("B11: ends what it would publish again when the connection is given up", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { retry })
        const one = yield* publishText(first, publisher, "1")
        yield* first.hangUp
        yield* second.handshake()
        yield* second.openChannel()
        yield* second.send(0, connectionClose(530, "NOT_ALLOWED"))
        assertReason((yield* reasonOf(one, "OutcomeUnknown")).cause, "ConnectionLost")
      }), { client: { recovery: { isRecoverable: ({ reason }) => reason._tag !== "NotAllowed" } } }))

  it.effect("dies in the caller if its schedule throws, and goes on for others", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const failing = Schedule.modifyDelay(
          Schedule.setInputType<AmqpPublishError>()(Schedule.forever),
          ({ duration, input }) => {
            if (input.target?.messageId === "bad") throw new Error("no schedule")
            return Effect.succeed(duration)
          }
        )
        const publisher = yield* openPublisher(first, 1, { retry: failing })
        const bad = yield* fork(publisher.publish(AmqpMessage.text("bad", { messageId: "bad" }), toQueue))
        const good = yield* publish(publisher, "good")
        yield* takeTexts(first)
        yield* first.hangUp
        assert.isTrue(Exit.hasDies(yield* exitOf(bad)))
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["good"])
        yield* second.send(1, ack(1))
        yield* resultOf(good)
      })
    ))
})

describe("a publisher with a retry whose channel is closed", () => {
  it.effect("publishes all again but the message that caused it, before what waits", () =>
    recovering(([peer]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { retry, maxInFlight: 4 })
        const batch = yield* fork(publisher.publishAll(
          ["0", "1", "2"].map((text) => AmqpMessage.text(text)),
          (_message, index) => ({ exchange: index === 1 ? "bad" : "good", routingKey: "" })
        ))
        const one = yield* publish(publisher, "one")
        const waiting = yield* publish(publisher, "waiting")
        yield* takeTexts(peer)
        yield* peer.send(1, channelClose(404, "NOT_FOUND - no exchange 'bad' in vhost '/'"))
        yield* peer.expect("channel.close-ok")
        yield* openForPublishing(peer)
        assert.deepStrictEqual(yield* takeTexts(peer), ["0", "2", "one", "waiting"])
        yield* peer.send(1, ack(4, true))
        const { confirmed, failures } = yield* failureOf(batch)
        assert.strictEqual(confirmed, 2)
        assert.deepStrictEqual(
          failures.map(({ error, index }) => [index, error.reason._tag, error.isRetryable]),
          [[1, "OutcomeUnknown", false]]
        )
        yield* resultOf(one)
        yield* resultOf(waiting)
      })
    ))
})

describe("a batch of a publisher with a retry", () => {
  it.effect("publishes a refused message again after a pause, and not the others", () =>
    recovering(([peer]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, {
          retry: Schedule.upTo(Schedule.spaced("100 millis"), { times: 2 })
        })
        const batch = yield* publishAll(publisher, "0", "1", "2")
        assert.deepStrictEqual(yield* takeTexts(peer), ["0", "1", "2"])
        yield* peer.send(1, ack(1), nack(3, true))
        yield* rest
        assert.deepStrictEqual(yield* takeTexts(peer), [])
        yield* TestClock.adjust("100 millis")
        assert.deepStrictEqual(yield* takeTexts(peer), ["1", "2"])
        yield* peer.send(1, ack(4), nack(5))
        yield* TestClock.adjust("100 millis")
        assert.deepStrictEqual(yield* takeTexts(peer), ["2"])
        yield* peer.send(1, nack(6))
        const { confirmed, failures } = yield* failureOf(batch)
        assert.strictEqual(confirmed, 2)
        assert.deepStrictEqual(failures.map(({ error, index }) => [index, error.reason._tag]), [[2, "Nacked"]])
      })
    ))

  it.effect("stops its pauses when it is interrupted, or its publisher closes", () =>
    recovering(([peer]) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const publisher = yield* Scope.provide(
          openPublisher(peer, 1, { retry: Schedule.spaced("1 seconds") }),
          scope
        )
        const interrupted = yield* publishAll(publisher, "0")
        const closed = yield* publishAll(publisher, "1")
        const one = yield* publish(publisher, "2")
        assert.deepStrictEqual(yield* takeTexts(peer), ["0", "1", "2"])
        yield* peer.send(1, nack(3, true))
        yield* rest
        yield* Fiber.interrupt(interrupted)
        const closing = yield* fork(Scope.close(scope, Exit.void))
        yield* peer.closeChannel()
        yield* resultOf(closing)
        yield* reasonOf(one, "NotSent")
        yield* failureOf(closed)
        yield* TestClock.adjust("10 seconds")
        yield* peer.expectNothing
      })
    ))

  it.effect("reports a message that can't be encoded as without a retry", () =>
    recovering(([peer]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { retry })
        const batch = yield* fork(publisher.publishAll(
          [AmqpMessage.text("0"), AmqpMessage.text("1", { type: "x".repeat(256) }), AmqpMessage.text("2")],
          toQueue
        ))
        assert.deepStrictEqual(yield* takeTexts(peer), ["0", "2"])
        yield* peer.send(1, ack(2, true))
        const { confirmed, failures } = yield* failureOf(batch)
        assert.strictEqual(confirmed, 2)
        assert.deepStrictEqual(failures.map(({ error, index }) => [index, error.reason._tag]), [[1, "NotSent"]])
      })
    ))

  it.effect("ends if it can't be sent, and waits for what it has sent", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { retry, maxInFlight: 2, sendTimeout: "5 seconds" })
        const batch = yield* publishAll(publisher, "0", "1", "2", "3")
        assert.deepStrictEqual(yield* takeTexts(first), ["0", "1"])
        yield* first.hangUp
        yield* TestClock.adjust("5 seconds")
        yield* assertWaits(batch)
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["0", "1"])
        yield* second.send(1, ack(2, true))
        const { confirmed, failures, taken } = yield* failureOf(batch)
        assert.deepStrictEqual([taken, confirmed], [3, 2])
        assert.deepStrictEqual(failures.map(({ error, index }) => [index, error.reason._tag]), [[2, "NotSent"]])
      })
    ))
})

describe("publishers with a retry while the connection is cut again and again", () => {
  it.effect("lose no message, and each message arrives for the first time in the order of the publishes", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.AmqpBroker
      const queues = ["one", "batch"]
      for (const queue of queues) yield* AmqpChannel.run(AmqpQueue.declare(queue))
      yield* broker.confirmWith(() => ({ confirmation: "ack", after: "30 millis" }))
      const publisher = yield* AmqpPublisher.make({ retry, maxInFlight: 20 })
      const indexes = Array.from({ length: 400 }, (_, index) => index)
      const messages = indexes.map((index) => AmqpMessage.text(String(index)))
      const publishing = yield* fork(Effect.all([
        Effect.forEach(
          messages,
          (message, index) => Effect.delay(publisher.publish(message, AmqpQueue.route("one")), index * 5),
          { concurrency: "unbounded" }
        ),
        publisher.publishAll(messages, AmqpQueue.route("batch"))
      ], { concurrency: "unbounded" }))
      for (let cut = 0; cut < 20; cut++) {
        yield* TestClock.adjust(`${50 + cut * 7} millis`)
        for (const connection of yield* broker.connections) yield* connection.cutAfter("toBroker", cut * 97)
      }
      yield* TestClock.adjust("10 minutes")
      yield* resultOf(publishing)
      for (const queue of queues) {
        const arrived = (yield* broker.messages(queue)).map(({ text }) => Number(text))
        assert.deepStrictEqual([...new Set(arrived)], indexes)
        // At least one loss made duplicates, so that the test is about something.
        assert.isAbove(arrived.length, indexes.length)
      }
    }).pipe(Effect.scoped, Effect.provide(AmqpBroker.layer())))
})
