import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpFailurePolicy from "@effect-amqp/core/AmqpFailurePolicy"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { recovering } from "../../support/scriptedNetwork.ts"
import {
  ack,
  assertWaits,
  connectionClose,
  declareOk,
  exitOf,
  failureOf,
  fork,
  gated,
  openPublisher,
  publishText,
  rest,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { acceptConsumer, acceptDescribed, acceptOnChannel, deliver, nextSession } from "./recoverySupport.ts"

describe("a consumer whose connection was lost", () => {
  it.effect("sets its prefetch and consumes again on the next connection, before anything else, and logs nothing itself", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const handled: Array<string> = []
        const serve = AmqpConsumer.serve("q", ({ text }) =>
          Effect.sync(() => {
            handled.push(text)
            return AmqpDelivery.ack
          }), { prefetch: 7 })
        const fiber = yield* fork(serve)
        yield* deliver(peer, yield* acceptConsumer(peer, { prefetch: 7 }), 1)
        assert.deepStrictEqual(yield* peer.expect("basic.ack", 1), ack(1))
        yield* peer.hangUp
        const second = yield* nextSession(network)
        yield* deliver(second, yield* acceptConsumer(second, { prefetch: 7 }), 1, 2)
        assert.deepStrictEqual(yield* second.expect("basic.ack", 1), ack(2, true))
        assert.deepStrictEqual(handled, ["1", "1", "2"])
        assert.lengthOf(network.logged("Warn"), 1)
        yield* assertWaits(fiber)
      })
    ))

  it.effect("B1: goes on after a broker that shut down", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpConsumer.serve("q", () => Effect.succeed(AmqpDelivery.ack)))
        yield* acceptConsumer(peer)
        yield* peer.send(0, connectionClose(320, "CONNECTION_FORCED - shutdown"))
        const second = yield* nextSession(network)
        yield* deliver(second, yield* acceptConsumer(second), 1)
        yield* second.expect("basic.ack", 1)
        yield* assertWaits(fiber)
      })
    ))

  it.effect("K3: never sends the settlement of an earlier connection, whatever its handler decides", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const { gate, handler, started } = gated()
        const fiber = yield* fork(AmqpConsumer.serve("q", handler, { concurrency: 1, prefetch: 10 }))
        yield* deliver(peer, yield* acceptConsumer(peer), 1, 2, 3)
        yield* rest
        yield* peer.hangUp
        const second = yield* nextSession(network)
        yield* deliver(second, yield* acceptConsumer(second), 1, 2, 3)
        yield* second.expectNothing
        // The handler of the first connection still runs; what was buffered then is dropped.
        assert.deepStrictEqual(started, ["1"])
        yield* gate.open
        yield* rest
        assert.deepStrictEqual(started, ["1", "1", "2", "3"])
        const settled = (yield* second.takeTags).filter((tag) => tag === "basic.ack").length
        assert.isAtMost(settled, 3)
        assert.isTrue(network.logged("Warn").some((line) => line.includes("its settlement was not sent")))
        yield* assertWaits(fiber)
      })
    ))

  it.effect("K3: drops a message that waits for its next attempt, and does not ask the policy about a handler that fails later", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const attempts: Array<string> = []
        const policies: Array<string> = []
        const { gate } = gated()
        const handler = ({ text }: AmqpDelivery.ReceivedMessage) =>
          Effect.suspend(() => {
            attempts.push(text)
            return text === "2" ? Effect.andThen(gate.await, Effect.fail("late")) : Effect.fail("early")
          })
        const onFailure: AmqpFailurePolicy.AmqpFailurePolicy<string> = (cause, delivery, info) => {
          policies.push(delivery.text)
          return AmqpFailurePolicy.retryInPlace()(cause, delivery, info)
        }
        yield* fork(AmqpConsumer.serve("q", handler, { concurrency: 2, onFailure }))
        yield* deliver(peer, yield* acceptConsumer(peer), 1, 2)
        yield* rest
        yield* peer.hangUp
        const second = yield* nextSession(network)
        yield* acceptConsumer(second)
        yield* gate.open
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(attempts, ["1", "2"])
        assert.deepStrictEqual(policies, ["1"])
        assert.isTrue(network.logged("Error").some((line) => line.includes("A handler failed, and the channel of its")))
        yield* second.expectNothing
      })
    ))

  it.effect("declares described queues on each connection, before it consumes them (B5: by the new name)", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const opening = yield* fork(AmqpConsumer.make(AmqpQueue.serverNamed(), { prefetch: 3 }))
        yield* peer.openChannel()
        yield* peer.answer(1, "queue.declare", declareOk("amq.gen-1"))
        yield* acceptOnChannel(peer, 1, "amq.gen-1")
        const consumer = yield* resultOf(opening)
        assert.deepStrictEqual(yield* consumer.queues, ["amq.gen-1"])
        yield* peer.hangUp
        const names = yield* fork(consumer.queues)
        const second = yield* nextSession(network)
        yield* assertWaits(names)
        yield* acceptDescribed(second, "amq.gen-2")
        assert.deepStrictEqual(yield* resultOf(names), ["amq.gen-2"])
      })
    ))

  it.effect("declares described queues on the next connection before anything publishes, unless it has ended", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { retry: Schedule.forever })
        const fiber = yield* fork(AmqpConsumer.serve(AmqpQueue.quorum("q"), () => Effect.succeed(AmqpDelivery.ack)))
        yield* peer.openChannel(2)
        yield* peer.answer(2, "queue.declare", declareOk("q"))
        yield* acceptOnChannel(peer, 2, "q")
        yield* publishText(peer, publisher, "1")
        yield* peer.hangUp
        const second = yield* nextSession(network)
        yield* second.openChannel()
        yield* second.expect("queue.declare", 1)
        yield* second.expectNothing
        yield* second.send(1, declareOk("q"))
        yield* second.closeChannel()
        assert.deepStrictEqual(yield* second.takeTags, ["channel.open", "channel.open"])
        yield* Fiber.interrupt(fiber).pipe(Effect.forkChild)
        yield* second.hangUp
        const third = yield* nextSession(network)
        // Only the publisher is left.
        yield* third.openChannel()
        yield* third.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
        yield* third.expectPublish("1")
      })
    ))

  it.effect("fails to give a name that only the broker knows when there is no connection for too long", () =>
    recovering(({ peer, network }) =>
      Effect.gen(function*() {
        const opening = yield* fork(AmqpConsumer.make(AmqpQueue.serverNamed()))
        yield* peer.openChannel()
        yield* peer.answer(1, "queue.declare", declareOk("amq.gen-1"))
        yield* acceptOnChannel(peer, 1, "amq.gen-1")
        const consumer = yield* resultOf(opening)
        network.faults.set("a", Effect.never)
        yield* peer.hangUp
        const names = yield* fork(consumer.queues)
        yield* TestClock.adjust("30 seconds")
        const error = yield* failureOf(names)
        assert.strictEqual(error._tag === "AmqpChannelError" ? error.reason._tag : error._tag, "ConnectionLost")
      })
    ))

  it.effect("K3: as a Stream goes on with the deliveries of the next connection, and settles no earlier one", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const received: Array<AmqpDelivery.AmqpDelivery> = []
        const fiber = yield* fork(
          Stream.runForEach(AmqpConsumer.stream("q"), (delivery) => Effect.sync(() => void received.push(delivery)))
        )
        yield* deliver(peer, yield* acceptConsumer(peer), 1)
        yield* rest
        yield* peer.hangUp
        const second = yield* nextSession(network)
        yield* deliver(second, yield* acceptConsumer(second), 1)
        yield* rest
        assert.deepStrictEqual(received.map(({ text }) => text), ["1", "1"])
        const [old, current] = received
        assert.deepStrictEqual([yield* old.ack, yield* old.nack(), yield* old.reject()], [false, false, false])
        yield* second.expectNothing
        assert.isTrue(yield* current.ack)
        assert.deepStrictEqual(yield* second.expect("basic.ack", 1), ack(1))
        yield* assertWaits(fiber)
      })
    ))

  it.effect("keeps messages without acknowledgement, which exist only here, and goes on after them", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const opening = yield* fork(AmqpConsumer.make("q", { autoAck: true }))
        yield* peer.openChannel()
        const { consumerTag } = yield* peer.expect("basic.consume", 1)
        yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag })
        const consumer = yield* resultOf(opening)
        yield* deliver(peer, consumerTag, 1, 2)
        yield* rest
        yield* peer.hangUp
        const second = yield* nextSession(network)
        yield* second.openChannel()
        const again = yield* second.expect("basic.consume", 1)
        yield* second.send(1, { _tag: "basic.consume-ok", consumerTag: again.consumerTag })
        yield* deliver(second, again.consumerTag, 3)
        const texts = yield* fork(
          Stream.runCollect(Stream.map(Stream.take(consumer.stream, 3), ({ text }) => text))
        )
        assert.deepStrictEqual(yield* resultOf(texts), ["1", "2", "3"])
      })
    ))

  it.effect("keeps a prefetch that was changed, also while there is no connection", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const opening = yield* fork(AmqpConsumer.make("q", { prefetch: 3 }))
        yield* acceptConsumer(peer, { prefetch: 3 })
        const consumer = yield* resultOf(opening)
        yield* peer.hangUp
        yield* consumer.setPrefetch(5)
        const second = yield* nextSession(network)
        const tag = yield* acceptConsumer(second, { prefetch: 5 })
        const changing = yield* fork(consumer.setPrefetch(9))
        yield* second.answer(1, "basic.cancel", { _tag: "basic.cancel-ok", consumerTag: tag })
        yield* second.expect("basic.qos", 1)
        yield* second.hangUp
        // It is lost meanwhile, and goes on with the new prefetch.
        yield* resultOf(changing)
        yield* acceptConsumer(yield* nextSession(network), { prefetch: 9 })
      })
    ))

  it.effect("does not start again after it was cancelled, and its Stream ends", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const opening = yield* fork(AmqpConsumer.make("q"))
        yield* acceptConsumer(peer)
        const consumer = yield* resultOf(opening)
        const stream = yield* fork(Stream.runCollect(consumer.stream))
        yield* peer.hangUp
        yield* consumer.cancel
        assert.deepStrictEqual(yield* resultOf(stream), [])
        const second = yield* nextSession(network)
        yield* second.expectNothing
      })
    ))

  it.effect("B11: ends at once when its scope closes, whatever it waits for", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const starting = yield* fork(
          Scope.provide(AmqpConsumer.startServing("q", () => Effect.succeed(AmqpDelivery.ack)), scope)
        )
        yield* acceptConsumer(peer)
        const ended = yield* fork(yield* resultOf(starting))
        yield* peer.hangUp
        yield* resultOf(yield* fork(Scope.close(scope, Exit.void)))
        yield* resultOf(ended)
        const second = yield* nextSession(network)
        yield* second.expectNothing
      })
    ))

  it.effect("B11: ends at once when its fiber is interrupted while it starts again", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpConsumer.serve("q", () => Effect.succeed(AmqpDelivery.ack)))
        yield* acceptConsumer(peer)
        yield* peer.hangUp
        const second = yield* nextSession(network)
        yield* second.openChannel()
        yield* second.expect("basic.qos", 1)
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* second.closeChannel()
        yield* resultOf(stopping)
      })
    ))

  it.effect("ends with the loss if its option says so, although its connection goes on", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpConsumer.serve("q", () => Effect.succeed(AmqpDelivery.ack), { recovery: false }))
        yield* acceptConsumer(peer)
        yield* peer.hangUp
        const error = yield* failureOf(fiber)
        assert.strictEqual("reason" in error ? error.reason._tag : error._tag, "ConnectionLost")
        const second = yield* nextSession(network)
        yield* second.expectNothing
      })
    ))

  it.effect("ends when the connection is not established again", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpConsumer.serve("q", () => Effect.succeed(AmqpDelivery.ack)))
        yield* acceptConsumer(peer)
        yield* peer.hangUp
        const second = yield* nextSession(network)
        yield* acceptConsumer(second)
        yield* second.send(0, connectionClose(530, "NOT_ALLOWED - vhost 'x' not found"))
        const error = yield* failureOf(fiber)
        assert.strictEqual("reason" in error ? error.reason._tag : error._tag, "ConnectionLost")
      }), { recovery: { isRecoverable: (error) => error.isRetryable } }))

  it.effect("in transactions: fails the program with its channel, asks no policy, and goes on", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const { gate, started } = gated()
        const fiber = yield* fork(AmqpConsumer.serveTransaction("q", ({ text }) =>
          AmqpChannel.gen(function*() {
            started.push(text)
            yield* gate.await
            yield* AmqpChannel.publish(AmqpMessage.text(text), toQueue)
            return AmqpDelivery.ack
          })))
        const accept = (peer: Peer) =>
          Effect.gen(function*() {
            yield* peer.openChannel()
            yield* peer.answer(1, "tx.select", { _tag: "tx.select-ok" })
            return yield* acceptOnChannel(peer, 1, "q")
          })
        yield* deliver(peer, yield* accept(peer), 1)
        yield* rest
        yield* peer.hangUp
        const second = yield* nextSession(network)
        yield* deliver(second, yield* accept(second), 1)
        yield* gate.open
        yield* second.expectPublish("1")
        yield* second.expect("basic.ack", 1)
        yield* second.answer(1, "tx.commit", { _tag: "tx.commit-ok" })
        assert.deepStrictEqual(started, ["1", "1"])
        yield* assertWaits(fiber)
      })
    ))

  it.effect("in transactions: goes on when it was lost during a commit", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const fiber = yield* fork(
          AmqpConsumer.serveTransaction("q", () => AmqpChannel.as(AmqpChannel.succeed(undefined), AmqpDelivery.ack))
        )
        yield* peer.openChannel()
        yield* peer.answer(1, "tx.select", { _tag: "tx.select-ok" })
        yield* deliver(peer, yield* acceptOnChannel(peer, 1, "q"), 1)
        yield* peer.expect("basic.ack", 1)
        yield* peer.expect("tx.commit", 1)
        yield* peer.hangUp
        const second = yield* nextSession(network)
        yield* second.openChannel()
        yield* second.answer(1, "tx.select", { _tag: "tx.select-ok" })
        yield* acceptOnChannel(second, 1, "q")
        yield* assertWaits(fiber)
      })
    ))

  it.effect("starts on the next connection if it is lost while it starts", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const opening = yield* fork(AmqpConsumer.make("q"))
        yield* peer.openChannel()
        yield* peer.expect("basic.qos")
        yield* peer.hangUp
        yield* assertWaits(opening)
        yield* acceptConsumer(yield* nextSession(network))
        yield* resultOf(opening)
      })
    ))

  for (const step of ["basic.qos", "basic.consume"] as const) {
    it.effect(`N7: goes on with the third connection if the second is lost during ${step}`, () =>
      recovering(({ network, peer }) =>
        Effect.gen(function*() {
          const fiber = yield* fork(AmqpConsumer.serve("q", () => Effect.succeed(AmqpDelivery.ack), { prefetch: 7 }))
          yield* deliver(peer, yield* acceptConsumer(peer, { prefetch: 7 }), 1)
          yield* peer.expect("basic.ack", 1)
          yield* peer.hangUp
          const second = yield* nextSession(network)
          yield* second.openChannel()
          if (step === "basic.consume") yield* second.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
          yield* second.expect(step, 1)
          yield* second.hangUp
          yield* assertWaits(fiber)
          const third = yield* nextSession(network)
          yield* deliver(third, yield* acceptConsumer(third, { prefetch: 7 }), 1)
          assert.deepStrictEqual(yield* third.expect("basic.ack", 1), ack(1))
          yield* assertWaits(fiber)
          // Only the connection was lost, twice.
          assert.isTrue(network.logged("Warn").every((line) => line.startsWith("The AMQP connection")))
        })
      ))
  }

  it.effect("fails to start at all when there is no connection for as long as its wait timeout", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        network.faults.set("a", Effect.never)
        yield* peer.hangUp
        const fiber = yield* fork(AmqpConsumer.serve("q", () => Effect.succeed(AmqpDelivery.ack)))
        yield* TestClock.adjust("30 seconds")
        const exit = yield* exitOf(fiber)
        assert.isTrue(Exit.isFailure(exit))
      })
    ))
})
