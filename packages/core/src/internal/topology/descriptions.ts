/**
 * Descriptions of exchanges, queues and bindings, as immutable data.
 *
 * A description may refer to others: a binding to its exchange, a queue to its dead-letter exchange or dead-letter
 * queue.
 */
import * as Equal from "effect/Equal"
import { format } from "effect/Formatter"
import { NodeInspectSymbol } from "effect/Inspectable"
import * as Pipeable from "effect/Pipeable"
import type { AmqpExchange } from "../../AmqpExchange.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"
import {
  exchangeDescription,
  ExchangeTypeId,
  isExchange,
  isQueue,
  queueDescription,
  QueueTypeId
} from "../common/brands.ts"
import { invalid } from "../options/validation.ts"

// -----------------------------------------------------------------------------
// making them
// -----------------------------------------------------------------------------

/**
 * Makes frozen values with a brand. It is a property of the value, so that a copy by spread has it too; loggers print
 * the `name` instead.
 */
export const branded = <TypeId extends string>(name: string, typeId: TypeId) => {
  const toJSON = function(this: object): object {
    const fields = Object.entries(this).filter(([key]) => key !== typeId && key !== "pipe")
    return { _id: name, ...Object.fromEntries(fields) }
  }
  const toString = function(this: object): string {
    return format(toJSON.call(this))
  }
  // Not enumerable, and without a constructor: to `Equal` and assertions, values and their copies are plain objects.
  const prototype: object = Object.defineProperties({}, {
    toJSON: { value: toJSON },
    toString: { value: toString },
    [NodeInspectSymbol]: { value: toJSON }
  })
  return <Fields extends object>(fields: Fields): Readonly<Fields> & { readonly [K in TypeId]: TypeId } => {
    const value: object = Object.create(prototype)
    // The compiler does not keep the type of a computed key.
    const brand = { [typeId]: typeId } as { readonly [K in TypeId]: TypeId }
    return Object.freeze(Object.assign(value, brand, fields))
  }
}

/** A property of each value, so that a copy by spread has it too; it uses the value that it is called on. */
const { pipe } = Pipeable.Prototype // oxlint-disable-line typescript/unbound-method

const brandExchange = branded("AmqpExchange", ExchangeTypeId)

export const describeExchange = (fields: Omit<AmqpExchange, typeof ExchangeTypeId | "pipe">): AmqpExchange =>
  brandExchange({ ...fields, pipe })

const brandQueue = branded("AmqpQueue", QueueTypeId)

export const describeQueue = <Fields extends Omit<AmqpQueue, typeof QueueTypeId | "pipe">>(fields: Fields) =>
  brandQueue({ ...fields, pipe })

// -----------------------------------------------------------------------------
// reading them
// -----------------------------------------------------------------------------

/** The name of an exchange. Throws an `InvalidArgument` for anything but a name or a description. */
export const exchangeName = (exchange: string | AmqpExchange, what = "exchange"): string => {
  if (typeof exchange === "string") return exchange
  // A copy may have another name.
  if (isExchange(exchange) && typeof exchange.name === "string") return exchange.name
  throw invalid(`${what}: must be a name or ${exchangeDescription}`)
}

/** The names of the exchanges that an exchange or a queue is bound to. */
export const sourcesOf = ({ bindings }: AmqpExchange | AmqpQueue): ReadonlyArray<string> =>
  bindings.map(({ exchange }) => exchangeName(exchange))

/**
 * The name of a queue, empty for a server-named one. Throws an `InvalidArgument` for anything but a name or a
 * description.
 */
export const queueName = (queue: string | AmqpQueue, what = "queue"): string => {
  if (typeof queue === "string") return queue
  if (isQueue(queue) && typeof queue.name === "string") return queue.name
  throw invalid(`${what}: must be a name or ${queueDescription}`)
}

/**
 * The name of a queue, for an operation on it. Brokers would take an empty name for the last queue of the channel.
 * Throws an `InvalidArgument`.
 */
export const checkedQueueName = (queue: string | AmqpQueue, what = "queue"): string => {
  const name = queueName(queue, what)
  if (name === "") {
    throw invalid(`${what}: must not be empty; for a server-named queue use the name that its declaration yields`)
  }
  return name
}

const refersTo = ({ bindings, references }: AmqpExchange | AmqpQueue): ReadonlyArray<AmqpExchange | AmqpQueue> => [
  ...references,
  ...bindings.map(({ exchange }) => exchange).filter(isExchange)
]

/**
 * Exchanges and queues with everything that they refer to, each once and after what it refers to. Throws an
 * `InvalidArgument` for two descriptions with the same name that differ.
 */
export const collect = (
  exchanges: Iterable<AmqpExchange>,
  queues: Iterable<AmqpQueue>
): { readonly exchanges: ReadonlyArray<AmqpExchange>; readonly queues: ReadonlyArray<AmqpQueue> } => {
  const foundExchanges = new Map<string, AmqpExchange>()
  const foundQueues: Array<AmqpQueue> = []
  const seenQueues = new Map<string, AmqpQueue>()
  const add = (description: AmqpExchange | AmqpQueue): void =>
    isQueue(description) ? addQueue(description) : addExchange(description)
  const addExchange = (exchange: AmqpExchange): void => {
    const name = exchangeName(exchange)
    const found = foundExchanges.get(name)
    if (found !== undefined) return expectEqual("exchange", found, exchange)
    foundExchanges.set(name, exchange)
    refersTo(exchange).forEach(add)
  }
  const addQueue = (queue: AmqpQueue): void => {
    const name = queueName(queue)
    // Each server-named queue is a separate one.
    const found = name === "" ? undefined : seenQueues.get(name)
    if (found !== undefined) return expectEqual("queue", found, queue)
    // Before its references, which may refer back to it.
    seenQueues.set(name, queue)
    refersTo(queue).forEach(add)
    foundQueues.push(queue)
  }
  for (const exchange of exchanges) addExchange(exchange)
  for (const queue of queues) addQueue(queue)
  return { exchanges: [...foundExchanges.values()], queues: foundQueues }
}

const expectEqual = <A extends { readonly name: string }>(what: string, found: A, other: A): void => {
  if (Equal.equals(found, other)) return
  throw invalid(`two descriptions of the ${what} ${JSON.stringify(found.name)} differ`)
}
