/** Checks the options of consumers, and resolves them to those of a subscription. Throws an `InvalidArgument`. */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import type * as AmqpConsumer from "../../AmqpConsumer.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"
import { TypedField } from "../../protocol/fieldTable.ts"
import type { FieldTable, FieldType, FieldValue } from "../../protocol/fieldTable.ts"
import * as Validation from "../options/validation.ts"
import { queueName } from "../topology/descriptions.ts"
import { resolveConsumerRecovery } from "./consumerRecovery.ts"
import type { ConsumerRecovery } from "./consumerRecovery.ts"
import type { SubscriptionOptions } from "./subscription.ts"

/** The options of all consumers. With automatic acknowledgements fewer are allowed. */
export type ConsumerOptions = Omit<AmqpConsumer.Options, "autoAck"> & { readonly autoAck?: boolean | undefined }

type ServeOptions = Omit<AmqpConsumer.ServeOptions<never>, "onFailure">

const commonKeys = ["exclusive", "priority", "consumerTag", "arguments", "recovery"] as const
const keys = [...commonKeys, "prefetch", "offset", "onOversized"] as const

/** The prefetch for this concurrency: enough that no slot waits for the network. */
const prefetchFor = (concurrency: number): number =>
  concurrency === Infinity ? defaultPrefetch : Math.min(2 * concurrency, 65535)

const defaultPrefetch = 100

export interface Resolved {
  readonly subscription: SubscriptionOptions
  readonly recovery: ConsumerRecovery
}

/** For consumers whose deliveries are settled by the program, or not at all. */
export const resolve = (queues: AmqpConsumer.Queues, options: ConsumerOptions): Resolved => {
  const { autoAck } = objectOf(options)
  // Values from JavaScript or a cast must not decide this by accident.
  if (autoAck !== undefined && typeof autoAck !== "boolean") throw Validation.invalid("autoAck: must be true or absent")
  if (autoAck === true && !Object.hasOwn(options, "autoAck")) {
    throw Validation.invalid("autoAck: must be an own property of the options, and not an inherited one")
  }
  Validation.knownKeys(
    options,
    autoAck === true ? [...commonKeys, "autoAck"] : [...keys, "autoAck"],
    "options of a consumer"
  )
  return {
    subscription: make(queues, options, autoAck === true, defaultPrefetch),
    recovery: resolveConsumerRecovery(options.recovery)
  }
}

export interface ResolvedServing extends Resolved {
  readonly concurrency: number
  /** In milliseconds. */
  readonly drainTimeout: number
}

/** For consumers with handlers, which always acknowledge. `moreKeys` are those that the caller handles. */
export const resolveServing = (
  queues: AmqpConsumer.Queues,
  options: ServeOptions,
  moreKeys: ReadonlyArray<string>,
  isTransactional: boolean
): ResolvedServing => {
  // JavaScript or a cast may pass anything.
  const autoAck: unknown = objectOf(options).autoAck
  if (autoAck !== undefined && autoAck !== false) {
    throw Validation.invalid("autoAck: not for a consumer with a handler, whose result settles each message")
  }
  const known = [...keys, "autoAck", "drainTimeout", ...(isTransactional ? [] : ["concurrency"]), ...moreKeys]
  // The caller's options have keys beyond this type.
  const all: object = options
  const given = all as Readonly<Record<string, unknown>>
  Validation.knownKeys(given, known, "options of a consumer with a handler")
  for (const name of ["onFailure", "onEnd"]) Validation.callable(name, given[name])
  const { concurrency: limit = 1, drainTimeout = "10 seconds" } = options
  const concurrency = limit === "unbounded" ? Infinity : Validation.wholeNumber("concurrency", limit, 1)
  return {
    subscription: { ...make(queues, options, false, prefetchFor(concurrency)), isTransactional },
    recovery: resolveConsumerRecovery(options.recovery),
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
  // `isArray` does not narrow away a readonly array.
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

/** JavaScript may pass `null`, or a value without keys. */
export const objectOf = <O extends object>(options: O): O => {
  const value: unknown = options
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return options
  throw Validation.invalid("options of a consumer: must be an object")
}

/**
 * Refuses arguments for which RabbitMQ closes the whole connection (541), and arguments that the described type of
 * queue does not support. Others, such as those of plugins, are left to the broker.
 */
const checkArguments = (table: FieldTable, queue: string | AmqpQueue): void => {
  const { "x-credit": credit, "x-priority": priority, "x-stream-offset": offset } = table as Record<string, FieldValue>
  if (credit !== undefined) {
    throw Validation.invalid("arguments: x-credit is only for brokers; use the option prefetch")
  }
  if (offset !== undefined && !isOffset(offset)) {
    throw Validation.invalid(
      "arguments: x-stream-offset must be \"first\", \"last\" or \"next\", a whole number from 0, a time, or an interval such as \"1h\"; " +
        "use the option offset, which is typed"
    )
  }
  const type = typeof queue === "string" ? undefined : queue.type
  if (priority !== undefined && type === "stream") {
    throw Validation.invalid("priority: consumers of a stream have no priority, as each reads all of it")
  }
  if (offset !== undefined && type !== undefined && type !== "stream") {
    throw Validation.invalid(
      `offset: only for streams; a ${type} queue is consumed from its beginning`
    )
  }
}

const integerTypes: ReadonlySet<FieldType> = new Set(["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])

const isOffset = (value: FieldValue): boolean => {
  switch (typeof value) {
    case "string":
      return /^(?:first|last|next|[1-9]\d*[YMDhms])$/.test(value)
    case "number":
      return Validation.isWholeNumber(value, 0)
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
