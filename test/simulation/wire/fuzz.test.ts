/**
 * A conversation in which any one part reaches the client with faults. `npm run fuzz` runs the same with other seeds and for longer.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { CorrectBroker, messagesPerConsumer } from "../../support/correctBroker.ts"
import { faults, fuzzOptions, withFaults } from "../../support/fuzzing.ts"
import type { Faults } from "../../support/fuzzing.ts"
import { dial, fork, methodBytes, script, start, toQueue } from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { concat, integer, oneOf } from "../../unit/protocol/support.ts"

const hello = AmqpMessage.text("hello", { headers: { nested: { list: [1, null] } } })

const publishTwice = AmqpChannel.gen(function*() {
  yield* AmqpChannel.publish(hello, toQueue)
  yield* AmqpQueue.purge("q")
  yield* AmqpChannel.publish(hello, toQueue)
})

const topology = AmqpChannel.gen(function*() {
  yield* AmqpExchange.declare("x")
  const { name } = yield* AmqpQueue.declare(AmqpQueue.serverNamed())
  yield* AmqpQueue.bind(name, { exchange: "x", routingKey: "k" })
})

const publisher = Effect.scoped(Effect.gen(function*() {
  const { publish, publishAll } = yield* AmqpPublisher.make({ maxInFlight: 4 })
  yield* publish(hello, toQueue)
  yield* Effect.exit(publish(hello, { exchange: "nowhere", routingKey: "k", mandatory: true }))
  yield* publishAll(Array.from({ length: 10 }, () => hello), toQueue)
}))

const call = Effect.scoped(Effect.gen(function*() {
  const { call } = yield* AmqpRpc.makeClient()
  return yield* call(hello, toQueue)
}))

/** Serves until all messages are handled. */
const serving = (
  serve: (handled: Effect.Effect<void>) => Effect.Effect<never, unknown, AmqpConnection.AmqpConnection>
) =>
  Effect.gen(function*() {
    const all = yield* Deferred.make<void>()
    let count = 0
    const handled = Effect.suspend(() =>
      ++count === messagesPerConsumer ? Effect.asVoid(Deferred.succeed(all, undefined)) : Effect.void
    )
    yield* Effect.raceFirst(Deferred.await(all), serve(handled))
  })

const ofStream = Effect.scoped(Effect.gen(function*() {
  const consumer = yield* AmqpConsumer.make("q", { arguments: { "x-stream-offset": "first" } })
  yield* consumer.stream.pipe(Stream.take(1), Stream.runForEach((delivery) => delivery.ack))
  yield* consumer.setPrefetch(5)
  yield* consumer.stream.pipe(Stream.take(messagesPerConsumer), Stream.runForEach((delivery) => delivery.ack))
}))

/** All that a client does on a connection. */
const parts: ReadonlyArray<Effect.Effect<unknown, unknown, AmqpConnection.AmqpConnection>> = [
  AmqpChannel.run(topology),
  AmqpChannel.run(publishTwice),
  AmqpChannel.confirmed(publishTwice),
  AmqpChannel.transaction(publishTwice),
  AmqpChannel.run(
    AmqpQueue.get("q", (delivery) => AmqpChannel.succeed(AmqpDelivery.as(AmqpDelivery.ack, delivery.text)))
  ),
  AmqpChannel.run(AmqpQueue.getAutoAck("q")),
  publisher,
  Stream.runDrain(Stream.take(AmqpConsumer.stream(AmqpQueue.classic("q"), { autoAck: true }), messagesPerConsumer)),
  ofStream,
  serving((handled) => AmqpConsumer.serve("q", () => Effect.as(handled, AmqpDelivery.ack))),
  serving((handled) => AmqpRpc.serve("q", () => Effect.as(handled, hello))),
  call
]

const client = (peer: Peer) =>
  Effect.scoped(Effect.gen(function*() {
    const connection = yield* dial(peer, { maxBodySize: 4096, maxIdleChannels: 2 })
    return yield* Effect.forEach(parts, Effect.exit, { concurrency: "unbounded" }).pipe(
      Effect.provideService(AmqpConnection.AmqpConnection, connection)
    )
  }))

/** More turns than a conversation without faults has. */
const maxTurns = 500

/** Longer than every time limit of the client. */
const longAfter = "10 minutes"

/**
 * Runs the client against a broker. What the broker sends in its turn with this number has the faults. Returns how the client
 * and its parts ended, and how many turns the broker had.
 */
const conversation = (faultyTurn: number, faults: Faults, readSize = Infinity) =>
  script((peer) =>
    Effect.gen(function*() {
      const broker = new CorrectBroker()
      let turns = 0
      const send = (frames: ReadonlyArray<Uint8Array>) =>
        peer.push(turns++ === faultyTurn ? withFaults(frames, faults) : concat(frames))
      peer.readSize = readSize
      const fiber = yield* fork(Effect.exit(client(peer)))
      yield* send([
        methodBytes(
          0,
          start({ serverProperties: { capabilities: { publisher_confirms: true, direct_reply_to: true } } })
        )
      ])
      const converse = Effect.gen(function*() {
        for (let received = yield* peer.next; received !== undefined; received = yield* peer.next) {
          const frames = broker.answer(received)
          if (frames.length > 0) yield* send(frames)
          assert.isBelow(turns, maxTurns)
        }
      })
      yield* converse
      yield* TestClock.adjust(longAfter)
      yield* converse
      yield* peer.hangUp
      yield* converse
      yield* TestClock.adjust(longAfter)
      const exit = fiber.pollUnsafe() ?? assert.fail("the client hangs")
      return { exit: yield* exit, turns }
    })
  ).pipe(Effect.provideService(References.MinimumLogLevel, "None"))

/** The errors that led to an error, itself included. */
const causesOf = (error: unknown): ReadonlyArray<object> => {
  if (typeof error !== "object" || error === null) return []
  const below = ["reason", "cause", "failures", "error"].flatMap((key) => Reflect.get(error, key) as unknown)
  return [error, ...below.flatMap(causesOf)]
}

/** Asserts that something ended with a result or a typed error, and not with a defect of the client. */
const assertOrderly = <A>(exit: Exit.Exit<A, unknown>): void => {
  if (Exit.isSuccess(exit)) return
  assert.isFalse(Cause.hasDies(exit.cause) || Cause.hasInterrupts(exit.cause), Cause.pretty(exit.cause))
  for (const error of causesOf(Cause.squash(exit.cause))) {
    // A session ends with this when one of its fibers has a defect.
    assert.notInclude(String(Reflect.get(error, "description")), "The client failed")
  }
}

/** How many turns the broker has in a conversation without faults. */
const turnsWithoutFaults = 71

const noFaults: Faults = { frames: [], bytes: [] }

describe("fuzzed conversations", () => {
  it.effect("succeed without faults", () =>
    Effect.gen(function*() {
      const { exit, turns } = yield* conversation(0, noFaults)
      const ends = yield* exit
      for (const end of ends) assert.isTrue(Exit.isSuccess(end), String(end))
      assert.strictEqual(turns, turnsWithoutFaults)
    }))

  it.effect.prop(
    "end with results or typed errors, leave nothing behind and never hang, whichever part has faults",
    [integer(0, turnsWithoutFaults - 1), faults, oneOf(Arbitrary.Constant(Infinity), integer(1, 50))],
    ([faultyTurn, faults, readSize]) =>
      Effect.gen(function*() {
        const { exit } = yield* conversation(faultyTurn, faults, readSize)
        assertOrderly(exit)
        if (Exit.isSuccess(exit)) exit.value.forEach(assertOrderly)
      }),
    fuzzOptions(150)
  )
})
