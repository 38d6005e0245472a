/** A quorum queue of one node (https://www.rabbitmq.com/docs/quorum-queues), as clients see it. */
import { changeTable, TypedField } from "../../protocol/fieldTable.ts"
import type { Message } from "./message.ts"
import { MessageQueue } from "./messageQueue.ts"
import type { StoredEntry } from "./messageQueue.ts"
import type { Consumer, Entry, QueueDefinition, QueueHost } from "./queue.ts"
import { integerOf } from "./queueArguments.ts"
import { Refusal } from "./refusal.ts"

export class QuorumQueue extends MessageQueue {
  readonly type = "quorum"
  private readonly deliveryLimit: number | undefined
  /** Whether it refuses messages: it held more than it may, and has not yet got rid of enough. */
  private isBlocked = false

  constructor(definition: QueueDefinition, host: QueueHost) {
    super(definition, host, "arrival")
    this.deliveryLimit = integerOf(definition.arguments, "x-delivery-limit")
  }

  /** It refuses only after it took a message too many. */
  override publish(message: Message): boolean {
    const isTaken = super.publish(message)
    if (this.limits.isExceeded(this.ready)) this.isBlocked = true
    return isTaken
  }

  override get(noAck: boolean): Entry | undefined {
    if (this.arguments["x-single-active-consumer"] !== true) return super.get(noAck)
    throw new Refusal(
      "resourceLocked",
      `cannot obtain access to locked ${this.resource}. basic.get operations are not supported by quorum queues with single active consumer`
    )
  }

  /** An `exclusive` consumer is one like any other. */
  protected checkConsumer(consumer: Consumer): void {
    if (consumer.globalPrefetch) {
      throw new Refusal("notImplemented", `${this.resource} does not support global qos`)
    }
  }

  protected isFull(): boolean {
    if (this.isBlocked && this.limits.isLeft(this.ready)) this.isBlocked = false
    return this.isBlocked
  }

  /** What nobody keeps count of goes to the end, but not what a closed channel had. */
  protected takeBack(entry: StoredEntry, released: boolean): boolean {
    const returns = entry.returns + 1
    if (this.deliveryLimit !== undefined && returns > this.deliveryLimit) return false
    const message = withDeliveryCount(entry.published, returns)
    const returned = { ...entry, message, redelivered: true, place: this.placeAtEnd(), returns }
    if (released || this.deliveryLimit !== undefined) this.ready.putBack(returned)
    else this.ready.push(returned)
    return true
  }

  /** Unlike a consumer, `basic.get` also hears that a message was never put back. */
  protected override inspected(entry: StoredEntry): StoredEntry {
    return { ...entry, message: withDeliveryCount(entry.published, entry.returns) }
  }
}

const withDeliveryCount = (message: Message, count: number): Message => ({
  ...message,
  properties: {
    ...message.properties,
    headers: changeTable(message.properties.headers, { "x-delivery-count": TypedField.int64(count) })
  }
})
