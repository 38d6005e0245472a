/** A consumer of a channel, as a queue sees it. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { Consumer, Entry, Queue } from "../queues/queue.ts"

/** What a consumer asks of its channel. */
export interface DeliveringChannel {
  /** Whether the channel's own limits allow a delivery. */
  readonly mayDeliver: boolean
  /**
   * Whether its own prefetch limit allows one more. What needs no acknowledgement isn't counted, and yet waits for the limit.
   * Quorum queues and streams know nothing of the limit: those that had a consumer before it was set go on.
   */
  readonly hasCredit: boolean
  deliver(consumer: ChannelConsumer, queue: Queue, entry: Entry): void
  consumerCancelled(consumer: ChannelConsumer): void
}

export class ChannelConsumer implements Consumer {
  readonly tag: string
  readonly noAck: boolean
  readonly exclusive: boolean
  readonly priority: number
  /** How many deliveries it may have unacknowledged, 0: any number. */
  readonly prefetch: number
  /** Whether its whole channel has a limit, too. */
  readonly globalPrefetch: boolean
  readonly arguments: FieldTable
  /** How long it may keep a message unsettled, if it says so. */
  readonly timeoutMillis: number | undefined
  readonly queue: Queue
  /** How many deliveries it has unacknowledged. */
  unacknowledged = 0
  /** The tags of deliveries that its queue has taken back, because it kept them for too long. It gets no more until it settles them. */
  readonly overdue = new Set<number>()
  private readonly channel: DeliveringChannel

  constructor(
    channel: DeliveringChannel,
    queue: Queue,
    options: Pick<
      ChannelConsumer,
      "tag" | "noAck" | "exclusive" | "priority" | "prefetch" | "globalPrefetch" | "arguments" | "timeoutMillis"
    >
  ) {
    this.channel = channel
    this.queue = queue
    this.tag = options.tag
    this.noAck = options.noAck
    this.exclusive = options.exclusive
    this.priority = options.priority
    this.prefetch = options.prefetch
    this.globalPrefetch = options.globalPrefetch
    this.arguments = options.arguments
    this.timeoutMillis = options.timeoutMillis
  }

  get isReady(): boolean {
    const { channel } = this
    if (!channel.mayDeliver || this.queue.type === "classic" && !channel.hasCredit) return false
    if (this.overdue.size > 0) return false
    return this.noAck || this.prefetch === 0 || this.unacknowledged < this.prefetch
  }

  deliver(queue: Queue, entry: Entry): void {
    this.channel.deliver(this, queue, entry)
  }

  cancelled(): void {
    this.channel.consumerCancelled(this)
  }
}
