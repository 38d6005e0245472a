import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import { ack, connected, fork, openPublisher, reasonOf, rest, resultOf } from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

type Publisher = AmqpPublisher.AmqpPublisher["Service"]

/** Publishes, and expects the publish. */
const send = (peer: Peer, { publish }: Publisher, text: string, exchange: string, routingKey = "k", size?: number) => {
  const message = size === undefined ? AmqpMessage.text(text) : AmqpMessage.make(new Uint8Array(size))
  return Effect.tap(fork(publish(message, { exchange, routingKey })), () => peer.expectPublish())
}

describe("a publisher that retries", () => {
  it.effect("gives up when its connection is lost for good, even with an endless schedule", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { retry: Schedule.forever })
        const sent = yield* send(peer, publisher, "1", "")
        yield* peer.hangUp
        yield* reasonOf(sent, "OutcomeUnknown")
        const late = yield* fork(publisher.publish(AmqpMessage.text("2"), { exchange: "", routingKey: "q" }))
        yield* reasonOf(late, "NotSent")
      })
    ))

  it.effect("does not fail with NotSent when an earlier attempt may have arrived", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const retry = Schedule.recurs(1)
        const publisher = yield* openPublisher(peer, 1, {
          retry,
          confirmTimeout: "1 seconds",
          sendTimeout: "1 seconds"
        })
        const publishing = yield* send(peer, publisher, "1", "")
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        yield* TestClock.adjust("1 seconds")
        yield* TestClock.adjust("1 seconds")
        const { cause } = yield* reasonOf(publishing, "OutcomeUnknown")
        assert.include(cause.reason, { _tag: "ConfirmTimeout", blocked: "low on memory" })
      })
    ))

  it.effect("pauses between attempts while a queue refuses the message, even if its schedule has no delays", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.AmqpBroker
      yield* AmqpChannel.run(AmqpQueue.declare("q"))
      let refused = 0
      yield* broker.confirmWith(() => {
        refused++
        return "nack"
      })
      const publisher = yield* AmqpPublisher.make({ retry: Schedule.forever })
      const publishing = yield* fork(publisher.publish(AmqpMessage.text("1"), AmqpQueue.route("q")))
      yield* TestClock.adjust("1 seconds")
      assert.isAtLeast(refused, 10)
      assert.isAtMost(refused, 21)
      yield* broker.confirmWith(() => "ack")
      yield* TestClock.adjust("50 millis")
      yield* resultOf(publishing)
    }).pipe(Effect.scoped, Effect.provide(AmqpBroker.layer())))

  it.effect("pauses between attempts while the connection is blocked, even if its schedule has no delays", () =>
    connected((peer) =>
      Effect.gen(function*() {
        let attempts = 0
        const retry = Schedule.modifyDelay(Schedule.forever, ({ duration }) => {
          attempts++
          return Effect.succeed(duration)
        })
        const publisher = yield* openPublisher(peer, 1, { retry, whenBlocked: "fail" })
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        yield* rest
        const publishing = yield* fork(publisher.publish(AmqpMessage.text("1"), { exchange: "", routingKey: "q" }))
        yield* TestClock.adjust("1 seconds")
        assert.isAtLeast(attempts, 10)
        assert.isAtMost(attempts, 21)
        yield* peer.send(0, { _tag: "connection.unblocked" })
        yield* TestClock.adjust("50 millis")
        yield* peer.expectPublish("1")
        yield* peer.send(1, ack(1))
        yield* resultOf(publishing)
      })
    ))
})
