/**
 * The options of consumers, as users give them, made into those of a subscription. Throws an `InvalidArgument`.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import type * as AmqpConsumer from "../../AmqpConsumer.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"
import { TypedField } from "../../protocol/fieldTable.ts"
import type { FieldTable, FieldType, FieldValue } from "../../protocol/fieldTable.ts"
import * as Validation from "../options/validation.ts"
import { queueName } from "../topology/descriptions.ts"
import type { SubscriptionOptions } from "./subscription.ts"

/** The options of all consumers: with automatic acknowledgements they are fewer. */
export type ConsumerOptions = Omit<AmqpConsumer.Options, "autoAck"> & { readonly autoAck?: boolean | undefined }

type ServeOptions = Omit<AmqpConsumer.ServeOptions<never>, "onFailure">

const commonKeys = ["exclusive", "priority", "consumerTag", "arguments"] as const
const keys = [...commonKeys, "prefetch", "offset", "onOversized"] as const

/** How many messages are sent ahead to a consumer that handles so many at once: enough that no slot waits for the network. */
const prefetchFor = (concurrency: number): number =>
  concurrency === Infinity ? defaultPrefetch : Math.min(2 * concurrency, 65535)

const defaultPrefetch = 100

/** Of consumers whose deliveries are settled by the program, or not at all. */
export const resolve = (queues: AmqpConsumer.Queues, options: ConsumerOptions): SubscriptionOptions => {
  const { autoAck } = objectOf(options)
  // What comes from JavaScript or a cast must not decide it by chance.
  if (autoAck !== undefined && typeof autoAck !== "boolean") throw Validation.invalid("autoAck: must be true or absent")
  if (autoAck === true && !Object.hasOwn(options, "autoAck")) {
    throw Validation.invalid("autoAck: must be a property of the options themselves, and not an inherited one")
  }
  Validation.knownKeys(
    options,
    autoAck === true ? [...commonKeys, "autoAck"] : [...keys, "autoAck"],
    "options of a consumer"
  )
  return make(queues, options, autoAck === true, defaultPrefetch)
}

export interface ResolvedServing {
  readonly subscription: SubscriptionOptions
  readonly concurrency: number
  /** In milliseconds. */
  readonly drainTimeout: number
}

/** Of consumers with handlers, which always acknowledge. `moreKeys`: those that the caller knows. */
export const resolveServing = (
  queues: AmqpConsumer.Queues,
  options: ServeOptions,
  moreKeys: ReadonlyArray<string>,
  isTransactional: boolean
): ResolvedServing => {
  // What comes from JavaScript or a cast may be anything.
  const autoAck: unknown = objectOf(options).autoAck
  if (autoAck !== undefined && autoAck !== false) {
    throw Validation.invalid("autoAck: a consumer with a handler acknowledges by what the handler returns")
  }
  const known = [...keys, "autoAck", "drainTimeout", ...(isTransactional ? [] : ["concurrency"]), ...moreKeys]
  // The keys of the caller's options are not this type's.
  const all: object = options
  const given = all as Readonly<Record<string, unknown>>
  Validation.knownKeys(given, known, "options of a consumer with a handler")
  for (const name of ["onFailure", "onEnd"]) Validation.callable(name, given[name])
  const { concurrency: limit = 1, drainTimeout = "10 seconds" } = options
  const concurrency = limit === "unbounded" ? Infinity : Validation.wholeNumber("concurrency", limit, 1)
  return {
    subscription: { ...make(queues, options, false, prefetchFor(concurrency)), isTransactional },
    concurrency,
    drainTimeout: Validation.timeout("drainTimeout", drainTimeout, true)
  }
}

const make = (
  queues: AmqpConsumer.Queues,
  options: ConsumerOptions,
  noAck: boolean,
  prefetchDefault: number
): SubscriptionOptions => {
  const { consumerTag, exclusive = false, offset, onOversized = "deadLetter", prefetch = prefetchDefault, priority } =
    options
  if (typeof exclusive !== "boolean") throw Validation.invalid("exclusive: must be true or false")
  // `isArray` does not narrow a readonly array away.
  const list: ReadonlyArray<string | AmqpQueue> = Array.isArray(queues)
    ? queues
    : [queues as string | AmqpQueue]
  list.forEach((queue) => queueName(queue))
  const table = Validation.extend(options.arguments ?? {}, {
    "x-priority": priority === undefined
      ? undefined
      : Validation.wholeNumber("priority", priority, -(2 ** 31), 2 ** 31 - 1),
    "x-stream-offset": offset === undefined ? undefined : encodeOffset(offset)
  })
  for (const queue of list) checkArguments(table, queue)
  return {
    queues: list,
    prefetch,
    noAck,
    exclusive,
    consumerTag,
    arguments: table,
    onOversized: Validation.oneOf("onOversized", onOversized, ["deadLetter", "keep", "reject"]),
    isTransactional: false
  }
}

/** What comes from JavaScript may be `null`, or something without keys. */
export const objectOf = <O extends object>(options: O): O => {
  const value: unknown = options
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return options
  throw Validation.invalid("options of a consumer: must be an object")
}

/**
 * What RabbitMQ ends the whole connection for (541), and what queues of a described type don't take. Other arguments, such as those
 * of plugins, are the broker's to judge.
 */
const checkArguments = (table: FieldTable, queue: string | AmqpQueue): void => {
  const { "x-credit": credit, "x-priority": priority, "x-stream-offset": offset } = table as Record<string, FieldValue>
  if (credit !== undefined) {
    throw Validation.invalid("arguments: x-credit is for brokers among themselves; use the option prefetch")
  }
  if (offset !== undefined && !isOffset(offset)) {
    throw Validation.invalid(
      "arguments: x-stream-offset must be \"first\", \"last\" or \"next\", a whole number from 0, a time, or how long ago, such as \"1h\"; " +
        "the option offset has a type for each"
    )
  }
  const type = typeof queue === "string" ? undefined : queue.type
  if (priority !== undefined && type === "stream") {
    throw Validation.invalid("priority: the consumers of a stream have none: each reads all of it")
  }
  if (offset !== undefined && type !== undefined && type !== "stream") {
    throw Validation.invalid(
      `offset: a ${type} queue has none, and is consumed from its beginning; only streams have one`
    )
  }
}

const integerTypes: ReadonlySet<FieldType> = new Set(["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])

const isOffset = (value: FieldValue): boolean => {
  switch (typeof value) {
    case "string":
      return /^(?:first|last|next|[1-9]\d*[YMDhms])$/.test(value)
    case "number":
      return Number.isInteger(value) && value >= 0
    case "bigint":
      return value >= 0n
    case "object":
      if (value instanceof TypedField) {
        return value.type === "timestamp" || (integerTypes.has(value.type) && value.value >= 0)
      }
      return value instanceof Date || DateTime.isDateTime(value)
    default:
      return false
  }
}

const encodeOffset = (offset: AmqpConsumer.StreamOffset): FieldValue => {
  if (Duration.isDuration(offset)) return `${Validation.seconds("offset", offset, 1)}s`
  if (typeof offset === "number") return Validation.wholeNumber("offset", offset, 0)
  if (typeof offset === "bigint" && offset < 0n) throw Validation.invalid("offset: must be a whole number from 0")
  if (offset instanceof Date && !(offset.getTime() >= 0)) {
    throw Validation.invalid("offset: must be a time from 1970 on")
  }
  if (typeof offset === "string") return Validation.oneOf("offset", offset, ["first", "last", "next"])
  return offset
}
