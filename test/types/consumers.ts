/**
 * Automatic acknowledgement must be requested explicitly, and messages of a stream can't be rejected or requeued.
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

// @ts-expect-error serve acknowledges by what the handler returns
AmqpConsumer.serve("q", acking, { autoAck: true })
// @ts-expect-error serve does not accept autoAck from a variable
AmqpConsumer.serve("q", acking, shared)
// @ts-expect-error serve does not accept autoAck from a spread
AmqpConsumer.serve("q", acking, { ...defaults, concurrency: 2 })
// @ts-expect-error serve does not accept a boolean autoAck
AmqpConsumer.serve("q", acking, either)
// @ts-expect-error startServing does not accept autoAck
AmqpConsumer.startServing("q", acking, { ...defaults })
// @ts-expect-error layerServe does not accept autoAck
AmqpConsumer.layerServe("q", acking, { ...defaults })
// @ts-expect-error serveTransaction does not accept autoAck
AmqpConsumer.serveTransaction("q", program, { ...defaults })
// @ts-expect-error startServingTransaction does not accept autoAck
AmqpConsumer.startServingTransaction("q", program, { ...defaults })
// @ts-expect-error AmqpRpc.serve does not accept autoAck
AmqpRpc.serve("q", reply, { ...defaults })
AmqpConsumer.serve("q", acking, { autoAck: false })

// @ts-expect-error autoAck must be the literal true, not a boolean variable
AmqpConsumer.stream("q", shared)
// @ts-expect-error autoAck must be known to be true or false
AmqpConsumer.make("q", either)
AmqpConsumer.stream("q", { autoAck: true })
AmqpConsumer.stream("q", defaults)
AmqpConsumer.make("q", { ...defaults, exclusive: true })

const through = (options: AmqpConsumer.Options) => AmqpConsumer.stream("q", options)
through({ prefetch: 1 }).pipe(Stream.runForEach((delivery) => delivery.ack))
// @ts-expect-error AmqpConsumer.Options does not include autoAck
through({ ...defaults })
// @ts-expect-error a variable with autoAck is not an AmqpConsumer.Options
export const widened: AmqpConsumer.Options = shared
const generic = <O extends AmqpConsumer.Options>(options: O) => [options, AmqpConsumer.make("q", options)] as const
// @ts-expect-error a generic function does not hide autoAck
generic(shared)
generic({ prefetch: 3 })

// @ts-expect-error an unknown option would be ignored
AmqpConsumer.serve("q", acking, { prefech: 1 })
// @ts-expect-error onOversized has no value drop
AmqpConsumer.serve("q", acking, { onOversized: "drop" })

// -----------------------------------------------------------------------------
// streams
// -----------------------------------------------------------------------------

const log = AmqpQueue.stream("log")
const work = AmqpQueue.quorum("work")

const prioritized = { priority: 1 }

AmqpConsumer.serve(log, acking)
// @ts-expect-error a message of a stream can't be rejected
AmqpConsumer.serve(log, () => Effect.succeed(AmqpDelivery.reject))
// @ts-expect-error a message of a stream can't be requeued
AmqpConsumer.serve(log, () => Effect.succeed(AmqpDelivery.requeue))
// @ts-expect-error a message of a stream among other queues can't be requeued
AmqpConsumer.serve([work, log], () => Effect.succeed(AmqpDelivery.requeue))
// @ts-expect-error startServing can't reject a message of a stream
AmqpConsumer.startServing(log, () => Effect.succeed(AmqpDelivery.reject))
// @ts-expect-error layerServe can't reject a message of a stream
AmqpConsumer.layerServe(log, () => Effect.succeed(AmqpDelivery.reject))
// @ts-expect-error a stream can't be consumed in a transaction
AmqpConsumer.serveTransaction(log, program)
// @ts-expect-error a stream can't have requests
AmqpRpc.serve(log, reply)
AmqpConsumer.serve(work, () => Effect.succeed(AmqpDelivery.reject))
AmqpConsumer.serve("by name", () => Effect.succeed(AmqpDelivery.requeue))

AmqpConsumer.stream(log).pipe(Stream.runForEach((delivery) => delivery.ack))
// @ts-expect-error a delivery of a stream can't be nacked
AmqpConsumer.stream(log).pipe(Stream.runForEach((delivery) => delivery.nack()))
// @ts-expect-error a delivery of a stream can't be rejected
AmqpConsumer.stream([log]).pipe(Stream.runForEach((delivery) => delivery.reject()))
AmqpConsumer.stream(work).pipe(Stream.runForEach((delivery) => delivery.reject()))

// @ts-expect-error consumers of a stream have no priority
AmqpConsumer.serve(log, acking, { priority: 1 })
// @ts-expect-error a consumer of a stream does not accept a priority from a variable
AmqpConsumer.stream(log, prioritized)
// @ts-expect-error a consumer of a stream among other queues has no priority
AmqpConsumer.layerServe([work, log], acking, { priority: 1, concurrency: 2 })
AmqpConsumer.serve(log, acking, { offset: "first" })
AmqpConsumer.make(work, prioritized)
AmqpConsumer.serve("by name", acking, { offset: "first", priority: 1 })

// Handlers may return different settlements on different paths.
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

// @ts-expect-error a decision of a failure policy is not a settlement
AmqpConsumer.serve(work, () => Effect.succeed(AmqpFailurePolicy.requeueAfter("1 second")))
AmqpConsumer.serve(work, acking, {
  onFailure: (_cause, _delivery, { attempt }) =>
    Effect.succeed(attempt < 3 ? AmqpFailurePolicy.retryAfter("1 second") : AmqpFailurePolicy.stopConsumer)
})
AmqpConsumer.serve(work, acking, { onFailure: AmqpFailurePolicy.deadLetter })
AmqpConsumer.serve(work, () => Effect.fail("no"), {
  onFailure: AmqpFailurePolicy.retryInPlace({ pauses: [], otherwise: AmqpFailurePolicy.stop })
})

// A handler has a scope for each message.
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
