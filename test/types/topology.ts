/**
 * Options that exclude each other can't be combined, and what a type of queue can't do is not offered for it.
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
// A binding changes nothing of that.
typeOf(quorum.pipe(AmqpQueue.withBinding({ exchange: "events" }))).is<AmqpQueue.AmqpQueue<"quorum">>()

AmqpQueue.classic("orders", { durable: false, exclusive: true, autoDelete: true, maxPriority: 5 })
// @ts-expect-error only a quorum queue counts deliveries
AmqpQueue.classic("orders", { deliveryLimit: 3 })
// @ts-expect-error and dead-letters at least once
AmqpQueue.classic("orders", { deadLetterStrategy: "at-least-once" })
// @ts-expect-error a classic queue keeps no messages by their age
AmqpQueue.classic("orders", { maxAge: "1 day" })

AmqpQueue.serverNamed({ autoDelete: true, messageTtl: "1 minute" })
// @ts-expect-error it goes with its connection, so it is never durable
AmqpQueue.serverNamed({ durable: true })
// @ts-expect-error which goes without saying too
AmqpQueue.serverNamed({ durable: false })
// @ts-expect-error and always exclusive
AmqpQueue.serverNamed({ exclusive: false })
// @ts-expect-error its name is the broker's affair
AmqpQueue.serverNamed("replies")

AmqpQueue.quorum("orders", { deliveryLimit: 3, maxLength: 10, overflow: "reject-publish" })
AmqpQueue.quorum("orders", { deliveryLimit: "unlimited", deadLetterQueue: classic })
// @ts-expect-error there is one word for it
AmqpQueue.quorum("orders", { deliveryLimit: "none" })
// @ts-expect-error it is for everyone
AmqpQueue.quorum("orders", { exclusive: true })
// @ts-expect-error it stays when its last consumer is gone
AmqpQueue.quorum("orders", { autoDelete: true })
// @ts-expect-error it survives a restart
AmqpQueue.quorum("orders", { durable: false })
// @ts-expect-error which goes without saying
AmqpQueue.quorum("orders", { durable: true })
// @ts-expect-error it has no priorities
AmqpQueue.quorum("orders", { maxPriority: 5 })
// @ts-expect-error it does not dead-letter what it refuses
AmqpQueue.quorum("orders", { overflow: "reject-publish-dlx" })

AmqpQueue.stream("log", { maxAge: "7 days", maxLengthBytes: 1e9 })
// @ts-expect-error a log forgets by age and size, not message by message
AmqpQueue.stream("log", { messageTtl: "1 minute" })
// @ts-expect-error it counts no messages
AmqpQueue.stream("log", { maxLength: 10 })
// @ts-expect-error it stays
AmqpQueue.stream("log", { expires: "1 hour" })
// @ts-expect-error it drops what is old, and refuses nothing
AmqpQueue.stream("log", { overflow: "reject-publish" })
// @ts-expect-error nothing of it is dead
AmqpQueue.stream("log", { deadLetterExchange: "dead" })
// @ts-expect-error its consumers don't take anything from each other
AmqpQueue.stream("log", { singleActiveConsumer: true })
// @ts-expect-error it is for everyone
AmqpQueue.stream("log", { exclusive: true })
// @ts-expect-error it stays when its last consumer is gone
AmqpQueue.stream("log", { autoDelete: true })
// @ts-expect-error it survives a restart
AmqpQueue.stream("log", { durable: false })
// @ts-expect-error it has no priorities
AmqpQueue.stream("log", { maxPriority: 5 })
// @ts-expect-error and no limit of deliveries
AmqpQueue.stream("log", { deliveryLimit: 3 })

// @ts-expect-error a length is a number
AmqpQueue.classic("orders", { maxLength: "10" })
// @ts-expect-error a time is not any text
AmqpQueue.classic("orders", { messageTtl: "soon" })
// @ts-expect-error there are three overflows
AmqpQueue.classic("orders", { overflow: "drop-tail" })
// @ts-expect-error an option that does not exist is a mistake
AmqpQueue.classic("orders", { ttl: 1000 })

// @ts-expect-error a description does not change
classic.durable = false
// @ts-expect-error nor do its bindings
classic.bindings.push({ exchange: "events", routingKey: "", arguments: {} })

// -----------------------------------------------------------------------------
// exchanges and topologies
// -----------------------------------------------------------------------------

AmqpExchange.make("delayed", { pluginType: "x-delayed-message", arguments: { "x-delayed-type": "direct" } })
AmqpExchange.make("events", { type: "topic" })
// @ts-expect-error a type that not every broker has is said to be a plugin's
AmqpExchange.make("delayed", { type: "x-delayed-message" })
// @ts-expect-error it has one type
AmqpExchange.make("delayed", { type: "topic", pluginType: "x-delayed-message" })
// @ts-expect-error its type has to be said
AmqpExchange.make("delayed", {})
// @ts-expect-error unless the constructor's name says it
AmqpExchange.fanout("events", { type: "direct" })
// @ts-expect-error exclusive is a property of queues
AmqpExchange.direct("events", { exclusive: true })
// @ts-expect-error an exchange is bound to a source, a queue to an exchange
AmqpExchange.withBinding(AmqpExchange.direct("events"), { exchange: "other" })
// @ts-expect-error the same the other way round
AmqpQueue.withBinding(classic, { source: "events" })
// @ts-expect-error a queue is bound to exchanges
AmqpQueue.withBinding(classic, { exchange: quorum })

AmqpTopology.make(classic, AmqpExchange.direct("events"), replies)
// @ts-expect-error a name alone says too little
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
// @ts-expect-error a stream has to be acknowledged
AmqpConsumer.stream(stream, { autoAck: true })
// @ts-expect-error also as one of several
AmqpConsumer.make([classic, stream], { autoAck: true })
// @ts-expect-error nothing is sent ahead of acknowledgements that there are not
AmqpConsumer.stream(classic, { autoAck: true, prefetch: 10 })
// @ts-expect-error and only a stream has offsets
AmqpConsumer.make(classic, { autoAck: true, offset: "first" })
// @ts-expect-error a handler settles each message
AmqpConsumer.serve(classic, handler, { autoAck: true })

AmqpConsumer.serve(stream, handler, { offset: "first", prefetch: 10 })
AmqpConsumer.stream(stream, { offset: Duration.hours(1) })
AmqpConsumer.stream(stream, { offset: new Date(0) })
// @ts-expect-error it begins at no other word
AmqpConsumer.stream(stream, { offset: "latest" })

AmqpQueue.get(classic, handler)
AmqpQueue.get(quorum, handler)
AmqpQueue.getAutoAck("orders")
// @ts-expect-error a stream gives no single messages
AmqpQueue.get(stream, handler)
// @ts-expect-error nor all of them
AmqpQueue.getAll(stream, handler)
// @ts-expect-error nor without an acknowledgement
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
// @ts-expect-error a quorum queue is deleted without conditions
AmqpQueue.delete(quorum, { ifUnused: true })
// @ts-expect-error and a stream ignores them
AmqpQueue.delete(stream, { ifEmpty: true })

declare const anyQueue: AmqpQueue.AmqpQueue
declare const queueOrName: string | AmqpQueue.AmqpQueue<"classic">
AmqpQueue.delete(anyQueue)
AmqpQueue.route(anyQueue)
AmqpQueue.purge(queueOrName)
// @ts-expect-error it may be a stream
AmqpQueue.purge(anyQueue)

// What needs the name of a queue is not offered for the description of one that the broker names.
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
// @ts-expect-error a stream keeps its messages
AmqpQueue.move(stream, classic)
// @ts-expect-error it may be a stream
AmqpQueue.move(anyQueue, classic)
// @ts-expect-error the name of the queue is needed
AmqpQueue.move(replies, classic)
// @ts-expect-error a route has a key
AmqpQueue.move(classic, { exchange: "events" })
// @ts-expect-error there is no such option
AmqpQueue.move(classic, quorum, { batchSize: 10 })
// @ts-expect-error progress is an Effect
AmqpQueue.move(classic, quorum, { onProgress: ({ moved }) => moved })
