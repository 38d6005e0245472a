/**
 * Automatic acknowledgement is asked for in plain sight, and a stream's messages can't be given back.
 */
import type { AmqpConnection } from "@effect-amqp/core"
import {
  AmqpChannel,
  AmqpConsumer,
  AmqpDelivery,
  AmqpFailurePolicy,
  AmqpMessage,
  AmqpQueue,
  AmqpRpc
} from "@effect-amqp/core"
import { NodeAmqpOneShot } from "@effect-amqp/node"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { typeOf } from "./support.ts"

const acking = () => Effect.succeed(AmqpDelivery.ack)
const reply = () => Effect.succeed(AmqpMessage.text(""))
const program = () => AmqpChannel.succeed(AmqpDelivery.ack)

// -----------------------------------------------------------------------------
// automatic acknowledgement
// -----------------------------------------------------------------------------

const shared = { autoAck: true, prefetch: 10 }
const defaults = { autoAck: true } as const
declare const either: { readonly autoAck: boolean }

// @ts-expect-error a consumer with a handler acknowledges by what the handler returns
AmqpConsumer.serve("q", acking, { autoAck: true })
// @ts-expect-error also when it comes from a variable
AmqpConsumer.serve("q", acking, shared)
// @ts-expect-error or from a spread
AmqpConsumer.serve("q", acking, { ...defaults, concurrency: 2 })
// @ts-expect-error or may be
AmqpConsumer.serve("q", acking, either)
// @ts-expect-error as in a scope
AmqpConsumer.startServing("q", acking, { ...defaults })
// @ts-expect-error as a layer
AmqpConsumer.layerServe("q", acking, { ...defaults })
// @ts-expect-error as in transactions
AmqpConsumer.serveTransaction("q", program, { ...defaults })
// @ts-expect-error as in transactions from a scope
AmqpConsumer.startServingTransaction("q", program, { ...defaults })
// @ts-expect-error as for requests
AmqpRpc.serve("q", reply, { ...defaults })
AmqpConsumer.serve("q", acking, { autoAck: false })

// @ts-expect-error a variable that may be anything is no literal
AmqpConsumer.stream("q", shared)
// @ts-expect-error which of the two it is has to be known
AmqpConsumer.make("q", either)
AmqpConsumer.stream("q", { autoAck: true })
AmqpConsumer.stream("q", defaults)
AmqpConsumer.make("q", { ...defaults, exclusive: true })

const through = (options: AmqpConsumer.Options) => AmqpConsumer.stream("q", options)
through({ prefetch: 1 }).pipe(Stream.runForEach((delivery) => delivery.ack))
// @ts-expect-error the options of a consumer that acknowledges say nothing else
through({ ...defaults })
// @ts-expect-error nor by a variable of their type
export const widened: AmqpConsumer.Options = shared
const generic = <O extends AmqpConsumer.Options>(options: O) => [options, AmqpConsumer.make("q", options)] as const
// @ts-expect-error nor by a generic
generic(shared)
generic({ prefetch: 3 })

// @ts-expect-error what can't be understood would be ignored
AmqpConsumer.serve("q", acking, { prefech: 1 })
// @ts-expect-error what becomes of a message that is too large has three ways
AmqpConsumer.serve("q", acking, { onOversized: "drop" })

// -----------------------------------------------------------------------------
// streams
// -----------------------------------------------------------------------------

const log = AmqpQueue.stream("log")
const work = AmqpQueue.quorum("work")

const prioritized = { priority: 1 }

AmqpConsumer.serve(log, acking)
// @ts-expect-error a stream takes nothing back
AmqpConsumer.serve(log, () => Effect.succeed(AmqpDelivery.reject))
// @ts-expect-error whichever way
AmqpConsumer.serve(log, () => Effect.succeed(AmqpDelivery.requeue))
// @ts-expect-error also beside other queues
AmqpConsumer.serve([work, log], () => Effect.succeed(AmqpDelivery.requeue))
// @ts-expect-error also in a scope
AmqpConsumer.startServing(log, () => Effect.succeed(AmqpDelivery.reject))
// @ts-expect-error also as a layer
AmqpConsumer.layerServe(log, () => Effect.succeed(AmqpDelivery.reject))
// @ts-expect-error there are no transactions with streams
AmqpConsumer.serveTransaction(log, program)
// @ts-expect-error a log has no requests
AmqpRpc.serve(log, reply)
AmqpConsumer.serve(work, () => Effect.succeed(AmqpDelivery.reject))
AmqpConsumer.serve("by name", () => Effect.succeed(AmqpDelivery.requeue))

AmqpConsumer.stream(log).pipe(Stream.runForEach((delivery) => delivery.ack))
// @ts-expect-error what it delivered can't be refused
AmqpConsumer.stream(log).pipe(Stream.runForEach((delivery) => delivery.nack()))
// @ts-expect-error whichever way
AmqpConsumer.stream([log]).pipe(Stream.runForEach((delivery) => delivery.reject()))
AmqpConsumer.stream(work).pipe(Stream.runForEach((delivery) => delivery.reject()))

// @ts-expect-error consumers of a stream have no priority
AmqpConsumer.serve(log, acking, { priority: 1 })
// @ts-expect-error also from a variable
AmqpConsumer.stream(log, prioritized)
// @ts-expect-error also beside other queues, and as a layer
AmqpConsumer.layerServe([work, log], acking, { priority: 1, concurrency: 2 })
AmqpConsumer.serve(log, acking, { offset: "first" })
AmqpConsumer.make(work, prioritized)
AmqpConsumer.serve("by name", acking, { offset: "first", priority: 1 })

// Handlers may return one settlement or another, on whatever way.
declare const isValid: (text: string) => boolean
AmqpConsumer.serve(work, ({ text }) =>
  Effect.flatMap(Effect.log(text), () =>
    isValid(text)
      ? Effect.as(Effect.void, AmqpDelivery.ack)
      : text === ""
      ? Effect.as(Effect.void, AmqpDelivery.reject)
      : Effect.succeed(AmqpDelivery.requeue)))

// -----------------------------------------------------------------------------
// settlements and decisions
// -----------------------------------------------------------------------------

// @ts-expect-error what a policy decides is no settlement
AmqpConsumer.serve(work, () => Effect.succeed(AmqpFailurePolicy.requeueAfter("1 second")))
AmqpConsumer.serve(work, acking, {
  onFailure: (_cause, _delivery, { attempt }) =>
    Effect.succeed(attempt < 3 ? AmqpFailurePolicy.retryAfter("1 second") : AmqpFailurePolicy.stopConsumer)
})
AmqpConsumer.serve(work, acking, { onFailure: AmqpFailurePolicy.deadLetter })
AmqpConsumer.serve(work, () => Effect.fail("no"), {
  onFailure: AmqpFailurePolicy.retryInPlace({ pauses: [], otherwise: AmqpFailurePolicy.stop })
})

// The scope of a handler is the message's.
declare const connect: Effect.Effect<void, never, Scope.Scope>
typeOf(AmqpConsumer.serve(work, () => Effect.as(connect, AmqpDelivery.ack))).is<
  Effect.Effect<never, AmqpConsumer.ServeError, AmqpConnection.AmqpConnection>
>()
typeOf(AmqpConsumer.serveTransaction(work, () => AmqpChannel.as(AmqpChannel.fromEffect(connect), AmqpDelivery.ack))).is<
  Effect.Effect<never, AmqpConsumer.ServeError, AmqpConnection.AmqpConnection>
>()

// -----------------------------------------------------------------------------
// one-shot consumers
// -----------------------------------------------------------------------------

const url = "amqp://localhost"
Stream.runForEach(NodeAmqpOneShot.consume(url, work), (delivery) => delivery.reject())
Stream.runForEach(NodeAmqpOneShot.consume(url, "orders"), (delivery) => delivery.nack())
Stream.runForEach(NodeAmqpOneShot.consume(url, AmqpQueue.stream("log")), (delivery) => delivery.ack)
// @ts-expect-error a stream's message can't be given back
Stream.runForEach(NodeAmqpOneShot.consume(url, AmqpQueue.stream("log")), (delivery) => delivery.reject())
// @ts-expect-error and its consumers have no priority
NodeAmqpOneShot.consume(url, AmqpQueue.stream("log"), { priority: 1 })
