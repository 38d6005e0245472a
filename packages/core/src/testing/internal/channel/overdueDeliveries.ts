/** What a client keeps unsettled for too long (RabbitMQ, "Delivery Acknowledgement Timeout"). */
import { Refusal } from "../common/refusal.ts"
import type { Rules } from "../common/rules.ts"
import { integerOf } from "../queues/queueArguments.ts"
import type { ChannelConsumer } from "./channelConsumer.ts"
import type { Received } from "./unacknowledged.ts"

/** How long a message may be kept, in milliseconds. Since RabbitMQ 4.3 that is a quorum queue's business, and arguments may tell. */
export const timeoutOf = ({ consumer, queue }: Received, { overdueConsumers }: Rules, millis: number): number => {
  if (overdueConsumers === "the channel is closed") return millis
  if (queue.type !== "quorum") return Infinity
  return consumer?.timeoutMillis ?? integerOf(queue.arguments, "x-consumer-timeout") ?? millis
}

/** Why the channel is closed. */
export const tooLate = (channel: number, timeoutMillis: number): Refusal =>
  new Refusal(
    "preconditionFailed",
    `delivery acknowledgement on channel ${channel} timed out. Timeout value used: ${timeoutMillis} ms. ` +
      "This timeout value can be configured, see consumers doc guide to learn more"
  )

/**
 * Gives messages back to their queues. `cancel` tells a consumer, once, and answers whether it could be told: otherwise the channel is
 * closed after all, for which the answer is the timeout to name: RabbitMQ has none here.
 */
export const takeBack = (
  overdue: ReadonlyArray<Received>,
  cancel: (consumer: ChannelConsumer) => boolean
): number | undefined => {
  const byConsumer = new Map<ChannelConsumer, Array<Received>>()
  let isTold = true
  for (const received of overdue) {
    const { consumer, entry, queue } = received
    const others = consumer && byConsumer.get(consumer)
    if (others !== undefined) others.push(received)
    else if (consumer !== undefined && cancel(consumer)) byConsumer.set(consumer, [received])
    else {
      queue.requeue([entry])
      isTold = false
    }
  }
  for (const [consumer, all] of byConsumer) {
    for (const { deliveryTag } of all) consumer.overdue.add(deliveryTag)
    consumer.unacknowledged -= all.length
    consumer.queue.takeFrom(consumer, all.map(({ entry }) => entry))
  }
  return isTold ? undefined : -1
}
