/** The options of queues: which are allowed for which type, and the arguments that they set. */
import type { AmqpExchange } from "../../AmqpExchange.ts"
import type { AmqpQueue, MessageQueueOptions } from "../../AmqpQueue.ts"
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"
import { isExchange, isQueue } from "../common/brands.ts"
import { nearestName } from "../errors/nearestName.ts"
import * as Validation from "../options/validation.ts"
import * as Descriptions from "./descriptions.ts"

type Kind = "classic" | "server-named" | "quorum" | "stream"

const messageQueueKeys = [
  "messageTtl",
  "expires",
  "maxLength",
  "maxLengthBytes",
  "deadLetterExchange",
  "deadLetterRoutingKey",
  "deadLetterQueue",
  "singleActiveConsumer",
  "arguments",
  "overflow"
]

const clusterKeys = ["initialGroupSize", "leaderLocator"]

const optionKeys: Readonly<Record<Kind, ReadonlyArray<string>>> = {
  classic: [...messageQueueKeys, "durable", "exclusive", "autoDelete", "maxPriority"],
  "server-named": [...messageQueueKeys, "autoDelete", "maxPriority"],
  quorum: [...messageQueueKeys, ...clusterKeys, "deliveryLimit", "deadLetterStrategy"],
  stream: [...clusterKeys, "maxLengthBytes", "maxAge", "segmentSizeBytes", "arguments"]
}

/** Refuses options that the type of queue does not have, which types do not find in a variable or a spread. */
export const checkKeys = (kind: Kind, options: object): void => {
  if (typeof options !== "object" || options === null) {
    throw Validation.invalid(`options of a ${kind} queue: must be an object`)
  }
  const known = optionKeys[kind]
  for (const [key, value] of Object.entries(options)) {
    if (known.includes(key) || value === undefined) continue
    // Server-named queues are classic ones with some options fixed.
    const others = (["classic", "quorum", "stream"] as const).filter((other) => optionKeys[other].includes(key))
    const nearest = nearestName(key.slice(0, 40), known)
    const hint = others.length > 0
      ? `it is an option of ${others.join(" and ")} queues`
      : nearest === undefined
      ? `there are ${known.join(", ")}`
      : `did you mean ${JSON.stringify(nearest)}?`
    throw Validation.invalid(`options of a ${kind} queue: there is no ${JSON.stringify(key.slice(0, 40))}; ${hint}`)
  }
}

export const optional = <A, B>(value: A | undefined, f: (value: A) => B): B | undefined =>
  value === undefined ? undefined : f(value)

export const messageQueueArguments = (options: MessageQueueOptions): Record<string, FieldValue | undefined> => {
  const { expires, maxLength, maxLengthBytes, messageTtl } = options
  const { exchange, routingKey } = deadLettersOf(options)
  return {
    "x-message-ttl": optional(messageTtl, (ttl) => Validation.millis("messageTtl", ttl, 0)),
    "x-expires": optional(expires, (expires) => Validation.millis("expires", expires, 1)),
    "x-max-length": optional(maxLength, (length) => Validation.wholeNumber("maxLength", length, 0)),
    "x-max-length-bytes": optional(maxLengthBytes, (bytes) => Validation.wholeNumber("maxLengthBytes", bytes, 0)),
    "x-dead-letter-exchange": exchange,
    "x-dead-letter-routing-key": routingKey,
    "x-single-active-consumer": Validation.flag("singleActiveConsumer", options.singleActiveConsumer) ? true : undefined
  }
}

/** The dead-letter target, by names. */
const deadLettersOf = (
  { arguments: table, deadLetterExchange, deadLetterQueue, deadLetterRoutingKey }: MessageQueueOptions
): { readonly exchange?: string | undefined; readonly routingKey?: string | undefined } => {
  if (deadLetterQueue !== undefined) {
    if (deadLetterExchange !== undefined || deadLetterRoutingKey !== undefined) {
      throw Validation.invalid(
        "deadLetterQueue: replaces deadLetterExchange and deadLetterRoutingKey, which can't be given too"
      )
    }
    return {
      exchange: "",
      routingKey: Validation.nonEmptyName("deadLetterQueue", Descriptions.queueName(deadLetterQueue, "deadLetterQueue"))
    }
  }
  const hasExchange = deadLetterExchange !== undefined || argument(table, "x-dead-letter-exchange") !== undefined
  if (deadLetterRoutingKey !== undefined && !hasExchange) {
    throw Validation.invalid("deadLetterRoutingKey: needs a deadLetterExchange")
  }
  return {
    exchange: optional(
      deadLetterExchange,
      (exchange) => Validation.name("deadLetterExchange", Descriptions.exchangeName(exchange, "deadLetterExchange"))
    ),
    routingKey: optional(deadLetterRoutingKey, (key) => Validation.name("deadLetterRoutingKey", key))
  }
}

/** The exchanges and queues that a queue with these options needs. */
export const referencesOf = (
  { deadLetterExchange, deadLetterQueue }: MessageQueueOptions
): ReadonlyArray<AmqpExchange | AmqpQueue> => [
  ...[deadLetterExchange].filter(isExchange),
  ...[deadLetterQueue].filter(isQueue)
]

/** -1 is no limit. */
export const deliveryLimit = (limit: number | "unlimited"): number =>
  limit === "unlimited" ? -1 : Validation.wholeNumber("deliveryLimit", limit, 0)

const argument = (table: FieldTable | undefined, name: string): FieldValue | undefined =>
  table instanceof Map ? table.get(name) : table?.[name]

const argumentNames = (table: FieldTable = {}): ReadonlyArray<string> =>
  table instanceof Map ? [...table.keys()] : Object.keys(table)

/**
 * Checks arguments for which RabbitMQ closes the whole connection (541) if they are malformed, where for all others it closes the
 * channel, and refuses those of mirrored queues: RabbitMQ ignores them, and a queue that is taken for replicated is lost with its node.
 */
export const checkArguments = (table: FieldTable | undefined): void => {
  const mirrored = argumentNames(table).find((name) => name.startsWith("x-ha-"))
  if (mirrored !== undefined) {
    throw Validation.invalid(`arguments: RabbitMQ ignores ${mirrored}. AmqpQueue.quorum describes a replicated queue`)
  }
  const maxAge = argument(table, "x-max-age")
  if (maxAge !== undefined && !(typeof maxAge === "string" && /^[1-9]\d*[YMDhms]$/.test(maxAge))) {
    throw Validation.invalid(`arguments: x-max-age must be a number and one of Y, M, D, h, m, s, such as "7D"`)
  }
  const locator = argument(table, "x-queue-master-locator")
  if (locator !== undefined && locator !== "client-local" && locator !== "min-masters" && locator !== "random") {
    throw Validation.invalid(
      `arguments: x-queue-master-locator must be "client-local", "min-masters" or "random"`
    )
  }
}
