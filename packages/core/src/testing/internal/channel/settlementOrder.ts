/** The order in which RabbitMQ settles messages together. It determines the order in which they come back or are dead-lettered. */
import type { VersionRules } from "../common/versionRules.ts"
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

/**
 * The order in which queues take back what a closed channel had. RabbitMQ 3.10 goes by consumer tag; later versions by the age of the
 * consumer. The tag of a message from `basic.get`, which is a consumer of its own, is its delivery tag.
 */
export const releaseOrder = (received: ReadonlyArray<Received>, rules: VersionRules): ReadonlyArray<Received> =>
  received.toSorted((one, other) =>
    (rules.releasesByConsumerTag ? 0 : ageOf(one) - ageOf(other)) || compare(tagOf(one), tagOf(other)) ||
    one.deliveryTag - other.deliveryTag
  )

/** Messages from `basic.get` come after those of all consumers. */
const ageOf = ({ consumer }: Received): number => consumer?.number ?? Number.MAX_SAFE_INTEGER

const tagOf = ({ consumer, deliveryTag }: Received): string => consumer?.tag ?? String(deliveryTag)

const compare = (one: string, other: string): number => one < other ? -1 : one > other ? 1 : 0
