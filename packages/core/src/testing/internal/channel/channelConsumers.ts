/** The consumers of a channel: those of queues, and the one of direct replies. */
import type * as Methods from "../../../protocol/methods.generated.ts"
import { Refusal } from "../common/refusal.ts"
import { integerOf } from "../queues/argumentValues.ts"
import { ChannelConsumer } from "./channelConsumer.ts"
import type { DeliveringChannel } from "./channelConsumer.ts"
import type { ChannelHost } from "./channelHost.ts"
import { replyQueue } from "./directReplies.ts"
import type { ReplyReceiver } from "./directReplies.ts"

/** The channel that the consumers belong to. */
export interface ConsumingChannel extends DeliveringChannel, ReplyReceiver {
  readonly number: number
  send(method: Methods.ServerMethod): void
}

/** The consumer of direct replies, and the address that replies are published to. */
interface ReplyConsumer {
  readonly consumerTag: string
  readonly address: string
}

export class ChannelConsumers {
  /** The limit of `basic.qos` for consumers that are added from now on; 0 for none. */
  prefetch = 0
  private readonly channel: ConsumingChannel
  private readonly host: ChannelHost
  private readonly byTag = new Map<string, ChannelConsumer>()
  private replyConsumer: ReplyConsumer | undefined
  /** The consumer whose `basic.consume-ok` has to be sent before its first delivery. */
  private starting:
    | { readonly consumer: ChannelConsumer; readonly consumeOk: Methods.BasicConsumeOk | undefined }
    | undefined
  private lastNumber = 0
  private resumptions = 0

  constructor(channel: ConsumingChannel, host: ChannelHost) {
    this.channel = channel
    this.host = host
  }

  get size(): number {
    return this.byTag.size
  }

  /** The address for direct replies to this channel, if it consumes them. */
  get replyAddress(): string | undefined {
    return this.replyConsumer?.address
  }

  get replyConsumerTag(): string | undefined {
    return this.replyConsumer?.consumerTag
  }

  has(consumer: ChannelConsumer): boolean {
    return this.byTag.get(consumer.tag) === consumer
  }

  /** Adds a consumer of the queue that the method names. `globalPrefetch`: whether the channel has a prefetch limit. */
  add(method: Methods.BasicConsume, globalPrefetch: boolean): void {
    // Checked before everything else. RabbitMQ does not look at the tag of the reply consumer.
    if (this.byTag.has(method.consumerTag)) {
      throw new Refusal("notAllowed", `attempt to reuse consumer tag '${method.consumerTag}'`)
    }
    const number = ++this.lastNumber
    const consumerTag = method.consumerTag === "" ? `amq.ctag-${this.channel.number}.${number}` : method.consumerTag
    if (method.queue === replyQueue) return this.addReplyConsumer({ ...method, consumerTag })
    this.host.authorize("read", "queue", method.queue)
    const queue = this.host.virtualHost.queue(method.queue, this.host)
    const consumer = new ChannelConsumer(this.channel, queue, {
      tag: consumerTag,
      number,
      noAck: method.noAck,
      exclusive: method.exclusive,
      priority: integerOf(method.arguments, "x-priority") ?? 0,
      prefetch: this.prefetch,
      globalPrefetch,
      timeoutMillis: integerOf(method.arguments, "x-consumer-timeout"),
      arguments: method.arguments
    })
    // Added before the queue knows it, because the queue may deliver at once; removed if the queue refuses it.
    this.byTag.set(consumerTag, consumer)
    this.starting = { consumer, consumeOk: method.noWait ? undefined : { _tag: "basic.consume-ok", consumerTag } }
    try {
      queue.consume(consumer)
    } catch (error) {
      this.byTag.delete(consumerTag)
      this.starting = undefined
      throw error
    }
    this.sendConsumeOk(consumer)
  }

  /** Sends the `basic.consume-ok` of a consumer, unless it was sent. */
  sendConsumeOk(consumer: ChannelConsumer): void {
    if (this.starting?.consumer !== consumer) return
    const { consumeOk } = this.starting
    this.starting = undefined
    if (consumeOk !== undefined) this.channel.send(consumeOk)
  }

  cancel(consumerTag: string): void {
    if (this.replyConsumer?.consumerTag === consumerTag) return this.removeReplyConsumer()
    const consumer = this.byTag.get(consumerTag)
    if (consumer === undefined) return
    this.byTag.delete(consumerTag)
    consumer.queue.cancel(consumer)
  }

  /** Removes a consumer whose queue was deleted, and notifies the client. */
  queueDeleted(consumer: ChannelConsumer): void {
    if (!this.has(consumer)) return
    this.byTag.delete(consumer.tag)
    this.notifyCancelled(consumer)
  }

  /** Sends `basic.cancel` if the client understands it, and returns whether it does. */
  notifyCancelled({ tag }: ChannelConsumer): boolean {
    if (!this.host.notifiesCancel) return false
    this.channel.send({ _tag: "basic.cancel", consumerTag: tag, noWait: true })
    return true
  }

  /**
   * Delivers what waits for room. Each time another queue begins, because the first one would get all of a limit that the consumers share.
   */
  resume(): void {
    const queues = [...new Set([...this.byTag.values()].map(({ queue }) => queue))]
    const first = this.resumptions++ % Math.max(1, queues.length)
    for (const queue of [...queues.slice(first), ...queues.slice(0, first)]) queue.deliver()
  }

  /** Removes all consumers: the channel was closed. */
  removeAll(): void {
    this.removeReplyConsumer()
    const consumers = [...this.byTag.values()]
    this.byTag.clear()
    for (const consumer of consumers) consumer.queue.cancel(consumer)
  }

  private addReplyConsumer(method: Methods.BasicConsume): void {
    if (!method.noAck) throw new Refusal("preconditionFailed", "reply consumer cannot acknowledge")
    if (this.replyConsumer !== undefined) throw new Refusal("preconditionFailed", "reply consumer already set")
    const { consumerTag } = method
    this.replyConsumer = { consumerTag, address: this.host.directReplies.register(this.channel) }
    if (!method.noWait) this.channel.send({ _tag: "basic.consume-ok", consumerTag })
  }

  private removeReplyConsumer(): void {
    if (this.replyConsumer === undefined) return
    this.host.directReplies.remove(this.replyConsumer.address)
    this.replyConsumer = undefined
  }
}
