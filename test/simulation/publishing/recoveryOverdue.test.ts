import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  assertReason,
  assertWaits,
  fork,
  openPublisher,
  publishText,
  reasonOf,
  rest,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { nextSession, openForPublishing, recovering, takeTexts } from "../../support/severalPeers.ts"

const publish = (publisher: AmqpPublisher.AmqpPublisher["Service"], text: string) =>
  fork(publisher.publish(AmqpMessage.text(text), toQueue))

/** The client closes the connection without waiting for the reply, which a node that is cut off may never send. */
const expectReplaced = (peer: Peer) => Effect.andThen(peer.expect("connection.close", 0), peer.expectNothing)

describe("a confirm that is overdue", () => {
  it.effect("replaces the connection if the broker has confirmed nothing else since", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { maxInFlight: 2 })
        const confirmed = yield* publishText(first, publisher, "0")
        yield* first.send(1, ack(1))
        yield* resultOf(confirmed)
        // In the turn of that confirm.
        const overdue = yield* publishText(first, publisher, "1")
        yield* TestClock.adjust("1 seconds")
        const younger = yield* publishText(first, publisher, "2")
        const waiting = yield* publish(publisher, "3")
        yield* TestClock.adjust("58999 millis")
        yield* first.expectNothing
        yield* TestClock.adjust("1 millis")
        yield* expectReplaced(first)
        assertReason((yield* reasonOf(overdue, "OutcomeUnknown")).cause, "ConfirmTimeout")
        const { cause } = assertReason((yield* reasonOf(younger, "OutcomeUnknown")).cause, "ConnectionLost")
        assert.strictEqual(assertReason(cause, "ConfirmsOverdue").confirmTimeoutMillis, 60_000)
        yield* assertWaits(waiting)
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["3"])
      })
    ))

  it.effect("makes all in flight be published again in their order, with a retry", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { retry: Schedule.spaced("1 hours"), maxInFlight: 3 })
        const one = yield* publishText(first, publisher, "1")
        yield* TestClock.adjust("1 seconds")
        const two = yield* publishText(first, publisher, "2")
        const three = yield* publishText(first, publisher, "3")
        const waiting = yield* publish(publisher, "4")
        yield* TestClock.adjust("59 seconds")
        yield* expectReplaced(first)
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["1", "2", "3"])
        yield* second.send(1, ack(3, true))
        assert.deepStrictEqual(yield* takeTexts(second), ["4"])
        yield* second.send(1, ack(4))
        for (const fiber of [one, two, three, waiting]) yield* resultOf(fiber)
      })
    ))

  it.effect("only fails its publish if another channel has had a confirm since", () =>
    recovering(([first]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first)
        const other = yield* openPublisher(first, 2, { confirmTimeout: "1 hours" })
        const overdue = yield* publishText(first, publisher, "1")
        const confirmed = yield* publishText(first, other, "2")
        yield* TestClock.adjust("1 seconds")
        yield* first.send(2, ack(1))
        yield* resultOf(confirmed)
        yield* TestClock.adjust("59 seconds")
        assertReason((yield* reasonOf(overdue, "OutcomeUnknown")).cause, "ConfirmTimeout")
        yield* first.expectNothing
        // The next one is sent after that confirm.
        yield* publishText(first, publisher, "3")
        yield* TestClock.adjust("60 seconds")
        yield* expectReplaced(first)
      })
    ))

  it.effect("only fails its publish if a publish of a program has been confirmed since", () =>
    recovering(([first]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first)
        const overdue = yield* publishText(first, publisher, "1")
        yield* TestClock.adjust("1 seconds")
        const program = yield* fork(AmqpChannel.confirmed(AmqpChannel.publish(AmqpMessage.text("2"), toQueue)))
        yield* openForPublishing(first, 2)
        yield* first.expectPublish("2", 2)
        yield* first.send(2, ack(1))
        yield* first.closeChannel(2)
        yield* resultOf(program)
        yield* TestClock.adjust("59 seconds")
        assertReason((yield* reasonOf(overdue, "OutcomeUnknown")).cause, "ConfirmTimeout")
        yield* first.expectNothing
      })
    ))

  it.effect("with a retry, pauses and goes to the end of the line if the connection is not replaced", () =>
    recovering(([first]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, {
          retry: Schedule.spaced("1 seconds"),
          confirmTimeout: "10 seconds"
        })
        const one = yield* publishText(first, publisher, "1")
        yield* TestClock.adjust("1 seconds")
        yield* publishText(first, publisher, "2")
        yield* first.send(1, ack(2))
        yield* rest
        yield* TestClock.adjust("9 seconds")
        yield* first.expectNothing
        yield* TestClock.adjust("1 seconds")
        yield* first.expectPublish("1")
        yield* first.send(1, ack(3))
        yield* resultOf(one)
      })
    ))

  it.effect("replaces the connection once for each endpoint", () =>
    recovering(([first, second, third]) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(first, 1, { confirmTimeout: "10 seconds" })
        for (const [peer, next] of [[first, second], [second, third]] as const) {
          yield* publishText(peer, publisher, "m")
          yield* TestClock.adjust("10 seconds")
          yield* expectReplaced(peer)
          yield* nextSession(next)
        }
        yield* publishText(third, publisher, "m")
        yield* TestClock.adjust("10 seconds")
        yield* expectReplaced(third)
      })
    ))

  it.effect("does not replace the connection to a single endpoint again and again", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.AmqpBroker
      yield* AmqpChannel.run(AmqpQueue.declare("q"))
      yield* broker.confirmWith(() => "hold")
      const publisher = yield* AmqpPublisher.make({ confirmTimeout: "1 seconds" })
      const connectionId = Effect.map(broker.connections, (connections) => connections.map(({ id }) => id))
      const ids: Array<ReadonlyArray<number>> = []
      for (let count = 0; count < 4; count++) {
        const overdue = yield* publish(publisher, "m")
        yield* TestClock.adjust("2 seconds")
        yield* reasonOf(overdue, "OutcomeUnknown")
        ids.push(yield* connectionId)
      }
      assert.deepStrictEqual(ids, [[2], [2], [2], [2]])
      // A confirm shows that the broker works, so a further silence counts again.
      yield* broker.confirmWith(() => "ack")
      yield* resultOf(yield* publish(publisher, "m"))
      yield* broker.confirmWith(() => "hold")
      yield* publish(publisher, "m")
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* connectionId, [3])
    }).pipe(Effect.scoped, Effect.provide(AmqpBroker.layer())))

  for (const confirmTimeout of [undefined, "60 seconds"] as const) {
    it.effect(`does not replace a connection that is or was blocked meanwhile, with ${confirmTimeout ?? "the default"}`, () =>
      recovering(([first]) =>
        Effect.gen(function*() {
          const publisher = yield* openPublisher(first, 1, { confirmTimeout })
          // An earlier block does not count.
          yield* first.send(0, { _tag: "connection.blocked", reason: "low on memory" })
          yield* TestClock.adjust("1 hours")
          yield* first.send(0, { _tag: "connection.unblocked" })
          yield* rest
          yield* publishText(first, publisher, "1")
          yield* TestClock.adjust("30 seconds")
          yield* first.send(0, { _tag: "connection.blocked", reason: "low on memory" })
          yield* TestClock.adjust("45 seconds")
          yield* first.send(0, { _tag: "connection.unblocked" })
          yield* TestClock.adjust("15 seconds")
          yield* first.expectNothing
          // Now the broker has read for long enough, also since the block.
          yield* publishText(first, publisher, "2")
          yield* TestClock.adjust("60 seconds")
          yield* expectReplaced(first)
        })
      ))
  }

  const programs: ReadonlyArray<
    readonly [string, Effect.Effect<unknown, { readonly cause: unknown }, AmqpConnection.AmqpConnection>]
  > = [
    ["a channel program", AmqpChannel.confirmed(AmqpChannel.publish(AmqpMessage.text("m"), toQueue))],
    [
      "a channel program with more publishes than may be in flight",
      AmqpChannel.confirmed(
        AmqpChannel.forEach(
          Array.from({ length: 2_000 }),
          () => AmqpChannel.publish(AmqpMessage.text("m"), toQueue)
        )
      )
    ],
    ["a move", AmqpQueue.move("from", "q")]
  ]
  for (const [what, program] of programs) {
    it.effect(`of ${what} fails it and replaces the connection`, () =>
      Effect.gen(function*() {
        const broker = yield* AmqpBroker.AmqpBroker
        const publishOne = AmqpChannel.publish(AmqpMessage.text("m"), AmqpQueue.route("from"))
        yield* AmqpChannel.run(AmqpQueue.declare("q"))
        yield* AmqpChannel.run(AmqpChannel.andThen(AmqpQueue.declare("from"), publishOne))
        let sent = 0
        yield* broker.confirmWith(() => {
          sent++
          return "hold"
        })
        const [{ id }] = yield* broker.connections
        const failing = yield* fork(Effect.flip(program))
        yield* TestClock.adjust("59 seconds")
        yield* assertWaits(failing)
        assert.deepStrictEqual((yield* broker.connections).map(({ id }) => id), [id])
        const before = sent
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(sent, before, "nothing more is sent on the connection that is replaced")
        assert.include(String((yield* resultOf(failing)).cause), "confirm")
        assert.notInclude((yield* broker.connections).map(({ id }) => id), id)
      }).pipe(Effect.scoped, Effect.provide(AmqpBroker.layer())))
  }

  it.effect("of a channel program only fails it if another channel has had a confirm since", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.AmqpBroker
      yield* AmqpChannel.run(AmqpQueue.declare("q"))
      yield* broker.confirmWith(({ body }) => body.length === 1 ? "hold" : "ack")
      const publisher = yield* AmqpPublisher.make()
      const [{ id }] = yield* broker.connections
      const failing = yield* fork(
        Effect.flip(AmqpChannel.confirmed(AmqpChannel.publish(AmqpMessage.text("m"), toQueue)))
      )
      yield* TestClock.adjust("30 seconds")
      yield* publisher.publish(AmqpMessage.text("other"), toQueue)
      yield* TestClock.adjust("30 seconds")
      yield* resultOf(failing)
      assert.deepStrictEqual((yield* broker.connections).map(({ id }) => id), [id])
    }).pipe(Effect.scoped, Effect.provide(AmqpBroker.layer())))

  it.effect("leaves a connection without recovery as it is", () =>
    recovering(([first]) =>
      Effect.gen(function*() {
        const { state } = yield* AmqpConnection.AmqpConnection
        const publisher = yield* openPublisher(first)
        const overdue = yield* publishText(first, publisher, "1")
        yield* TestClock.adjust("60 seconds")
        assertReason((yield* reasonOf(overdue, "OutcomeUnknown")).cause, "ConfirmTimeout")
        yield* first.expectNothing
        assert.strictEqual((yield* state)._tag, "Open")
      }), { client: { recovery: false } }))
})
