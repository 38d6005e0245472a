/**
 * What exchanges, queues and bindings are to be like, and the conversation that declares them.
 *
 * Descriptions are immutable data. One may refer to others: a binding to its exchange, a queue to its dead-letter exchange.
 * Declaring it declares those first, each once.
 */
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Pipeable from "effect/Pipeable"
import { InvalidArgument } from "../AmqpError.ts"
import type { AmqpChannelError } from "../AmqpError.ts"
import type { FieldTable } from "../protocol/fieldTable.ts"
import type { QueueDeclareOk } from "../protocol/methods.generated.ts"
import { EncodeError } from "../protocol/ProtocolError.ts"
import type { Channel, Route } from "./channel.ts"
import { attempt, invalid } from "./validation.ts"

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
  readonly references: ReadonlyArray<ExchangeDescription>
}

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

export const nameOf = (described: string | { readonly name: string }): string =>
  typeof described === "string" ? described : described.name

/** The name of a queue for an operation on it. To an empty one brokers say that they mean the last queue of the channel. */
export const queueName = (queue: string | { readonly name: string }): Effect.Effect<string, AmqpChannelError> =>
  attempt(() => {
    const name = nameOf(queue)
    if (name === "") throw invalid("queue: must not be empty; a queue that the broker names is known by that name")
    return name
  })

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

/** As {@link routeOf}, or nothing: whoever publishes finds out what is wrong. */
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

/** Exchanges and queues with all they refer to, each once. Throws an `InvalidArgument` for two of one name that differ. */
export const collect = <Queue extends QueueDescription>(
  exchanges: Iterable<ExchangeDescription>,
  queues: Iterable<Queue>
): { readonly exchanges: ReadonlyArray<ExchangeDescription>; readonly queues: ReadonlyArray<Queue> } => {
  const foundExchanges = new Map<string, ExchangeDescription>()
  const foundQueues: Array<Queue> = []
  const addExchange = (exchange: ExchangeDescription): void => {
    const found = foundExchanges.get(exchange.name)
    if (found !== undefined) return expectEqual("exchange", found, exchange)
    foundExchanges.set(exchange.name, exchange)
    refersTo(exchange).forEach(addExchange)
  }
  for (const exchange of exchanges) addExchange(exchange)
  for (const queue of queues) {
    refersTo(queue).forEach(addExchange)
    // Of queues that the broker names, each is another one.
    const found = queue.name === "" ? undefined : foundQueues.find(({ name }) => name === queue.name)
    if (found === undefined) foundQueues.push(queue)
    else expectEqual("queue", found, queue)
  }
  return { exchanges: [...foundExchanges.values()], queues: foundQueues }
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

export const bindQueue = (channel: Channel, queue: string, binding: BindingDescription) =>
  channel.request({
    _tag: "queue.bind",
    queue,
    exchange: nameOf(binding.exchange),
    routingKey: binding.routingKey,
    noWait: false,
    arguments: binding.arguments
  })

/** Declares exchanges, then their bindings, then queues with theirs. Answers what the broker says of each queue. */
export const declareAll = (
  channel: Channel,
  exchanges: Iterable<ExchangeDescription>,
  queues: Iterable<QueueDescription>
): Effect.Effect<ReadonlyArray<QueueDeclareOk>, AmqpChannelError> =>
  Effect.gen(function*() {
    const all = yield* attempt(() => collect(exchanges, queues))
    for (const exchange of all.exchanges) yield* declareExchange(channel, exchange)
    for (const exchange of all.exchanges) {
      for (const binding of exchange.bindings) yield* bindExchange(channel, exchange.name, binding)
    }
    const declared: Array<QueueDeclareOk> = []
    for (const queue of all.queues) {
      const answer = yield* declareQueue(channel, queue)
      for (const binding of queue.bindings) yield* bindQueue(channel, answer.queue, binding)
      declared.push(answer)
    }
    return declared
  })
