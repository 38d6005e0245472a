import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import type { Method, ServerMethod } from "@effect-amqp/core/protocol/methods.generated"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import * as ScriptedNetwork from "../../support/scriptedNetwork.ts"
import type { Parts } from "../../support/scriptedNetwork.ts"
import { assertWaits, channelClose, declare, declareOk, fork, resultOf } from "../../support/scriptedPeer.ts"
import type { Peer, ServerOptions } from "../../support/scriptedPeer.ts"

const server: ServerOptions = {
  serverProperties: { product: "RabbitMQ", capabilities: { exchange_exchange_bindings: true } }
}

/** Runs a script with a connection that is open and recovers. */
const recovering = <A, E>(body: Parameters<typeof ScriptedNetwork.recovering<A, E>>[0]) =>
  ScriptedNetwork.recovering(body, {}, ["a"], server)

/** What a server does with a method, if not what the client hopes for. */
type Exceptions = (method: Method) => ServerMethod | "no answer" | undefined

const expected = (method: Method): ServerMethod | undefined => {
  switch (method._tag) {
    case "channel.open":
    case "channel.close":
    case "exchange.declare":
    case "exchange.bind":
    case "queue.bind":
      return { _tag: `${method._tag}-ok` }
    case "queue.declare":
      return declareOk(method.queue === "" ? "amq.gen-1" : method.queue)
    default:
      return undefined
  }
}

const described = (method: Method): string => {
  switch (method._tag) {
    case "exchange.declare":
      return `${method._tag} ${method.exchange}`
    case "exchange.bind":
      return `${method._tag} ${method.destination} ${method.source}`
    case "queue.declare":
      return `${method._tag} ${method.queue}`
    case "queue.bind":
      return `${method._tag} ${method.queue} ${method.exchange}`
    default:
      return method._tag
  }
}

/** Replies to the client until it sends nothing more. Returns the channels and methods of what it has sent. */
const serve = (peer: Peer, except: Exceptions = () => undefined) =>
  Effect.gen(function*() {
    const sent: Array<readonly [channel: number, method: string]> = []
    for (let next = yield* peer.next; next !== undefined; next = yield* peer.next) {
      const { channel, method } = next
      sent.push([channel, described(method)])
      const reply = except(method) ?? expected(method)
      if (reply !== undefined && reply !== "no answer") yield* peer.send(channel, reply)
    }
    return sent
  })

/** The same. Returns what is declared and bound. */
const serveParts = (peer: Peer, except?: Exceptions) =>
  Effect.map(
    serve(peer, except),
    (sent) => sent.map(([, method]) => method).filter((method) => !method.startsWith("channel."))
  )

type Failed = readonly [part: string, reason: string, willRetry: boolean]

/** Declares a topology on the first session, and starts the second one. Returns its server, and the failures that were reported. */
const onNextSession = (
  { network, peer }: Parts,
  topology: AmqpTopology.AmqpTopology,
  schedule: AmqpTopology.LayerOptions["schedule"] = Schedule.spaced("10 seconds")
) =>
  Effect.gen(function*() {
    const failures: Array<Failed> = []
    const onFailure = ({ description: { name }, error, willRetry }: AmqpTopology.DeclareFailure) =>
      Effect.sync(() => failures.push([name, error.reason._tag, willRetry]))
    const layer = AmqpTopology.layer(topology, { onFailure, schedule })
    const scope = yield* Effect.scope
    const declaring = yield* fork(Layer.buildWithScope(layer, scope))
    yield* serve(peer)
    yield* resultOf(declaring)
    yield* peer.hangUp
    yield* TestClock.adjust("1 second")
    return { failures, next: yield* network.serve(server) }
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
})
