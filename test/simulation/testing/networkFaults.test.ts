import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { rest } from "../../support/scriptedPeer.ts"
import { connectionOf, declared, publish, reasonOf, withBroker } from "./support.ts"

describe("faults of the network", () => {
  it.effect("a cut fails what is under way", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        const connection = yield* AmqpConnection.AmqpConnection
        yield* (yield* connectionOf(broker)).cut
        assert.strictEqual(reasonOf(yield* Effect.flip(connection.awaitClosed)), "SocketLost")
        assert.lengthOf(yield* broker.connections, 0)
      })
    ))

  it.effect("a cut after a number of bytes happens at exactly that byte", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared("q")
        const connection = yield* connectionOf(broker)
        // Eight whole messages, and a part of the ninth.
        yield* connection.cutAfter("toBroker", 4_000)
        const publisher = yield* AmqpPublisher.make()
        let confirmed = 0
        const one = publisher.publish(AmqpMessage.text("x".repeat(400)), AmqpQueue.route("q"))
        const error = yield* Effect.flip(Effect.forever(Effect.tap(one, () => Effect.sync(() => confirmed++))))
        assert.strictEqual(reasonOf(error), "OutcomeUnknown")
        assert.lengthOf(yield* broker.messages("q"), confirmed)
        assert.strictEqual(confirmed, 8)
      })
    ))

  it.effect("a stall holds back what either side sends until it is resumed", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        const connection = yield* connectionOf(broker)
        for (const direction of ["toClient", "toBroker"] as const) {
          yield* connection.stall(direction)
          const declaring = yield* Effect.forkChild(declared(direction))
          yield* rest
          assert.isUndefined(declaring.pollUnsafe())
          yield* connection.resume(direction)
          yield* Fiber.join(declaring)
        }
      })
    ))

  it.effect("latency delays bytes in both directions", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.make()
      const connecting = yield* Effect.forkChild(broker.connect({}, { latency: 30 }))
      yield* Effect.repeat(TestClock.adjust(30), { times: 10 })
      const connection = yield* Fiber.join(connecting)
      const declaring = yield* Effect.forkChild(
        Effect.provideService(declared("q"), AmqpConnection.AmqpConnection, connection)
      )
      // Two round trips: the channel is opened first.
      for (const millis of [30, 30, 30, 29]) yield* TestClock.adjust(millis)
      assert.isUndefined(declaring.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(declaring)
      yield* Effect.forkChild(Effect.repeat(TestClock.adjust(30), { times: 4 }))
    }))

  it.effect("bytes can arrive one by one", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared("q")
        yield* publish("q", "x".repeat(1000))
        const text = yield* AmqpChannel.run(
          AmqpQueue.get("q", ({ text }) => AmqpChannel.succeed(AmqpDelivery.as(AmqpDelivery.ack, text)))
        )
        assert.isTrue(text._tag === "Some" && text.value.length === 1000)
        assert.deepStrictEqual(yield* broker.messages("q"), [])
      }), { network: { readSize: 1 } }))

  it.effect("connections are refused while refuseConnections is on", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.make()
      yield* broker.refuseConnections(true)
      assert.strictEqual(reasonOf(yield* Effect.flip(broker.connect())), "ConnectFailed")
      yield* broker.refuseConnections(false)
      yield* broker.connect()
    }))

  it.effect("invalid bytes end the connection", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        const { awaitClosed } = yield* AmqpConnection.AmqpConnection
        yield* (yield* connectionOf(broker)).sendBytes(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9))
        assert.strictEqual(reasonOf(yield* Effect.flip(awaitClosed)), "ProtocolViolation")
        yield* rest
        assert.lengthOf(yield* broker.connections, 0)
      })
    ))
})
