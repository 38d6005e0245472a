/**
 * The order in which a consumer stops, so that the next consumer gets the messages in their original order, and no delivery attempt is used up
 * by a message that no handler has seen. It depends on what the broker does on a cancel.
 *
 * - `Cancel` first: the broker delivers nothing more, buffered messages are requeued at once, and handlers finish meanwhile. For described
 *   queues, which may have several consumers at a time.
 * - `Drain` without a cancel: on a cancel, the next consumer of a queue with an exclusive or single active consumer would get its first
 *   messages, before those that are buffered here or that handlers work on. Closing the channel requeues all of these in their original places.
 * - `DrainThenCancel`: RabbitMQ counts a message that is requeued because its channel closed as a delivery attempt. From 4.3 on it does not
 *   count one that is requeued by `basic.nack`. For queues of which only the name is known, so that they may have a single active
 *   consumer.
 */
import type { AmqpQueue } from "../../AmqpQueue.ts"
import { fieldOf } from "../../protocol/fieldTable.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"

export interface StopOrder {
  readonly kind: "Cancel" | "Drain" | "DrainThenCancel"
  /** Whether a `basic.nack` requeues messages without counting an attempt, in this order. */
  readonly savesAttempts: boolean
}

/** The options of a consumer that decide. */
interface StopOptions {
  readonly queues: ReadonlyArray<string | AmqpQueue>
  readonly noAck: boolean
  readonly exclusive: boolean
  readonly isTransactional: boolean
}

export const stopOrderOf = (
  serverProperties: FieldTable,
  { exclusive, isTransactional, noAck, queues }: StopOptions
): StopOrder => {
  const nackSavesAttempts = isRabbitMQ(serverProperties, 4, 3)
  if (
    noAck || exclusive || isTransactional || queues.some((queue) => typeof queue === "object" && isSingleActive(queue))
  ) {
    return { kind: "Drain", savesAttempts: false }
  }
  if (queues.every((queue) => typeof queue === "object")) return { kind: "Cancel", savesAttempts: nackSavesAttempts }
  return { kind: nackSavesAttempts ? "DrainThenCancel" : "Drain", savesAttempts: nackSavesAttempts }
}

const isSingleActive = ({ arguments: table }: AmqpQueue): boolean => fieldOf(table, "x-single-active-consumer") === true

/** Whether the broker is RabbitMQ of this version or later. */
const isRabbitMQ = (serverProperties: FieldTable, major: number, minor: number): boolean => {
  const product = fieldOf(serverProperties, "product")
  const version = fieldOf(serverProperties, "version")
  const [, first, second] = typeof version === "string" ? /^(\d+)\.(\d+)/.exec(version) ?? [] : []
  if (product !== "RabbitMQ" || first === undefined || second === undefined) return false
  return Number(first) > major || (Number(first) === major && Number(second) >= minor)
}
