/**
 * Options that exclude each other can't be combined, and each queue type has only the options that it supports.
 */
import {
  AmqpChannel,
  AmqpConsumer,
  AmqpDelivery,
  AmqpExchange,
  AmqpMessage,
  AmqpQueue,
  AmqpTopology
} from "@effect-amqp/core"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { typeOf } from "./support.ts"

const classic = AmqpQueue.classic("orders")
const quorum = AmqpQueue.quorum("orders")
const stream = AmqpQueue.stream("log")
const replies = AmqpQueue.serverNamed()

const handler = () => Effect.succeed(AmqpDelivery.ack)

// -----------------------------------------------------------------------------
// queues
// -----------------------------------------------------------------------------

typeOf(classic).is<AmqpQueue.AmqpQueue<"classic">>()
typeOf(quorum).is<AmqpQueue.AmqpQueue<"quorum">>()
typeOf(stream).is<AmqpQueue.AmqpQueue<"stream">>()
typeOf(replies).is<AmqpQueue.ServerNamedQueue>()
// A binding does not change the type.
typeOf(quorum.pipe(AmqpQueue.withBinding({ exchange: "events" }))).is<AmqpQueue.AmqpQueue<"quorum">>()

AmqpQueue.classic("orders", { durable: false, exclusive: true, autoDelete: true, maxPriority: 5 })
// @ts-expect-error only a quorum queue has a delivery limit
AmqpQueue.classic("orders", { deliveryLimit: 3 })
// @ts-expect-error only a quorum queue dead-letters at least once
AmqpQueue.classic("orders", { deadLetterStrategy: "at-least-once" })
// @ts-expect-error a classic queue has no maximum age
AmqpQueue.classic("orders", { maxAge: "1 day" })

AmqpQueue.serverNamed({ autoDelete: true, messageTtl: "1 minute" })
// @ts-expect-error a server-named queue is deleted with its connection, so it is never durable
AmqpQueue.serverNamed({ durable: true })
// @ts-expect-error a server-named queue has no option durable
AmqpQueue.serverNamed({ durable: false })
// @ts-expect-error a server-named queue is always exclusive
AmqpQueue.serverNamed({ exclusive: false })
// @ts-expect-error the broker chooses the name of a server-named queue
AmqpQueue.serverNamed("replies")

AmqpQueue.quorum("orders", { deliveryLimit: 3, maxLength: 10, overflow: "reject-publish" })
AmqpQueue.quorum("orders", { deliveryLimit: "unlimited", deadLetterQueue: classic })
// @ts-expect-error the word for no delivery limit is unlimited
AmqpQueue.quorum("orders", { deliveryLimit: "none" })
// @ts-expect-error a quorum queue can't be exclusive
AmqpQueue.quorum("orders", { exclusive: true })
// @ts-expect-error a quorum queue can't be deleted automatically
AmqpQueue.quorum("orders", { autoDelete: true })
// @ts-expect-error a quorum queue is always durable
AmqpQueue.quorum("orders", { durable: false })
// @ts-expect-error a quorum queue has no option durable
AmqpQueue.quorum("orders", { durable: true })
// @ts-expect-error a quorum queue has no maximum priority
AmqpQueue.quorum("orders", { maxPriority: 5 })
// @ts-expect-error a quorum queue does not dead-letter the messages that it refuses
AmqpQueue.quorum("orders", { overflow: "reject-publish-dlx" })

AmqpQueue.stream("log", { maxAge: "7 days", maxLengthBytes: 1e9 })
// @ts-expect-error a stream drops messages by age and size, not one by one
AmqpQueue.stream("log", { messageTtl: "1 minute" })
// @ts-expect-error a stream has no maximum number of messages
AmqpQueue.stream("log", { maxLength: 10 })
// @ts-expect-error a stream does not expire
AmqpQueue.stream("log", { expires: "1 hour" })
// @ts-expect-error a stream drops old messages and refuses none
AmqpQueue.stream("log", { overflow: "reject-publish" })
// @ts-expect-error a stream does not dead-letter
AmqpQueue.stream("log", { deadLetterExchange: "dead" })
// @ts-expect-error a stream has no single active consumer
AmqpQueue.stream("log", { singleActiveConsumer: true })
// @ts-expect-error a stream can't be exclusive
AmqpQueue.stream("log", { exclusive: true })
// @ts-expect-error a stream can't be deleted automatically
AmqpQueue.stream("log", { autoDelete: true })
// @ts-expect-error a stream is always durable
AmqpQueue.stream("log", { durable: false })
// @ts-expect-error a stream has no maximum priority
AmqpQueue.stream("log", { maxPriority: 5 })
// @ts-expect-error a stream has no delivery limit
AmqpQueue.stream("log", { deliveryLimit: 3 })

// @ts-expect-error a maximum length is a number
AmqpQueue.classic("orders", { maxLength: "10" })
// @ts-expect-error a time to live is a duration
AmqpQueue.classic("orders", { messageTtl: "soon" })
// @ts-expect-error overflow has no value drop-tail
AmqpQueue.classic("orders", { overflow: "drop-tail" })
// @ts-expect-error a queue has no option ttl
AmqpQueue.classic("orders", { ttl: 1000 })

// @ts-expect-error a description is immutable
classic.durable = false
// @ts-expect-error the bindings of a description are immutable
classic.bindings.push({ exchange: "events", routingKey: "", arguments: {} })

// -----------------------------------------------------------------------------
// exchanges and topologies
// -----------------------------------------------------------------------------

AmqpExchange.make("delayed", { pluginType: "x-delayed-message", arguments: { "x-delayed-type": "direct" } })
AmqpExchange.make("events", { type: "topic" })
// @ts-expect-error a plugin's exchange type is given as pluginType
AmqpExchange.make("delayed", { type: "x-delayed-message" })
// @ts-expect-error an exchange has one type
AmqpExchange.make("delayed", { type: "topic", pluginType: "x-delayed-message" })
// @ts-expect-error an exchange needs a type
AmqpExchange.make("delayed", {})
// @ts-expect-error a fanout exchange has no option type
AmqpExchange.fanout("events", { type: "direct" })
// @ts-expect-error an exchange can't be exclusive
AmqpExchange.direct("events", { exclusive: true })
// @ts-expect-error an exchange is bound to a source, not to an exchange option
AmqpExchange.withBinding(AmqpExchange.direct("events"), { exchange: "other" })
// @ts-expect-error a queue is bound to an exchange, not to a source
AmqpQueue.withBinding(classic, { source: "events" })
// @ts-expect-error a queue can't be bound to a queue
AmqpQueue.withBinding(classic, { exchange: quorum })

AmqpTopology.make(classic, AmqpExchange.direct("events"), replies)
// @ts-expect-error a topology needs descriptions, not names
AmqpTopology.make("orders")

// -----------------------------------------------------------------------------
// values that only look like a description
// -----------------------------------------------------------------------------

type HandMadeQueue = Omit<AmqpQueue.AmqpQueue<"classic">, "~@effect-amqp/core/AmqpQueue">
type HandMadeExchange = Omit<AmqpExchange.AmqpExchange, "~@effect-amqp/core/AmqpExchange">
declare const handMadeQueue: HandMadeQueue
declare const handMadeExchange: HandMadeExchange

AmqpQueue.declare({ ...classic, name: "invoices" })
// @ts-expect-error a description is made by AmqpQueue
AmqpQueue.declare(handMadeQueue)
// @ts-expect-error also for operations that only need its name
AmqpQueue.purge({ name: "orders" })
// @ts-expect-error also to consume it
AmqpConsumer.stream(handMadeQueue)
// @ts-expect-error also as a dead-letter queue
AmqpQueue.classic("orders", { deadLetterQueue: handMadeQueue })
// @ts-expect-error also in a topology
AmqpTopology.make(handMadeQueue)

AmqpExchange.declare({ ...AmqpExchange.direct("events"), durable: false })
// @ts-expect-error a description is made by AmqpExchange
AmqpExchange.declare(handMadeExchange)
// @ts-expect-error also to publish to it
AmqpChannel.publish(AmqpMessage.text(""), { exchange: { name: "events" }, routingKey: "" })
// @ts-expect-error also in a binding
AmqpQueue.withBinding(classic, { exchange: handMadeExchange })
// @ts-expect-error also to be declared with others
AmqpTopology.declare({ exchanges: [], queues: [classic] })

declare const unknownValue: unknown
declare const queueOrExchange: AmqpQueue.AmqpQueue | AmqpExchange.AmqpExchange
if (AmqpQueue.isQueue(unknownValue)) typeOf(unknownValue).is<AmqpQueue.AmqpQueue>()
if (AmqpExchange.isExchange(unknownValue)) typeOf(unknownValue).is<AmqpExchange.AmqpExchange>()
if (AmqpTopology.isTopology(unknownValue)) typeOf(unknownValue).is<AmqpTopology.AmqpTopology>()
if (AmqpQueue.isQueue(queueOrExchange)) typeOf(queueOrExchange).is<AmqpQueue.AmqpQueue>()
else typeOf(queueOrExchange).is<AmqpExchange.AmqpExchange>()

// -----------------------------------------------------------------------------
// consuming and getting
// -----------------------------------------------------------------------------

AmqpConsumer.stream(classic, { autoAck: true })
AmqpConsumer.make([quorum, replies], { autoAck: true })
// @ts-expect-error a stream can't be consumed with autoAck
AmqpConsumer.stream(stream, { autoAck: true })
// @ts-expect-error a stream among other queues can't be consumed with autoAck
AmqpConsumer.make([classic, stream], { autoAck: true })
// @ts-expect-error a consumer with autoAck has no prefetch
AmqpConsumer.stream(classic, { autoAck: true, prefetch: 10 })
// @ts-expect-error only a stream has offsets
AmqpConsumer.make(classic, { autoAck: true, offset: "first" })
// @ts-expect-error serve does not accept autoAck
AmqpConsumer.serve(classic, handler, { autoAck: true })

AmqpConsumer.serve(stream, handler, { offset: "first", prefetch: 10 })
AmqpConsumer.stream(stream, { offset: Duration.hours(1) })
AmqpConsumer.stream(stream, { offset: new Date(0) })
// @ts-expect-error an offset has no value latest
AmqpConsumer.stream(stream, { offset: "latest" })

AmqpQueue.get(classic, handler)
AmqpQueue.get(quorum, handler)
AmqpQueue.getAutoAck("orders")
// @ts-expect-error a stream does not support get
AmqpQueue.get(stream, handler)
// @ts-expect-error a stream does not support getAll
AmqpQueue.getAll(stream, handler)
// @ts-expect-error a stream does not support getAutoAck
AmqpQueue.getAutoAck(stream)

// -----------------------------------------------------------------------------
// operations by the type of queue
// -----------------------------------------------------------------------------

AmqpQueue.purge("log")
AmqpQueue.purge(quorum)
// @ts-expect-error a stream can't be purged
AmqpQueue.purge(stream)

AmqpQueue.delete("orders", { ifEmpty: true })
AmqpQueue.delete(classic, { ifUnused: true })
AmqpQueue.delete(quorum)
AmqpQueue.delete(stream)
// @ts-expect-error a quorum queue can't be deleted with conditions
AmqpQueue.delete(quorum, { ifUnused: true })
// @ts-expect-error a stream ignores the conditions of a delete
AmqpQueue.delete(stream, { ifEmpty: true })

declare const anyQueue: AmqpQueue.AmqpQueue
declare const queueOrName: string | AmqpQueue.AmqpQueue<"classic">
AmqpQueue.delete(anyQueue)
AmqpQueue.route(anyQueue)
AmqpQueue.purge(queueOrName)
// @ts-expect-error the queue may be a stream
AmqpQueue.purge(anyQueue)

// A server-named queue has no name before it is declared, so these do not accept its description.
const bound = replies.pipe(AmqpQueue.withBinding({ exchange: "events" }))
typeOf(bound).is<AmqpQueue.ServerNamedQueue>()
AmqpQueue.declare(bound)
// @ts-expect-error
AmqpQueue.route(replies)
// @ts-expect-error
AmqpQueue.route(bound)
// @ts-expect-error
AmqpQueue.get(replies, handler)
// @ts-expect-error
AmqpQueue.getAutoAck(replies)
// @ts-expect-error
AmqpQueue.purge(replies)
// @ts-expect-error
AmqpQueue.delete(replies)
// @ts-expect-error
AmqpQueue.bind(replies, { exchange: "events" })
// @ts-expect-error
AmqpQueue.unbind(replies, { exchange: "events" })
// @ts-expect-error
AmqpQueue.declarePassive(replies)

// -----------------------------------------------------------------------------
// moving
// -----------------------------------------------------------------------------

AmqpQueue.move("orders.failed", "orders", { limit: 10, filter: ({ redelivered }) => redelivered })
AmqpQueue.move(classic, quorum, { onProgress: ({ moved }) => Effect.log(moved) })
AmqpQueue.move(quorum, stream)
AmqpQueue.move(classic, { exchange: AmqpExchange.topic("events"), routingKey: "a" })
AmqpQueue.move(classic, ({ routingKey }) => ({ exchange: "events", routingKey }), { dryRun: true })
// @ts-expect-error messages can't be moved out of a stream
AmqpQueue.move(stream, classic)
// @ts-expect-error the queue may be a stream
AmqpQueue.move(anyQueue, classic)
// @ts-expect-error a move needs the name of the queue
AmqpQueue.move(replies, classic)
// @ts-expect-error a route needs a routing key
AmqpQueue.move(classic, { exchange: "events" })
// @ts-expect-error move has no option batchSize
AmqpQueue.move(classic, quorum, { batchSize: 10 })
// @ts-expect-error onProgress must return an Effect
AmqpQueue.move(classic, quorum, { onProgress: ({ moved }) => moved })
