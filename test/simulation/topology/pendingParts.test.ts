import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import type { ServerMethod } from "@effect-amqp/core/protocol/methods.generated"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import type { Parts } from "../../support/scriptedNetwork.ts"
import { assertWaits, channelClose, declareOk, failureOf, fork } from "../../support/scriptedPeer.ts"
import { afterASecond } from "../consuming/recoverySupport.ts"
import {
  boundTo,
  declareIn,
  described,
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
import type { Exceptions } from "./partsSupport.ts"

describe("a part of a topology whose layer is closed", () => {
  it.effect("is not tried again", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const declared = onNextSession(parts, AmqpTopology.make(events, AmqpQueue.classic("q").pipe(boundTo(events))))
        const { next } = yield* Effect.provideService(declared, Scope.Scope, scope)
        yield* serve(next, withoutEvents())
        yield* Scope.close(scope, Exit.void)
        yield* TestClock.adjust("10 minutes")
        assert.deepStrictEqual(yield* serve(next), [])
      })
    ))
})

describe("a consumer of a queue that a topology can't declare yet", () => {
  const locked = channelClose(405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'")
  const missing = channelClose(404, "NOT_FOUND - no queue 'q' in vhost '/'")
  const refusing = (declaration: ServerMethod, consume: ServerMethod): Exceptions => ({ _tag }) =>
    _tag === "queue.declare" ? declaration : _tag === "basic.consume" ? consume : undefined

  /** Consumes `q` by its name, which a topology declares. */
  const consuming = (parts: Parts, recovery: AmqpConsumer.RecoveryOptions) =>
    Effect.gen(function*() {
      const consumer = yield* fork(AmqpConsumer.serve("q", () => Effect.succeed(AmqpDelivery.ack), { recovery }))
      yield* serve(parts.peer)
      const { next } = yield* onNextSession(parts, AmqpTopology.make(AmqpQueue.classic("q", { exclusive: true })))
      return { consumer, next }
    })

  for (const [what, refusal] of [["locked", locked], ["missing", missing]] as const) {
    it.effect(`and is ${what}, consumes as soon as it is declared`, () =>
      recovering((parts) =>
        Effect.gen(function*() {
          const { consumer, next } = yield* consuming(parts, { schedule: Schedule.spaced("1 hour") })
          assert.deepStrictEqual(yield* serveParts(next, refusing(locked, refusal)), [
            "queue.declare q",
            "basic.consume q"
          ])
          yield* TestClock.adjust("10 seconds")
          assert.deepStrictEqual(yield* serveParts(next, refusing(locked, refusal)), ["queue.declare q"])
          yield* TestClock.adjust("10 seconds")
          assert.deepStrictEqual(yield* serveParts(next), ["queue.declare q", "basic.consume q"])
          yield* assertWaits(consumer)
        })
      ))
  }

  it.effect("goes on for as long as the topology does, and no longer", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const { consumer, next } = yield* consuming(parts, { schedule: Schedule.spaced("1 second") })
        for (let second = 0; second < 10; second++) {
          yield* serve(next, refusing(locked, missing))
          yield* TestClock.adjust("1 second")
        }
        yield* assertWaits(consumer)
        // The topology gives up.
        const refused = refusing(channelClose(406, "PRECONDITION_FAILED - inequivalent arg 'type'"), missing)
        for (let second = 0; second < 5; second++) {
          yield* serve(next, refused)
          yield* TestClock.adjust("1 second")
        }
        const error = yield* failureOf(consumer)
        assert.strictEqual(error._tag === "AmqpChannelError" ? error.reason._tag : error._tag, "NotFound")
      })
    ))
})

describe("the queue of a consumer", () => {
  it.effect("without an answer delays the queues of others for a second, however many there are", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const names = Array.from({ length: 20 }, (_, index) => `q${index}`)
        for (const name of names) {
          yield* fork(AmqpConsumer.serve(AmqpQueue.quorum(name), () => Effect.succeed(AmqpDelivery.ack)))
          yield* serve(peer)
        }
        yield* peer.hangUp
        yield* TestClock.adjust("1 second")
        const next = yield* network.serve(server)
        const onlyLast: Exceptions = (method) =>
          method._tag === "queue.declare" && method.queue !== "q19" ? "no answer" : undefined
        const expected = names.map((name) => `queue.declare ${name}`)
        assert.deepStrictEqual(yield* serveParts(next, onlyLast), expected.slice(0, 8))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* serveParts(next, onlyLast), expected.slice(8, 16))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* serveParts(next, onlyLast), expected.slice(16))
        yield* TestClock.adjust("1 minute")
      })
    ))
})

describe("a consumer whose queue is not declared because its topology", () => {
  const missing = channelClose(404, "NOT_FOUND - no queue 'q' in vhost '/'")
  const slow = AmqpTopology.make(AmqpExchange.fanout("slow"))

  /** The broker has no queue, and does not answer for the exchange `slow`. */
  const withoutQueue: Exceptions = ({ _tag }) =>
    _tag === "exchange.declare" ? "no answer" : _tag === "basic.consume" ? missing : undefined

  it.effect("is closed between two phases, ends after three attempts", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const closable = yield* Scope.make()
        yield* declareIn(peer, AmqpTopology.make(AmqpQueue.classic("q")), closable)
        yield* declareIn(peer, slow, yield* Effect.scope)
        const consumer = yield* fork(AmqpConsumer.serve("q", () => Effect.succeed(AmqpDelivery.ack), afterASecond))
        yield* serve(peer)
        yield* peer.hangUp
        yield* TestClock.adjust("1 second")
        const next = yield* network.serve(server)
        yield* serve(next, withoutQueue)
        yield* Scope.close(closable, Exit.void)
        yield* next.send(1, { _tag: "exchange.declare-ok" })
        const sent: Array<string> = []
        for (let second = 0; second < 10; second++) {
          sent.push(...yield* serveParts(next, withoutQueue))
          yield* TestClock.adjust("1 second")
        }
        assert.deepStrictEqual(sent, ["basic.consume q", "basic.consume q", "basic.consume q"])
        yield* failureOf(consumer)
      })
    ))

  it.effect("is built in a later phase of the session, and closed, ends after three attempts", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        yield* declareIn(peer, slow, yield* Effect.scope)
        const queue = AmqpQueue.classic("q").pipe(boundTo("events"))
        const consumer = yield* fork(AmqpConsumer.serve(queue, () => Effect.succeed(AmqpDelivery.ack), afterASecond))
        yield* serve(peer)
        yield* peer.hangUp
        yield* TestClock.adjust("1 second")
        const next = yield* network.serve(server)
        const unanswered: Exceptions = (method) =>
          described(method) === "exchange.declare slow" ? "no answer" : withoutEvents(noExchange)(method)
        yield* serve(next, unanswered)
        const scope = yield* Scope.make()
        const building = yield* fork(Layer.buildWithScope(AmqpTopology.layer(AmqpTopology.make(events)), scope))
        yield* next.send(1, { _tag: "exchange.declare-ok" })
        for (let second = 0; second < 10; second++) {
          yield* serve(next, unanswered)
          yield* TestClock.adjust("1 second")
        }
        yield* failureOf(building)
        yield* failureOf(consumer)
        yield* Scope.close(scope, Exit.void)
      })
    ))

  it.effect("is closed, sees no further declaration of it", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const closable = yield* Scope.make()
        const queues = Array.from({ length: 12 }, (_, index) => AmqpQueue.classic(`q${index}`))
        yield* declareIn(peer, AmqpTopology.make(...queues), closable)
        yield* peer.hangUp
        yield* TestClock.adjust("1 second")
        const next = yield* network.serve(server)
        const first = yield* serveParts(next, ({ _tag }) => _tag === "queue.declare" ? "no answer" : undefined)
        assert.deepStrictEqual(first, ["queue.declare q0"])
        yield* Scope.close(closable, Exit.void)
        yield* next.send(1, declareOk("q0"))
        assert.deepStrictEqual(yield* serveParts(next), [])
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* serve(next), [])
      })
    ))
})

describe("a consumer of queues that a topology declares one after the other", () => {
  it.effect("tries again once, when all of them are there, and uses up no step of its schedule for each", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const names: ReadonlyArray<string> = Array.from({ length: 12 }, (_, index) => `q${index}`)
        const recovery = { schedule: Schedule.upTo(Schedule.spaced("1 hour"), { times: 1 }) }
        const consumer = yield* fork(AmqpConsumer.serve(names, () => Effect.succeed(AmqpDelivery.ack), { recovery }))
        yield* serve(parts.peer)
        const topology = AmqpTopology.make(...names.map((name) => AmqpQueue.classic(name)))
        const { next } = yield* onNextSession(parts, topology, "default")
        const declared = new Set<string>()
        let mayDeclare = false
        const broker: Exceptions = (method) => {
          if (method._tag === "queue.declare" && !mayDeclare) return passing
          if (method._tag === "queue.declare") declared.add(method.queue)
          return method._tag === "basic.consume" && !declared.has(method.queue)
            ? channelClose(404, `NOT_FOUND - no queue '${method.queue}' in vhost '/'`)
            : undefined
        }
        const sent: Array<string> = []
        for (let step = 0; step < 300; step++) {
          sent.push(...yield* serveParts(next, broker))
          yield* TestClock.adjust("200 millis")
          if (step === 20) mayDeclare = true
        }
        yield* assertWaits(consumer)
        const consumed = sent.filter((method) => method.startsWith("basic.consume"))
        assert.deepStrictEqual(consumed, ["basic.consume q0", ...names.map((name) => `basic.consume ${name}`)])
      })
    ))

  it.effect("tries again at once if the last one was declared while its refusal was on its way", () =>
    recovering((parts) =>
      Effect.gen(function*() {
        const recovery = { schedule: Schedule.spaced("1 hour") }
        const consumer = yield* fork(AmqpConsumer.serve("q", () => Effect.succeed(AmqpDelivery.ack), { recovery }))
        yield* serve(parts.peer)
        const { next } = yield* onNextSession(parts, AmqpTopology.make(AmqpQueue.classic("q")))
        const unanswered: Exceptions = ({ _tag }) =>
          _tag === "queue.declare" ? passing : _tag === "basic.consume" ? "no answer" : undefined
        assert.deepStrictEqual(yield* serveParts(next, unanswered), ["queue.declare q", "basic.consume q"])
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* serveParts(next), ["queue.declare q"])
        yield* next.send(1, channelClose(404, "NOT_FOUND - no queue 'q' in vhost '/'"))
        assert.deepStrictEqual(yield* serveParts(next), ["basic.consume q"])
        yield* assertWaits(consumer)
      })
    ))
})
