/**
 * What a message says of how it was dropped, and when dropping it goes in circles.
 *
 * As RabbitMQ 3.10 has it: https://www.rabbitmq.com/docs/dlx#effects.
 */
import { changeTable, TypedField } from "../../protocol/fieldTable.ts"
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"
import type { Message } from "./message.ts"

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

/** The message as it is published to the dead-letter exchange. */
export const deadLetter = (message: Message, death: Death): Message => {
  // Keys of `CC` are routed by as well, unless another key is in their place.
  const headers = changeTable(message.properties.headers, death.routingKey === undefined ? {} : { CC: undefined })
  const event = deathEvent(message, death)
  return {
    exchange: death.exchange,
    routingKey: death.routingKey ?? message.routingKey,
    properties: { ...message.properties, expiration: undefined, headers: withDeath(headers, event) },
    body: message.body
  }
}

/**
 * Whether a queue must not get a dead letter: it was dropped from there before, and nobody rejected it since. Such a message
 * would go round for ever.
 */
export const closesCycle = (message: Message, queue: string): boolean => {
  const deaths = deathsOf(message.properties.headers?.["x-death"])
  const before = deaths.findIndex((death) => death["queue"] === queue)
  return before !== -1 && deaths.slice(0, before + 1).every((death) => death["reason"] !== "rejected")
}

interface DeathEvent extends FieldTable {
  readonly reason: string
  readonly queue: string
  readonly exchange: string
}

const deathEvent = ({ exchange, properties, routingKey }: Message, death: Death): DeathEvent => {
  const copies = properties.headers?.["CC"]
  return {
    reason: death.reason,
    queue: death.queue,
    time: new Date(Math.floor(death.time / 1000) * 1000),
    exchange,
    "routing-keys": [routingKey, ...(Array.isArray(copies) ? copies.filter((key) => typeof key === "string") : [])],
    "original-expiration": properties.expiration
  }
}

/** Deaths of the same queue and reason are counted in one table, and the last death comes first. */
const withDeath = (headers: FieldTable, event: DeathEvent): FieldTable => {
  const former = headers["x-death"]
  if (former === undefined) {
    return changeTable(headers, {
      "x-death": [{ count: TypedField.int64(1), ...event }],
      "x-first-death-exchange": event.exchange,
      "x-first-death-queue": event.queue,
      "x-first-death-reason": event.reason
    })
  }
  const deaths = deathsOf(former)
  const same = deaths.find((death) => death["queue"] === event.queue && death["reason"] === event.reason)
  const last = same === undefined
    ? { count: TypedField.int64(1), ...event }
    : changeTable(same, { count: countOf(same, 1) })
  // A count that came back from a client would be sent as the smallest integer that holds it.
  const others = deaths.filter((death) => death !== same).map((death) =>
    changeTable(death, { count: countOf(death, 0) })
  )
  return changeTable(headers, { "x-death": [last, ...others] })
}

const countOf = ({ count }: FieldTable, more: number): TypedField =>
  TypedField.int64(Number(count instanceof TypedField ? count.value : count ?? 0) + more)

const deathsOf = (header: FieldValue | undefined): ReadonlyArray<FieldTable> =>
  Array.isArray(header) ? header.filter(isTable) : []

const isTable = (value: FieldValue): value is FieldTable =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype
