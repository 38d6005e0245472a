import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { recovering } from "../../support/scriptedNetwork.ts"
import type { Network } from "../../support/scriptedNetwork.ts"
import {
  ack,
  assertWaits,
  channelClose,
  declareOk,
  failureOf,
  fork,
  gated,
  rest,
  resultOf
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import {
  acceptConsumer,
  acceptDescribed,
  acceptOnChannel,
  afterASecond,
  cancelled,
  deliver,
  nextSession
} from "./recoverySupport.ts"

const acknowledge = () => Effect.succeed(AmqpDelivery.ack)

const timedOut = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 1800000 ms"

/** The broker closes the channel, and the client confirms that. */
const closed = (peer: Peer, replyCode: number, replyText: string) =>
  Effect.andThen(peer.send(1, channelClose(replyCode, replyText)), peer.expect("channel.close-ok", 1))

/** Takes the client's attempt to start, and refuses it. */
const refuse = (peer: Peer, replyCode: number, replyText: string) =>
  Effect.gen(function*() {
    yield* peer.openChannel()
    yield* peer.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
    yield* peer.expect("basic.consume", 1)
    yield* closed(peer, replyCode, replyText)
  })

const aSecond = TestClock.adjust("1 second")

/** The tag of an error, or of its reason. */
const tagOf = (error: { readonly _tag: string; readonly reason?: { readonly _tag: string } }): string =>
  error.reason?._tag ?? error._tag

/** Asserts that the client has logged one loss, and that it has ended. */
const assertLogged = (network: Network) => {
  assert.lengthOf(network.logged("Warn"), 1)
  assert.include(network.logged("Warn")[0], "The consumer of queue \"q\" has ended, and is started again")
  assert.lengthOf(network.logged("Info"), 1)
  assert.match(
    network.logged("Info")[0],
    /^The consumer of queue "q" has started again, after \d+\.\d s and \d attempts?$/
  )
}

describe("a consumer that the broker ended", () => {
  it.effect("K1: by a cancel starts again after a pause, on another channel, and says so once", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpConsumer.serve("q", acknowledge, afterASecond))
        yield* cancelled(peer, yield* acceptConsumer(peer))
        yield* peer.closeChannel()
        yield* peer.expectNothing
        yield* aSecond
        yield* deliver(peer, yield* acceptConsumer(peer), 1)
        assert.deepStrictEqual(yield* peer.expect("basic.ack", 1), ack(1))
        assertLogged(network)
        yield* assertWaits(fiber)
      })
    ))

  it.effect("K2: because a message was not settled in time (406) starts again, and the late settlement is not sent", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const { gate, handler } = gated()
        const fiber = yield* fork(AmqpConsumer.serve("q", handler, { ...afterASecond, concurrency: 2 }))
        yield* deliver(peer, yield* acceptConsumer(peer), 1)
        yield* rest
        yield* closed(peer, 406, timedOut)
        yield* aSecond
        yield* deliver(peer, yield* acceptConsumer(peer), 1)
        yield* rest
        yield* gate.open
        // That of the second delivery.
        assert.deepStrictEqual(yield* peer.expect("basic.ack", 1), ack(1))
        yield* peer.expectNothing
        assert.isTrue(network.logged("Warn").some((line) => line.includes("its settlement was not sent")))
        yield* assertWaits(fiber)
      })
    ))

  it.effect("K2: because a message was not settled in time (basic.cancel of RabbitMQ 4.3) settles it with `false`", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const received: Array<AmqpDelivery.AmqpDelivery> = []
        yield* fork(
          Stream.runForEach(
            AmqpConsumer.stream("q", afterASecond),
            (delivery) => Effect.sync(() => void received.push(delivery))
          )
        )
        const consumerTag = yield* acceptConsumer(peer)
        yield* deliver(peer, consumerTag, 1)
        yield* rest
        yield* cancelled(peer, consumerTag)
        yield* rest
        assert.isFalse(yield* received[0].ack)
        yield* peer.closeChannel()
        yield* aSecond
        yield* deliver(peer, yield* acceptConsumer(peer), 1)
        yield* rest
        assert.isFalse(yield* received[0].ack)
        assert.isTrue(yield* received[1].ack)
        assert.deepStrictEqual(yield* peer.expect("basic.ack", 1), ack(1))
        yield* peer.expectNothing
      })
    ))

  const passing: ReadonlyArray<readonly [string, number, string]> = [
    ["K9: another consumer has the queue exclusively", 403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"],
    [
      "B6: the dead connection still holds the queue",
      405,
      "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'"
    ],
    [
      "B4: the node of the queue is down",
      404,
      "NOT_FOUND - queue 'q' in vhost '/' process is stopped by supervisor"
    ]
  ]
  for (const [why, replyCode, replyText] of passing) {
    it.effect(`${why}: is tried again on the next connection for as long as that lasts (B10)`, () =>
      recovering(({ network, peer }) =>
        Effect.gen(function*() {
          const fiber = yield* fork(AmqpConsumer.serve("q", acknowledge, afterASecond))
          yield* acceptConsumer(peer)
          yield* peer.hangUp
          const second = yield* nextSession(network)
          for (let attempt = 0; attempt < 10; attempt++) {
            yield* refuse(second, replyCode, replyText)
            yield* second.expectNothing
            yield* aSecond
          }
          yield* acceptConsumer(second)
          // One of the connection, and one of the consumer.
          assert.lengthOf(network.logged("Warn"), 2)
          assert.isTrue(network.logged("Info").some((line) => line.endsWith("and 10 attempts")))
          yield* assertWaits(fiber)
        })
      ))
  }

  it.effect("goes on at once with the next connection when that comes during its pause", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const recovery = { schedule: Schedule.spaced("1 hour") }
        yield* fork(AmqpConsumer.serve("q", acknowledge, { recovery }))
        yield* cancelled(peer, yield* acceptConsumer(peer))
        yield* peer.closeChannel()
        yield* peer.hangUp
        yield* acceptConsumer(yield* nextSession(network))
      })
    ))

  it.effect("B7: by a cancel does not declare its queue again, which may have been deleted on purpose", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpConsumer.serve(AmqpQueue.quorum("q"), acknowledge, afterASecond))
        yield* peer.openChannel()
        yield* peer.answer(1, "queue.declare", declareOk("q"))
        yield* cancelled(peer, yield* acceptOnChannel(peer, 1, "q"))
        yield* peer.closeChannel()
        // A node may be down, so a 404 is tried again, but no more than twice.
        for (let attempt = 0; attempt < 3; attempt++) {
          yield* aSecond
          yield* assertWaits(fiber)
          yield* refuse(peer, 404, "NOT_FOUND - no queue 'q' in vhost '/'")
        }
        assert.strictEqual(tagOf(yield* failureOf(fiber)), "NotFound")
        assert.lengthOf(network.logged("Warn"), 1)
      })
    ))

  it.effect("B7: declares its queue again on the next connection, although it was cancelled before", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* fork(AmqpConsumer.serve(AmqpQueue.quorum("q"), acknowledge, afterASecond))
        yield* peer.openChannel()
        yield* peer.answer(1, "queue.declare", declareOk("q"))
        yield* cancelled(peer, yield* acceptOnChannel(peer, 1, "q"))
        yield* peer.closeChannel()
        yield* peer.hangUp
        yield* acceptDescribed(yield* nextSession(network))
      })
    ))

  it.effect("B7: by the close of its channel declares its auto-delete queue again, which is gone with its last consumer", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const queue = AmqpQueue.classic("q", { autoDelete: true })
        const fiber = yield* fork(AmqpConsumer.serve(queue, acknowledge, afterASecond))
        for (let attempt = 0; attempt < 2; attempt++) {
          yield* peer.openChannel()
          yield* peer.answer(1, "queue.declare", declareOk("q"))
          yield* acceptOnChannel(peer, 1, "q")
          yield* closed(peer, 406, timedOut)
          yield* aSecond
        }
        yield* assertWaits(fiber)
      })
    ))

  it.effect("B8: ends with the error if its queue exists with other properties on the next connection", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpConsumer.serve(AmqpQueue.quorum("q"), acknowledge, afterASecond))
        yield* peer.openChannel()
        yield* peer.answer(1, "queue.declare", declareOk("q"))
        yield* acceptOnChannel(peer, 1, "q")
        yield* peer.hangUp
        const second = yield* nextSession(network)
        // Before the session is announced, and again by the consumer, which ends with the error.
        for (let attempt = 0; attempt < 2; attempt++) {
          yield* second.openChannel()
          yield* second.expect("queue.declare", 1)
          yield* closed(second, 406, "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/'")
        }
        assert.strictEqual(tagOf(yield* failureOf(fiber)), "PreconditionFailed")
      })
    ))

  it.effect("tries a 404 again on the next connection, where a node may be down", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpConsumer.serve("q", acknowledge, afterASecond))
        yield* acceptConsumer(peer)
        yield* peer.hangUp
        const second = yield* nextSession(network)
        for (let attempt = 0; attempt < 2; attempt++) {
          yield* refuse(second, 404, "NOT_FOUND - no queue 'q' in vhost '/'")
          yield* aSecond
        }
        yield* acceptConsumer(second)
        yield* assertWaits(fiber)
      })
    ))

  it.effect("ends with an error that does not pass, and onEnd is called with it", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const ends: Array<string> = []
        const scope = yield* Scope.make()
        const layer = AmqpConsumer.layerServe("q", acknowledge, {
          ...afterASecond,
          onEnd: (error) => Effect.sync(() => void ends.push(tagOf(error)))
        })
        const building = yield* fork(Layer.buildWithScope(layer, scope))
        yield* cancelled(peer, yield* acceptConsumer(peer))
        yield* peer.closeChannel()
        yield* resultOf(building)
        yield* aSecond
        yield* acceptConsumer(peer)
        assert.deepStrictEqual(ends, [])
        yield* closed(peer, 403, "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'guest'")
        yield* rest
        assert.deepStrictEqual(ends, ["AccessRefused"])
        yield* Scope.close(scope, Exit.void)
      })
    ))

  it.effect("at its first start fails at once, even for a reason that may pass", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpConsumer.serve("q", acknowledge, afterASecond))
        yield* refuse(peer, 403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use")
        assert.strictEqual(tagOf(yield* failureOf(fiber)), "AccessRefused")
      })
    ))

  it.effect("decides by isRecoverable, and ends when its schedule does", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const recovery: AmqpConsumer.RecoveryOptions = {
          schedule: Schedule.upTo(Schedule.spaced("1 second"), { times: 1 }),
          isRecoverable: (error) => {
            seen.push(tagOf(error))
            return true
          }
        }
        const fiber = yield* fork(AmqpConsumer.serve("q", acknowledge, { recovery }))
        yield* acceptConsumer(peer)
        yield* closed(peer, 406, "PRECONDITION_FAILED - unknown delivery tag 1")
        yield* aSecond
        yield* refuse(peer, 404, "NOT_FOUND - no queue 'q' in vhost '/'")
        assert.strictEqual(tagOf(yield* failureOf(fiber)), "NotFound")
        assert.deepStrictEqual(seen, ["PreconditionFailed", "NotFound"])
      })
    ))

  it.effect("waits longer from time to time, and begins with short pauses again after it has lasted ten seconds", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const schedule = Schedule.exponential("1 second")
        yield* fork(AmqpConsumer.serve("q", acknowledge, { recovery: { schedule } }))
        let consumerTag = yield* acceptConsumer(peer)
        for (const pause of ["1 second", "2 seconds", "4 seconds"] as const) {
          yield* cancelled(peer, consumerTag)
          yield* peer.closeChannel()
          yield* TestClock.adjust(pause)
          consumerTag = yield* acceptConsumer(peer)
        }
        yield* TestClock.adjust("9900 millis")
        yield* cancelled(peer, consumerTag)
        yield* peer.closeChannel()
        yield* TestClock.adjust("7999 millis")
        yield* peer.expectNothing
        yield* TestClock.adjust("1 millis")
        consumerTag = yield* acceptConsumer(peer)
        yield* TestClock.adjust("10 seconds")
        yield* cancelled(peer, consumerTag)
        yield* peer.closeChannel()
        yield* aSecond
        yield* acceptConsumer(peer)
      })
    ))

  const bugs: ReadonlyArray<readonly [string, AmqpConsumer.RecoveryOptions]> = [
    ["isRecoverable throws", {
      isRecoverable: () => {
        throw new Error("a bug")
      }
    }],
    ["schedule dies", { schedule: Schedule.modifyDelay(Schedule.forever, () => Effect.die(new Error("a bug"))) }]
  ]
  for (const [what, recovery] of bugs) {
    it.effect(`ends with the broker's reason when its ${what}`, () =>
      recovering(({ network, peer }) =>
        Effect.gen(function*() {
          const fiber = yield* fork(AmqpConsumer.serve("q", acknowledge, { recovery }))
          yield* cancelled(peer, yield* acceptConsumer(peer))
          yield* peer.closeChannel()
          assert.strictEqual((yield* failureOf(fiber))._tag, "AmqpConsumerCancelled")
          assert.lengthOf(network.logged("Error"), 1)
        })
      ))
  }

  it.effect("goes on although a logger dies", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const dying = Logger.make(() => {
          throw new Error("a bug")
        })
        yield* fork(Effect.provide(AmqpConsumer.serve("q", acknowledge, afterASecond), Logger.layer([dying])))
        yield* cancelled(peer, yield* acceptConsumer(peer))
        yield* peer.closeChannel()
        yield* aSecond
        yield* deliver(peer, yield* acceptConsumer(peer), 1)
        yield* peer.expect("basic.ack", 1)
      })
    ))

  it.effect("B11: ends at once when its fiber is interrupted during a pause", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpConsumer.serve("q", acknowledge, afterASecond))
        yield* cancelled(peer, yield* acceptConsumer(peer))
        yield* peer.closeChannel()
        yield* rest
        yield* resultOf(yield* fork(Fiber.interrupt(fiber)))
        yield* aSecond
        yield* peer.expectNothing
      })
    ))

  it.effect("of several queues settles what it has of the others before it starts again", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const { gate, handler, started } = gated()
        yield* fork(AmqpConsumer.serve(["a", "b"], handler, { ...afterASecond, consumerTag: "c" }))
        const accept = Effect.gen(function*() {
          yield* peer.openChannel()
          yield* peer.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
          for (const consumerTag of ["c-1", "c-2"]) {
            yield* peer.answer(1, "basic.consume", { _tag: "basic.consume-ok", consumerTag })
          }
        })
        yield* accept
        yield* deliver(peer, "c-2", 1, 2)
        yield* rest
        yield* cancelled(peer, "c-1")
        yield* peer.expect("basic.cancel", 1)
        // The second message was not begun, and is requeued when the channel closes.
        yield* peer.expectNothing
        yield* gate.open
        assert.deepStrictEqual(yield* peer.expect("basic.ack", 1), ack(1))
        yield* peer.closeChannel()
        yield* aSecond
        yield* accept
        assert.deepStrictEqual(started, ["1"])
      })
    ))
})
