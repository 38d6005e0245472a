/** A consumer of a channel, as its queue sees it. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { Consumer, Entry, Queue } from "../queues/queue.ts"

/** What a consumer needs of its channel. */
export interface DeliveringChannel {
  /** Whether the channel is open and its connection is not congested. */
  readonly mayDeliver: boolean
  /**
   * Whether the channel's prefetch limit allows one more delivery. Deliveries without acknowledgement are not counted, and yet wait for the
   * limit. Quorum queues and streams ignore it, if they have a consumer from before it was set.
   */
  readonly hasCredit: boolean
  deliver(consumer: ChannelConsumer, queue: Queue, entry: Entry): void
  consumerCancelled(consumer: ChannelConsumer): void
}

export type ConsumerOptions = Pick<
  ChannelConsumer,
  "tag" | "number" | "noAck" | "exclusive" | "priority" | "prefetch" | "globalPrefetch" | "arguments" | "timeoutMillis"
>

export class ChannelConsumer implements Consumer {
  readonly tag: string
  /** Counts the consumers of its channel. */
  readonly number: number
  readonly noAck: boolean
  readonly exclusive: boolean
  readonly priority: number
  readonly prefetch: number
  readonly globalPrefetch: boolean
  readonly arguments: FieldTable
  /** Its `x-consumer-timeout`, in milliseconds. */
  readonly timeoutMillis: number | undefined
  readonly queue: Queue
  /** The number of its unacknowledged deliveries. */
  unacknowledged = 0
  /** The tags of deliveries that exceeded the consumer timeout and went back to the queue. It gets no more until it has settled them. */
  readonly overdue = new Set<number>()
  private readonly channel: DeliveringChannel

  constructor(channel: DeliveringChannel, queue: Queue, options: ConsumerOptions) {
    this.channel = channel
    this.queue = queue
    this.tag = options.tag
    this.number = options.number
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
