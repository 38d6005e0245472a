/**
 * In which order a consumer stops, so that those who consume after it see the old order of the messages, and no message is used up that no
 * handler has seen. What brokers do with a cancel differs.
 *
 * - `Cancel` first: the broker delivers nothing more, what is buffered goes back at once, and the handlers finish meanwhile. For queues
 *   that are described, and have more than one consumer at a time.
 * - `Drain`, and no cancel at all: a single active or an exclusive successor would get its first messages at the cancel, before those that
 *   handlers still work on or that wait here. Closing the channel gives back everything at once, in its old place.
 * - `DrainThenCancel`: RabbitMQ counts what comes back with a closed channel as an attempt, and from 4.3 on not what is handed back by
 *   `basic.nack`. For queues that may have a single active consumer, as far as their name tells.
 */
import { fieldOf } from "../../protocol/fieldTable.ts"
import type { Session } from "../connection/session.ts"
import type { QueueDescription } from "../topology/descriptions.ts"

export interface StopOrder {
  readonly kind: "Cancel" | "Drain" | "DrainThenCancel"
  /** Whether what is handed back by `basic.nack` is not counted as an attempt, and may be. */
  readonly savesAttempts: boolean
}

/** What it depends on. */
interface StopOptions {
  readonly queues: ReadonlyArray<string | QueueDescription>
  readonly noAck: boolean
  readonly exclusive: boolean
  readonly isTransactional: boolean
}

export const stopOrderOf = (
  session: Session,
  { exclusive, isTransactional, noAck, queues }: StopOptions
): StopOrder => {
  const countsNoNack = isSince(session, 4, 3)
  if (
    noAck || exclusive || isTransactional || queues.some((queue) => typeof queue === "object" && isSingleActive(queue))
  ) {
    return { kind: "Drain", savesAttempts: false }
  }
  if (queues.every((queue) => typeof queue === "object")) return { kind: "Cancel", savesAttempts: countsNoNack }
  return { kind: countsNoNack ? "DrainThenCancel" : "Drain", savesAttempts: countsNoNack }
}

const isSingleActive = ({ arguments: table }: QueueDescription): boolean =>
  fieldOf(table, "x-single-active-consumer") === true

/** Whether the broker is RabbitMQ of this version or a later one. */
const isSince = ({ serverProperties }: Session, major: number, minor: number): boolean => {
  const product = fieldOf(serverProperties, "product")
  const version = fieldOf(serverProperties, "version")
  const [, first, second] = typeof version === "string" ? /^(\d+)\.(\d+)/.exec(version) ?? [] : []
  if (product !== "RabbitMQ" || first === undefined || second === undefined) return false
  return Number(first) > major || (Number(first) === major && Number(second) >= minor)
}
