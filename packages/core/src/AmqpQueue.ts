/**
 * Queues: immutable descriptions of queues, and operations on queues as steps of channel programs.
 *
 * {@link classic}, {@link quorum}, {@link stream} and {@link serverNamed} make descriptions, and throw an
 * `InvalidArgument` for anything that no broker accepts. Names hold at most 255 bytes of UTF-8. When the broker refuses
 * an operation, it closes the channel: the operation fails with the broker's reason, and so do all later operations of
 * the same program.
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
import { supervisorOf } from "./internal/connection/connectionRegistry.ts"
import * as Fetching from "./internal/consuming/basicGet.ts"
import { Received } from "./internal/consuming/delivery.ts"
import * as Moving from "./internal/moving/move.ts"
import * as Validation from "./internal/options/validation.ts"
import { expireProgramConfirms } from "./internal/publishing/confirmTimeouts.ts"
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
 * The types of queues in RabbitMQ.
 *
 * @category models
 * @since 0.1.0
 */
export type QueueType = "classic" | "quorum" | "stream"

/**
 * The description of a queue: its type, properties, arguments and bindings.
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
  /** The exchanges and queues that this queue needs, other than those in its bindings. */
  readonly references: ReadonlyArray<AmqpExchange | AmqpQueue>
}

/**
 * A queue whose name the broker generates; see {@link serverNamed}.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerNamedQueue extends AmqpQueue<"classic"> {
  readonly name: ""
}

/**
 * Whether a value is a description of a queue, or a copy of one by spread.
 *
 * @category guards
 * @since 0.1.0
 */
export const isQueue: (value: unknown) => value is AmqpQueue = Brands.isQueue

/** Operations on a queue need its name, which the description of a server-named queue does not have. */
type Named<Queue> = Queue extends { readonly name: "" }
  ? "A server-named queue is known by the name that AmqpQueue.declare yields."
  : Queue

/**
 * Options of classic and quorum queues. Durations are sent as whole milliseconds, from the given minimum to 2^32 - 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface MessageQueueOptions {
  /** How long a message may stay in the queue, from 0 (RabbitMQ, "Time-To-Live and Expiration"). Default: no limit. */
  readonly messageTtl?: Duration.Input | undefined
  /** After how long without use the queue is deleted, from 1 ms. Default: never. */
  readonly expires?: Duration.Input | undefined
  /**
   * The maximum number of ready messages, from 0; excess messages are handled according to `overflow`. Default: no
   * limit.
   */
  readonly maxLength?: number | undefined
  /** The maximum size of the bodies of ready messages, in bytes, from 0. Default: no limit. */
  readonly maxLengthBytes?: number | undefined
  /**
   * The exchange for messages that are rejected, expire or exceed a limit (RabbitMQ, "Dead Letter Exchanges"); `""` is
   * the default exchange.
   */
  readonly deadLetterExchange?: string | AmqpExchange | undefined
  /** The routing key of dead-lettered messages; needs `deadLetterExchange`. Default: their own. */
  readonly deadLetterRoutingKey?: string | undefined
  /**
   * The queue for dead-lettered messages, instead of the two options above: it stands for the default exchange and the
   * routing key of that queue. A described queue is declared with this one.
   */
  readonly deadLetterQueue?: string | AmqpQueue | undefined
  /** Whether only one consumer at a time gets messages (RabbitMQ, "Single Active Consumer"). Default: `false`. */
  readonly singleActiveConsumer?: boolean | undefined
  /** Further arguments of the broker, by their own names (RabbitMQ, "Optional Queue Arguments"). */
  readonly arguments?: FieldTable | undefined
}

/**
 * Options of a classic queue.
 *
 * @category models
 * @since 0.1.0
 */
export interface ClassicOptions extends MessageQueueOptions {
  /** Whether the queue survives a restart of the broker. Default: `true`. */
  readonly durable?: boolean | undefined
  /** Whether only this connection may use the queue, which is deleted with the connection. Default: `false`. */
  readonly exclusive?: boolean | undefined
  /** Whether the queue is deleted with its last consumer. Default: `false`. */
  readonly autoDelete?: boolean | undefined
  /**
   * What happens when a limit is exceeded: the oldest message is dropped, or the new one is refused. Default:
   * `drop-head`.
   */
  readonly overflow?: "drop-head" | "reject-publish" | "reject-publish-dlx" | undefined
  /**
   * The highest priority that the queue distinguishes, from 0 to 255 (RabbitMQ, "Priority Queues"). Default: no
   * priorities.
   */
  readonly maxPriority?: number | undefined
}

/**
 * Options of a server-named queue.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerNamedOptions extends Omit<ClassicOptions, "durable" | "exclusive"> {}

/**
 * Options of a quorum queue, which is always durable, and neither exclusive nor deleted with its last consumer.
 *
 * @category models
 * @since 0.1.0
 */
export interface QuorumOptions extends MessageQueueOptions {
  /**
   * What happens when a limit is exceeded: the oldest message is dropped, or the new one is refused. Default:
   * `drop-head`.
   */
  readonly overflow?: "drop-head" | "reject-publish" | undefined
  /**
   * How often a message may return to the queue before it is dead-lettered, from 0 (RabbitMQ, "Poison Message
   * Handling"). Without a dead-letter target it is dropped instead. Default: that of the broker, 20 from RabbitMQ 4.0
   * on, and no limit before.
   *
   * A message counts when its consumer ends, even if it was only sent ahead, and when it is rejected with `requeue`. Up
   * to RabbitMQ 4.2, `nack` with `requeue` counts too.
   *
   * `"unlimited"` needs RabbitMQ 4.0 or later (it sends -1). On an older one the declaration is refused before it is
   * sent, as that would take -1 for 0.
   */
  readonly deliveryLimit?: number | "unlimited" | undefined
  /**
   * Whether dead-lettering may lose messages. `at-least-once` needs `deadLetterExchange` and `overflow:
   * "reject-publish"`. Default: `at-most-once`.
   */
  readonly deadLetterStrategy?: "at-most-once" | "at-least-once" | undefined
  /** The initial number of replicas, from 1. Default: that of the broker. */
  readonly initialGroupSize?: number | undefined
  /** Where the initial leader is placed. Default: that of the broker. */
  readonly leaderLocator?: "client-local" | "balanced" | undefined
}

/**
 * Options of a stream, which is always durable, and neither exclusive nor deleted with its last consumer.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamOptions {
  /** The maximum size of the stream, in bytes, from 0. Default: no limit. */
  readonly maxLengthBytes?: number | undefined
  /** How long messages are kept, from 1 second, in whole seconds. Default: no limit. */
  readonly maxAge?: Duration.Input | undefined
  /** The size of a segment file, in bytes, from 1; only whole segments are deleted. Default: that of the broker. */
  readonly segmentSizeBytes?: number | undefined
  /** The initial number of replicas, from 1. Default: that of the broker. */
  readonly initialGroupSize?: number | undefined
  /** Where the initial leader is placed. Default: that of the broker. */
  readonly leaderLocator?: "client-local" | "balanced" | undefined
  /** Further arguments of the broker, by their own names. */
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
 * Describes a queue on one node (RabbitMQ, "Classic Queues").
 *
 * @category constructors
 * @since 0.1.0
 */
export const classic = (name: string, options: ClassicOptions = {}): AmqpQueue<"classic"> => {
  QueueOptions.checkKeys("classic", options)
  return makeClassic(Validation.nonEmptyName("queue", name), options)
}

/**
 * Describes a classic queue whose name the broker generates and that only this connection may use: for replies, or for
 * a subscriber that only wants messages published while it runs.
 *
 * **Gotchas**
 *
 * Each declaration makes another queue, and a consumer declares too: declare it or consume it, not both. The `queues`
 * of `AmqpConsumer.make` hold its name.
 *
 * @category constructors
 * @since 0.1.0
 */
export const serverNamed = (options: ServerNamedOptions = {}): ServerNamedQueue => {
  QueueOptions.checkKeys("server-named", options)
  return makeClassic("", { ...options, durable: false, exclusive: true })
}

/**
 * Describes a queue that is replicated to several nodes (RabbitMQ, "Quorum Queues").
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
 * Describes a log that consumers read from any point without removing messages (RabbitMQ, "Streams"). Its consumers
 * have to acknowledge, and need a prefetch.
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
 * A binding of a queue to an exchange.
 *
 * @category models
 * @since 0.1.0
 */
export interface Binding {
  /** A described exchange is declared with the queue. */
  readonly exchange: string | AmqpExchange
  /** Its meaning depends on the type of the exchange. Default: `""`. */
  readonly routingKey?: string | undefined
  /** The headers that a headers exchange compares. Default: none. */
  readonly arguments?: FieldTable | undefined
}

const describeBinding = (binding: Binding): BindingDescription => {
  const { arguments: table = {}, exchange, routingKey = "" } = Validation.knownKeys(binding, bindingKeys, "binding")
  Validation.nonEmptyName("exchange", Descriptions.exchangeName(exchange, "exchange"))
  return { exchange, routingKey: Validation.name("routingKey", routingKey), arguments: table }
}

const bindingKeys = ["exchange", "routingKey", "arguments"] as const

/**
 * Adds a binding to the description of a queue.
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
 * The options to publish to a queue: the default exchange, which routes to the queue that the routing key names. Throws
 * an `InvalidArgument` for a queue without a name: use the name that {@link declare} yields for a {@link serverNamed}
 * queue.
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
 * What the broker reports about a queue.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueueInfo {
  /** The name, generated by the broker for a {@link serverNamed} queue. */
  readonly name: string
  /** The number of ready messages. */
  readonly messageCount: number
  /** The number of consumers. */
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

/** An operation for which RabbitMQ closes the whole connection (540) if the queue is a stream. */
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
 * Declares a queue, with its bindings and everything that it refers to (`queue.declare`). A name alone stands for a
 * durable queue of the virtual host's default type.
 *
 * Fails with `PreconditionFailed` if the queue exists with other properties or arguments, with `ResourceLocked` if it
 * is an exclusive queue of another connection, and with `AccessRefused` if the user lacks the permission.
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
 * Checks that a queue exists, without creating it (`queue.declare` with `passive`). Fails with `NotFound` if it does
 * not.
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
 * Binds a queue to an exchange (`queue.bind`). Fails with `NotFound` if either does not exist.
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
 * Removes a binding (`queue.unbind`). Succeeds if it does not exist.
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
 * Deletes the ready messages of a queue, but not those that consumers have yet to settle (`queue.purge`), and yields
 * their number. A stream can't be purged: its description is refused.
 *
 * **Gotchas**
 *
 * If the name is that of a stream, RabbitMQ closes the whole connection (540), with all its channels.
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
 * Conditions for deleting a classic queue. A quorum queue has no conditions, and a stream ignores them.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeleteOptions {
  /** Only delete the queue if it has no consumers. Default: `false`. */
  readonly ifUnused?: boolean | undefined
  /** Only delete the queue if it has no ready messages. Default: `false`. */
  readonly ifEmpty?: boolean | undefined
}

/**
 * Deletes a queue with its messages (`queue.delete`), and yields the number of messages. Succeeds if the queue does not
 * exist. Fails with `PreconditionFailed` if a condition of the options does not hold.
 *
 * **Gotchas**
 *
 * The options are for classic queues, and refused with a description of another type. If the name is that of a quorum
 * queue, RabbitMQ closes the whole connection (540); it deletes a stream regardless of the options.
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
    throw Validation.invalid(`ifUnused, ifEmpty: only for classic queues, and not for a ${queue.type} queue`)
  }
  return { ifEmpty, ifUnused }
}

export { remove as delete }

/**
 * Fetches a message, if the queue has one (`basic.get`), and settles it as the handler decides. Yields the settlement's
 * value, or `None` if the queue is empty.
 *
 * **Details**
 *
 * When a handler fails, the message is requeued. When it returns anything but a settlement of `AmqpDelivery`, the
 * message is requeued and the program dies. A message above the connection's `maxBodySize` stays in the queue, and the
 * program fails with `ContentTooLarge`. If the channel is closed before the handler ends, nothing is settled: the
 * program fails with the reason, and the message is delivered again.
 *
 * A stream is refused, as it does not support `basic.get`.
 *
 * Each message costs a round trip: for a steady flow of messages an `AmqpConsumer` is much faster.
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
    noBasicGet,
    (channel, name) => Fetching.fetch(channel, name, handleOn(channel, name, handler))
  )

const noBasicGet = "does not support basic.get; use an AmqpConsumer"

const handleOn =
  <A, E, R>(channel: Channel, queue: string, handler: (delivery: AmqpDelivery.ReceivedMessage) => Step<A, E, R>) =>
  (content: Content<BasicGetOk>): Effect.Effect<A, E, R> =>
    Program.runOn(handler(new Received(content, fetchedFrom(queue))), channel)

const fetchedFrom = (queue: string) => ({ queue, consumerTag: undefined })

/**
 * Fetches messages one after the other until the queue is empty, and settles each as the handler decides. Yields the
 * settlements' values, in the order of the messages.
 *
 * **When to use**
 *
 * Use for a script that processes the present messages and ends. A consumer waits for more messages, and is much
 * faster: here each message costs a round trip.
 *
 * **Details**
 *
 * Each message is handled once: a message that the handler requeues returns to the queue after the last one was
 * handled. When a handler fails, its message is requeued and the program fails with its error; earlier messages are
 * settled. The same applies to a message above the connection's `maxBodySize`, and to all other errors of {@link get}.
 *
 * **Gotchas**
 *
 * A queue that is filled as fast as it is read never gets empty: set `limit`, the maximum number of messages to fetch,
 * from 1.
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
  onMessageQueue(queue, noBasicGet, (channel, name) =>
    Effect.flatMap(
      Validation.attempt(() =>
        optional(Validation.knownKeys(options, ["limit"]).limit, (limit) => Validation.wholeNumber("limit", limit, 1))
      ),
      (limit = Infinity) => Fetching.fetchAll(channel, name, limit, handleOn(channel, name, handler))
    ))

/**
 * Fetches a message, if the queue has one, that the broker deletes as it sends it (`basic.get` with `no-ack`): it is
 * lost if the program ends before it is handled. A message above the connection's `maxBodySize` is lost too, and the
 * program fails with `ContentTooLarge`.
 *
 * @category operations
 * @since 0.1.0
 */
export const getAutoAck = <Queue extends string | AmqpQueue<"classic" | "quorum">>(
  queue: Named<Queue>
): AmqpChannel<Option.Option<AmqpDelivery.ReceivedMessage>, AmqpChannelError> =>
  onMessageQueue(
    queue,
    noBasicGet,
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
 * Where {@link move} publishes a message: to a queue, or to an exchange with a routing key.
 *
 * @category models
 * @since 0.1.0
 */
export type MoveTarget = string | AmqpQueue | {
  readonly exchange: string | AmqpExchange
  readonly routingKey: string
}

/**
 * The progress of a move.
 *
 * @category models
 * @since 0.1.0
 */
export interface MoveProgress {
  /** The number of ready messages in the queue when the move began. */
  readonly total: number
  /** The number of messages that were moved; in a dry run, that would be moved. */
  readonly moved: number
  /** The number of messages that the filter excluded. */
  readonly skipped: number
  /** The number of messages that could not be moved, and stay in the queue. */
  readonly failed: number
}

/**
 * Options of {@link move}.
 *
 * @category models
 * @since 0.1.0
 */
export interface MoveOptions<out R = never> {
  /** The maximum number of messages to move, from 1. Default: no limit. */
  readonly limit?: number | undefined
  /** Selects the messages to move. Others stay in the queue. Default: all. */
  readonly filter?: ((message: AmqpDelivery.ReceivedMessage) => boolean) | undefined
  /** Whether to only count the messages that would be moved. Default: `false`. */
  readonly dryRun?: boolean | undefined
  /** Called while messages are moved, at most ten times a second and only after a change, and at the end. */
  readonly onProgress?: ((progress: MoveProgress) => Effect.Effect<unknown, never, R>) | undefined
  /**
   * Whether to remove the headers that count failures: those of `AmqpFailurePolicy` (`x-failure-…`), whose count then
   * starts anew, and those of the broker's dead-lettering (`x-death`, `x-first-death-…`, `x-last-death-…`). Default:
   * `false`.
   */
  readonly resetFailures?: boolean | undefined
  /**
   * The number of messages that may fail before the move stops taking further ones, from 0; `Infinity` is no limit.
   * Default: 0.
   */
  readonly maxFailures?: number | undefined
  /** How many messages the broker sends ahead, from 1 to 20,000. They are held in memory. Default: 500. */
  readonly prefetch?: number | undefined
}

/**
 * Moves the messages of a queue, in their order and without losing any: each is published as mandatory, and
 * acknowledged when the broker has confirmed its copy. Succeeds when all selected messages were moved.
 *
 * **When to use**
 *
 * Use to retry dead letters, to empty a queue before deleting it, or to take some messages out of a queue.
 *
 * **Details**
 *
 * Uses two channels of its own, and moves thousands of messages per second. It ends after as many messages as the queue
 * had ready at the start, or when the queue is empty because other consumers took the rest. Messages that arrive
 * meanwhile are not moved, including those that are dead-lettered back to the queue.
 *
 * A copy has the body and the properties of the message, byte for byte, except for what belongs to its old place: the
 * headers `CC` and `BCC`, which would make further copies, `x-delivery-count` and `x-acquired-count`, which the broker
 * sets, and a `userId` other than that of this connection, which the broker would refuse. An `expiration` starts anew.
 *
 * Messages that are not moved return to their place in the queue when the move ends: those that the filter excluded,
 * those above the connection's `maxBodySize`, those that a queue refused (`Nacked`), and those that no queue took
 * (`Returned`). After the first failure no further messages are taken, unless `maxFailures` allows more. An
 * interruption stops taking messages, waits for outstanding confirms, at most for the connection's `closeTimeout`, and
 * requeues the rest: nothing is lost, and only messages that were confirmed too late are in both places.
 *
 * Fails with an `AmqpMoveError`, which counts the messages that were moved. If nothing was done, fails with an
 * `AmqpChannelError` with the reason
 *
 * - `NotFound` if the queue or the target does not exist;
 * - `InvalidArgument` if the queue is its own target or a stream, and for options out of range;
 * - `RequestTimeout` if the queue has messages but delivers none for 10 seconds, for example because another consumer
 *   is its single active consumer.
 *
 * **Gotchas**
 *
 * Messages that return to the queue are `redelivered`, and a quorum queue counts them towards its delivery limit. This
 * includes a dry run with a filter; without a filter, a dry run only asks for the number of messages.
 *
 * When the connection is lost, messages whose copies were not confirmed may be in both places.
 *
 * `to` may be a function of the message. A target that does not exist is then only noticed by its first message, which
 * fails.
 *
 * **Example** (Retrying the orders of one customer)
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
    const supervisor = supervisorOf(yield* AmqpConnection.AmqpConnection)
    const session = yield* supervisor.awaitSession
    const request = yield* Validation.attempt(() => toMove(from, to, options))
    return yield* Moving.move<R>(
      session,
      request,
      (ledger, replacement) => expireProgramConfirms(supervisor, session, ledger, replacement),
      options.onProgress ?? (() => Effect.void)
    )
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

/** The exchange and routing key of a target, by names. Throws an `InvalidArgument`. */
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
