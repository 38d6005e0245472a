/** Deliveries that a client does not settle in time (RabbitMQ, "Delivery Acknowledgement Timeout"). */
import { Refusal } from "../common/refusal.ts"
import type { VersionRules } from "../common/versionRules.ts"
import { integerOf } from "../queues/argumentValues.ts"
import type { ChannelConsumer } from "./channelConsumer.ts"
import type { Received } from "./unacknowledged.ts"

/**
 * How long a message may stay unsettled, in milliseconds. In RabbitMQ 4.3 only quorum queues have this timeout, and arguments of the
 * consumer or the queue may set it.
 */
export const timeoutOf = (
  { consumer, queue }: Received,
  { overdueConsumers }: VersionRules,
  brokerMillis: number
): number => {
  if (overdueConsumers === "the channel is closed") return brokerMillis
  if (queue.type !== "quorum") return Infinity
  return consumer?.timeoutMillis ?? integerOf(queue.arguments, "x-consumer-timeout") ?? brokerMillis
}

/** Why the channel is closed. */
export const timedOut = (channel: number, timeoutMillis: number): Refusal =>
  new Refusal(
    "preconditionFailed",
    `delivery acknowledgement on channel ${channel} timed out. Timeout value used: ${timeoutMillis} ms. ` +
      "This timeout value can be configured, see consumers doc guide to learn more"
  )

/**
 * Gives overdue messages back to their queues. `cancel` notifies a consumer, once, and returns whether that was possible. Otherwise the
 * channel has to be closed: then this returns the timeout that RabbitMQ names in the reply text, which is -1.
 */
export const reclaimOverdue = (
  overdue: ReadonlyArray<Received>,
  cancel: (consumer: ChannelConsumer) => boolean
): number | undefined => {
  const byConsumer = new Map<ChannelConsumer, Array<Received>>()
  let allNotified = true
  for (const received of overdue) {
    const { consumer, entry, queue } = received
    const others = consumer && byConsumer.get(consumer)
    if (others !== undefined) others.push(received)
    else if (consumer !== undefined && cancel(consumer)) byConsumer.set(consumer, [received])
    else {
      queue.requeue([entry])
      allNotified = false
    }
  }
  for (const [consumer, all] of byConsumer) {
    for (const { deliveryTag } of all) consumer.overdue.add(deliveryTag)
    consumer.unacknowledged -= all.length
    consumer.queue.reclaim(consumer, all.map(({ entry }) => entry))
  }
  return allNotified ? undefined : -1
}
