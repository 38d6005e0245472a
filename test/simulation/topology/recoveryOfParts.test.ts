import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import {
  assertWaits,
  channelClose,
  declare,
  declareOk,
  deliverBytes,
  failureOf,
  fork,
  resultOf
} from "../../support/scriptedPeer.ts"
import { afterASecond } from "../consuming/recoverySupport.ts"
import {
  boundTo,
  described,
  different,
  events,
  noExchange,
  onNextSession,
  passing,
  recovering,
  serve,
  serveParts,
  server,
  withoutEvents
} from "./partsSupport.ts"
import type { Exceptions, Failed } from "./partsSupport.ts"

describe("a binding to an exchange that can't be declared yet", () => {
  it.effect("of a queue is tried again when the exchange is declared", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const topology = AmqpTopology.make(AmqpQueue.classic("q").pipe(boundTo(events)))
        const { failures, next } = yield* onNextSession(parts, topology)
        yield* serve(next, withoutEvents())
        const reported: Array<Failed> = [["events", "ResourceError", true], ["q", "NotFound", true]]
        assert.deepStrictEqual(failures, reported)
        // Only the exchange is worth another attempt.
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* serveParts(next, withoutEvents()), ["exchange.declare events"])
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* serveParts(next), [
          "exchange.declare events",
          "queue.declare q",
          "queue.bind q events"
        ])
        assert.deepStrictEqual(failures, reported)
        yield* TestClock.adjust("10 minutes")
        assert.deepStrictEqual(yield* serveParts(next), [])
      })
    ))

  for (
    const [end, topology] of [
      ["source", AmqpTopology.make(AmqpExchange.fanout("e").pipe(AmqpExchange.withBinding({ source: events })))],
      ["destination", AmqpTopology.make(events.pipe(AmqpExchange.withBinding({ source: AmqpExchange.fanout("e") })))]
    ] as const
  ) {
    it.effect(`which is its ${end}, is tried again when the exchange is declared`, () =>
      recovering((parts) =>
        Effect.gen(function*() {
          const { failures, next } = yield* onNextSession(parts, topology)
          yield* serve(next, withoutEvents())
          const bound = end === "source" ? "e" : "events"
          assert.deepStrictEqual(failures, [["events", "ResourceError", true], [bound, "NotFound", true]])
          yield* TestClock.adjust("10 seconds")
          assert.deepStrictEqual(yield* serveParts(next), [
            "exchange.declare events",
            end === "source" ? "exchange.bind e events" : "exchange.bind events e"
          ])
          assert.lengthOf(failures, 2)
        })
      ))
  }

  it.effect("is tried again if the exchange is declared while the refusal is on its way", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const topology = AmqpTopology.make(AmqpQueue.classic("q").pipe(boundTo(events)))
        const { failures, next } = yield* onNextSession(parts, topology)
        yield* serve(next, (method) => method._tag === "queue.bind" ? "no answer" : withoutEvents()(method))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* serveParts(next), ["exchange.declare events"])
        yield* next.send(1, noExchange)
        assert.deepStrictEqual(yield* serveParts(next), ["queue.declare q", "queue.bind q events"])
        assert.deepStrictEqual(failures, [["events", "ResourceError", true], ["q", "NotFound", true]])
      })
    ))

  for (
    const [what, schedule, refusal, reason] of [
      ["its schedule has ended", Schedule.upTo(Schedule.spaced("10 seconds"), { times: 1 }), passing, "ResourceError"],
      ["it exists with another type", Schedule.spaced("10 seconds"), different, "PreconditionFailed"]
    ] as const
  ) {
    it.effect(`is given up after the exchange, because ${what}`, () =>
      recovering((parts) =>
        Effect.gen(function*() {
          const topology = AmqpTopology.make(AmqpQueue.classic("q").pipe(boundTo(events)))
          const { failures, next } = yield* onNextSession(parts, topology, schedule)
          yield* serve(next, withoutEvents())
          failures.length = 0
          yield* TestClock.adjust("10 seconds")
          yield* serve(next, withoutEvents(refusal))
          assert.deepStrictEqual(failures, [["events", reason, false], ["q", "NotFound", false]])
          yield* TestClock.adjust("10 minutes")
          assert.deepStrictEqual(yield* serve(next), [])
        })
      ))
  }

  it.effect("does not wait for another exchange that the queue is bound to", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const others = AmqpExchange.fanout("others")
        const topology = AmqpTopology.make(AmqpQueue.classic("q").pipe(boundTo(events), boundTo(others)))
        const { failures, next } = yield* onNextSession(parts, topology)
        const withoutOthers: Exceptions = (method) => {
          if (method._tag === "exchange.declare" && method.exchange === "others") return passing
          return method._tag === "queue.bind" && method.exchange === "others" ? noExchange : undefined
        }
        yield* serve(next, (method) => withoutEvents()(method) ?? withoutOthers(method))
        yield* TestClock.adjust("10 seconds")
        const bound = yield* serveParts(next, withoutOthers)
        assert.deepStrictEqual(bound.slice(-3), ["queue.declare q", "queue.bind q events", "queue.bind q others"])
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* serveParts(next), [
          "exchange.declare others",
          "queue.declare q",
          "queue.bind q events",
          "queue.bind q others"
        ])
        assert.deepStrictEqual(failures.map(([part, , willRetry]) => [part, willRetry]), [
          ["events", true],
          ["others", true],
          ["q", true]
        ])
      })
    ))

  it.effect("does not declare a server-named queue twice", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { next } = yield* onNextSession(parts, AmqpTopology.make(AmqpQueue.serverNamed().pipe(boundTo(events))))
        yield* serve(next, withoutEvents())
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* serveParts(next), ["exchange.declare events", "queue.bind amq.gen-1 events"])
      })
    ))

  it.effect("of a queue of another topology is tried again when the exchange is declared", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const queue = AmqpQueue.classic("q").pipe(boundTo("events"))
        const topologies = [AmqpTopology.make(queue), AmqpTopology.make(events)]
        const { failures, next } = yield* onNextSession(parts, topologies)
        yield* serve(next, withoutEvents())
        assert.deepStrictEqual(failures, [["events", "ResourceError", true], ["q", "NotFound", true]])
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* serveParts(next), [
          "exchange.declare events",
          "queue.declare q",
          "queue.bind q events"
        ])
        assert.lengthOf(failures, 2)
      })
    ))

  it.effect("waits for the first topology that declares the exchange, if several do", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const queue = AmqpQueue.classic("q").pipe(boundTo("events"))
        const topologies = [AmqpTopology.make(events), AmqpTopology.make(events), AmqpTopology.make(queue)]
        const { failures, next } = yield* onNextSession(parts, topologies)
        yield* serve(next, withoutEvents())
        yield* TestClock.adjust("10 seconds")
        let declared = 0
        const secondOnly: Exceptions = (method) =>
          method._tag === "exchange.declare" && ++declared === 1 ? different : undefined
        const sent = yield* serveParts(next, secondOnly)
        assert.deepStrictEqual(sent.slice(0, 2), ["exchange.declare events", "exchange.declare events"])
        assert.includeMembers(sent, ["queue.bind q events"])
        assert.deepStrictEqual(failures.filter(([part]) => part === "q"), [["q", "NotFound", true]])
      })
    ))

  it.effect("of a consumer's queue is tried again for as long as the exchange is", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const queue = AmqpQueue.classic("q").pipe(boundTo("events"))
        const consuming = yield* fork(AmqpConsumer.serve(queue, () => Effect.succeed(AmqpDelivery.ack), afterASecond))
        yield* serve(parts.peer)
        const { next } = yield* onNextSession(parts, AmqpTopology.make(events))
        yield* serve(next, withoutEvents())
        for (let second = 1; second < 10; second++) {
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(yield* serveParts(next, withoutEvents()), ["queue.declare q", "queue.bind q events"])
        }
        yield* TestClock.adjust("1 second")
        const sent = yield* serveParts(next)
        assert.includeMembers(sent, ["exchange.declare events", "queue.bind q events"])
        assert.deepStrictEqual(sent.slice(-1), ["basic.consume q"])
        yield* assertWaits(consuming)
      })
    ))

  it.effect("of a consumer's queue ends the consumer after three attempts once the exchange is given up", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const queue = AmqpQueue.classic("q").pipe(boundTo("events"))
        const consuming = yield* fork(AmqpConsumer.serve(queue, () => Effect.succeed(AmqpDelivery.ack), afterASecond))
        yield* serve(parts.peer)
        const { next } = yield* onNextSession(parts, AmqpTopology.make(events))
        yield* serve(next, withoutEvents())
        for (let second = 0; second < 15; second++) {
          yield* TestClock.adjust("1 second")
          yield* serve(next, withoutEvents(different))
        }
        const error = yield* failureOf(consuming)
        assert.strictEqual(error._tag === "AmqpChannelError" ? error.reason._tag : error._tag, "NotFound")
      })
    ))

  it.effect("of a consumer's queue is tried again while the broker has not answered for the exchange", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const queue = AmqpQueue.classic("q").pipe(boundTo("events"))
        const consuming = yield* fork(AmqpConsumer.serve(queue, () => Effect.succeed(AmqpDelivery.ack), afterASecond))
        yield* serve(parts.peer)
        const others = Array.from({ length: 5 }, (_, index) => AmqpExchange.fanout(`e${index}`))
        const { failures, next } = yield* onNextSession(parts, AmqpTopology.make(...others, events))
        const unanswered: Exceptions = (method) =>
          method._tag === "exchange.declare" ? "no answer" : withoutEvents()(method)
        const noted: Array<string> = []
        for (let second = 0; second < 34; second++) {
          noted.push(...yield* serveParts(next, unanswered))
          yield* TestClock.adjust("1 second")
        }
        assert.isAtLeast(noted.filter((method) => method === "queue.bind q events").length, 4)
        yield* assertWaits(consuming)
        for (let second = 0; second < 30; second++) {
          noted.push(...yield* serveParts(next))
          yield* TestClock.adjust("1 second")
        }
        assert.deepStrictEqual(noted.filter((method) => method.startsWith("basic")), ["basic.consume q"])
        assert.isTrue(failures.every(([, reason, willRetry]) => reason === "RequestTimeout" && willRetry))
      })
    ))

  it.effect("is tried again on a few channels, however many there are", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const queues = Array.from({ length: 40 }, (_, index) => AmqpQueue.classic(`q${index}`).pipe(boundTo(events)))
        const { next } = yield* onNextSession(parts, AmqpTopology.make(...queues))
        yield* serve(next, withoutEvents())
        yield* TestClock.adjust("10 seconds")
        const sent = yield* serve(next)
        assert.lengthOf(sent.filter(([, method]) => method.startsWith("queue.bind")), 40)
        assert.isAtMost(Math.max(...sent.map(([channel]) => channel)), 8)
      })
    ))
})

describe("a part of a topology without an answer", () => {
  const quorums = (count: number) =>
    AmqpTopology.make(...Array.from({ length: count }, (_, index) => AmqpQueue.quorum(`q${index}`)))

  it.effect("delays the next for a second, and the announcement of the connection until it is answered", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { failures, next } = yield* onNextSession(parts, quorums(3))
        const program = yield* fork(declare("mine"))
        const stuck: Exceptions = (method) => described(method) === "queue.declare q0" ? "no answer" : undefined
        assert.deepStrictEqual(yield* serveParts(next, stuck), ["queue.declare q0"])
        yield* TestClock.adjust("999 millis")
        assert.deepStrictEqual(yield* serve(next), [])
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* serve(next), [
          [2, "channel.open"],
          [2, "queue.declare q1"],
          [2, "channel.close"],
          [2, "channel.open"],
          [2, "queue.declare q2"],
          [2, "channel.close"]
        ])
        yield* TestClock.adjust("20 seconds")
        assert.deepStrictEqual(yield* serve(next), [])
        yield* assertWaits(program)
        yield* next.send(1, declareOk("q0"))
        assert.deepStrictEqual(yield* serveParts(next), ["queue.declare mine"])
        yield* resultOf(program)
        assert.deepStrictEqual(failures, [])
      })
    ))

  it.effect("does not delay the announcement for longer than requestTimeout, and is declared when its answer comes later", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { failures, next } = yield* onNextSession(
          parts,
          AmqpTopology.make(AmqpQueue.classic("q").pipe(boundTo("events")))
        )
        const program = yield* fork(declare("mine"))
        yield* next.openChannel()
        yield* next.expect("queue.declare", 1)
        yield* TestClock.adjust("20 seconds")
        yield* next.send(1, declareOk("q"))
        // The part as a whole takes too long, and this request does not.
        yield* next.expect("queue.bind", 1)
        yield* TestClock.adjust("9999 millis")
        yield* next.expectNothing
        yield* assertWaits(program)
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* serveParts(next), ["queue.declare mine"])
        yield* resultOf(program)
        yield* TestClock.adjust("10 seconds")
        yield* next.send(1, { _tag: "queue.bind-ok" })
        assert.deepStrictEqual(yield* serve(next), [[1, "channel.close"]])
        assert.deepStrictEqual(failures, [])
      })
    ))

  it.effect("is reported and tried again after requestTimeout, when the connection is announced without it", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { failures, next } = yield* onNextSession(parts, quorums(1))
        const program = yield* fork(declare("mine"))
        const stuck: Exceptions = (method) => described(method) === "queue.declare q0" ? "no answer" : undefined
        assert.deepStrictEqual(yield* serveParts(next, stuck), ["queue.declare q0"])
        yield* TestClock.adjust("29999 millis")
        assert.deepStrictEqual(yield* serve(next), [])
        yield* assertWaits(program)
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* serveParts(next), ["queue.declare mine"])
        yield* resultOf(program)
        assert.deepStrictEqual(failures, [["q0", "RequestTimeout", true]])
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* serveParts(next), ["queue.declare q0"])
        assert.lengthOf(failures, 1)
      })
    ))

  it.effect("is one that has had none for a second, and not a queue with many bindings", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const many = AmqpQueue.classic("many").pipe(
          AmqpQueue.withBinding({ exchange: "amq.topic", routingKey: "a" }),
          AmqpQueue.withBinding({ exchange: "amq.topic", routingKey: "b" })
        )
        const { next } = yield* onNextSession(parts, AmqpTopology.make(many, AmqpQueue.classic("next")))
        yield* next.openChannel()
        yield* TestClock.adjust("900 millis")
        yield* next.answer(1, "queue.declare", declareOk("many"))
        yield* TestClock.adjust("900 millis")
        yield* next.answer(1, "queue.bind", { _tag: "queue.bind-ok" })
        yield* next.expect("queue.bind", 1)
        yield* TestClock.adjust("999 millis")
        yield* next.expectNothing
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* serveParts(next), ["queue.declare next"])
        yield* next.send(1, { _tag: "queue.bind-ok" })
        yield* next.closeChannel(1)
      })
    ))

  it.effect("takes a channel of its own, but at most 8 of them do at a time", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { next } = yield* onNextSession(parts, quorums(16))
        const stuck: Exceptions = ({ _tag }) => _tag === "queue.declare" ? "no answer" : undefined
        yield* serve(next, stuck)
        for (let second = 1; second <= 8; second++) {
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(yield* serveParts(next, stuck), [`queue.declare q${second}`])
        }
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* serve(next), [])
        yield* next.send(3, declareOk("q2"))
        assert.deepStrictEqual(yield* serveParts(next, stuck), ["queue.declare q9"])
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* serve(next), [])
      })
    ))
})

describe("a queue of a topology", () => {
  it.effect("whose node is down on a new connection is tried again", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { failures, next } = yield* onNextSession(parts, AmqpTopology.make(AmqpQueue.classic("q")))
        const down = channelClose(
          404,
          "NOT_FOUND - home node 'rabbit@b' of durable queue 'q' in vhost '/' is down or inaccessible"
        )
        const isDown: Exceptions = ({ _tag }) => _tag === "queue.declare" ? down : undefined
        assert.deepStrictEqual(yield* serveParts(next, isDown), ["queue.declare q"])
        assert.deepStrictEqual(failures, [["q", "NotFound", true]])
        for (const answers of [isDown, undefined]) {
          yield* TestClock.adjust("9999 millis")
          assert.deepStrictEqual(yield* serve(next), [])
          yield* TestClock.adjust("1 millis")
          assert.deepStrictEqual(yield* serveParts(next, answers), ["queue.declare q"])
        }
        yield* TestClock.adjust("10 minutes")
        assert.deepStrictEqual(yield* serve(next), [])
        assert.lengthOf(failures, 1)
      })
    ))

  const otherType = channelClose(
    406,
    "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'refused' in vhost '/'"
  )
  const isRefused: Exceptions = (method) => described(method) === "queue.declare refused" ? otherType : undefined

  it.effect("B8: which exists with other arguments is declared once on each connection", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { network } = parts
        const topology = AmqpTopology.make(AmqpQueue.classic("refused"), AmqpQueue.classic("other"))
        const { failures, next } = yield* onNextSession(parts, topology)
        let peer = next
        for (const session of [2, 3]) {
          const declared = [...yield* serveParts(peer, isRefused)]
          for (let count = 0; count < 60; count++) {
            yield* TestClock.adjust("10 seconds")
            declared.push(...yield* serveParts(peer, isRefused))
          }
          assert.deepStrictEqual(declared, ["queue.declare refused", "queue.declare other"])
          assert.deepStrictEqual(failures.splice(0), [["refused", "PreconditionFailed", false]])
          if (session === 3) return
          yield* peer.hangUp
          yield* TestClock.adjust("1 second")
          peer = yield* network.serve(server)
        }
      })
    ))

  it.effect("B9: which is refused on a new connection does not keep a consumer of another queue from consuming again", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const handled: Array<string> = []
        const consuming = yield* fork(AmqpConsumer.serve(AmqpQueue.classic("q"), ({ text }) =>
          Effect.sync(() => {
            handled.push(text)
            return AmqpDelivery.ack
          }), { consumerTag: "c" }))
        yield* serve(parts.peer)
        const topology = AmqpTopology.make(AmqpQueue.classic("refused"), AmqpQueue.classic("other"))
        const { failures, next } = yield* onNextSession(parts, topology)
        assert.deepStrictEqual(yield* serveParts(next, isRefused), [
          "queue.declare refused",
          "queue.declare other",
          "queue.declare q",
          "basic.consume q"
        ])
        assert.deepStrictEqual(failures, [["refused", "PreconditionFailed", false]])
        yield* next.push(deliverBytes(1, "c", 1, "hello"))
        yield* next.expect("basic.ack", 1)
        assert.deepStrictEqual(handled, ["hello"])
        yield* assertWaits(consuming)
      })
    ))

  it.effect("that fails again and again is tried by default after random parts of 250 milliseconds, doubled up to 30 seconds", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { next } = yield* onNextSession(parts, AmqpTopology.make(AmqpQueue.classic("q")), "default")
        const isUnavailable: Exceptions = ({ _tag }) => _tag === "queue.declare" ? passing : undefined
        yield* serveParts(next, isUnavailable)
        const pauses: Array<number> = []
        while (pauses.length < 60) {
          const longest = Math.min(250 * 2 ** pauses.length, 30_000)
          let paused = 0
          let declared: ReadonlyArray<string> = []
          while (declared.length === 0) {
            assert.isBelow(paused, longest)
            const step = Math.min(250, longest - paused)
            yield* TestClock.adjust(step)
            paused += step
            declared = yield* serveParts(next, isUnavailable)
          }
          pauses.push(paused)
        }
        assert.isAbove(Math.max(...pauses), 20_000)
      })
    ))
})
