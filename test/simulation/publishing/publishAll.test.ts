import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  assertWaits,
  connected,
  connectionClose,
  exitOf,
  failureOf,
  fork,
  nack,
  openPublisher,
  publishText,
  reasonOf,
  rest,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"

const texts = (...texts: ReadonlyArray<string>) => texts.map((text) => AmqpMessage.text(text))

const unencodable = AmqpMessage.text("unencodable", { type: "x".repeat(256) })

describe("publishAll", () => {
  it.effect("fails if its messages close the publisher as they are taken", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const publisher = yield* Scope.provide(openPublisher(peer), scope)
        const messages = function*() {
          yield AmqpMessage.text("first")
          Effect.runFork(Scope.close(scope, Exit.void))
          yield AmqpMessage.text("second")
          yield AmqpMessage.text("third")
        }
        const batch = yield* fork(publisher.publishAll(messages(), toQueue))
        yield* rest
        yield* peer.takeTags
        yield* peer.send(1, ack(1, true))
        yield* rest
        yield* peer.send(1, ack(2, true))
        yield* peer.closeChannel(1)
        const { failures } = yield* failureOf(batch)
        assert.strictEqual(failures.at(-1)?.error.reason._tag, "NotSent")
      })
    ))

  it.effect("that is given up in the middle says that it has not read the rest", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 1, sendTimeout: "1 second" })
        const batch = yield* fork(publisher.publishAll(texts("a", "b", "c", "d"), toQueue))
        yield* peer.expectPublish("a")
        yield* TestClock.adjust("1 second")
        yield* peer.send(1, ack(1))
        const error = yield* failureOf(batch)
        assert.deepStrictEqual([error.taken, error.confirmed, error.isRestUnread], [2, 1, true])
        assert.match(
          error.message,
          /^1 of the first 2 messages failed, 1 were confirmed, and the rest of the batch was not read or sent/
        )
      })
    ))

  it.effect("P10: waits for all confirms", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 2 })
        const fiber = yield* fork(publisher.publishAll(texts("a", "b", "c"), toQueue))
        yield* peer.expectPublish("a")
        yield* peer.expectPublish("b")
        yield* peer.expectNothing
        yield* peer.send(1, ack(2))
        yield* peer.expectPublish("c")
        yield* peer.send(1, ack(3))
        yield* assertWaits(fiber)
        yield* peer.send(1, ack(1))
        yield* resultOf(fiber)
        yield* resultOf(yield* fork(publisher.publishAll([], toQueue)))
        yield* peer.expectNothing
      })
    ))

  it.effect("P10: reports failed messages by index, and continues with the others", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 3 })
        const fiber = yield* fork(
          publisher.publishAll(texts("0", "1", "2", "3", "4"), (_, index) => ({
            exchange: "",
            routingKey: "q".repeat(index === 1 ? 256 : index + 1)
          }))
        )
        assert.strictEqual((yield* peer.expectPublish("0")).routingKey, "q")
        assert.strictEqual((yield* peer.expectPublish("2")).routingKey, "qqq")
        yield* peer.expectPublish("3")
        yield* peer.expectNothing
        yield* peer.send(1, ack(1), nack(2))
        yield* peer.expectPublish("4")
        yield* peer.send(0, connectionClose(320, "bye"))
        const { confirmed, failures } = yield* failureOf(fiber)
        assert.strictEqual(confirmed, 1)
        assert.deepStrictEqual(failures.map(({ error, index }) => [index, error.reason._tag]), [
          [1, "NotSent"],
          [2, "Nacked"],
          [3, "OutcomeUnknown"],
          [4, "OutcomeUnknown"]
        ])
      })
    ))

  it.effect("P10: takes no more messages when it is interrupted", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 2 })
        let isReturned = false
        const endless = function*() {
          try {
            while (true) yield AmqpMessage.text("m")
          } finally {
            isReturned = true
          }
        }
        const fiber = yield* fork(publisher.publishAll(endless(), toQueue))
        yield* peer.expectPublish("m")
        yield* peer.expectPublish("m")
        yield* Fiber.interrupt(fiber)
        assert.isTrue(isReturned)
        yield* peer.send(1, ack(2, true))
        yield* peer.expectNothing
        const next = yield* publishText(peer, publisher, "next")
        yield* peer.send(1, ack(3))
        yield* resultOf(next)
      })
    ))

  it.effect("P10: yields to other fibers even if none of an endless number of messages can be sent", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        let isReturned = false
        const endless = function*() {
          try {
            while (true) yield unencodable
          } finally {
            isReturned = true
          }
        }
        const batch = yield* fork(publisher.publishAll(endless(), toQueue))
        const other = yield* publishText(peer, publisher, "other")
        yield* peer.send(1, ack(1))
        yield* resultOf(other)
        yield* assertWaits(batch)
        yield* Fiber.interrupt(batch)
        assert.isTrue(isReturned)
        yield* peer.expectNothing
      })
    ))

  it.effect("P10: reports every message that can't be sent, and sends those between them in order", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1)
        const messages = Array.from(
          { length: 1000 },
          (_, index) => index % 250 === 249 ? AmqpMessage.text(`${index}`) : unencodable
        )
        const fiber = yield* fork(publisher.publishAll(messages, toQueue))
        yield* peer.expectPublish("249")
        // A confirm that arrives between two turns counts.
        yield* peer.send(1, ack(1))
        for (const text of ["499", "749", "999"]) yield* peer.expectPublish(text)
        yield* assertWaits(fiber)
        yield* peer.send(1, ack(4, true))
        const { confirmed, failures, taken } = yield* failureOf(fiber)
        assert.deepStrictEqual([taken, confirmed, failures.length], [1000, 4, 996])
        assert.deepStrictEqual(
          failures.map(({ index }) => index),
          Array.from({ length: 1000 }, (_, index) => index).filter((index) => index % 250 !== 249)
        )
        assert.strictEqual(failures[0].error.reason._tag, "NotSent")
      })
    ))

  it.effect("P10: ends when the connection is lost while no message can be sent", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const endless = function*() {
          while (true) yield unencodable
        }
        const batch = yield* fork(publisher.publishAll(endless(), toQueue))
        yield* peer.hangUp
        const { failures } = yield* failureOf(batch)
        const last = failures[failures.length - 1].error.reason
        assert.strictEqual(last._tag === "NotSent" && last.cause.reason._tag, "ConnectionLost")
      })
    ))

  it.effect("P10: fails no other publish when its iterable throws as the connection is lost", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 1 })
        const sent = yield* publishText(peer, publisher, "sent")
        const failing: Iterable<AmqpMessage.AmqpMessage> = {
          [Symbol.iterator]: () => ({
            next: () => {
              throw new Error("no message")
            }
          })
        }
        const batch = yield* fork(publisher.publishAll(failing, toQueue))
        const queued = yield* fork(publisher.publish(AmqpMessage.text("queued"), toQueue))
        yield* peer.hangUp
        yield* reasonOf(sent, "OutcomeUnknown")
        assert.isTrue(Exit.hasDies(yield* exitOf(batch)))
        yield* reasonOf(queued, "NotSent")
      })
    ))
})
