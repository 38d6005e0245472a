/** What tests of topologies on a new connection share. */
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import type { Method, ServerMethod } from "@effect-amqp/core/protocol/methods.generated"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as ScriptedNetwork from "../../support/scriptedNetwork.ts"
import type { Parts } from "../../support/scriptedNetwork.ts"
import { channelClose, declareOk, fork, resultOf } from "../../support/scriptedPeer.ts"
import type { Peer, ServerOptions } from "../../support/scriptedPeer.ts"

export const server: ServerOptions = {
  serverProperties: { product: "RabbitMQ", capabilities: { exchange_exchange_bindings: true } }
}

/** Runs a script with a connection that is open and recovers. */
export const recovering = <A, E>(body: Parameters<typeof ScriptedNetwork.recovering<A, E>>[0]) =>
  ScriptedNetwork.recovering(body, {}, ["a"], server)

/** What a server does with a method, if not what the client hopes for. */
export type Exceptions = (method: Method) => ServerMethod | "no answer" | undefined

export const passing = channelClose(506, "RESOURCE_ERROR - not now")
export const different = channelClose(
  406,
  "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'events' in vhost '/'"
)
export const noExchange = channelClose(404, "NOT_FOUND - no exchange 'events' in vhost '/'")

const expected = (method: Method): ServerMethod | undefined => {
  switch (method._tag) {
    case "channel.open":
    case "channel.close":
    case "exchange.declare":
    case "exchange.bind":
    case "queue.bind":
      return { _tag: `${method._tag}-ok` }
    case "basic.qos":
      return { _tag: "basic.qos-ok" }
    case "queue.declare":
      return declareOk(method.queue === "" ? "amq.gen-1" : method.queue)
    case "basic.consume":
      return { _tag: "basic.consume-ok", consumerTag: method.consumerTag }
    default:
      return undefined
  }
}

export const described = (method: Method): string => {
  switch (method._tag) {
    case "exchange.declare":
      return `${method._tag} ${method.exchange}`
    case "exchange.bind":
      return `${method._tag} ${method.destination} ${method.source}`
    case "queue.declare":
    case "basic.consume":
      return `${method._tag} ${method.queue}`
    case "queue.bind":
      return `${method._tag} ${method.queue} ${method.exchange}`
    default:
      return method._tag
  }
}

/** Replies to the client until it sends nothing more. Returns the channels and methods of what it has sent. */
export const serve = (peer: Peer, except: Exceptions = () => undefined) =>
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

/** The same. Returns what is declared, bound and consumed. */
export const serveParts = (peer: Peer, except?: Exceptions) =>
  Effect.map(
    serve(peer, except),
    (sent) => sent.map(([, method]) => method).filter((method) => !/^channel|qos/.test(method))
  )

export type Failed = readonly [part: string, reason: string, willRetry: boolean]

/** Declares a topology, until the scope closes. */
export const declareIn = (
  peer: Peer,
  topology: AmqpTopology.AmqpTopology,
  scope: Scope.Scope,
  options: AmqpTopology.LayerOptions = {}
) =>
  Effect.gen(function*() {
    const declaring = yield* fork(Layer.buildWithScope(AmqpTopology.layer(topology, options), scope))
    yield* serve(peer)
    yield* resultOf(declaring)
  })

/** Declares topologies on the first session, and starts the second one. Returns its server, and the failures that were reported. */
export const onNextSession = (
  { network, peer }: Parts,
  topology: AmqpTopology.AmqpTopology | ReadonlyArray<AmqpTopology.AmqpTopology>,
  schedule: AmqpTopology.LayerOptions["schedule"] | "default" = Schedule.spaced("10 seconds")
) =>
  Effect.gen(function*() {
    const failures: Array<Failed> = []
    const onFailure = ({ description: { name }, error, willRetry }: AmqpTopology.DeclareFailure) =>
      Effect.sync(() => failures.push([name, error.reason._tag, willRetry]))
    const scope = yield* Effect.scope
    const options = schedule === "default" ? { onFailure } : { onFailure, schedule }
    for (const each of [topology].flat()) yield* declareIn(peer, each, scope, options)
    yield* peer.hangUp
    yield* TestClock.adjust("1 second")
    return { failures, next: yield* network.serve(server) }
  })

export const events = AmqpExchange.topic("events")
export const boundTo = (exchange: AmqpExchange.AmqpExchange | string) =>
  AmqpQueue.withBinding({ exchange, routingKey: "#" })

/** The exchange `events` can't be declared yet, so that it does not exist. */
export const withoutEvents = (refusal = passing): Exceptions => (method) => {
  if (method._tag === "exchange.declare" && method.exchange === "events") return refusal
  if (method._tag === "queue.bind" && method.exchange === "events") return noExchange
  if (method._tag === "exchange.bind" && (method.source === "events" || method.destination === "events")) {
    return noExchange
  }
  return undefined
}
