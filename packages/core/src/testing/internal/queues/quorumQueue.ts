/** A quorum queue as its clients see it, on a single node (https://www.rabbitmq.com/docs/quorum-queues). */
import { TypedField } from "../../../protocol/fieldTable.ts"
import { withHeaders } from "../common/messageHeaders.ts"
import { Refusal } from "../common/refusal.ts"
import { integerOf } from "./argumentValues.ts"
import { AtLeastOnceDeadLetters } from "./atLeastOnceDeadLetters.ts"
import { LengthLimits } from "./lengthLimits.ts"
import type { Load } from "./lengthLimits.ts"
import { MessageQueue } from "./messageQueue.ts"
import type { StoredEntry } from "./messageQueue.ts"
import type { Consumer, Entry, QueueDefinition, QueueHost } from "./queue.ts"

export class QuorumQueue extends MessageQueue {
  readonly type = "quorum"
  /** Infinite for none. */
  private readonly deliveryLimit: number
  /** Whether messages that a client requeues go behind all others. */
  private readonly requeuesAtEnd: boolean
  /** Whether messages are refused: the queue exceeded its limits, and does not accept messages again yet. */
  private isBlocked = false
  /** The dead letters that it keeps, if it loses none. */
  private readonly atLeastOnce: AtLeastOnceDeadLetters | undefined

  constructor(definition: QueueDefinition, host: QueueHost) {
    const { rules } = host
    const table = definition.arguments
    const limits = new LengthLimits(table, {
      counted: rules.quorumLimitCounts,
      overflows: ["drop-head", "reject-publish"]
    })
    const losesNone = table["x-dead-letter-strategy"] === "at-least-once" && limits.overflow === "reject-publish" &&
      table["x-dead-letter-exchange"] !== undefined
    const atLeastOnce = losesNone ? new AtLeastOnceDeadLetters(host, limits) : undefined
    super(definition, host, {
      limits,
      succession: "arrival",
      countsFailures: rules.countsFailures !== "no queue",
      expiresBehindGet: false,
      dropsBeforeDelivery: false,
      dropsLastFirst: rules.quorumDropsLastFirst,
      atLeastOnce
    })
    this.atLeastOnce = atLeastOnce
    const limit = table["x-delivery-limit"] === undefined
      ? rules.defaultDeliveryLimit
      : integerOf(table, "x-delivery-limit") ?? Infinity
    this.deliveryLimit = limit < 0 && rules.negativeDeliveryLimitIsNone ? Infinity : limit
    this.requeuesAtEnd = rules.requeuesAtEnd && this.deliveryLimit === Infinity
    this.ready.alternates = rules.quorumPriorities === 2
  }

  override get declared(): { readonly messageCount: number; readonly consumerCount: number } {
    return { messageCount: this.messageCount, consumerCount: this.receiverCount }
  }

  override get(noAck: boolean): Entry | undefined {
    if (this.arguments["x-single-active-consumer"] !== true) return super.get(noAck)
    throw new Refusal(
      "resourceLocked",
      `cannot obtain access to locked ${this.resource}. basic.get operations are not supported by ${this.rules.quorumName} queues with single active consumer`
    )
  }

  /** RabbitMQ delivers the messages again only after everything that the client has requested so far. */
  override requeue(entries: ReadonlyArray<Entry>, failed = false): void {
    for (const some of this.byReceiver(entries)) {
      this.putBack(some, failed, false)
      if (this.consumerCount === 0) this.dropExcess()
    }
    this.deliverLater()
  }

  override delete(): number {
    this.atLeastOnce?.clear()
    return super.delete()
  }

  /** An `exclusive` consumer is one like any other. */
  protected checkConsumer(consumer: Consumer): void {
    if (consumer.globalPrefetch) {
      throw new Refusal("notImplemented", `${this.resource} does not support global qos`)
    }
  }

  protected isFull(): boolean {
    if (this.isBlocked && this.limits.acceptsAgain(this.load)) this.isBlocked = false
    return this.isBlocked
  }

  /** With `reject-publish`, messages are refused only once there is one too many. */
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

  /** Messages that come back go before all those that were never delivered, in the order in which they come back. */
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

  /** RabbitMQ 3.10 adds the delivery count to what `basic.get` returns even if it is 0, but not for consumers. */
  protected override presentedToGet(entry: StoredEntry): StoredEntry {
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
    for (let entry = this.ready.firstPushed; entry !== undefined && this.ttl.isExpired(entry);) {
      this.ready.shiftPushed()
      this.expire(entry)
      entry = this.ready.firstPushed
    }
  }

  protected override get nextExpiry(): number {
    if (!this.rules.expiresBehindReturned) return super.nextExpiry
    return Math.min(super.nextExpiry, this.ready.firstPushed?.expiry ?? Infinity)
  }

  /** The return of a message is a failure if its channel was closed or, in RabbitMQ 4.3, if it was rejected. */
  private isFailure(failed: boolean, released: boolean): boolean {
    return released || (failed && this.rules.deliveryLimitCounts === "failures")
  }

  /** The ready messages and the dead letters that have not arrived. */
  private get load(): Load {
    const { atLeastOnce, ready } = this
    return atLeastOnce === undefined
      ? ready
      : { length: ready.length + atLeastOnce.length, bytes: ready.bytes + atLeastOnce.bytes }
  }

  /** Counts the active consumers, and all others and each `basic.get` that have not settled their messages. */
  private get receiverCount(): number {
    const receivers = new Set<unknown>(this.consumers.active)
    for (const [entry, { consumer }] of this.unacknowledged) receivers.add(consumer ?? entry)
    return receivers.size
  }

  /**
   * The groups of messages that RabbitMQ puts back at the same time: those of each consumer, where each `basic.get` is one, or each message
   * alone if it goes to the end.
   */
  private byReceiver(entries: ReadonlyArray<Entry>): Iterable<ReadonlyArray<Entry>> {
    if (this.requeuesAtEnd) return entries.map((entry) => [entry])
    const groups = new Map<unknown, Array<Entry>>()
    for (const entry of entries) {
      const receiver = this.unacknowledged.get(entry)?.consumer ?? entry
      const group = groups.get(receiver)
      if (group === undefined) groups.set(receiver, [entry])
      else group.push(entry)
    }
    return groups.values()
  }

  /** Adds the headers that count deliveries. */
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
