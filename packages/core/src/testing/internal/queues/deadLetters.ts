/**
 * What a message says of how it was dropped, and when dropping it goes in circles: https://www.rabbitmq.com/docs/dlx#effects.
 */
import { changeTable, TypedField } from "../../../protocol/fieldTable.ts"
import type { FieldTable, FieldValue } from "../../../protocol/fieldTable.ts"
import { isInteger, termAt } from "../common/fieldTerms.ts"
import type { Message } from "../common/message.ts"
import { texts, withHeaders } from "../common/messageHeaders.ts"
import type { Rules } from "../common/rules.ts"

export type DeathReason = "rejected" | "expired" | "maxlen" | "delivery_limit"

export interface Death {
  readonly reason: DeathReason
  /** The name of the queue. */
  readonly queue: string
  /** In milliseconds since 1970. */
  readonly time: number
  /** `x-dead-letter-exchange` */
  readonly exchange: string
  /** `x-dead-letter-routing-key`, in place of the message's own. */
  readonly routingKey: string | undefined
}

/**
 * The message as it is published to the dead-letter exchange. `undefined` for one that RabbitMQ 3.10 loses: its queue fails over an
 * `x-death` that is no list of tables, or has a count that is no number.
 */
export const deadLetter = (message: Message, death: Death, rules: Rules): Message | undefined => {
  const { deaths, headers } = (rules.deaths === "noted" ? noted : withinHeader)(message, death)
  if (deaths === undefined) return undefined
  // The keys of `CC` and `BCC` are routed by as well, unless another key is in their place.
  const removed = death.routingKey !== undefined && rules.deaths === "header" ? { CC: undefined } : {}
  const letter = withHeaders(message, { ...headers, ...removed })
  return {
    ...letter,
    ...(rules.deaths === "noted" ? { deaths } : {}),
    ...(death.routingKey === undefined ? {} : { copies: [], blindCopies: [] }),
    exchange: death.exchange,
    routingKey: death.routingKey ?? message.routingKey,
    publishedProperties: message.publishedProperties ?? message.properties,
    properties: { ...letter.properties, expiration: undefined }
  }
}

/**
 * A dead letter that is published once more, because it could not be. RabbitMQ 3.10 reads from its header then who gets it besides, and
 * so forgets those who got it blindly.
 */
export const again = (letter: Message, rules: Rules): Message =>
  rules.deaths === "noted" || letter.blindCopies === undefined ? letter : {
    ...letter,
    copies: without(letter.copies ?? [], letter.blindCopies),
    blindCopies: []
  }

/**
 * Whether a queue must not get a dead letter: it was dropped from there before, and nobody rejected it since. Such a message
 * would go round for ever.
 */
export const closesCycle = (message: Message, queue: string): boolean => {
  const deaths = message.deaths ?? tablesIn(message.properties.headers?.["x-death"]) ?? []
  const before = deaths.findIndex((death) => death["queue"] === queue)
  return before !== -1 && deaths.slice(0, before + 1).every((death) => death["reason"] !== "rejected")
}

/** What comes of a death: all deaths, and the headers that tell them. */
interface Deaths {
  readonly deaths: ReadonlyArray<FieldTable> | undefined
  readonly headers: Readonly<Record<string, FieldValue | undefined>>
}

const first = ({ exchange, queue, reason }: FieldTable): FieldTable => ({
  "x-first-death-exchange": exchange,
  "x-first-death-queue": queue,
  "x-first-death-reason": reason
})

const last = ({ exchange, queue, reason }: FieldTable): FieldTable => ({
  "x-last-death-exchange": exchange,
  "x-last-death-queue": queue,
  "x-last-death-reason": reason
})

// -----------------------------------------------------------------------------
// RabbitMQ 4.x: the broker knows the deaths
// -----------------------------------------------------------------------------

const noted = (message: Message, death: Death): Deaths => {
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
    headers: { "x-death": deaths, ...(message.deaths === undefined ? first(event) : {}), ...last(event) }
  }
}

// -----------------------------------------------------------------------------
// RabbitMQ 3.10: the header tells the deaths, whoever wrote it
// -----------------------------------------------------------------------------

const withinHeader = (message: Message, death: Death): Deaths => {
  const { headers = {} } = message.properties
  const event = eventOf(message, death, [message.routingKey, ...texts(headers["CC"])])
  const former = headers["x-death"]
  const fresh = { count: TypedField.int64(1), ...event }
  if (former === undefined) return { deaths: [fresh], headers: { "x-death": [fresh], ...first(event) } }
  // Something else than a list is what some client has made of one, and is dropped.
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
 * One table for each queue and reason: the first of them, with a count of all if it has none. The order is the other way round then, but
 * for a single table.
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

/** The death with one more in its count, or `undefined` if that is no whole number. */
const increased = (death: FieldTable): FieldTable | undefined => {
  if (!hasCount(death)) return { count: TypedField.int64(1), ...death }
  const count = countOf(death)
  return count === undefined ? undefined : changeTable(death, { count: TypedField.int64(count + 1) })
}

const sorted = (table: FieldTable): FieldTable =>
  Object.fromEntries(Object.entries(table).toSorted(([one], [other]) => one < other ? -1 : 1))

/** To RabbitMQ a count that is `void` is none. */
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
  const term = termAt(death, "count")
  return term !== undefined && (isInteger(term) || term.type === "timestamp") ? Number(term.value) : undefined
}

/** The list without the first of each of these. */
const without = (all: ReadonlyArray<string>, some: ReadonlyArray<string>): ReadonlyArray<string> => {
  const left = [...all]
  for (const each of some) {
    const index = left.indexOf(each)
    if (index !== -1) left.splice(index, 1)
  }
  return left
}

/** The tables of a list, or `undefined` if something else is in it. */
const tablesIn = (header: FieldValue | undefined): ReadonlyArray<FieldTable> | undefined =>
  Array.isArray(header) && header.every(isTable) ? header : undefined

const isTable = (value: FieldValue): value is FieldTable =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype
