import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import { AmqpDecodeError } from "@effect-amqp/core/AmqpError"
import * as AmqpFailurePolicy from "@effect-amqp/core/AmqpFailurePolicy"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import { runInNewContext } from "node:vm"
import { wire } from "../../fixtures/wire.ts"
import {
  ack,
  assertWaits,
  bodyBytes,
  channelClose,
  connected,
  contentBytes,
  declareOk,
  deliverBytes,
  fork,
  handedBack,
  methodBytes,
  openConsumer,
  rejected,
  resultOf
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

/** A handler as JavaScript can pass it, or as `any` lets it compile. */
const untyped = (handler: (delivery: AmqpDelivery.ReceivedMessage) => unknown) =>
  handler as AmqpConsumer.Handler<string, never>

const revokedProxy = () => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

const unprintable = {
  get name(): string {
    throw new Error("no name")
  },
  get message(): string {
    throw new Error("no message")
  },
  toString: () => {
    throw new Error("no text")
  }
}

const logging = () => {
  const logged: Array<{ readonly level: string; readonly text: string; readonly annotations: object }> = []
  const logger = Logger.make(({ cause, fiber, logLevel, message }) => {
    const text = [message].flat().concat(cause.reasons.length > 0 ? [Cause.pretty(cause)] : []).join(" ")
    logged.push({ level: logLevel, text, annotations: fiber.getRef(References.CurrentLogAnnotations) })
  })
  return { logged, layer: Logger.layer([logger]) }
}

const silently = Effect.provide(Logger.layer([]))

/** Serves the queue `q` with a handler that counts its calls. */
const counting = (peer: Peer, handler: (delivery: AmqpDelivery.ReceivedMessage) => unknown, concurrency = 1) =>
  Effect.gen(function*() {
    const calls: Array<string> = []
    const serve = AmqpConsumer.serve(
      "q",
      untyped((delivery) => {
        calls.push(delivery.text)
        return handler(delivery)
      }),
      { concurrency }
    )
    const consumer = yield* openConsumer(peer, serve)
    return { ...consumer, calls }
  })

describe("the default failure policy", () => {
  const failures: ReadonlyArray<readonly [string, () => unknown]> = [
    ["fails", () => Effect.fail("no")],
    ["dies", () => Effect.die(new Error("no"))],
    ["is interrupted", () => Effect.interrupt],
    ["throws", () => {
      throw new Error("no")
    }],
    ["returns nothing", () => undefined],
    ["returns null", () => null],
    ["returns a Promise", () => Promise.resolve(AmqpDelivery.ack)],
    ["returns a rejected Promise", () => Promise.reject(new Error("no"))],
    ["returns a settlement without an Effect", () => AmqpDelivery.ack],
    [
      "succeeds with parsed JSON",
      ({ text }: { readonly text: string } = { text: `{"_tag":"Ack"}` }) =>
        Effect.sync(() => JSON.parse(text) as unknown)
    ],
    ["succeeds with null", () => Effect.succeed(null)],
    ["succeeds with undefined", () => Effect.void],
    ["succeeds with an object like a settlement", () => Effect.succeed({ _tag: "Reject", value: undefined })],
    ["succeeds with a copy of a settlement", () => Effect.succeed({ ...AmqpDelivery.ack })],
    ["succeeds with what only a policy may return", () => Effect.succeed(AmqpFailurePolicy.requeueAfter(0))],
    ["succeeds with a rejected Promise", () => Effect.sync(() => Promise.reject(new Error("no")))],
    [
      "succeeds with a Promise of another realm",
      () => Effect.sync(() => runInNewContext("Promise.reject(new Error('no'))"))
    ],
    ["succeeds with a revoked proxy", () => Effect.sync(revokedProxy)],
    ["returns a revoked proxy", revokedProxy],
    ["continues with what is not an Effect", () => Effect.flatMap(Effect.void, () => undefined as never)],
    ["fails with an unprintable error", () => Effect.fail(unprintable)]
  ]
  for (const concurrency of [1, 3]) {
    for (const [what, handler] of failures) {
      it.effect(`K5: calls a handler that ${what} five times, with pauses, then requeues the message (concurrency ${concurrency})`, () =>
        connected((peer) =>
          Effect.gen(function*() {
            const { calls, consumerTag, fiber } = yield* counting(peer, () => handler(), concurrency)
            yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
            yield* peer.expectNothing
            for (const [index, pause] of [100, 400, 1600, 6400].entries()) {
              assert.lengthOf(calls, index + 1)
              yield* TestClock.adjust(pause - 1)
              yield* peer.expectNothing
              assert.lengthOf(calls, index + 1)
              yield* TestClock.adjust(1)
              yield* peer.expectNothing
            }
            assert.lengthOf(calls, 5)
            yield* TestClock.adjust("59999 millis")
            yield* peer.expectNothing
            yield* TestClock.adjust("1 millis")
            assert.deepStrictEqual(yield* peer.expect("basic.nack"), handedBack(1))
            assert.lengthOf(calls, 5)
            yield* assertWaits(fiber)
          })
        ).pipe(silently))
    }
  }

  it.effect("keeps the order during its pauses, and handles later messages once it has given up", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { calls, consumerTag } = yield* counting(
          peer,
          ({ text }) => text === "bad" ? Effect.fail("no") : Effect.succeed(AmqpDelivery.ack)
        )
        yield* peer.push(deliverBytes(1, consumerTag, 1, "bad"), deliverBytes(1, consumerTag, 2, "good"))
        yield* TestClock.adjust("8499 millis")
        yield* peer.expectNothing
        assert.deepStrictEqual(calls, ["bad", "bad", "bad", "bad"])
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2))
        assert.deepStrictEqual(calls, ["bad", "bad", "bad", "bad", "bad", "good"])
      })
    ).pipe(silently))

  it.effect("gives up at once on a message that can't be decoded", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const error = new AmqpDecodeError({ problem: "Json", part: "body", description: "it is not JSON" })
        const { calls, consumerTag } = yield* counting(peer, () => Effect.fail(error))
        yield* peer.push(deliverBytes(1, consumerTag, 1, "?"))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* peer.expect("basic.nack"), handedBack(1))
        assert.lengthOf(calls, 1)
      })
    ).pipe(silently))

  it.effect("C9, K7: treats a message with unreadable properties like any other", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag } = yield* counting(
          peer,
          ({ properties }) =>
            Effect.succeed(properties.headers === undefined ? AmqpDelivery.ack : AmqpDelivery.requeue),
          2
        )
        const method = { _tag: "basic.deliver", consumerTag, redelivered: true, exchange: "", routingKey: "q" } as const
        yield* peer.push(
          methodBytes(1, { ...method, deliveryTag: 1 }),
          // A header with the field type `z`, which does not exist.
          wire(`02 0001 00000016 003c 0000 0000000000000001 2000 00000004 01"a" "z" 00 ce`),
          bodyBytes(1, wire(`"m"`)),
          deliverBytes(1, consumerTag, 2, "m")
        )
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2))
        yield* TestClock.adjust("70 seconds")
        assert.deepStrictEqual(yield* peer.expect("basic.nack"), handedBack(1))
      })
    ).pipe(silently))

  it.effect("logs each failure with the queue, the message's id, the attempt and advice", () => {
    const { layer, logged } = logging()
    return connected((peer) =>
      Effect.gen(function*() {
        const serve = AmqpConsumer.serve("q", () => Effect.fail(new RangeError("out of stock")))
        const { consumerTag } = yield* openConsumer(peer, serve)
        yield* peer.push(contentBytes(
          1,
          { _tag: "basic.deliver", consumerTag, deliveryTag: 1, redelivered: false, exchange: "", routingKey: "q" },
          "m",
          { messageId: "order-7" }
        ))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(logged.map(({ level }) => level), ["Warn", "Warn", "Warn", "Warn", "Error"])
        for (const [index, { annotations, text }] of logged.entries()) {
          assert.include(text, "The message \"order-7\" from the queue \"q\" was not handled")
          assert.include(text, "RangeError: out of stock")
          assert.notInclude(text, "[object")
          assert.notInclude(text, "dead-lettered")
          assert.deepInclude(annotations, { queue: "q", messageId: "order-7", attempt: index + 1 })
        }
        assert.include(logged[0].text, "is retried in 100ms (attempt 1 of 5 failed)")
        assert.include(logged[4].text, "stays in its queue")
        assert.include(logged[4].text, "describe the queue with a deadLetterExchange, or set onFailure")
        yield* TestClock.adjust("1 minute")
        yield* peer.expect("basic.nack")
      })
    ).pipe(Effect.provide(layer))
  })

  it.effect("continues after a logger has died of an unprintable error", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, fiber } = yield* counting(
          peer,
          ({ text }) => text === "bad" ? Effect.fail(unprintable) : Effect.succeed(AmqpDelivery.ack)
        )
        yield* peer.push(deliverBytes(1, consumerTag, 1, "bad"), deliverBytes(1, consumerTag, 2, "good"))
        yield* TestClock.adjust("9 seconds")
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* peer.expect("basic.nack"), handedBack(1))
        yield* assertWaits(fiber)
      })
    ).pipe(Effect.provide(logging().layer)))

  for (const concurrency of [1, 2]) {
    it.effect(`tries again when the message's fiber is interrupted during a pause (concurrency ${concurrency})`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
          const { calls, consumerTag } = yield* counting(peer, () =>
            Effect.withFiber((fiber) => {
              fibers.push(fiber)
              return fibers.length === 1 ? Effect.fail("no") : Effect.succeed(AmqpDelivery.ack)
            }), concurrency)
          yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
          yield* TestClock.adjust("50 millis")
          fibers[0]?.interruptUnsafe()
          yield* TestClock.adjust("100 millis")
          assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(1))
          yield* peer.push(deliverBytes(1, consumerTag, 2, "next"))
          assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2))
          assert.deepStrictEqual(calls, ["m", "m", "next"])
        })
      ).pipe(silently))
  }

  it.effect("ends its pauses at an ordered stop, and the message is requeued", () =>
    connected((peer) =>
      Effect.gen(function*() {
        for (const wait of ["50 millis", "20 seconds"] as const) {
          const { consumerTag, fiber } = yield* counting(peer, () => Effect.fail("no"))
          yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
          yield* TestClock.adjust(wait)
          const stopping = yield* fork(Fiber.interrupt(fiber))
          // Closing the channel requeues it.
          yield* peer.closeChannel()
          yield* resultOf(stopping)
        }
      })
    ).pipe(silently))
})

describe("a copy for the dead-letter exchange", () => {
  const dead = { deadLetterExchange: "dlx", deadLetterRoutingKey: "dead" }

  /** Serves a described queue on channel 1, and fails with its first message. */
  const failing = (
    peer: Peer,
    onFailure: AmqpFailurePolicy.AmqpFailurePolicy<unknown> = AmqpFailurePolicy.deadLetter
  ) =>
    Effect.gen(function*() {
      const serve = AmqpConsumer.serve(AmqpQueue.classic("q", dead), () => Effect.fail("no"), { onFailure })
      const fiber = yield* fork(serve)
      yield* peer.openChannel()
      yield* peer.answer(1, "queue.declare", declareOk("q"))
      yield* peer.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
      const { consumerTag } = yield* peer.expect("basic.consume", 1)
      yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag })
      // The channel for copies is opened with the first copy.
      yield* peer.expectNothing
      yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
      yield* peer.openChannel(2)
      yield* peer.answer(2, "confirm.select", { _tag: "confirm.select-ok" })
      const copy = yield* peer.expectPublish("m", 2)
      return { consumerTag, fiber, copy }
    })

  it.effect("is published as mandatory on its own channel, and confirmed before the original is acknowledged", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { copy, fiber } = yield* failing(peer)
        assert.deepStrictEqual([copy.exchange, copy.routingKey, copy.mandatory], ["dlx", "dead", true])
        assert.deepInclude(copy.properties.headers, { "x-failure-count": 1, "x-failure-queue": "q" })
        yield* peer.expectNothing
        yield* peer.send(2, ack(1))
        assert.deepStrictEqual(yield* peer.expect("basic.ack", 1), ack(1))
        const stopping = yield* fork(Fiber.interrupt(fiber))
        const { consumerTag } = yield* peer.expect("basic.cancel", 1)
        yield* peer.send(1, { _tag: "basic.cancel-ok", consumerTag })
        const closed = yield* Effect.map(peer.next, (next) => next?.channel ?? 0)
        yield* peer.send(closed, { _tag: "channel.close-ok" })
        const last = yield* Effect.map(peer.next, (next) => next?.channel ?? 0)
        yield* peer.send(last, { _tag: "channel.close-ok" })
        yield* resultOf(stopping)
        assert.sameMembers([closed, last], [1, 2])
      })
    ).pipe(silently))

  const copyFailures: ReadonlyArray<readonly [string, (peer: Peer) => Effect.Effect<unknown>]> = [
    ["is nacked", (peer) => peer.send(2, { ...handedBack(1), requeue: false })],
    [
      "is returned",
      (peer) =>
        peer.push(
          contentBytes(
            2,
            { _tag: "basic.return", replyCode: 312, replyText: "NO_ROUTE", exchange: "dlx", routingKey: "dead" },
            "m",
            {}
          ),
          methodBytes(2, ack(1))
        )
    ],
    [
      "closes its channel",
      (peer) => Effect.andThen(peer.send(2, channelClose(404, "no exchange")), peer.expect("channel.close-ok", 2))
    ]
  ]
  for (const [what, failCopy] of copyFailures) {
    it.effect(`that ${what} has the original requeued a minute later`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          yield* failing(peer)
          yield* failCopy(peer)
          yield* peer.expectNothing
          yield* TestClock.adjust("59999 millis")
          yield* peer.expectNothing
          yield* TestClock.adjust("1 millis")
          assert.deepStrictEqual(yield* peer.expect("basic.nack", 1), handedBack(1))
        })
      ).pipe(silently))
  }
})

describe("onFailure", () => {
  const mistakes: ReadonlyArray<readonly [string, () => unknown]> = [
    ["throws", () => {
      throw new Error("a mistake")
    }],
    ["dies", () => Effect.die("a mistake")],
    ["is interrupted", () => Effect.interrupt],
    ["returns nothing", () => undefined],
    ["returns a Promise", () => Promise.resolve(AmqpDelivery.reject)],
    ["succeeds with an object like a settlement", () => Effect.succeed({ _tag: "Reject", value: undefined })],
    ["succeeds with undefined", () => Effect.void]
  ]
  for (const concurrency of [1, 2]) {
    for (const [what, mistake] of mistakes) {
      it.effect(`K5: that ${what} is logged, and the default policy applies (concurrency ${concurrency})`, () => {
        const { layer, logged } = logging()
        // As for handlers.
        const onFailure = mistake as AmqpFailurePolicy.AmqpFailurePolicy<unknown>
        return connected((peer) =>
          Effect.gen(function*() {
            const serve = AmqpConsumer.serve("q", () => Effect.fail("no"), { concurrency, onFailure })
            const { consumerTag, fiber } = yield* openConsumer(peer, serve)
            yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
            yield* TestClock.adjust("9 seconds")
            yield* peer.expectNothing
            yield* TestClock.adjust("1 minute")
            assert.deepStrictEqual(yield* peer.expect("basic.nack"), handedBack(1))
            assert.include(logged[0].text, "The policy onFailure failed, so the default policy decides")
            yield* assertWaits(fiber)
          })
        ).pipe(Effect.provide(layer))
      })
    }
  }

  it.effect("retries in place with the pauses of a list or a schedule", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const policies = [
          AmqpFailurePolicy.retryInPlace({ pauses: ["1 second", "2 seconds"], otherwise: AmqpFailurePolicy.reject }),
          AmqpFailurePolicy.retryInPlace({
            pauses: Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 2 })),
            otherwise: AmqpFailurePolicy.reject
          })
        ]
        for (const onFailure of policies) {
          let calls = 0
          const serve = AmqpConsumer.serve("q", () => Effect.suspend(() => Effect.fail(++calls)), { onFailure })
          const { consumerTag, fiber } = yield* openConsumer(peer, serve)
          yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
          yield* peer.expectNothing
          yield* TestClock.adjust("1 second")
          yield* peer.expectNothing
          assert.strictEqual(calls, 2)
          yield* TestClock.adjust("2 seconds")
          assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, false))
          assert.strictEqual(calls, 3)
          const stopping = yield* fork(Fiber.interrupt(fiber))
          yield* peer.closeChannel()
          yield* resultOf(stopping)
        }
      })
    ).pipe(silently))

  it("has its options checked when it is made", () => {
    for (const pause of [-1, Number.NaN, Infinity, 2 ** 31]) {
      assert.throws(() => AmqpFailurePolicy.retryInPlace({ pauses: [1, pause] }), /pauses: must be/)
      assert.throws(() => AmqpFailurePolicy.retryAfter(pause), /pause: must be/)
      assert.throws(() => AmqpFailurePolicy.requeueAfter(pause), /pause: must be/)
      assert.throws(() => AmqpFailurePolicy.deadLetterWith({ holdFor: pause }), /holdFor: must be/)
    }
    assert.throws(() => AmqpFailurePolicy.deadLetterWith({ holdFor: 0 }), /holdFor: must be/)
    // JavaScript, or a variable of another type, can pass this.
    const wrong: object = { delay: ["1 second"] }
    assert.throws(() => AmqpFailurePolicy.retryInPlace(wrong), /options of retryInPlace: there is no "delay"/)
    assert.throws(() => AmqpFailurePolicy.deadLetterWith(wrong), /options of deadLetterWith: there is no "delay"/)
    assert.throws(
      () => AmqpFailurePolicy.forward(AmqpQueue.route("q"), wrong),
      /options of forward: there is no "delay"/
    )
    assert.throws(
      () => AmqpFailurePolicy.retry(wrong as AmqpFailurePolicy.RetryOptions<unknown>),
      /options of retry: there is no "delay"; did you mean "delays"/
    )
    const untyped = (options: unknown) => options as AmqpFailurePolicy.RetryOptions<unknown>
    assert.throws(() => AmqpFailurePolicy.retry(untyped({})), /delays: must be a list/)
    assert.throws(() => AmqpFailurePolicy.retry(untyped({ delays: "1 second" })), /delays: must be a list/)
    assert.throws(
      () => AmqpFailurePolicy.retry(untyped({ delays: [], otherwise: "reject" })),
      /otherwise: must be a function/
    )
    assert.throws(() => AmqpFailurePolicy.retryInPlace(untyped({ pauses: 5 })), /pauses: must be a list/)
    assert.throws(() => AmqpFailurePolicy.retryInPlace(untyped({ otherwise: null })), /otherwise: must be a function/)
    // Untyped code can pass these.
    for (const none of [null, 5, true, "fast"]) {
      const options = none as unknown as object
      assert.throws(() => AmqpFailurePolicy.retryInPlace(options), /options of retryInPlace: must be an object/)
      assert.throws(() => AmqpFailurePolicy.deadLetterWith(options), /options of deadLetterWith: must be an object/)
      assert.throws(
        () => AmqpFailurePolicy.retry(options as AmqpFailurePolicy.RetryOptions<unknown>),
        /options of retry: must be/
      )
      const list = none as unknown as ReadonlyArray<number>
      assert.throws(() => AmqpFailurePolicy.retryInPlace({ pauses: list }), /pauses: must be a list or a Schedule/)
      assert.throws(() => AmqpFailurePolicy.retry({ delays: list }), /delays: must be a list or a Schedule/)
    }
    assert.throws(
      () => AmqpFailurePolicy.forward({ exchang: "x" } as unknown as AmqpFailurePolicy.Destination),
      /exchange: must be a name or a description made by AmqpExchange/
    )
  })
})

describe("the scope of a message", () => {
  it.effect("closes after the handler has ended, before the settlement is sent", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const events: Array<string> = []
        const serve = AmqpConsumer.serve("q", ({ text }) =>
          Effect.acquireRelease(
            Effect.sync(() => events.push(`${text} acquired`)),
            () => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => events.push(`${text} released`)))
          ).pipe(Effect.as(AmqpDelivery.ack)))
        const { consumerTag } = yield* openConsumer(peer, serve)
        yield* peer.push(deliverBytes(1, consumerTag, 1, "a"), deliverBytes(1, consumerTag, 2, "b"))
        yield* peer.expectNothing
        assert.deepStrictEqual(events, ["a acquired"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(1))
        assert.deepStrictEqual(events, ["a acquired", "a released", "b acquired"])
        yield* TestClock.adjust("1 second")
        yield* peer.expect("basic.ack")
      })
    ))

  it.effect("closes when the handler fails, before it is called again", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const events: Array<string> = []
        const serve = AmqpConsumer.serve("q", () =>
          Effect.andThen(
            Effect.addFinalizer(() => Effect.sync(() => events.push("released"))),
            Effect.suspend(() => events.push("called") < 3 ? Effect.fail("no") : Effect.succeed(AmqpDelivery.ack))
          ))
        const { consumerTag } = yield* openConsumer(peer, serve)
        yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
        yield* TestClock.adjust("100 millis")
        yield* peer.expect("basic.ack")
        assert.deepStrictEqual(events, ["called", "released", "called", "released"])
      })
    ).pipe(silently))

  it.effect("is part of the handler: a finalizer that dies is a failure", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const serve = AmqpConsumer.serve(
          "q",
          () => Effect.as(Effect.addFinalizer(() => Effect.die("stuck")), AmqpDelivery.ack),
          { onFailure: AmqpFailurePolicy.reject }
        )
        const { consumerTag } = yield* openConsumer(peer, serve)
        yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
        assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, false))
      })
    ).pipe(silently))
})
