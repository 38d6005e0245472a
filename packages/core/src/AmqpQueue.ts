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
import * as Predicate from "effect/Predicate"
import type { AmqpChannel, Step } from "./AmqpChannel.ts"
import * as AmqpConnection from "./AmqpConnection.ts"
import type * as AmqpDelivery from "./AmqpDelivery.ts"
import type { AmqpChannelError, AmqpMoveError } from "./AmqpError.ts"
import type { AmqpExchange, BindingDescription } from "./AmqpExchange.ts"
import type { Channel } from "./internal/channel/channel.ts"
import { passiveQueueDeclare } from "./internal/channel/methods.ts"
import * as Program from "./internal/channel/program.ts"
import * as Brands from "./internal/common/brands.ts"
import { sessionOf } from "./internal/connection/sessionRegistry.ts"
import * as Fetching from "./internal/consuming/basicGet.ts"
import { Received } from "./internal/consuming/delivery.ts"
import * as Moving from "./internal/moving/move.ts"
import * as Validation from "./internal/options/validation.ts"
import { bindQueue, checkDeclaredName, declareAll, declareNamed } from "./internal/topology/declare.ts"
import * as Descriptions from "./internal/topology/descriptions.ts"
import * as QueueOptions from "./internal/topology/queueOptions.ts"
import { optional } from "./internal/topology/queueOptions.ts"
import type { Content } from "./protocol/ContentAssembler.ts"
import type { FieldTable } from "./protocol/fieldTable.ts"
import type { BasicGetOk } from "./protocol/methods.generated.ts"

const TypeId = Brands.QueueTypeId

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
export interface AmqpQueue<out Type extends QueueType = QueueType> extends Pipeable.Pipeable {
  readonly [TypeId]: typeof TypeId
  /** Empty for a {@link ServerNamedQueue}. */
  readonly name: string
  readonly type: Type
  readonly durable: boolean
  readonly exclusive: boolean
  readonly autoDelete: boolean
  readonly arguments: FieldTable
  readonly bindings: ReadonlyArray<BindingDescription>
  /** The exchanges and queues that this one needs, apart from those in its bindings. */
  readonly references: ReadonlyArray<AmqpExchange | AmqpQueue>
}

/**
 * A queue that the broker names; see {@link serverNamed}.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerNamedQueue extends AmqpQueue<"classic"> {
  readonly name: ""
}

/**
 * Whether a value is the description of a queue, or a copy of one by spread.
 *
 * @category guards
 * @since 0.1.0
 */
export const isQueue: (value: unknown) => value is AmqpQueue = Brands.isQueue

/** Operations on a queue need its name, and the description of a server-named queue has none. */
type Named<Queue> = Queue extends { readonly name: "" }
  ? "A server-named queue is known by the name that AmqpQueue.declare yields."
  : Queue

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
  /**
   * The queue where they go, instead of the two options above: it stands for the default exchange and the routing key of that queue. One
   * that is described is declared with this one.
   */
  readonly deadLetterQueue?: string | AmqpQueue | undefined
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
   * How often a message may come back before it is dead-lettered, from 0 (RabbitMQ, "Poison Message Handling"). Without a target for
   * dead letters it is dropped then. Default: the broker's, from RabbitMQ 4.0 on 20, before that no limit.
   *
   * What counts: a message that comes back when its consumer is gone, by `reject` with `requeue`, and up to RabbitMQ 4.2 by `nack`; also
   * one that was only sent ahead and not looked at. From 4.3 on `nack` does not count.
   *
   * `"unlimited"` is for RabbitMQ 4.0 and later (it sends -1). A declaration on an older one is refused, as it would take that for 0.
   */
  readonly deliveryLimit?: number | "unlimited" | undefined
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

const makeClassic = <Name extends string>(
  name: Name,
  options: ClassicOptions
): AmqpQueue<"classic"> & { readonly name: Name } => {
  const { maxPriority, overflow } = options
  QueueOptions.checkArguments(options.arguments)
  return Descriptions.describeQueue({
    type: "classic",
    name,
    durable: Validation.flag("durable", options.durable, true),
    exclusive: Validation.flag("exclusive", options.exclusive),
    autoDelete: Validation.flag("autoDelete", options.autoDelete),
    arguments: Validation.extend(options.arguments ?? {}, {
      "x-queue-type": "classic",
      ...QueueOptions.messageQueueArguments(options),
      "x-overflow": overflow,
      "x-max-priority": optional(maxPriority, (priority) => Validation.wholeNumber("maxPriority", priority, 0, 255))
    }),
    bindings: [],
    references: QueueOptions.referencesOf(options)
  })
}

/**
 * A queue on one node (RabbitMQ, "Classic Queues").
 *
 * @category constructors
 * @since 0.1.0
 */
export const classic = (name: string, options: ClassicOptions = {}): AmqpQueue<"classic"> => {
  QueueOptions.checkKeys("classic", options)
  return makeClassic(Validation.nonEmptyName("queue", name), options)
}

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
export const serverNamed = (options: ServerNamedOptions = {}): ServerNamedQueue => {
  QueueOptions.checkKeys("server-named", options)
  return makeClassic("", { ...options, durable: false, exclusive: true })
}

/**
 * A queue that is replicated to several nodes (RabbitMQ, "Quorum Queues").
 *
 * @category constructors
 * @since 0.1.0
 */
export const quorum = (name: string, options: QuorumOptions = {}): AmqpQueue<"quorum"> => {
  const {
    deadLetterExchange,
    deadLetterQueue,
    deadLetterStrategy,
    deliveryLimit,
    initialGroupSize,
    leaderLocator,
    overflow
  } = options
  QueueOptions.checkKeys("quorum", options)
  QueueOptions.checkArguments(options.arguments)
  if (
    deadLetterStrategy === "at-least-once" &&
    (overflow !== "reject-publish" || (deadLetterExchange ?? deadLetterQueue) === undefined)
  ) {
    const needs = `a deadLetterExchange or a deadLetterQueue, and the overflow "reject-publish"`
    throw Validation.invalid(`deadLetterStrategy: "at-least-once" needs ${needs}`)
  }
  return Descriptions.describeQueue({
    type: "quorum",
    name: Validation.nonEmptyName("queue", name),
    durable: true,
    exclusive: false,
    autoDelete: false,
    arguments: Validation.extend(options.arguments ?? {}, {
      "x-queue-type": "quorum",
      ...QueueOptions.messageQueueArguments(options),
      "x-overflow": overflow,
      "x-delivery-limit": optional(deliveryLimit, QueueOptions.deliveryLimit),
      "x-dead-letter-strategy": deadLetterStrategy,
      "x-quorum-initial-group-size": optional(
        initialGroupSize,
        (size) => Validation.wholeNumber("initialGroupSize", size, 1)
      ),
      "x-queue-leader-locator": leaderLocator
    }),
    bindings: [],
    references: QueueOptions.referencesOf(options)
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
  QueueOptions.checkKeys("stream", options)
  QueueOptions.checkArguments(options.arguments)
  return Descriptions.describeQueue({
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

const describeBinding = (binding: Binding): BindingDescription => {
  const { arguments: table = {}, exchange, routingKey = "" } = Validation.knownKeys(binding, bindingKeys, "binding")
  Validation.nonEmptyName("exchange", Descriptions.exchangeName(exchange, "exchange"))
  return { exchange, routingKey: Validation.name("routingKey", routingKey), arguments: table }
}

const bindingKeys = ["exchange", "routingKey", "arguments"] as const

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
  (binding: Binding): <Queue extends AmqpQueue>(self: Queue) => Queue
  <Queue extends AmqpQueue>(self: Queue, binding: Binding): Queue
} = dual(
  2,
  (self: AmqpQueue, binding: Binding): AmqpQueue => {
    Descriptions.queueName(self)
    return Descriptions.describeQueue({ ...self, bindings: [...self.bindings, describeBinding(binding)] })
  }
)

// -----------------------------------------------------------------------------
// operations
// -----------------------------------------------------------------------------

/**
 * The way to a queue for a publish: through the default exchange, which routes to the queue that the routing key names. Throws an
 * `InvalidArgument` for a queue without a name: a {@link serverNamed} one is known by the name that {@link declare} yields.
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
export const route = <Queue extends string | AmqpQueue>(
  queue: Named<Queue>
): { readonly exchange: ""; readonly routingKey: string } => ({
  exchange: "",
  routingKey: Descriptions.checkedQueueName(queue)
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
  Program.make((channel) =>
    Effect.flatMap(Validation.attempt(() => Descriptions.checkedQueueName(queue)), (name) => operation(channel, name))
  )

/** An operation that RabbitMQ answers for a stream by ending the whole connection (540). */
const onMessageQueue = <A, E, R>(
  queue: string | AmqpQueue,
  what: string,
  operation: (channel: Channel, name: string) => Effect.Effect<A, E, R>
): AmqpChannel<A, E | AmqpChannelError, R> =>
  onQueue(queue, (channel, name) =>
    Effect.flatMap(
      Validation.attempt(() => {
        if (typeof queue === "object" && queue.type === "stream") throw Validation.invalid(`queue: a stream ${what}`)
      }),
      () => operation(channel, name)
    ))

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
    typeof queue === "string"
      ? Effect.map(declareNamed(channel, queue), queueInfo)
      : Effect.map(declareAll(channel, [], [queue]), ([answer]) => queueInfo(answer))
  )

/**
 * Asks about a queue without making one (`queue.declare` with `passive`). Fails with `NotFound` when it is not there.
 *
 * @category operations
 * @since 0.1.0
 */
export const declarePassive = <Queue extends string | AmqpQueue>(
  queue: Named<Queue>
): AmqpChannel<QueueInfo, AmqpChannelError> =>
  onQueue(queue, (channel, name) =>
    Effect.map(
      Effect.andThen(
        Validation.attempt(() => checkDeclaredName(name)),
        channel.request(passiveQueueDeclare(name))
      ),
      queueInfo
    ))

/**
 * Has an exchange route to the queue (`queue.bind`). Fails with `NotFound` when one of the two is not there.
 *
 * @category operations
 * @since 0.1.0
 */
export const bind = <Queue extends string | AmqpQueue>(
  queue: Named<Queue>,
  binding: Binding
): AmqpChannel<void, AmqpChannelError> =>
  onQueue(queue, (channel, name) =>
    Effect.flatMap(
      Validation.attempt(() => describeBinding(binding)),
      (binding) => Effect.asVoid(bindQueue(channel, name, binding))
    ))

/**
 * Takes a binding back (`queue.unbind`). Succeeds when there was none.
 *
 * @category operations
 * @since 0.1.0
 */
export const unbind = <Queue extends string | AmqpQueue>(
  queue: Named<Queue>,
  binding: Binding
): AmqpChannel<void, AmqpChannelError> =>
  onQueue(
    queue,
    (channel, name) =>
      Effect.flatMap(Validation.attempt(() => describeBinding(binding)), (binding) =>
        Effect.asVoid(channel.request({
          _tag: "queue.unbind",
          queue: name,
          exchange: Descriptions.exchangeName(binding.exchange),
          routingKey: binding.routingKey,
          arguments: binding.arguments
        })))
  )

/**
 * Deletes the messages that are ready, not those a consumer has yet to settle (`queue.purge`), and yields how many. A stream can't be
 * purged: a description of one is refused.
 *
 * **Gotchas**
 *
 * For a stream that is only named, RabbitMQ closes the whole connection (540), with all channels on it.
 *
 * @category operations
 * @since 0.1.0
 */
export const purge = <Queue extends string | AmqpQueue<"classic" | "quorum">>(
  queue: Named<Queue>
): AmqpChannel<number, AmqpChannelError> =>
  onMessageQueue(queue, "can't be purged", (channel, name) =>
    Effect.map(
      channel.request({ _tag: "queue.purge", queue: name, noWait: false }),
      ({ messageCount }) => messageCount
    ))

/**
 * Under which conditions a queue is deleted. For classic queues: a quorum queue knows no conditions, and a stream ignores them.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeleteOptions {
  /** Only when it has no consumers. Default: `false`. */
  readonly ifUnused?: boolean | undefined
  /** Only when it has no messages that are ready. Default: `false`. */
  readonly ifEmpty?: boolean | undefined
}

/**
 * Deletes a queue with its messages (`queue.delete`), and yields how many there were. Succeeds when there is no such queue.
 * Fails with `PreconditionFailed` when it has consumers or messages and an option says that it must not.
 *
 * **Gotchas**
 *
 * The options are for classic queues, and refused for a description of another type. For a quorum queue that is only named,
 * RabbitMQ closes the whole connection (540); a stream is deleted whatever they say.
 *
 * @category operations
 * @since 0.1.0
 */
const remove: {
  <Queue extends string | AmqpQueue<"classic">>(
    queue: Named<Queue>,
    options?: DeleteOptions
  ): AmqpChannel<number, AmqpChannelError>
  <Queue extends string | AmqpQueue>(queue: Named<Queue>): AmqpChannel<number, AmqpChannelError>
} = (queue: string | AmqpQueue, options: DeleteOptions = {}): AmqpChannel<number, AmqpChannelError> =>
  onQueue(
    queue,
    (channel, name) =>
      Effect.flatMap(Validation.attempt(() => deleteConditions(queue, options)), ({ ifEmpty, ifUnused }) =>
        Effect.map(
          channel.request({ _tag: "queue.delete", queue: name, ifUnused, ifEmpty, noWait: false }),
          ({ messageCount }) => {
            channel.lease.deleted(name)
            return messageCount
          }
        ))
  )

const deleteConditions = (queue: string | AmqpQueue, options: DeleteOptions) => {
  const known = Validation.knownKeys(options, ["ifUnused", "ifEmpty"])
  const ifEmpty = Validation.flag("ifEmpty", known.ifEmpty)
  const ifUnused = Validation.flag("ifUnused", known.ifUnused)
  const isOtherType = typeof queue === "object" && queue.type !== "classic"
  if (isOtherType && (ifEmpty || ifUnused)) {
    throw Validation.invalid(`ifUnused, ifEmpty: a ${queue.type} queue is deleted without conditions`)
  }
  return { ifEmpty, ifUnused }
}

export { remove as delete }

/**
 * Fetches a message, if there is one (`basic.get`), and settles it as the handler decides. Yields the settlement's value, or
 * `None` when the queue is empty.
 *
 * **Details**
 *
 * A handler that fails gives the message back to the queue. So does one that returns anything but a settlement of `AmqpDelivery`, and
 * then the program dies. A message above the connection's `maxBodySize` stays in the queue, and the program fails with
 * `ContentTooLarge`. When the channel is gone by the time the handler ends, nothing is settled: the program fails with the reason, and the
 * message is delivered again.
 *
 * A stream is refused: it gives no single messages.
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
export const get = <A, E, R, Queue extends string | AmqpQueue<"classic" | "quorum">>(
  queue: Named<Queue>,
  handler: (delivery: AmqpDelivery.ReceivedMessage) => Step<AmqpDelivery.Settlement<A>, E, R>
): AmqpChannel<Option.Option<A>, E | AmqpChannelError, R> =>
  onMessageQueue(
    queue,
    givesNoSingleMessages,
    (channel, name) => Fetching.fetch(channel, name, handleOn(channel, name, handler))
  )

const givesNoSingleMessages = "gives no single messages; use an AmqpConsumer"

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
 * message back and ends the program with its error; what was handled before is settled. So does a message above the connection's
 * `maxBodySize`, and all else that {@link get} fails with.
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
export const getAll = <A, E, R, Queue extends string | AmqpQueue<"classic" | "quorum">>(
  queue: Named<Queue>,
  handler: (delivery: AmqpDelivery.ReceivedMessage) => Step<AmqpDelivery.Settlement<A>, E, R>,
  options: { readonly limit?: number | undefined } = {}
): AmqpChannel<Array<A>, E | AmqpChannelError, R> =>
  onMessageQueue(queue, givesNoSingleMessages, (channel, name) =>
    Effect.flatMap(
      Validation.attempt(() =>
        optional(Validation.knownKeys(options, ["limit"]).limit, (limit) => Validation.wholeNumber("limit", limit, 1))
      ),
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
export const getAutoAck = <Queue extends string | AmqpQueue<"classic" | "quorum">>(
  queue: Named<Queue>
): AmqpChannel<Option.Option<AmqpDelivery.ReceivedMessage>, AmqpChannelError> =>
  onMessageQueue(
    queue,
    givesNoSingleMessages,
    (channel, name) =>
      Effect.map(
        Fetching.fetchAutoAck(channel, name),
        Option.map((content) => new Received(content, fetchedFrom(name)))
      )
  )

// -----------------------------------------------------------------------------
// moving
// -----------------------------------------------------------------------------

/**
 * Where {@link move} publishes a message: a queue, or an exchange with a routing key.
 *
 * @category models
 * @since 0.1.0
 */
export type MoveTarget = string | AmqpQueue | {
  readonly exchange: string | AmqpExchange
  readonly routingKey: string
}

/**
 * How far a move has come.
 *
 * @category models
 * @since 0.1.0
 */
export interface MoveProgress {
  /** How many messages were ready in the queue when the move began. */
  readonly total: number
  /** How many are at their target, and gone from the queue. In a dry run: how many would be. */
  readonly moved: number
  /** How many the filter did not select. */
  readonly skipped: number
  /** How many could not be moved. They stay in the queue. */
  readonly failed: number
}

/**
 * How {@link move} moves.
 *
 * @category models
 * @since 0.1.0
 */
export interface MoveOptions<out R = never> {
  /** The most messages that are moved, from 1. Default: no limit. */
  readonly limit?: number | undefined
  /** Which messages are moved. The others stay in the queue. Default: all. */
  readonly filter?: ((message: AmqpDelivery.ReceivedMessage) => boolean) | undefined
  /** Counts what would be moved, and moves nothing. Default: `false`. */
  readonly dryRun?: boolean | undefined
  /** Runs while messages are moved, at most ten times a second and when something has changed, and at the end. */
  readonly onProgress?: ((progress: MoveProgress) => Effect.Effect<unknown, never, R>) | undefined
  /**
   * Whether messages lose the headers that count failures: those of `AmqpFailurePolicy` (`x-failure-…`), so that it begins anew, and those that
   * the broker writes for dead letters (`x-death`, `x-first-death-…`, `x-last-death-…`). Default: `false`.
   */
  readonly resetFailures?: boolean | undefined
  /** How many messages may fail before no further ones are taken, from 0; `Infinity` for any number. Default: 0. */
  readonly maxFailures?: number | undefined
  /** How many messages the broker sends ahead, from 1 to 20,000. They are held in memory. Default: 500. */
  readonly prefetch?: number | undefined
}

/**
 * Moves the messages of a queue, in their order, so that none can be lost: each is published as mandatory, and acknowledged when the broker
 * has confirmed its copy. Succeeds when all that were selected are moved.
 *
 * **When to use**
 *
 * Use to give dead letters another try, to empty a queue that is to be deleted, or to take some messages out of a queue.
 *
 * **Details**
 *
 * It uses two channels of its own and moves thousands of messages per second. It ends when as many messages were looked at as the queue
 * had ready at the start, or when the queue has no more since others have taken them. Messages that arrive meanwhile are not chased, and so
 * neither are those that are dead-lettered back to the queue.
 *
 * A copy has the body and the properties of the message, byte for byte, except for what belongs to the place that it comes from: the
 * headers `CC` and `BCC`, by which the broker would make further copies, `x-delivery-count` and `x-acquired-count`, which it writes
 * itself, and a `userId` other than that of this connection, which it would refuse. An `expiration` starts anew.
 *
 * What is not moved goes back to its place in the queue when the move ends: what the filter did not select, what is above the connection's
 * `maxBodySize`, what a queue refused (`Nacked`), and what no queue took (`Returned`). After the first message that failed no further ones
 * are taken, unless `maxFailures` allows more. An interruption takes no further messages, waits for the confirms of those that are on their
 * way, at most for the connection's `closeTimeout`, and gives the rest back: nothing is lost, and nothing is in both places but what was
 * confirmed too late.
 *
 * Fails with an `AmqpMoveError`, which counts what was moved until then, and with an `AmqpChannelError` where nothing was done: `NotFound`
 * when the queue or the target is not there, `InvalidArgument` for a queue that is its own target, for a stream, which keeps its
 * messages, and for options that are out of range, `RequestTimeout` when the queue has messages and delivers none for 10 seconds, as one
 * with a single active consumer that is another one.
 *
 * **Gotchas**
 *
 * Messages that are looked at and go back are `redelivered`, and a quorum queue with a delivery limit may count them. So does a dry run with
 * a filter; without one it asks for the count and touches nothing.
 *
 * When the connection is lost, the copies of messages that were on their way may be at the target while the messages are in the queue again.
 *
 * `to` may be a function of the message. Whether its targets are there is found out by the first message, which then fails.
 *
 * **Example** (Giving the orders of one customer another try)
 *
 * ```ts
 * import { AmqpQueue } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * const retry = AmqpQueue.move("orders.failed", "orders", {
 *   filter: ({ properties }) => properties.headers?.["customer"] === "acme",
 *   limit: 1000,
 *   resetFailures: true,
 *   onProgress: ({ moved, total }) => Effect.log(`${moved} of ${total}`)
 * })
 * ```
 *
 * @category moving
 * @since 0.1.0
 */
export const move = <Queue extends string | AmqpQueue<"classic" | "quorum">, R = never>(
  from: Named<Queue>,
  to: MoveTarget | ((message: AmqpDelivery.ReceivedMessage) => MoveTarget),
  options: MoveOptions<R> = {}
): Effect.Effect<MoveProgress, AmqpChannelError | AmqpMoveError, R | AmqpConnection.AmqpConnection> =>
  Effect.gen(function*() {
    const session = sessionOf(yield* AmqpConnection.AmqpConnection)
    const request = yield* Validation.attempt(() => toMove(from, to, options))
    return yield* Moving.move<R>(session, request, options.onProgress ?? (() => Effect.void))
  })

const toMove = (
  from: string | AmqpQueue,
  to: MoveTarget | ((message: AmqpDelivery.ReceivedMessage) => MoveTarget),
  options: MoveOptions<unknown>
): Moving.Move => {
  const { dryRun, filter, limit = Infinity, maxFailures = 0, onProgress, prefetch = 500, resetFailures } = Validation
    .knownKeys(options, ["limit", "filter", "dryRun", "onProgress", "resetFailures", "maxFailures", "prefetch"])
  Validation.callable("filter", filter)
  Validation.callable("onProgress", onProgress)
  const queue = Validation.name("from", Descriptions.checkedQueueName(from, "from"))
  if (typeof from === "object" && from.type === "stream") throw Moving.isStream(queue)
  const route = typeof to === "function" ? undefined : routeTo(to)
  if (route?.exchange === "" && route.routingKey === queue) throw Moving.sameQueue(queue)
  return {
    from: queue,
    target: route === undefined ? undefined : route.exchange === "" ? { queue: route.routingKey } : route,
    routeOf: typeof to === "function" ? (message) => routeTo(to(message)) : () => route ?? routeTo(queue),
    filter,
    limit: limit === Infinity ? limit : Validation.wholeNumber("limit", limit, 1),
    isDry: Validation.flag("dryRun", dryRun),
    prefetch: Validation.wholeNumber("prefetch", prefetch, 1, Moving.maxPrefetch),
    maxFailures: maxFailures === Infinity ? maxFailures : Validation.wholeNumber("maxFailures", maxFailures, 0),
    resetFailures: Validation.flag("resetFailures", resetFailures)
  }
}

/** Where a target is, by names. Throws an `InvalidArgument`. */
const routeTo = (to: MoveTarget): { readonly exchange: string; readonly routingKey: string } => {
  if (typeof to === "string" || isQueue(to)) {
    return { exchange: "", routingKey: Validation.name("to", Descriptions.checkedQueueName(to, "to")) }
  }
  if (!Predicate.hasProperty(to, "exchange")) {
    throw Validation.invalid(`to: must be a name, ${Brands.queueDescription}, or an exchange with a routing key`)
  }
  Validation.knownKeys(to, ["exchange", "routingKey"], "to")
  const exchange = Validation.name("exchange", Descriptions.exchangeName(to.exchange, "exchange"))
  const checkKey = exchange === "" ? Validation.nonEmptyName : Validation.name
  return { exchange, routingKey: checkKey("routingKey", to.routingKey) }
}
