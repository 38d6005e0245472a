import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  assertWaits,
  channelClose,
  connected,
  declareOk,
  deliverBytes,
  exitOf,
  failureOf,
  fork,
  gated,
  handedBack,
  openConsumer,
  resultOf
} from "../../support/scriptedPeer.ts"
import type { Peer, ServerOptions } from "../../support/scriptedPeer.ts"

const deliver = (peer: Peer, consumerTag: string, ...tags: ReadonlyArray<number>) =>
  peer.push(...tags.map((tag) => deliverBytes(1, consumerTag, tag, String(tag))))

/** Starts a consumer of a queue that is described. */
const openDescribed = <A, E, R>(peer: Peer, consumer: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* fork(consumer)
    yield* peer.openChannel()
    yield* peer.answer(1, "queue.declare", declareOk("q"))
    yield* peer.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
    const { consumerTag } = yield* peer.expect("basic.consume", 1)
    yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag })
    return { consumerTag, fiber }
  })

const rabbitMq = (version: string): ServerOptions => ({
  serverProperties: {
    product: "RabbitMQ",
    version,
    capabilities: {
      "basic.nack": true,
      consumer_cancel_notify: true,
      consumer_priorities: true,
      per_consumer_qos: true,
      publisher_confirms: true
    }
  }
})

describe("a consumer with busy handlers", () => {
  const ends: ReadonlyArray<readonly [string, (peer: Peer, consumerTag: string) => Effect.Effect<unknown>, string]> = [
    ["the connection was lost", (peer) => peer.hangUp, "ConnectionLost"],
    [
      "the broker closed the channel",
      (peer) => Effect.andThen(peer.send(1, channelClose(406, "timeout")), peer.expect("channel.close-ok", 1)),
      "PreconditionFailed"
    ],
    [
      "the broker cancelled it",
      (peer, consumerTag) => peer.send(1, { _tag: "basic.cancel", consumerTag, noWait: true }),
      "AmqpConsumerCancelled"
    ]
  ]
  for (const [what, end, expected] of ends) {
    for (const concurrency of [1, 2, "unbounded"] as const) {
      it.effect(`K1: starts no handler after ${what}, and fails within the drain timeout (concurrency ${concurrency})`, () =>
        connected((peer) =>
          Effect.gen(function*() {
            const { handler, started } = gated()
            const serve = AmqpConsumer.serve("q", handler, { concurrency, drainTimeout: "3 seconds", prefetch: 10 })
            const { consumerTag, fiber } = yield* openConsumer(peer, serve)
            yield* deliver(peer, consumerTag, 1, 2, 3, 4, 5)
            yield* peer.expectNothing
            const startedBefore = started.length
            yield* end(peer, consumerTag)
            yield* TestClock.adjust("2999 millis")
            yield* assertWaits(fiber)
            yield* TestClock.adjust("1 millis")
            if (expected === "AmqpConsumerCancelled") yield* peer.closeChannel()
            const error = yield* failureOf(fiber)
            assert.strictEqual("reason" in error ? error.reason._tag : error._tag, expected)
            assert.lengthOf(started, startedBefore)
          })
        ))
    }
  }

  const slowToStop = {
    "can't be interrupted": Effect.as(Effect.uninterruptible(Effect.sleep("1 hour")), AmqpDelivery.ack),
    "has a slow finalizer": Effect.andThen(Effect.addFinalizer(() => Effect.sleep("1 hour")), Effect.never)
  }
  for (const [what, handler] of Object.entries(slowToStop)) {
    it.effect(`waits one drain timeout, not two, for a handler that ${what}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const serve = AmqpConsumer.serve("q", () => handler, { drainTimeout: "3 seconds" })
          const { consumerTag, fiber } = yield* openConsumer(peer, serve)
          yield* deliver(peer, consumerTag, 1)
          yield* peer.send(1, { _tag: "basic.cancel", consumerTag, noWait: true })
          yield* peer.expectNothing
          yield* TestClock.adjust("3 seconds")
          yield* peer.closeChannel()
          assert.strictEqual((yield* failureOf(fiber))._tag, "AmqpConsumerCancelled")
          yield* TestClock.adjust("2 hours")
        })
      ).pipe(Effect.provide(Logger.layer([]))))
  }

  it.effect("fails as soon as its handlers have ended, without sending their settlements", () => {
    const logged: Array<string> = []
    const logger = Logger.make(({ message }) => void logged.push(String(message)))
    return connected((peer) =>
      Effect.gen(function*() {
        const { gate, handler, started } = gated()
        const { consumerTag, fiber } = yield* openConsumer(peer, AmqpConsumer.serve("q", handler))
        yield* deliver(peer, consumerTag, 1, 2)
        yield* peer.send(1, { _tag: "basic.cancel", consumerTag, noWait: true })
        yield* assertWaits(fiber)
        yield* gate.open
        // The broker has requeued the unacknowledged messages: an acknowledgement would have no effect.
        yield* peer.closeChannel()
        assert.strictEqual((yield* failureOf(fiber))._tag, "AmqpConsumerCancelled")
        assert.deepStrictEqual(started, ["1"])
        assert.include(logged.join(), "its settlement was not sent")
      })
    ).pipe(Effect.provide(Logger.layer([logger])))
  })

  it.effect("K3: settles nothing after the broker's cancel, which may come from its consumer timeout", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const deliveries: Array<AmqpDelivery.AmqpDelivery> = []
        const stream = Stream.runForEach(
          AmqpConsumer.stream("q"),
          (delivery) => Effect.sync(() => void deliveries.push(delivery))
        )
        const { consumerTag, fiber } = yield* openConsumer(peer, Effect.exit(stream))
        yield* deliver(peer, consumerTag, 1, 2, 3)
        yield* peer.expectNothing
        yield* peer.send(1, { _tag: "basic.cancel", consumerTag, noWait: true })
        yield* peer.expect("channel.close", 1)
        const [one, two, three] = deliveries
        assert.deepStrictEqual(yield* Effect.all([one.ack, two.nack(), three.reject()]), [false, false, false])
        yield* peer.send(1, { _tag: "channel.close-ok" })
        const exit = yield* resultOf(fiber)
        assert.notInclude(String(exit), "was deleted")
      })
    ))
})

describe("an ordered stop", () => {
  it.effect("K10: for a queue given by name waits for the handlers, and closes the channel without a cancel", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { gate, handler, started } = gated()
        const { consumerTag, fiber } = yield* openConsumer(peer, AmqpConsumer.serve("q", handler, { concurrency: 2 }))
        yield* deliver(peer, consumerTag, 1, 2, 3)
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* peer.expectNothing
        yield* assertWaits(stopping)
        // A message delivered during the stop is not handled either.
        yield* deliver(peer, consumerTag, 4)
        yield* gate.open
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2, true))
        yield* peer.closeChannel()
        yield* resultOf(stopping)
        assert.deepStrictEqual(started, ["1", "2"])
        yield* peer.expectNothing
      })
    ))

  it.effect("K10: for a described queue cancels first, and requeues at once what no handler has started", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { gate, handler } = gated()
        const serve = AmqpConsumer.serve(AmqpQueue.classic("q"), handler)
        const { consumerTag, fiber } = yield* openDescribed(peer, serve)
        yield* deliver(peer, consumerTag, 1, 2)
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* peer.expect("basic.cancel", 1)
        // The broker sent it before it received the cancel.
        yield* deliver(peer, consumerTag, 3)
        yield* peer.send(1, { _tag: "basic.cancel-ok", consumerTag })
        assert.deepStrictEqual(yield* peer.expect("basic.nack"), handedBack(2))
        assert.deepStrictEqual(yield* peer.expect("basic.nack"), handedBack(3))
        yield* gate.open
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(1, false))
        yield* peer.closeChannel()
        yield* resultOf(stopping)
      })
    ))

  for (
    const [what, queue, options] of [
      ["a single active consumer", AmqpQueue.quorum("q", { singleActiveConsumer: true }), {}],
      [
        "a single active consumer set by argument",
        AmqpQueue.quorum("q", { arguments: { "x-single-active-consumer": true } }),
        {}
      ],
      ["an exclusive consumer", AmqpQueue.classic("q"), { exclusive: true }]
    ] as const
  ) {
    it.effect(`K10: of ${what} requeues nothing before its handlers have ended`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const { gate, handler } = gated()
          const { consumerTag, fiber } = yield* openDescribed(peer, AmqpConsumer.serve(queue, handler, options))
          yield* deliver(peer, consumerTag, 1, 2)
          const stopping = yield* fork(Fiber.interrupt(fiber))
          yield* peer.expectNothing
          yield* gate.open
          assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(1))
          yield* peer.closeChannel()
          yield* resultOf(stopping)
        }), { server: rabbitMq("4.3.6") }))
  }

  it.effect("K10: for a queue given by name uses up no attempt on a RabbitMQ that does not count requeued messages", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { gate, handler } = gated()
        const { consumerTag, fiber } = yield* openConsumer(peer, AmqpConsumer.serve("q", handler))
        yield* deliver(peer, consumerTag, 1, 2)
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* peer.expectNothing
        yield* gate.open
        yield* peer.answer(1, "basic.ack")
        yield* peer.answer(1, "basic.cancel", { _tag: "basic.cancel-ok", consumerTag })
        assert.deepStrictEqual(yield* peer.expect("basic.nack"), handedBack(2))
        // A close right after the nack would make RabbitMQ count it.
        const { passive } = yield* peer.expect("queue.declare")
        assert.isTrue(passive)
        yield* peer.send(1, declareOk("q"))
        yield* peer.closeChannel()
        yield* resultOf(stopping)
      }), { server: rabbitMq("4.3.6") }))

  it.effect("K10: of a Stream requeues what was not taken, where that uses up no attempt", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { handler } = gated()
        const { consumerTag, fiber } = yield* openConsumer(
          peer,
          Stream.runForEach(AmqpConsumer.stream("q"), handler)
        )
        yield* deliver(peer, consumerTag, 1)
        yield* deliver(peer, consumerTag, 2, 3)
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* peer.answer(1, "basic.cancel", { _tag: "basic.cancel-ok", consumerTag })
        assert.deepStrictEqual(yield* peer.expect("basic.nack"), handedBack(2))
        assert.deepStrictEqual(yield* peer.expect("basic.nack"), handedBack(3))
        yield* peer.answer(1, "queue.declare", declareOk("q"))
        yield* peer.closeChannel()
        yield* resultOf(stopping)
      }), { server: rabbitMq("4.3.6") }))

  it.effect("K10: interrupts a handler after the drain timeout, and its message is requeued", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const interrupted = yield* Deferred.make<void>()
        const { handler } = gated()
        const serve = AmqpConsumer.serve(
          "q",
          (delivery) => Effect.onInterrupt(handler(delivery), () => Deferred.succeed(interrupted, undefined)),
          { drainTimeout: "3 seconds" }
        )
        const { consumerTag, fiber } = yield* openConsumer(peer, serve)
        yield* deliver(peer, consumerTag, 1)
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* TestClock.adjust("2999 millis")
        yield* peer.expectNothing
        yield* TestClock.adjust("1 millis")
        yield* peer.closeChannel()
        yield* resultOf(stopping)
        yield* Deferred.await(interrupted)
      })
    ))

  it.effect("K10: waits for a broker that does not answer the cancel no longer than closeTimeout if no handler is running", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { fiber } = yield* openDescribed(
          peer,
          AmqpConsumer.serve(AmqpQueue.quorum("q"), () => Effect.succeed(AmqpDelivery.ack))
        )
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* peer.expect("basic.cancel", 1)
        yield* TestClock.adjust("4999 millis")
        yield* peer.expectNothing
        yield* TestClock.adjust("1 millis")
        yield* peer.closeChannel()
        yield* resultOf(stopping)
      })
    ))

  it.effect("K10: ends after the drain timeout even if the broker does not answer the cancel", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const serve = AmqpConsumer.serve(AmqpQueue.classic("q"), () => Effect.never, { drainTimeout: "3 seconds" })
        const { consumerTag, fiber } = yield* openDescribed(peer, serve)
        yield* deliver(peer, consumerTag, 1)
        yield* fork(Fiber.interrupt(fiber))
        yield* peer.expect("basic.cancel")
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual(yield* peer.takeTags, ["channel.close"])
      })
    ))

  for (const value of [-1, Number.NaN, "-1 second", 2 ** 31] as const) {
    it.effect(`K10: with a drain timeout of ${value} is refused before anything is sent`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const drainTimeout = value as number
          const error = yield* Effect.flip(
            Effect.scoped(AmqpConsumer.startServing("q", () => Effect.succeed(AmqpDelivery.ack), { drainTimeout }))
          )
          assert.strictEqual(error.reason._tag, "InvalidArgument")
          assert.include(error.message, "drainTimeout")
          yield* peer.expectNothing
        })
      ))
  }
})

describe("a handler", () => {
  it.effect("that closes its consumer's scope does not wait for itself, and its message is requeued", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const done = yield* Deferred.make<void>()
        const serving = AmqpConsumer.startServing("q", () =>
          Scope.close(scope, Exit.void).pipe(
            Effect.andThen(Deferred.succeed(done, undefined)),
            Effect.as(AmqpDelivery.ack)
          ), { drainTimeout: "1 hour" })
        const { consumerTag, fiber } = yield* openConsumer(peer, Scope.provide(serving, scope))
        const end = yield* fork(yield* resultOf(fiber))
        yield* deliver(peer, consumerTag, 1)
        yield* peer.closeChannel()
        yield* resultOf(end)
        yield* resultOf(yield* fork(Deferred.await(done)))
        yield* peer.expectNothing
      })
    ))

  it.effect("that waits for another fiber to close its consumer's scope is interrupted after the drain timeout", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const run = Effect.runPromiseWith(yield* Effect.context<never>())
        const serving = AmqpConsumer.startServing("q", () =>
          // As disposing the runtime does.
          Effect.as(Effect.promise(() => run(Scope.close(scope, Exit.void))), AmqpDelivery.ack), {
          drainTimeout: "3 seconds"
        })
        const { consumerTag, fiber } = yield* openConsumer(peer, Scope.provide(serving, scope))
        const end = yield* fork(yield* resultOf(fiber))
        yield* deliver(peer, consumerTag, 1)
        yield* peer.expectNothing
        yield* TestClock.adjust("3 seconds")
        yield* peer.closeChannel()
        yield* resultOf(end)
      })
    ))

  for (const concurrency of [1, 2]) {
    it.effect(`that interrupts its own fiber counts as failed, and the next message is handled (concurrency ${concurrency})`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const causes: Array<string> = []
          const serve = AmqpConsumer.serve("q", ({ deliveryTag }) =>
            deliveryTag === 1
              ? Effect.withFiber<AmqpDelivery.Settlement>((fiber) => {
                fiber.interruptUnsafe()
                return Effect.never
              })
              : Effect.succeed(AmqpDelivery.ack), {
            concurrency,
            onFailure: (cause) => Effect.as(Effect.sync(() => causes.push(String(cause))), AmqpDelivery.reject)
          })
          const { consumerTag, fiber } = yield* openConsumer(peer, serve)
          yield* deliver(peer, consumerTag, 1, 2)
          const tags = yield* peer.takeTags
          assert.sameMembers([...tags], ["basic.reject", "basic.ack"])
          assert.lengthOf(causes, 1)
          assert.include(causes[0], "Interrupt")
          yield* assertWaits(fiber)
        })
      ))
  }
})

describe("a consumer interrupted while it starts", () => {
  const steps = ["channel.open", "basic.qos", "basic.consume"] as const
  for (const step of steps) {
    it.effect(`sends no cancel and leaves no channel open, after ${step}`, () =>
      connected((peer, connection) =>
        Effect.gen(function*() {
          const fiber = yield* fork(Stream.runDrain(AmqpConsumer.stream("q")))
          const replies = { "channel.open": "channel.open-ok", "basic.qos": "basic.qos-ok" } as const
          for (const tag of steps) {
            const sent = yield* peer.expect(tag, 1)
            if (tag === step) break
            if (sent._tag !== "basic.consume" && tag !== "basic.consume") yield* peer.send(1, { _tag: replies[tag] })
          }
          const stopping = yield* fork(Fiber.interrupt(fiber))
          yield* peer.closeChannel()
          yield* resultOf(stopping)
          yield* peer.expectNothing
          assert.strictEqual(yield* connection.channelCount, 0)
        })
      ))
  }

  it.effect("sends no cancel for the consumer of another queue that still waits for its consume-ok", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, fiber } = yield* openConsumer(peer, Stream.runDrain(AmqpConsumer.stream(["a", "b"])))
        yield* peer.expect("basic.consume", 1)
        yield* peer.send(1, { _tag: "basic.cancel", consumerTag, noWait: true })
        yield* peer.expectNothing
        yield* fork(Fiber.interrupt(fiber))
        yield* peer.closeChannel()
        yield* exitOf(fiber)
      })
    ))
})

describe("a delivery for an unknown consumer", () => {
  it.effect("is requeued and logged, and the others are handled", () => {
    const logged: Array<string> = []
    const logger = Logger.make(({ message }) => void logged.push(String(message)))
    return connected((peer) =>
      Effect.gen(function*() {
        const serve = AmqpConsumer.serve("q", () => Effect.succeed(AmqpDelivery.ack))
        const { consumerTag } = yield* openConsumer(peer, serve)
        yield* peer.push(
          deliverBytes(1, consumerTag, 1, "a"),
          deliverBytes(1, "gone", 2, "b"),
          deliverBytes(1, consumerTag, 3, "c")
        )
        assert.deepStrictEqual(yield* peer.expect("basic.nack"), handedBack(2))
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(3, true))
        assert.include(logged.join(), "unknown consumer \"gone\" on channel 1")
      })
    ).pipe(Effect.provide(Logger.layer([logger])))
  })
})
