/**
 * Queues: what they are like, as immutable descriptions, and operations on them, as steps of channel programs.
 *
 * A description is made by {@link classic}, {@link quorum}, {@link stream} or {@link serverNamed}, which throw an
 * `InvalidArgument` for what no broker would take. Names hold at most 255 bytes of UTF-8. What the broker refuses closes the
 * channel: the operation fails with its reason, and so does everything after it in the same program.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import type * as Pipeable from "effect/Pipeable"
import type { AmqpChannel, Step } from "./AmqpChannel.ts"
import type * as AmqpDelivery from "./AmqpDelivery.ts"
import type { AmqpChannelError } from "./AmqpError.ts"
import type { AmqpExchange } from "./AmqpExchange.ts"
import type { Channel } from "./internal/channel.ts"
import { Received } from "./internal/delivery.ts"
import * as Fetching from "./internal/fetching.ts"
import * as Program from "./internal/program.ts"
import * as Topology from "./internal/topology.ts"
import * as Validation from "./internal/validation.ts"
import type { Content } from "./protocol/ContentAssembler.ts"
import type { FieldTable, FieldValue } from "./protocol/fieldTable.ts"
import type { BasicGetOk } from "./protocol/methods.generated.ts"

// -----------------------------------------------------------------------------
// descriptions
// -----------------------------------------------------------------------------

/**
 * The types of queues that RabbitMQ has.
 *
 * @category models
 * @since 0.1.0
 */
export type QueueType = "classic" | "quorum" | "stream"

/**
 * What a queue is like: its type, its properties, the broker's extensions and the bindings by which messages reach it.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpQueue<out Type extends QueueType = QueueType>
  extends Topology.QueueDescription, Pipeable.Pipeable
{
  readonly type: Type
}

/**
 * What classic and quorum queues can be told. Times are sent as whole milliseconds, from the given minimum to 2^32 - 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface MessageQueueOptions {
  /** How long a message may wait, from 0 (RabbitMQ, "Time-To-Live"). Default: without end. */
  readonly messageTtl?: Duration.Input | undefined
  /** How long the queue may be unused before it is deleted, from 1 ms. Default: without end. */
  readonly expires?: Duration.Input | undefined
  /** The most messages that are ready, from 0; what is over is dropped as `overflow` says. Default: no limit. */
  readonly maxLength?: number | undefined
  /** The most bytes of bodies that are ready, from 0. Default: no limit. */
  readonly maxLengthBytes?: number | undefined
  /** Where messages go that are rejected, expire or are too many (RabbitMQ, "Dead Letter Exchanges"); `""` is the default exchange. */
  readonly deadLetterExchange?: string | AmqpExchange | undefined
  /** The routing key they go with; needs `deadLetterExchange`. Default: their own. */
  readonly deadLetterRoutingKey?: string | undefined
  /** Whether one consumer at a time gets messages, and another only when that one is gone. Default: `false`. */
  readonly singleActiveConsumer?: boolean | undefined
  /** Further extensions of the broker, by their own names (RabbitMQ, "Optional Queue Arguments"). */
  readonly arguments?: FieldTable | undefined
}

/**
 * What a classic queue can be told.
 *
 * @category models
 * @since 0.1.0
 */
export interface ClassicOptions extends MessageQueueOptions {
  /** Whether it survives a restart of the broker. Default: `true`. */
  readonly durable?: boolean | undefined
  /** Whether it is for this connection alone and goes with it. Default: `false`. */
  readonly exclusive?: boolean | undefined
  /** Whether it goes with its last consumer. Default: `false`. */
  readonly autoDelete?: boolean | undefined
  /** What happens to a message that is too many: the oldest is dropped, or the new one refused. Default: `drop-head`. */
  readonly overflow?: "drop-head" | "reject-publish" | "reject-publish-dlx" | undefined
  /** The highest priority that makes a difference, from 0 to 255 (RabbitMQ, "Priority Queues"). Default: none does. */
  readonly maxPriority?: number | undefined
}

/**
 * What a queue with a name of the broker's making can be told.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerNamedOptions extends Omit<ClassicOptions, "durable" | "exclusive"> {}

/**
 * What a quorum queue can be told. It is always durable, and neither exclusive nor deleted with its last consumer.
 *
 * @category models
 * @since 0.1.0
 */
export interface QuorumOptions extends MessageQueueOptions {
  /** What happens to a message that is too many: the oldest is dropped, or the new one refused. Default: `drop-head`. */
  readonly overflow?: "drop-head" | "reject-publish" | undefined
  /**
   * How often a message may come back before it is dead-lettered, from 0 (RabbitMQ, "Poison Message Handling"). Default: the
   * broker's, from RabbitMQ 4.0 on 20, before without end.
   */
  readonly deliveryLimit?: number | undefined
  /**
   * Whether dead-lettering may lose messages. `at-least-once` needs `deadLetterExchange` and `overflow: "reject-publish"`.
   * Default: `at-most-once`.
   */
  readonly deadLetterStrategy?: "at-most-once" | "at-least-once" | undefined
  /** On how many nodes it begins, from 1. Default: the broker's. */
  readonly initialGroupSize?: number | undefined
  /** On which node its leader begins. Default: the broker's. */
  readonly leaderLocator?: "client-local" | "balanced" | undefined
}

/**
 * What a stream can be told. It is always durable, and neither exclusive nor deleted with its last consumer.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamOptions {
  /** How many bytes it keeps, from 0. Default: no limit. */
  readonly maxLengthBytes?: number | undefined
  /** How long it keeps messages, from 1 second, in whole seconds. Default: without end. */
  readonly maxAge?: Duration.Input | undefined
  /** Bytes of a segment file, from 1; only whole segments are dropped. Default: the broker's. */
  readonly segmentSizeBytes?: number | undefined
  /** On how many nodes it begins, from 1. Default: the broker's. */
  readonly initialGroupSize?: number | undefined
  /** On which node its leader begins. Default: the broker's. */
  readonly leaderLocator?: "client-local" | "balanced" | undefined
  /** Further extensions of the broker, by their own names. */
  readonly arguments?: FieldTable | undefined
}

const optional = <A, B>(value: A | undefined, f: (value: A) => B): B | undefined =>
  value === undefined ? undefined : f(value)

const messageQueueArguments = (options: MessageQueueOptions): Record<string, FieldValue | undefined> => {
  const { deadLetterExchange, deadLetterRoutingKey, expires, maxLength, maxLengthBytes, messageTtl } = options
  const hasDeadLetterExchange = deadLetterExchange !== undefined ||
    options.arguments?.["x-dead-letter-exchange"] !== undefined
  if (deadLetterRoutingKey !== undefined && !hasDeadLetterExchange) {
    throw Validation.invalid("deadLetterRoutingKey: needs a deadLetterExchange")
  }
  return {
    "x-message-ttl": optional(messageTtl, (ttl) => Validation.millis("messageTtl", ttl, 0)),
    "x-expires": optional(expires, (expires) => Validation.millis("expires", expires, 1)),
    "x-max-length": optional(maxLength, (length) => Validation.wholeNumber("maxLength", length, 0)),
    "x-max-length-bytes": optional(maxLengthBytes, (bytes) => Validation.wholeNumber("maxLengthBytes", bytes, 0)),
    "x-dead-letter-exchange": optional(
      deadLetterExchange,
      (exchange) => Validation.name("deadLetterExchange", Topology.nameOf(exchange))
    ),
    "x-dead-letter-routing-key": optional(deadLetterRoutingKey, (key) => Validation.name("deadLetterRoutingKey", key)),
    "x-single-active-consumer": options.singleActiveConsumer === true ? true : undefined
  }
}

const makeClassic = (name: string, options: ClassicOptions): AmqpQueue<"classic"> => {
  const { autoDelete = false, durable = true, exclusive = false, maxPriority, overflow } = options
  return Topology.describe({
    type: "classic",
    name,
    durable,
    exclusive,
    autoDelete,
    arguments: Validation.extend(options.arguments ?? {}, {
      "x-queue-type": "classic",
      ...messageQueueArguments(options),
      "x-overflow": overflow,
      "x-max-priority": optional(maxPriority, (priority) => Validation.wholeNumber("maxPriority", priority, 0, 255))
    }),
    bindings: [],
    references: Topology.described(options.deadLetterExchange)
  })
}

/**
 * A queue on one node (RabbitMQ, "Classic Queues").
 *
 * @category constructors
 * @since 0.1.0
 */
export const classic = (name: string, options: ClassicOptions = {}): AmqpQueue<"classic"> =>
  makeClassic(Validation.nonEmptyName("queue", name), options)

/**
 * A classic queue whose name the broker makes up, for this connection alone: for replies, or for a subscriber that wants
 * what is published while it is there.
 *
 * **Gotchas**
 *
 * Each declaration makes another queue, also that by a consumer: declare it or consume it, not both. The `queues` of
 * `AmqpConsumer.make` tell its name.
 *
 * @category constructors
 * @since 0.1.0
 */
export const serverNamed = (options: ServerNamedOptions = {}): AmqpQueue<"classic"> =>
  makeClassic("", { ...options, durable: false, exclusive: true })

/**
 * A queue that is replicated to several nodes (RabbitMQ, "Quorum Queues").
 *
 * @category constructors
 * @since 0.1.0
 */
export const quorum = (name: string, options: QuorumOptions = {}): AmqpQueue<"quorum"> => {
  const { deadLetterStrategy, deliveryLimit, initialGroupSize, leaderLocator, overflow } = options
  if (
    deadLetterStrategy === "at-least-once" &&
    (overflow !== "reject-publish" || options.deadLetterExchange === undefined)
  ) {
    const needs = `a deadLetterExchange and the overflow "reject-publish"`
    throw Validation.invalid(`deadLetterStrategy: "at-least-once" needs ${needs}`)
  }
  return Topology.describe({
    type: "quorum",
    name: Validation.nonEmptyName("queue", name),
    durable: true,
    exclusive: false,
    autoDelete: false,
    arguments: Validation.extend(options.arguments ?? {}, {
      "x-queue-type": "quorum",
      ...messageQueueArguments(options),
      "x-overflow": overflow,
      "x-delivery-limit": optional(deliveryLimit, (limit) => Validation.wholeNumber("deliveryLimit", limit, 0)),
      "x-dead-letter-strategy": deadLetterStrategy,
      "x-quorum-initial-group-size": optional(
        initialGroupSize,
        (size) => Validation.wholeNumber("initialGroupSize", size, 1)
      ),
      "x-queue-leader-locator": leaderLocator
    }),
    bindings: [],
    references: Topology.described(options.deadLetterExchange)
  })
}

/**
 * A log that is read from any point and not used up (RabbitMQ, "Streams"). Its consumers must acknowledge, with a prefetch.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stream = (name: string, options: StreamOptions = {}): AmqpQueue<"stream"> => {
  const { initialGroupSize, leaderLocator, maxAge, maxLengthBytes, segmentSizeBytes } = options
  return Topology.describe({
    type: "stream",
    name: Validation.nonEmptyName("queue", name),
    durable: true,
    exclusive: false,
    autoDelete: false,
    arguments: Validation.extend(options.arguments ?? {}, {
      "x-queue-type": "stream",
      "x-max-length-bytes": optional(maxLengthBytes, (bytes) => Validation.wholeNumber("maxLengthBytes", bytes, 0)),
      "x-max-age": optional(maxAge, (age) => `${Validation.seconds("maxAge", age, 1)}s`),
      "x-stream-max-segment-size-bytes": optional(
        segmentSizeBytes,
        (bytes) => Validation.wholeNumber("segmentSizeBytes", bytes, 1)
      ),
      "x-initial-cluster-size": optional(
        initialGroupSize,
        (size) => Validation.wholeNumber("initialGroupSize", size, 1)
      ),
      "x-queue-leader-locator": leaderLocator
    }),
    bindings: [],
    references: []
  })
}

/**
 * A rule by which an exchange routes to a queue.
 *
 * @category models
 * @since 0.1.0
 */
export interface Binding {
  /** One that is described is declared with the queue. */
  readonly exchange: string | AmqpExchange
  /** What it means is up to the type of the exchange. Default: `""`. */
  readonly routingKey?: string | undefined
  /** What a headers exchange compares with. Default: none. */
  readonly arguments?: FieldTable | undefined
}

const describeBinding = (
  { arguments: table = {}, exchange, routingKey = "" }: Binding
): Topology.BindingDescription => ({
  exchange,
  routingKey,
  arguments: table
})

/**
 * The same queue with one more exchange that routes to it.
 *
 * **Example** (A queue for some of the events)
 *
 * ```ts
 * import { AmqpExchange, AmqpQueue } from "@effect-amqp/core"
 *
 * const events = AmqpExchange.topic("events")
 * const orders = AmqpQueue.quorum("orders", { deliveryLimit: 5 }).pipe(
 *   AmqpQueue.withBinding({ exchange: events, routingKey: "order.*" })
 * )
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const withBinding: {
  (binding: Binding): <Type extends QueueType>(self: AmqpQueue<Type>) => AmqpQueue<Type>
  <Type extends QueueType>(self: AmqpQueue<Type>, binding: Binding): AmqpQueue<Type>
} = dual(2, <Type extends QueueType>(self: AmqpQueue<Type>, binding: Binding): AmqpQueue<Type> => {
  Validation.nonEmptyName("exchange", Topology.nameOf(binding.exchange))
  Validation.name("routingKey", binding.routingKey ?? "")
  return Topology.describe({ ...self, bindings: [...self.bindings, describeBinding(binding)] })
})

// -----------------------------------------------------------------------------
// operations
// -----------------------------------------------------------------------------

/**
 * The way to a queue for a publish: through the default exchange, which routes to the queue that the routing key names.
 *
 * **Example** (Publishing to a queue)
 *
 * ```ts
 * import { AmqpChannel, AmqpMessage, AmqpQueue } from "@effect-amqp/core"
 *
 * const program = AmqpChannel.publish(AmqpMessage.text("hello"), AmqpQueue.route("greetings"))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const route = (queue: string | AmqpQueue): { readonly exchange: ""; readonly routingKey: string } => ({
  exchange: "",
  routingKey: Topology.nameOf(queue)
})

/**
 * What the broker says of a queue.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueueInfo {
  /** The name, which the broker made for a {@link serverNamed} one. */
  readonly name: string
  /** Messages that are ready to be delivered. */
  readonly messageCount: number
  readonly consumerCount: number
}

const queueInfo = (
  answer: { readonly queue: string; readonly messageCount: number; readonly consumerCount: number }
): QueueInfo => ({ name: answer.queue, messageCount: answer.messageCount, consumerCount: answer.consumerCount })

/** An operation on a queue that has a name. */
const onQueue = <A, E, R>(
  queue: string | AmqpQueue,
  operation: (channel: Channel, name: string) => Effect.Effect<A, E, R>
): AmqpChannel<A, E | AmqpChannelError, R> =>
  Program.make((channel) => Effect.flatMap(Topology.queueName(queue), (name) => operation(channel, name)))

/** A name alone says nothing of the type, which is then the virtual host's default. */
const named = (name: string): Topology.QueueDescription => ({
  name: Validation.nonEmptyName("queue", name),
  type: undefined,
  durable: true,
  exclusive: false,
  autoDelete: false,
  arguments: {},
  bindings: [],
  references: []
})

/**
 * Makes a queue, with its bindings and all that it refers to, unless it is there (`queue.declare`). A name alone is that of a
 * durable queue of the virtual host's default type.
 *
 * Fails with `PreconditionFailed` when it is there and is different, with `ResourceLocked` when it is another connection's
 * exclusive queue, with `AccessRefused` when the user may not.
 *
 * @category operations
 * @since 0.1.0
 */
export const declare = (queue: string | AmqpQueue): AmqpChannel<QueueInfo, AmqpChannelError> =>
  Program.make((channel) =>
    Validation.attempt(() => typeof queue === "string" ? named(queue) : queue).pipe(
      Effect.flatMap((queue) => Topology.declareAll(channel, [], [queue])),
      Effect.map(([answer]) => queueInfo(answer))
    )
  )

/**
 * Asks about a queue without making one (`queue.declare` with `passive`). Fails with `NotFound` when it is not there.
 *
 * @category operations
 * @since 0.1.0
 */
export const declarePassive = (queue: string | AmqpQueue): AmqpChannel<QueueInfo, AmqpChannelError> =>
  onQueue(queue, (channel, name) =>
    Effect.map(
      channel.request({
        _tag: "queue.declare",
        queue: name,
        passive: true,
        durable: false,
        exclusive: false,
        autoDelete: false,
        noWait: false,
        arguments: {}
      }),
      queueInfo
    ))

/**
 * Has an exchange route to the queue (`queue.bind`). Fails with `NotFound` when one of the two is not there.
 *
 * @category operations
 * @since 0.1.0
 */
export const bind = (queue: string | AmqpQueue, binding: Binding): AmqpChannel<void, AmqpChannelError> =>
  onQueue(queue, (channel, name) => Effect.asVoid(Topology.bindQueue(channel, name, describeBinding(binding))))

/**
 * Takes a binding back (`queue.unbind`). Succeeds when there was none.
 *
 * @category operations
 * @since 0.1.0
 */
export const unbind = (queue: string | AmqpQueue, binding: Binding): AmqpChannel<void, AmqpChannelError> =>
  onQueue(queue, (channel, name) =>
    Effect.asVoid(channel.request({
      _tag: "queue.unbind",
      queue: name,
      exchange: Topology.nameOf(binding.exchange),
      routingKey: binding.routingKey ?? "",
      arguments: binding.arguments ?? {}
    })))

/**
 * Deletes the messages that are ready, not those a consumer has yet to settle (`queue.purge`), and yields how many.
 *
 * @category operations
 * @since 0.1.0
 */
export const purge = (queue: string | AmqpQueue): AmqpChannel<number, AmqpChannelError> =>
  onQueue(queue, (channel, name) =>
    Effect.map(
      channel.request({ _tag: "queue.purge", queue: name, noWait: false }),
      ({ messageCount }) => messageCount
    ))

/**
 * Deletes a queue with its messages (`queue.delete`), and yields how many there were. Succeeds when there is no such queue.
 * Fails with `PreconditionFailed` when it has consumers or messages and an option says that it must not.
 *
 * @category operations
 * @since 0.1.0
 */
const remove = (
  queue: string | AmqpQueue,
  options: { readonly ifUnused?: boolean | undefined; readonly ifEmpty?: boolean | undefined } = {}
): AmqpChannel<number, AmqpChannelError> =>
  onQueue(queue, (channel, name) =>
    Effect.map(
      channel.request({
        _tag: "queue.delete",
        queue: name,
        ifUnused: options.ifUnused ?? false,
        ifEmpty: options.ifEmpty ?? false,
        noWait: false
      }),
      ({ messageCount }) => messageCount
    ))

export { remove as delete }

/**
 * Fetches a message, if there is one (`basic.get`), and settles it as the handler decides. Yields the settlement's value, or
 * `None` when the queue is empty. A handler that fails gives the message back to the queue. Fails with `ContentTooLarge` for a
 * message above the connection's `maxBodySize`, which is dead-lettered, or dropped when the queue has no dead-letter exchange.
 *
 * For a steady flow of messages an `AmqpConsumer` is much faster: this is a round trip for each.
 *
 * **Example** (Handling at most one order)
 *
 * ```ts
 * import { AmqpDelivery, AmqpQueue } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * const program = AmqpQueue.get("orders", (delivery) =>
 *   Effect.as(Effect.log(delivery.text), AmqpDelivery.ack))
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const get = <A, E, R>(
  queue: string | AmqpQueue<"classic" | "quorum">,
  handler: (delivery: AmqpDelivery.ReceivedMessage) => Step<AmqpDelivery.Settlement<A>, E, R>
): AmqpChannel<Option.Option<A>, E | AmqpChannelError, R> =>
  onQueue(queue, (channel, name) => Fetching.fetch(channel, name, handleOn(channel, name, handler)))

const handleOn =
  <A, E, R>(channel: Channel, queue: string, handler: (delivery: AmqpDelivery.ReceivedMessage) => Step<A, E, R>) =>
  (content: Content<BasicGetOk>): Effect.Effect<A, E, R> =>
    Program.runOn(handler(new Received(content, fetchedFrom(queue))), channel)

const fetchedFrom = (queue: string) => ({ queue, consumerTag: undefined })

/**
 * Fetches messages until the queue is empty, one after the other, and settles each as the handler decides. Yields the settlements'
 * values, in the order of the messages.
 *
 * **When to use**
 *
 * Use for a script that works through what there is and ends. A consumer waits for more, and is much faster: this is a round
 * trip for each message.
 *
 * **Details**
 *
 * Each message is handled once: one that the handler requeues goes back when all are handled. A handler that fails gives its
 * message back and ends the program with its error; what was handled before is settled. So does a `ContentTooLarge`, see
 * {@link get}.
 *
 * **Gotchas**
 *
 * A queue that is filled as fast as it is read does not get empty: bound it with `limit`, the most messages that are fetched, from 1.
 *
 * **Example** (Archiving what has failed)
 *
 * ```ts
 * import { AmqpChannel, AmqpDelivery, AmqpQueue } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * declare const archive: (text: string) => Effect.Effect<void, Error>
 *
 * const program = AmqpQueue.getAll(
 *   "orders.failed",
 *   ({ text }) => Effect.as(archive(text), AmqpDelivery.ack),
 *   { limit: 10_000 }
 * )
 *
 * const count = Effect.map(AmqpChannel.run(program), ({ length }) => length)
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const getAll = <A, E, R>(
  queue: string | AmqpQueue<"classic" | "quorum">,
  handler: (delivery: AmqpDelivery.ReceivedMessage) => Step<AmqpDelivery.Settlement<A>, E, R>,
  options: { readonly limit?: number | undefined } = {}
): AmqpChannel<Array<A>, E | AmqpChannelError, R> =>
  onQueue(queue, (channel, name) =>
    Effect.flatMap(
      Validation.attempt(() => optional(options.limit, (limit) => Validation.wholeNumber("limit", limit, 1))),
      (limit = Infinity) => Fetching.fetchAll(channel, name, limit, handleOn(channel, name, handler))
    ))

/**
 * Fetches a message, if there is one, which the broker forgets as it sends it (`basic.get` with `no-ack`): it is lost when
 * the program ends before it is handled. Fails with `ContentTooLarge` for a message above the connection's `maxBodySize`, which
 * is lost.
 *
 * @category operations
 * @since 0.1.0
 */
export const getAutoAck = (
  queue: string | AmqpQueue<"classic" | "quorum">
): AmqpChannel<Option.Option<AmqpDelivery.ReceivedMessage>, AmqpChannelError> =>
  onQueue(
    queue,
    (channel, name) =>
      Effect.map(
        Fetching.fetchAutoAck(channel, name),
        Option.map((content) => new Received(content, fetchedFrom(name)))
      )
  )
