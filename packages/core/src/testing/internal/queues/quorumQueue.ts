/** A quorum queue of one node (https://www.rabbitmq.com/docs/quorum-queues), as clients see it. */
import { TypedField } from "../../../protocol/fieldTable.ts"
import type { Message } from "../common/message.ts"
import { withHeaders } from "../common/messageHeaders.ts"
import { Refusal } from "../common/refusal.ts"
import { Limits } from "./limits.ts"
import { MessageQueue } from "./messageQueue.ts"
import type { StoredEntry } from "./messageQueue.ts"
import type { Consumer, Entry, QueueDefinition, QueueHost } from "./queue.ts"
import { integerOf } from "./queueArguments.ts"
import { ReliableLetters } from "./reliableLetters.ts"

export class QuorumQueue extends MessageQueue {
  readonly type = "quorum"
  protected readonly countsFailures: boolean
  protected readonly expiresWhenFetched = false
  protected readonly dropsBeforeDelivery = false
  protected readonly dropsLastFirst: boolean
  /** `Infinity`: none. */
  private readonly deliveryLimit: number
  /** Whether what a client requeues goes behind all other messages. */
  private readonly requeuesAtEnd: boolean
  /** Whether it refuses messages: it held more than it may, and has not yet got rid of enough. */
  private isBlocked = false
  /** Dead letters that it keeps until they have arrived, if it is to do so. */
  private readonly letters: ReliableLetters | undefined

  constructor(definition: QueueDefinition, host: QueueHost) {
    const { rules } = host
    const limits = new Limits(definition.arguments, {
      counted: rules.quorumLimitCounts,
      overflows: ["drop-head", "reject-publish"]
    })
    super(definition, host, limits, "arrival")
    this.countsFailures = rules.countsFailures !== "no queue"
    this.dropsLastFirst = rules.quorumDropsLastFirst
    const limit = definition.arguments["x-delivery-limit"] === undefined
      ? rules.defaultDeliveryLimit
      : integerOf(definition.arguments, "x-delivery-limit") ?? Infinity
    this.deliveryLimit = limit < 0 && rules.negativeDeliveryLimitIsNone ? Infinity : limit
    this.requeuesAtEnd = rules.requeuesAtEnd && this.deliveryLimit === Infinity
    this.ready.alternates = rules.quorumPriorities === 2
    const isReliable = definition.arguments["x-dead-letter-strategy"] === "at-least-once" &&
      this.limits.overflow === "reject-publish" && this.deadLetterExchange !== undefined
    this.letters = isReliable ? new ReliableLetters(host, (letter) => this.limits.sizeOf(letter)) : undefined
  }

  override get declared(): { readonly messageCount: number; readonly consumerCount: number } {
    return { messageCount: this.messageCount, consumerCount: this.holderCount }
  }

  override get(noAck: boolean): Entry | undefined {
    if (this.arguments["x-single-active-consumer"] !== true) return super.get(noAck)
    throw new Refusal(
      "resourceLocked",
      `cannot obtain access to locked ${this.resource}. basic.get operations are not supported by ${this.rules.quorumName} queues with single active consumer`
    )
  }

  /** RabbitMQ delivers it again only when all is done that the client has asked for until then. */
  override requeue(entries: ReadonlyArray<Entry>, failed = false): void {
    for (const some of this.byReceiver(entries)) {
      this.putBack(some, failed, false)
      if (this.consumerCount === 0) this.tidy()
    }
    this.deliverLater()
  }

  override delete(): number {
    this.letters?.clear()
    return super.delete()
  }

  /** An `exclusive` consumer is one like any other. */
  protected checkConsumer(consumer: Consumer): void {
    if (consumer.globalPrefetch) {
      throw new Refusal("notImplemented", `${this.resource} does not support global qos`)
    }
  }

  protected isFull(): boolean {
    if (this.isBlocked && this.limits.isLeft(this.load)) this.isBlocked = false
    return this.isBlocked
  }

  /** It refuses messages only once it holds one too many. */
  protected override enforceLimits(): void {
    if (this.isDeliveryPending) return
    super.enforceLimits()
    if (this.limits.isExceeded(this.load)) this.isBlocked = true
  }

  protected priorityOf(priority: number | undefined): number {
    switch (this.rules.quorumPriorities) {
      case 1:
        return 0
      case 2:
        return priority !== undefined && priority > 4 ? 1 : 0
      case 32:
        return Math.min(priority ?? 4, 31)
    }
  }

  protected override presented(entry: StoredEntry): StoredEntry {
    return entry.failures === 0 ? entry : this.withCounts(entry)
  }

  /** What comes back goes before all that was never delivered, in the order in which it came back. */
  protected takeBack(entry: StoredEntry, failed: boolean, released: boolean): boolean {
    const returned = { ...entry, redelivered: true, place: this.placeAtEnd(), returns: entry.returns + 1 }
    returned.failures += this.isFailure(failed, released) ? 1 : 0
    const count = this.rules.deliveryLimitCounts === "failures" ? returned.failures : returned.returns
    if (count > this.deliveryLimit) return false
    const presented = this.withCounts(returned)
    if (this.requeuesAtEnd && !released) this.ready.push(presented)
    else this.ready.putBackFirst(presented)
    return true
  }

  /** Unlike a consumer, `basic.get` also hears that a message was never put back, from RabbitMQ 3.10. */
  protected override inspected(entry: StoredEntry): StoredEntry {
    return this.rules.deliveryHeaders === "deliveries, also 0" ? this.withCounts(entry) : entry
  }

  protected failuresWhenDropped({ failures }: StoredEntry, failed: boolean): number {
    return failures + (failed || this.rules.countsFailures === "quorum queues" ? 1 : 0)
  }

  protected override failuresAtLimit({ failures }: StoredEntry, failed: boolean): number {
    return failures + (this.isFailure(failed, false) ? 1 : 0)
  }

  protected override dropExpired(): void {
    super.dropExpired()
    if (!this.rules.expiresBehindReturned) return
    for (let entry = this.ready.firstPushed; entry !== undefined && this.isExpired(entry);) {
      this.ready.shiftPushed()
      this.expire(entry)
      entry = this.ready.firstPushed
    }
  }

  protected override get nextExpiry(): number {
    if (!this.rules.expiresBehindReturned) return super.nextExpiry
    return Math.min(super.nextExpiry, this.ready.firstPushed?.expiry ?? Infinity)
  }

  protected override post(letter: Message): void {
    if (this.letters === undefined) super.post(letter)
    else this.letters.add(letter)
  }

  /** What a client requeues has failed only as RabbitMQ 4.3 has it, and what a closed channel had as 4.0 has it, too. */
  private isFailure(failed: boolean, released: boolean): boolean {
    return released || (failed && this.rules.deliveryLimitCounts === "failures")
  }

  /** All that it holds but what somebody has. */
  private get load(): { readonly length: number; readonly bytes: number } {
    const { letters, ready } = this
    return letters === undefined
      ? ready
      : { length: ready.length + letters.length, bytes: ready.bytes + letters.bytes }
  }

  /** RabbitMQ puts back together what one consumer had, unless it goes to the end. Each `basic.get` is a consumer in that. */
  private byReceiver(entries: ReadonlyArray<Entry>): Iterable<ReadonlyArray<Entry>> {
    if (this.requeuesAtEnd) return entries.map((entry) => [entry])
    const groups = new Map<unknown, Array<Entry>>()
    for (const entry of entries) {
      const receiver = this.held.get(entry)?.consumer ?? entry
      const others = groups.get(receiver)
      if (others === undefined) groups.set(receiver, [entry])
      else others.push(entry)
    }
    return groups.values()
  }

  /** Everybody who may have a message: also who was cancelled, and each `basic.get`, as long as something is not settled. */
  private get holderCount(): number {
    const holders = new Set<unknown>(this.consumers.active)
    for (const [entry, { consumer }] of this.held) holders.add(consumer ?? entry)
    return holders.size
  }

  private withCounts(entry: StoredEntry): StoredEntry {
    const { failures, published, returns } = entry
    const deliveries = returns > 0 ? returns : failures
    const redelivered = deliveries > 0
    switch (this.rules.deliveryHeaders) {
      case "deliveries, also 0":
      case "deliveries":
        return {
          ...entry,
          redelivered,
          message: withHeaders(published, { "x-delivery-count": TypedField.int64(deliveries) })
        }
      case "deliveries and failures": {
        const headers = { "x-acquired-count": TypedField.int64(deliveries) }
        const both = failures === 0 ? headers : { ...headers, "x-delivery-count": TypedField.int64(failures) }
        return { ...entry, redelivered, message: withHeaders(published, both) }
      }
    }
  }
}
