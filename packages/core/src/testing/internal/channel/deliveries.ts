/** The deliveries of a channel: their tags, the prefetch limit that they share, and their settlement. */
import type { Timers } from "../common/timers.ts"
import type { Entry, Queue } from "../queues/queue.ts"
import type { VirtualHost } from "../routing/virtualHost.ts"
import type { ChannelConsumer } from "./channelConsumer.ts"
import { timeoutOf } from "./consumerTimeout.ts"
import { GlobalPrefetch } from "./globalPrefetch.ts"
import { releaseOrder, settlementOrder } from "./settlementOrder.ts"
import { Unacknowledged } from "./unacknowledged.ts"
import type { Received } from "./unacknowledged.ts"

/** The method of a queue that settles a message. */
export interface Settlement {
  readonly kind: "acknowledge" | "requeue" | "reject" | "release"
  readonly received: ReadonlyArray<Received>
  /** Whether the client used `basic.reject`, which RabbitMQ 4.3 counts as a failure. */
  readonly failed: boolean
}

export interface DeliveriesHost {
  readonly virtualHost: VirtualHost
  readonly timers: Timers
  readonly consumerTimeoutMillis: number
}

export class Deliveries {
  readonly unacknowledged: Unacknowledged
  readonly globalPrefetch = new GlobalPrefetch()
  private readonly host: DeliveriesHost
  private lastTag = 0

  /** `onOverdue` is called with the messages that the client keeps for longer than the consumer timeout. */
  constructor(host: DeliveriesHost, onOverdue: (overdue: ReadonlyArray<Received>) => void) {
    this.host = host
    this.unacknowledged = new Unacknowledged({
      timers: host.timers,
      timeoutOf: (received) => timeoutOf(received, host.virtualHost.rules, host.consumerTimeoutMillis),
      onOverdue
    })
  }

  /** Adds a delivery to a consumer, and returns its tag. */
  deliver(queue: Queue, entry: Entry, consumer: ChannelConsumer): number {
    const deliveryTag = ++this.lastTag
    if (consumer.noAck) return deliveryTag
    consumer.unacknowledged++
    if (queue.type === "classic") this.globalPrefetch.delivered()
    this.unacknowledged.add({ deliveryTag, queue, entry, consumer, time: this.host.timers.now() })
    return deliveryTag
  }

  /** Adds what `basic.get` fetched, and returns its tag. */
  fetch(queue: Queue, entry: Entry, noAck: boolean): number {
    const deliveryTag = ++this.lastTag
    if (noAck) return deliveryTag
    this.unacknowledged.add({ deliveryTag, queue, entry, consumer: undefined, time: this.host.timers.now() })
    return deliveryTag
  }

  /** Settles messages that were taken from `unacknowledged`, and returns the queues that they came from. */
  settle({ failed, kind, received }: Settlement): Iterable<Queue> {
    const byQueue = new Map<Queue, Array<Entry>>()
    let delivered = 0
    // Consumers are updated first, because their queues deliver to those that have become ready.
    for (const { consumer, deliveryTag, entry, queue } of this.inOrder(kind, received)) {
      if (consumer !== undefined && !consumer.overdue.delete(deliveryTag)) {
        consumer.unacknowledged--
        delivered++
      }
      const entries = byQueue.get(queue)
      if (entries === undefined) byQueue.set(queue, [entry])
      else entries.push(entry)
    }
    this.globalPrefetch.settled(delivered)
    this.host.virtualHost.serveAllQueues(() => {
      for (const [queue, entries] of byQueue) queue[kind](entries, failed)
    })
    return byQueue.keys()
  }

  private inOrder(kind: Settlement["kind"], received: ReadonlyArray<Received>): ReadonlyArray<Received> {
    switch (kind) {
      case "acknowledge":
        return received
      case "release":
        return releaseOrder(received, this.host.virtualHost.rules)
      case "requeue":
      case "reject":
        return settlementOrder(received)
    }
  }
}
