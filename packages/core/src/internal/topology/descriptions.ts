/**
 * What exchanges, queues and bindings are to be like, as immutable data.
 *
 * One description may refer to others: a binding to its exchange, a queue to its dead-letter exchange or its dead-letter queue.
 */
import * as Equal from "effect/Equal"
import * as Pipeable from "effect/Pipeable"
import * as Predicate from "effect/Predicate"
import type { AmqpExchange } from "../../AmqpExchange.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"
import { invalid } from "../options/validation.ts"

/** What consumers know of a queue that was described. */
export type QueueDescription = AmqpQueue

export const isQueue = <Queue extends QueueDescription>(
  description: AmqpExchange | Queue
): description is Queue => "exclusive" in description

/** A description as users get it: frozen, with `pipe`, which is its own so that a copy by spread has it too. */
export const describe = <A extends object>(description: A): Readonly<A> & Pipeable.Pipeable =>
  // It takes what it is called on, which each copy is.
  Object.freeze({ ...description, pipe: Pipeable.Prototype.pipe }) // oxlint-disable-line typescript/unbound-method

/** The name of an exchange or a queue. Throws an `InvalidArgument` for what is neither. */
export const nameOf = (described: string | { readonly name: string }, what = "name"): string => {
  if (typeof described === "string") return described
  const name: unknown = Predicate.hasProperty(described, "name") ? described.name : undefined
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

/** The exchanges that are described and not only named. */
export const described = (...exchanges: ReadonlyArray<string | AmqpExchange | undefined>) =>
  exchanges.filter((exchange): exchange is AmqpExchange => typeof exchange === "object")

const refersTo = ({ bindings, references }: AmqpExchange | QueueDescription) => [
  ...references,
  ...described(...bindings.map(({ exchange }) => exchange))
]

/**
 * Exchanges and queues with all they refer to, each once and after what it refers to. Throws an `InvalidArgument` for two of one name
 * that differ.
 */
export const collect = <Queue extends QueueDescription>(
  exchanges: Iterable<AmqpExchange>,
  queues: Iterable<Queue>
): { readonly exchanges: ReadonlyArray<AmqpExchange>; readonly queues: ReadonlyArray<Queue> } => {
  const foundExchanges = new Map<string, AmqpExchange>()
  const foundQueues: Array<Queue> = []
  const seenQueues = new Map<string, Queue>()
  const add = (description: AmqpExchange | Queue): void =>
    isQueue(description) ? addQueue(description) : addExchange(description)
  // Users make queues by this package's constructors, which name a type, and so are those that they refer to.
  const addReferences = (description: AmqpExchange | Queue): void =>
    (refersTo(description) as ReadonlyArray<AmqpExchange | Queue>).forEach(add)
  const addExchange = (exchange: AmqpExchange): void => {
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
