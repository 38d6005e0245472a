/**
 * What exchanges, queues and bindings are to be like, and the conversation that declares them.
 *
 * Descriptions are immutable data. One may refer to others: a binding to its exchange, a queue to its dead-letter exchange or
 * its dead-letter queue. Declaring it declares those first, each once.
 */
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Pipeable from "effect/Pipeable"
import { InvalidArgument } from "../../AmqpError.ts"
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import type { QueueDeclareOk } from "../../protocol/methods.generated.ts"
import { EncodeError } from "../../protocol/ProtocolError.ts"
import type { Channel, Route } from "../channel/channel.ts"
import { attempt, invalid } from "../options/validation.ts"

export interface ExchangeDescription extends Pipeable.Pipeable {
  readonly name: string
  readonly type: string
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly internal: boolean
  readonly arguments: FieldTable
  readonly bindings: ReadonlyArray<BindingDescription>
  /** The exchanges that this one needs, apart from those in its bindings. */
  readonly references: ReadonlyArray<ExchangeDescription>
}

export interface QueueDescription {
  /** Empty: the broker makes one up. */
  readonly name: string
  /** Absent: the virtual host's default. */
  readonly type: "classic" | "quorum" | "stream" | undefined
  readonly durable: boolean
  readonly exclusive: boolean
  readonly autoDelete: boolean
  readonly arguments: FieldTable
  readonly bindings: ReadonlyArray<BindingDescription>
  /** The exchanges and queues that this one needs, apart from those in its bindings. */
  readonly references: ReadonlyArray<ExchangeDescription | QueueDescription>
}

export const isQueue = <Queue extends QueueDescription>(
  description: ExchangeDescription | Queue
): description is Queue => "exclusive" in description

/** Where a binding's messages come from, and which. */
export interface BindingDescription {
  readonly exchange: string | ExchangeDescription
  readonly routingKey: string
  readonly arguments: FieldTable
}

/** A description as users get it: frozen, with `pipe`, which is its own so that a copy by spread has it too. */
export const describe = <A extends object>(description: A): Readonly<A> & Pipeable.Pipeable =>
  // It takes what it is called on, which each copy is.
  Object.freeze({ ...description, pipe: Pipeable.Prototype.pipe }) // oxlint-disable-line typescript/unbound-method

/** The name of an exchange or a queue. Throws an `InvalidArgument` for what is neither. */
export const nameOf = (described: string | { readonly name: string }, what = "name"): string => {
  if (typeof described === "string") return described
  const name = nameIn(described)
  // A function has a name too.
  if (typeof described === "object" && typeof name === "string") return name
  throw invalid(`${what}: must be a name or a description`)
}

/**
 * The name of a queue for an operation on it. To an empty one brokers say that they mean the last queue of the channel. Throws an
 * `InvalidArgument`.
 */
export const checkedName = (queue: string | { readonly name: string }): string => {
  const name = nameOf(queue, "queue")
  if (name === "") throw invalid("queue: must not be empty; a queue that the broker names is known by that name")
  return name
}

/** Where a message goes, by names. Throws an `EncodeError` for options that are not those of a publish. */
export const routeOf = (options: {
  readonly exchange: string | ExchangeDescription
  readonly routingKey: string
  readonly mandatory?: boolean | undefined
}): Route => {
  // As many comparisons as there are keys: this is done for each message.
  for (const key in options) {
    if (key !== "exchange" && key !== "routingKey" && key !== "mandatory") throw unknownRouteKey(key)
  }
  const { exchange, mandatory, routingKey } = options
  if (typeof routingKey !== "string") throw new EncodeError({ message: "routingKey: must be a string" })
  if (typeof exchange !== "string" && typeof nameIn(exchange) !== "string") {
    throw new EncodeError({ message: "exchange: must be a name or an AmqpExchange; \"\" is the default exchange" })
  }
  if (mandatory !== undefined && typeof mandatory !== "boolean") {
    throw new EncodeError({ message: "mandatory: must be true or false" })
  }
  // What was checked is what is sent, whatever the caller's object becomes meanwhile.
  return { exchange: typeof exchange === "string" ? exchange : exchange.name, routingKey, mandatory }
}

/** As {@link routeOf}, or nothing: the publish reports what is wrong. */
export const routeIfValid = (options: Parameters<typeof routeOf>[0]): Route | undefined => {
  try {
    return routeOf(options)
  } catch {
    return undefined
  }
}

/** What types rule out, and a program in JavaScript passes. */
const nameIn = (exchange: { readonly name?: unknown } | null | undefined): unknown => exchange?.name

const unknownRouteKey = (key: string): EncodeError => {
  const { message } = InvalidArgument.unknownKey("publish options", key, ["exchange", "routingKey", "mandatory"])
  return new EncodeError({ message })
}

/** The exchanges that are described and not only named. */
export const described = (...exchanges: ReadonlyArray<string | ExchangeDescription | undefined>) =>
  exchanges.filter((exchange): exchange is ExchangeDescription => typeof exchange === "object")

const refersTo = ({ bindings, references }: ExchangeDescription | QueueDescription) => [
  ...references,
  ...described(...bindings.map(({ exchange }) => exchange))
]

/**
 * Exchanges and queues with all they refer to, each once and after what it refers to. Throws an `InvalidArgument` for two of one name
 * that differ.
 */
export const collect = <Queue extends QueueDescription>(
  exchanges: Iterable<ExchangeDescription>,
  queues: Iterable<Queue>
): { readonly exchanges: ReadonlyArray<ExchangeDescription>; readonly queues: ReadonlyArray<Queue> } => {
  const foundExchanges = new Map<string, ExchangeDescription>()
  const foundQueues: Array<Queue> = []
  const seenQueues = new Map<string, Queue>()
  const add = (description: ExchangeDescription | Queue): void =>
    isQueue(description) ? addQueue(description) : addExchange(description)
  // Users make queues by this package's constructors, which name a type, and so are those that they refer to.
  const addReferences = (description: ExchangeDescription | Queue): void =>
    (refersTo(description) as ReadonlyArray<ExchangeDescription | Queue>).forEach(add)
  const addExchange = (exchange: ExchangeDescription): void => {
    expectDescription("exchange", exchange)
    const found = foundExchanges.get(exchange.name)
    if (found !== undefined) return expectEqual("exchange", found, exchange)
    foundExchanges.set(exchange.name, exchange)
    addReferences(exchange)
  }
  const addQueue = (queue: Queue): void => {
    expectDescription("queue", queue)
    // Of queues that the broker names, each is another one.
    const found = queue.name === "" ? undefined : seenQueues.get(queue.name)
    if (found !== undefined) return expectEqual("queue", found, queue)
    // Before what it refers to, which may refer back to it.
    seenQueues.set(queue.name, queue)
    addReferences(queue)
    foundQueues.push(queue)
  }
  for (const exchange of exchanges) addExchange(exchange)
  for (const queue of queues) addQueue(queue)
  return { exchanges: [...foundExchanges.values()], queues: foundQueues }
}

/** What JavaScript passes may have no more than a name. */
const expectDescription = (what: string, description: { readonly references?: unknown } | null | undefined): void => {
  if (!Array.isArray(description?.references)) throw invalid(`${what}: must be a name or a description`)
}

const expectEqual = <A extends { readonly name: string }>(what: string, found: A, other: A): void => {
  if (Equal.equals(found, other)) return
  throw invalid(`two descriptions of the ${what} ${JSON.stringify(found.name)} differ`)
}

const declareExchange = (channel: Channel, exchange: ExchangeDescription) =>
  channel.request({
    _tag: "exchange.declare",
    exchange: exchange.name,
    type: exchange.type,
    passive: false,
    durable: exchange.durable,
    autoDelete: exchange.autoDelete,
    internal: exchange.internal,
    noWait: false,
    arguments: exchange.arguments
  })

export const bindExchange = (channel: Channel, exchange: string, binding: BindingDescription) =>
  channel.requestWith("exchange_exchange_bindings", {
    _tag: "exchange.bind",
    destination: exchange,
    source: nameOf(binding.exchange),
    routingKey: binding.routingKey,
    noWait: false,
    arguments: binding.arguments
  })

const declareQueue = (channel: Channel, queue: QueueDescription) =>
  Effect.andThen(
    attempt(() => checkForServer(channel, queue)),
    channel.request({
      _tag: "queue.declare",
      queue: queue.name,
      passive: false,
      durable: queue.durable,
      exclusive: queue.exclusive,
      autoDelete: queue.autoDelete,
      noWait: false,
      arguments: queue.arguments
    })
  )

/** Refuses what this version of the broker would misunderstand, or end the whole connection for. */
const checkForServer = ({ host }: Channel, { arguments: table, name }: QueueDescription): void => {
  checkDeclaredName(name)
  const argument = (name: string) => table instanceof Map ? table.get(name) : table[name]
  const { product, version } = host.serverProperties
  if (typeof product !== "string" || typeof version !== "string") return
  if (!/^(?:RabbitMQ|effect-amqp)/.test(product)) return
  const isOld = /^[0-3]\./.test(version)
  // No limit is what a queue of an older one has without the argument.
  if (isOld && Number(argument("x-delivery-limit")) < 0) {
    throw invalid(
      `deliveryLimit: RabbitMQ ${version} takes "unlimited" for 0; leave the option out, as it has no limit then`
    )
  }
  if (!isOld && argument("x-queue-master-locator") !== undefined) {
    throw invalid(`arguments: RabbitMQ ${version} has no x-queue-master-locator, but x-queue-leader-locator`)
  }
}

/** A queue that RabbitMQ makes for replies has such a name. From 4.0 on its declaration ends the whole connection (541). */
export const checkDeclaredName = (name: string): void => {
  if (name.startsWith("amq.rabbitmq.reply-to.")) {
    throw invalid(`queue: ${JSON.stringify(name)} is for direct replies: it can be published to, and not declared`)
  }
}

export const bindQueue = (channel: Channel, queue: string, binding: BindingDescription) =>
  channel.request({
    _tag: "queue.bind",
    queue,
    exchange: nameOf(binding.exchange),
    routingKey: binding.routingKey,
    noWait: false,
    arguments: binding.arguments
  })

/**
 * Declares exchanges, then their bindings, then queues with theirs, all with what they refer to. Answers what the broker says of each of
 * `queues`, in their order.
 */
export const declareAll = (
  channel: Channel,
  exchanges: Iterable<ExchangeDescription>,
  queues: ReadonlyArray<QueueDescription>
): Effect.Effect<ReadonlyArray<QueueDeclareOk>, AmqpChannelError> =>
  Effect.gen(function*() {
    const all = yield* attempt(() => collect(exchanges, queues))
    for (const exchange of all.exchanges) yield* declareExchange(channel, exchange)
    for (const exchange of all.exchanges) {
      for (const binding of exchange.bindings) yield* bindExchange(channel, exchange.name, binding)
    }
    const answers = new Map<string, QueueDeclareOk>()
    const nameless: Array<QueueDeclareOk> = []
    for (const queue of all.queues) {
      const answer = yield* declareQueue(channel, queue)
      for (const binding of queue.bindings) yield* bindQueue(channel, answer.queue, binding)
      if (queue.name === "") nameless.push(answer)
      else answers.set(queue.name, answer)
    }
    return queues.flatMap(({ name }) => (name === "" ? nameless.shift() : answers.get(name)) ?? [])
  })
