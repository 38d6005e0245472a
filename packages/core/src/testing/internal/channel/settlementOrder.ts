/** The order in which RabbitMQ settles messages together. It determines the order in which they come back or are dead-lettered. */
import type { Received } from "./unacknowledged.ts"

/**
 * The order of what a client settles by one method: by the name of the queue, then the messages from `basic.get`, then those of each
 * consumer by its tag.
 */
export const settlementOrder = (received: ReadonlyArray<Received>): ReadonlyArray<Received> =>
  received.toSorted((one, other) =>
    compare(one.queue.name, other.queue.name) || compare(one.consumer?.tag ?? "", other.consumer?.tag ?? "") ||
    one.deliveryTag - other.deliveryTag
  )

const compare = (one: string, other: string): number => one < other ? -1 : one > other ? 1 : 0
