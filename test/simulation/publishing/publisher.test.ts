import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import type { ServerMethod } from "@effect-amqp/core/protocol/methods.generated"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  assertWaits,
  channelClose,
  connected,
  connectionClose,
  declare,
  fork,
  nack,
  openPublisher,
  publishText,
  reasonOf,
  rest,
  resultOf,
  serveDeclare,
  toQueue
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

type Publisher = AmqpPublisher.AmqpPublisher["Service"]

/** Publishes "1", "2" and so on, and expects them all. */
const publishCount = (peer: Peer, publisher: Publisher, count: number) =>
  Effect.forEach(
    Array.from({ length: count }, (_, index) => String(index + 1)),
    (text) => publishText(peer, publisher, text)
  )

/** Which of the fibers have ended. */
const endedOf = (fibers: ReadonlyArray<Fiber.Fiber<unknown, unknown>>) =>
  Effect.map(rest, () => fibers.flatMap((fiber, index) => fiber.pollUnsafe() === undefined ? [] : [index + 1]))

describe("a publisher", () => {
  const confirmSequences: ReadonlyArray<
    readonly [string, ReadonlyArray<readonly [ServerMethod, ReadonlyArray<number>]>]
  > = [
    ["single confirms", [[ack(1), [1]], [ack(2), [1, 2]], [ack(3), [1, 2, 3]]]],
    ["confirms out of order", [[ack(3), [3]], [ack(1), [1, 3]], [ack(2), [1, 2, 3]]]],
    ["a multiple confirm", [[ack(2, true), [1, 2]], [ack(3), [1, 2, 3]]]],
    ["a multiple confirm with gaps", [[ack(2), [2]], [ack(3, true), [1, 2, 3]]]],
    ["a multiple confirm of number 0", [[ack(0, true), [1, 2, 3]]]],
    ["a duplicate confirm", [[ack(1), [1]], [ack(1), [1]], [nack(1), [1]], [ack(3, true), [1, 2, 3]], [
      ack(3, true),
      [1, 2, 3]
    ]]]
  ]
  for (const [what, confirms] of confirmSequences) {
    it.effect(`P1: settles exactly the publishes that are confirmed, with ${what}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const publisher = yield* openPublisher(peer)
          const fibers = yield* publishCount(peer, publisher, 3)
          for (const [confirm, expected] of confirms) {
            yield* peer.send(1, confirm)
            assert.sameOrderedMembers(yield* endedOf(fibers), [...expected])
          }
          for (const fiber of fibers) yield* resultOf(fiber)
          const next = yield* publishText(peer, publisher, "next")
          yield* peer.send(1, ack(4))
          yield* resultOf(next)
        })
      ))
  }

  it.effect("P1: matches confirms to hundreds of publishes in flight", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const fibers = yield* publishCount(peer, publisher, 700)
        const odd = Array.from({ length: 350 }, (_, index) => index * 2 + 1)
        yield* peer.send(1, ...odd.toReversed().map((number) => ack(number)))
        assert.deepStrictEqual(yield* endedOf(fibers), odd)
        yield* peer.send(1, nack(700, true))
        for (const [index, fiber] of fibers.entries()) {
          if (index % 2 === 0) yield* resultOf(fiber)
          else yield* reasonOf(fiber, "Nacked")
        }
      })
    ))

  it.effect("P2: fails nacked publishes with Nacked, and no others", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const [one, two, three] = yield* publishCount(peer, publisher, 3)
        yield* peer.send(1, ack(2), nack(3, true))
        assert.isTrue((yield* reasonOf(one, "Nacked")).isRetryable)
        yield* resultOf(two)
        yield* reasonOf(three, "Nacked")
      })
    ))

  it.effect("with a retry, publishes a nacked message again unchanged, no more often than the schedule allows", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const retry = Schedule.upTo(Schedule.spaced("100 millis"), { times: 1 })
        const publisher = yield* openPublisher(peer, 1, { retry, stamp: { messageId: true } })
        const publish = publisher.publish(AmqpMessage.text("m"), toQueue)

        const confirmed = yield* fork(publish)
        const first = yield* peer.expectPublish("m")
        yield* peer.send(1, nack(1))
        yield* peer.expectNothing
        yield* TestClock.adjust("100 millis")
        const second = yield* peer.expectPublish("m")
        assert.deepStrictEqual(second, first)
        yield* peer.send(1, ack(2))
        yield* resultOf(confirmed)

        const refused = yield* fork(publish)
        for (const tag of [3, 4]) {
          yield* peer.expectPublish("m")
          yield* peer.send(1, nack(tag))
          yield* TestClock.adjust("100 millis")
        }
        yield* reasonOf(refused, "Nacked")
      })
    ))

  it.effect("P4: fails publishes in flight with OutcomeUnknown, and waiting ones with NotSent, when the connection is lost", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 3 })
        const sent = yield* publishCount(peer, publisher, 3)
        const waiting = yield* fork(publisher.publish(AmqpMessage.text("4"), toQueue))
        yield* peer.expectNothing
        // A confirm before the close counts.
        yield* peer.send(1, ack(1))
        yield* peer.expectPublish("4")
        const queued = yield* fork(publisher.publish(AmqpMessage.text("5"), toQueue))
        yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED"))
        yield* resultOf(sent[0])
        for (const fiber of [sent[1], sent[2], waiting]) {
          const { cause } = yield* reasonOf(fiber, "OutcomeUnknown")
          assert.include(cause.message, "CONNECTION_FORCED")
          assert.isTrue(cause.isRetryable)
        }
        assert.strictEqual((yield* reasonOf(queued, "NotSent")).cause.reason._tag, "ConnectionLost")
        const late = yield* fork(publisher.publish(AmqpMessage.text("6"), toQueue))
        assert.strictEqual((yield* reasonOf(late, "NotSent")).cause.reason._tag, "ConnectionLost")
      })
    ))

  it.effect("P4: fails publishes in flight when the channel closes, and opens another one, whose numbers start at 1", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 2 })
        const [one, two] = yield* publishCount(peer, publisher, 2)
        const queued = yield* fork(publisher.publish(AmqpMessage.text("3"), toQueue))
        yield* peer.send(1, ack(1), channelClose(404, "NOT_FOUND - no exchange"))
        yield* resultOf(one)
        // The text does not name a message, so either one can be the cause.
        const { cause } = yield* reasonOf(two, "OutcomeUnknown")
        assert.include(cause.reason, { _tag: "ChannelLost", isCertain: false, isRetryable: true })
        assert.include(cause.message, "404 NOT_FOUND - no exchange")
        // The confirm of the first made room for the third, before the channel was closed.
        yield* peer.expectPublish("3")
        yield* peer.expect("channel.close-ok", 1)
        assert.strictEqual((yield* reasonOf(queued, "OutcomeUnknown")).cause.reason._tag, "ChannelLost")
        yield* peer.expectNothing
        const next = yield* fork(publisher.publish(AmqpMessage.text("4"), toQueue))
        yield* peer.openChannel(1)
        yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
        yield* peer.expectPublish("4")
        yield* peer.send(1, ack(1))
        yield* resultOf(next)
      })
    ))

  it.effect("sends waiting publishes on the next channel when the channel closes", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 1 })
        const sent = yield* publishText(peer, publisher, "1")
        const queued = yield* fork(publisher.publish(AmqpMessage.text("2"), toQueue))
        yield* peer.send(1, channelClose(404, "NOT_FOUND"))
        yield* reasonOf(sent, "OutcomeUnknown")
        yield* peer.expect("channel.close-ok", 1)
        yield* peer.openChannel(1)
        yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
        yield* peer.expectPublish("2")
        yield* peer.send(1, ack(1))
        yield* resultOf(queued)
      })
    ))

  it.effect("fails waiting publishes with NotSent when it can't reopen its channel, and tries again with the next", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.send(1, channelClose(404, "NOT_FOUND"))
        yield* peer.expect("channel.close-ok")
        const refused = yield* fork(publisher.publish(AmqpMessage.text("1"), toQueue))
        yield* peer.answer(1, "channel.open", channelClose(403, "ACCESS_REFUSED"))
        assert.strictEqual((yield* reasonOf(refused, "NotSent")).cause.reason._tag, "AccessRefused")
        yield* peer.expect("channel.close-ok")
        const next = yield* fork(publisher.publish(AmqpMessage.text("2"), toQueue))
        yield* peer.openChannel(1)
        yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
        yield* peer.expectPublish("2")
        yield* peer.send(1, ack(1))
        yield* resultOf(next)
      })
    ))

  it.effect("P5: keeps at most maxInFlight messages in flight, and sends waiting ones in order", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 2 })
        const fibers = yield* Effect.forEach(["1", "2", "3", "4", "5"], (text) =>
          fork(publisher.publish(AmqpMessage.text(text), toQueue)))
        yield* peer.expectPublish("1")
        yield* peer.expectPublish("2")
        for (const [number, next] of [[1, "3"], [2, "4"], [3, "5"]] as const) {
          yield* peer.expectNothing
          yield* peer.send(1, ack(number))
          yield* peer.expectPublish(next)
        }
        yield* peer.send(1, ack(5, true))
        for (const fiber of fibers) {
          yield* resultOf(fiber)
        }
      })
    ))

  it.effect("P5: sends the next message of a confirmed fiber after those that already wait", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 1 })
        const publish = (text: string) => publisher.publish(AmqpMessage.text(text), toQueue)
        const first = yield* fork(Effect.andThen(publish("1"), publish("4")))
        const others = yield* Effect.forEach(["2", "3"], (text) => fork(publish(text)))
        for (const number of [1, 2, 3, 4]) {
          yield* peer.expectPublish(String(number))
          yield* peer.expectNothing
          yield* peer.send(1, ack(number))
        }
        for (const fiber of [first, ...others]) yield* resultOf(fiber)
      })
    ))

  it.effect("P5: sends no message while maxInFlightBytes are in flight", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlightBytes: 10 })
        const publish = (text: string) =>
          fork(publisher.publish(AmqpMessage.make(new TextEncoder().encode(text)), toQueue))
        const fibers = yield* Effect.forEach(["aaaaaa", "bbbb", "c"], publish)
        yield* peer.expectPublish("aaaaaa")
        yield* peer.expectPublish("bbbb")
        yield* peer.expectNothing
        yield* peer.send(1, nack(2))
        yield* peer.expectPublish("c")
        yield* peer.send(1, ack(3, true))
        yield* reasonOf(fibers[1], "Nacked")
        yield* resultOf(fibers[0])
        yield* resultOf(fibers[2])
      })
    ))

  it.effect("P9: holds nothing up when a fiber never continues after its publish", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const slow = yield* fork(Effect.andThen(publisher.publish(AmqpMessage.text("1"), toQueue), Effect.never))
        yield* peer.expectPublish("1")
        const other = yield* publishText(peer, publisher, "2")
        yield* peer.send(1, ack(2, true))
        yield* resultOf(other)
        const declared = yield* fork(declare("q"))
        yield* serveDeclare(peer, "q", 2)
        yield* resultOf(declared)
        yield* assertWaits(slow)
      })
    ))

  it.effect("P11: sends messages of many fibers whole, even if the fibers are interrupted", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const fibers = yield* Effect.forEach(Array.from({ length: 20 }, (_, index) => index), (index) =>
          fork(publisher.publish(AmqpMessage.make(new Uint8Array(index * 3000).fill(index)), toQueue)))
        yield* rest
        for (const [index, fiber] of fibers.entries()) {
          if (index % 2 === 1) {
            yield* Fiber.interrupt(fiber)
          }
        }
        peer.frames.length = 0
        yield* peer.unstall
        for (let index = 0; index < 20; index++) {
          const { body } = yield* peer.expectPublish()
          assert.deepStrictEqual(body, new Uint8Array(index * 3000).fill(index))
        }
        assert.deepStrictEqual(
          peer.frames.map(({ type }) =>
            type
          ),
          Array.from({ length: 20 }, (_, index) => [
            "method" as const,
            "header" as const,
            ...new Array<"body">(Math.ceil(index * 3000 / 8184)).fill("body")
          ]).flat()
        )
        yield* peer.send(1, ack(20, true))
        for (const [index, fiber] of fibers.entries()) if (index % 2 === 0) yield* resultOf(fiber)
      }), { server: { frameMax: 8192 } }))

  it.effect("X2: keeps the numbers of the others when a publish is interrupted before its confirm", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 2 })
        const [one, two] = yield* publishCount(peer, publisher, 2)
        yield* Fiber.interrupt(one)
        // Its place in the window stays taken until the broker answers.
        const three = yield* fork(publisher.publish(AmqpMessage.text("3"), toQueue))
        yield* peer.expectNothing
        yield* peer.send(1, nack(1))
        yield* peer.expectPublish("3")
        yield* peer.send(1, ack(2), nack(3))
        yield* resultOf(two)
        yield* reasonOf(three, "Nacked")
      })
    ))

  it.effect("withdraws a waiting message when its publish is interrupted", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 1 })
        yield* publishText(peer, publisher, "1")
        const two = yield* fork(publisher.publish(AmqpMessage.text("2"), toQueue))
        yield* fork(publisher.publish(AmqpMessage.text("3"), toQueue))
        yield* Fiber.interrupt(two)
        yield* peer.send(1, ack(1))
        yield* peer.expectPublish("3")
      })
    ))

  /** A publisher whose scope closes while one message is in flight and one waits. */
  const closing = (peer: Peer) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const publisher = yield* Scope.provide(openPublisher(peer, 1, { maxInFlight: 1 }), scope)
      const sent = yield* publishText(peer, publisher, "sent")
      const queued = yield* fork(publisher.publish(AmqpMessage.text("queued"), toQueue))
      const closing = yield* fork(Scope.close(scope, Exit.void))
      assert.strictEqual((yield* reasonOf(queued, "NotSent")).cause.reason._tag, "ChannelClosed")
      const late = yield* fork(publisher.publish(AmqpMessage.text("late"), toQueue))
      yield* reasonOf(late, "NotSent")
      yield* peer.expectNothing
      yield* assertWaits(closing)
      return { sent, closing }
    })

  it.effect("waits for outstanding confirms when it closes", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { closing: fiber, sent } = yield* closing(peer)
        yield* TestClock.adjust("4 seconds")
        yield* peer.send(1, ack(1))
        yield* resultOf(sent)
        yield* peer.closeChannel()
        yield* resultOf(fiber)
      }), { client: { closeTimeout: "5 seconds" } }))

  it.effect("waits at most the close timeout for confirms, and again for its channel, when it closes", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { closing: fiber, sent } = yield* closing(peer)
        yield* TestClock.adjust("5 seconds")
        yield* peer.expect("channel.close", 1)
        assert.strictEqual((yield* reasonOf(sent, "OutcomeUnknown")).cause.reason._tag, "ChannelClosed")
        yield* TestClock.adjust("5 seconds")
        yield* resultOf(fiber)
      }), { client: { closeTimeout: "5 seconds" } }))

  it.effect("refuses invalid limits", () =>
    connected((peer) =>
      Effect.gen(function*() {
        for (const options of [{ maxInFlight: 0 }, { maxInFlight: 1.5 }, { maxInFlightBytes: -1 }]) {
          yield* reasonOf(yield* fork(AmqpPublisher.make(options)), "InvalidArgument")
        }
        yield* peer.expectNothing
      })
    ))

  for (const capabilities of [{ "basic.nack": true }, { publisher_confirms: false }]) {
    it.effect(`H14: asks for no confirms when the broker offers only ${JSON.stringify(capabilities)}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const fiber = yield* fork(AmqpPublisher.make())
          yield* peer.openChannel()
          yield* peer.closeChannel()
          assert.strictEqual((yield* reasonOf(fiber, "NotSupported")).capability, "publisher_confirms")
          yield* peer.expectNothing
        }), { server: { serverProperties: { capabilities } } }))
  }

  it.effect("H14: asks for confirms when the broker lists no capabilities", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const publish = yield* publishText(peer, publisher, "m")
        yield* peer.send(1, ack(1))
        yield* resultOf(publish)
      }), { server: { serverProperties: {} } }))
})
