/** Dead letters: the headers that report how a message was dropped, and cycles (https://www.rabbitmq.com/docs/dlx#effects). */
import { changeTable, TypedField } from "../../../protocol/fieldTable.ts"
import type { FieldTable, FieldValue } from "../../../protocol/fieldTable.ts"
import type { Message } from "../common/message.ts"
import { texts, withHeaders } from "../common/messageHeaders.ts"
import type { VersionRules } from "../common/versionRules.ts"
import { isInteger, wireValueAt } from "../common/wireValues.ts"

export type DeathReason = "rejected" | "expired" | "maxlen" | "delivery_limit"

export interface Death {
  readonly reason: DeathReason
  /** The name of the queue. */
  readonly queue: string
  /** In milliseconds since 1970. */
  readonly time: number
  /** `x-dead-letter-exchange` */
  readonly exchange: string
  /** `x-dead-letter-routing-key`, which replaces the message's own. */
  readonly routingKey: string | undefined
}

/**
 * The message as it is published to the dead-letter exchange. `undefined` if RabbitMQ 3.10 loses it, because its queue crashes on an
 * `x-death` header that is not a list of tables or whose count is not a number.
 */
export const deadLetter = (message: Message, death: Death, rules: VersionRules): Message | undefined => {
  const { deaths, headers } = (rules.deaths === "recorded" ? withRecordedDeath : withDeathInHeader)(message, death)
  if (deaths === undefined) return undefined
  // The letter is also routed by the keys in `CC` and `BCC`, unless the queue replaces its routing key.
  const removed = death.routingKey !== undefined && rules.deaths === "header" ? { CC: undefined } : {}
  const letter = withHeaders(message, { ...headers, ...removed })
  return {
    ...letter,
    ...(rules.deaths === "recorded" ? { deaths } : {}),
    ...(death.routingKey === undefined ? {} : { copies: [], blindCopies: [] }),
    exchange: death.exchange,
    routingKey: death.routingKey ?? message.routingKey,
    publishedProperties: message.publishedProperties ?? message.properties,
    properties: { ...letter.properties, expiration: undefined }
  }
}

/**
 * A dead letter as it is published again, after it did not arrive. RabbitMQ 3.10 reads the additional routing keys from its headers then,
 * where `BCC` is missing.
 */
export const republished = (letter: Message, rules: VersionRules): Message =>
  rules.deaths === "recorded" || letter.blindCopies === undefined ? letter : {
    ...letter,
    copies: without(letter.copies ?? [], letter.blindCopies),
    blindCopies: []
  }

/**
 * Whether a dead letter would return to a queue that dropped it before, without having been rejected since. Such a message would cycle
 * for ever, so the queue does not get it.
 */
export const closesCycle = (message: Message, queue: string): boolean => {
  const deaths = message.deaths ?? tablesIn(message.properties.headers?.["x-death"]) ?? []
  const before = deaths.findIndex((death) => death["queue"] === queue)
  return before !== -1 && deaths.slice(0, before + 1).every((death) => death["reason"] !== "rejected")
}

interface ReportedDeaths {
  /** All deaths, the last one first. */
  readonly deaths: ReadonlyArray<FieldTable> | undefined
  /** The headers that report them. */
  readonly headers: Readonly<Record<string, FieldValue | undefined>>
}

const firstDeath = ({ exchange, queue, reason }: FieldTable): FieldTable => ({
  "x-first-death-exchange": exchange,
  "x-first-death-queue": queue,
  "x-first-death-reason": reason
})

const lastDeath = ({ exchange, queue, reason }: FieldTable): FieldTable => ({
  "x-last-death-exchange": exchange,
  "x-last-death-queue": queue,
  "x-last-death-reason": reason
})

// -----------------------------------------------------------------------------
// RabbitMQ 4.x: the broker records the deaths
// -----------------------------------------------------------------------------

const withRecordedDeath = (message: Message, death: Death): ReportedDeaths => {
  const event = eventOf(
    message,
    death,
    without([message.routingKey, ...message.copies ?? []], message.blindCopies ?? [])
  )
  const former = message.deaths ?? []
  const same = former.find((each) => each["queue"] === death.queue && each["reason"] === death.reason)
  const count = TypedField.int64((same === undefined ? 0 : countOf(same) ?? 0) + 1)
  const latest = same === undefined ? { count, ...event } : changeTable(same, { count })
  const deaths = [latest, ...former.filter((each) => each !== same)]
  return {
    deaths,
    headers: {
      "x-death": deaths,
      ...(message.deaths === undefined ? firstDeath(event) : {}),
      ...lastDeath(event)
    }
  }
}

// -----------------------------------------------------------------------------
// RabbitMQ 3.10: the header reports the deaths, also if a client wrote it
// -----------------------------------------------------------------------------

const withDeathInHeader = (message: Message, death: Death): ReportedDeaths => {
  const { headers = {} } = message.properties
  const event = eventOf(message, death, [message.routingKey, ...texts(headers["CC"])])
  const former = headers["x-death"]
  const fresh = { count: TypedField.int64(1), ...event }
  if (former === undefined) return { deaths: [fresh], headers: { "x-death": [fresh], ...firstDeath(event) } }
  // A client may have written something other than a list, which is replaced.
  if (!Array.isArray(former)) return { deaths: [fresh], headers: { "x-death": [fresh] } }
  const tables = tablesIn(former)
  if (tables === undefined) return { deaths: undefined, headers: {} }
  const grouped = groupedByDeath(tables)
  const same = grouped.find((each) => isDeath(each, death.queue, death.reason))
  const latest = same === undefined ? fresh : increased(same)
  const deaths = latest && [sorted(latest), ...grouped.filter((each) => each !== same)]
  return { deaths, headers: { "x-death": deaths } }
}

const isDeath = (death: FieldTable, queue: FieldValue | undefined, reason: FieldValue | undefined): boolean =>
  death["queue"] === queue && death["reason"] === reason

/**
 * One table for each queue and reason: the first of them, with the number of them if it has no count. This reverses the order, as in
 * RabbitMQ.
 */
const groupedByDeath = (tables: ReadonlyArray<FieldTable>): ReadonlyArray<FieldTable> => {
  if (tables.length < 2) return tables
  const groups: Array<FieldTable> = []
  for (const { queue, reason } of tables) {
    if (groups.some((group) => isDeath(group, queue, reason))) continue
    const same = tables.filter((table) => isDeath(table, queue, reason))
    const [one = {}] = same
    groups.unshift(hasCount(one) ? one : { count: TypedField.int64(same.length), ...one })
  }
  return groups
}

/** The death with its count increased, or `undefined` if the count is not a whole number. */
const increased = (death: FieldTable): FieldTable | undefined => {
  if (!hasCount(death)) return { count: TypedField.int64(1), ...death }
  const count = countOf(death)
  return count === undefined ? undefined : changeTable(death, { count: TypedField.int64(count + 1) })
}

const sorted = (table: FieldTable): FieldTable =>
  Object.fromEntries(Object.entries(table).toSorted(([one], [other]) => one < other ? -1 : 1))

/** RabbitMQ treats a count of the type `void` as missing. */
const hasCount = ({ count }: FieldTable): boolean => count !== undefined && count !== null

// -----------------------------------------------------------------------------
// both
// -----------------------------------------------------------------------------

const eventOf = (
  { exchange, properties }: Message,
  { queue, reason, time }: Death,
  routingKeys: ReadonlyArray<string>
): FieldTable => ({
  reason,
  queue,
  time: new Date(Math.floor(time / 1000) * 1000),
  exchange,
  "routing-keys": routingKeys,
  "original-expiration": properties.expiration
})

const countOf = (death: FieldTable): number | undefined => {
  const count = wireValueAt(death, "count")
  return count !== undefined && (isInteger(count) || count.type === "timestamp") ? Number(count.value) : undefined
}

/** The list without the first occurrence of each of these. */
const without = (all: ReadonlyArray<string>, some: ReadonlyArray<string>): ReadonlyArray<string> => {
  const left = [...all]
  for (const each of some) {
    const index = left.indexOf(each)
    if (index !== -1) left.splice(index, 1)
  }
  return left
}

/** The items of a list of tables; `undefined` for anything else. */
const tablesIn = (header: FieldValue | undefined): ReadonlyArray<FieldTable> | undefined =>
  Array.isArray(header) && header.every(isTable) ? header : undefined

const isTable = (value: FieldValue): value is FieldTable =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype
