/** What classic queues and quorum queues have in common: each message goes to one consumer, and is gone when it is settled. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { Message } from "../common/message.ts"
import { MovableTimer } from "../common/movableTimer.ts"
import { resource } from "../common/resource.ts"
import type { Resource } from "../common/resource.ts"
import type { VersionRules } from "../common/versionRules.ts"
import type { AtLeastOnceDeadLetters } from "./atLeastOnceDeadLetters.ts"
import { checkConsumerArguments } from "./consumerArguments.ts"
import { Consumers } from "./consumers.ts"
import type { Succession } from "./consumers.ts"
import { DeadLettering } from "./deadLettering.ts"
import { DeferredDelivery } from "./deferredDelivery.ts"
import type { LengthLimits } from "./lengthLimits.ts"
import { MessageTtl } from "./messageTtl.ts"
import type { Consumer, Entry, Owner, Queue, QueueDefinition, QueueHost } from "./queue.ts"
import { QueueExpiry } from "./queueExpiry.ts"
import { ReadyMessages } from "./readyMessages.ts"
import type { Placed } from "./readyMessages.ts"

export interface StoredEntry extends Entry, Placed {
  /** The message as it was published. */
  readonly published: Message
  /** When it expires, in milliseconds since 1970; infinite for never. */
  readonly expiry: number
  /** How often it was put back. */
  readonly returns: number
  /** How often it failed, here and in the queues that dead-lettered it, where that is counted. */
  readonly failures: number
}

/** An entry that was delivered and is not settled. */
interface Unacknowledged {
  readonly entry: StoredEntry
  /** `undefined`: it was fetched by `basic.get`. */
  readonly consumer: Consumer | undefined
}

/** How classic queues and quorum queues differ, besides the methods that they override. */
export interface MessageQueueOptions {
  readonly limits: LengthLimits
  /** Which consumer follows a single active consumer. */
  readonly succession: Succession
  /** Whether it counts failures and passes them on with dead letters. */
  readonly countsFailures: boolean
  /** Whether messages expire at once behind one that `basic.get` takes and that is not settled yet. */
  readonly expiresBehindGet: boolean
  /** Whether the limits are enforced before or after a message that was put back is delivered again. */
  readonly dropsBeforeDelivery: boolean
  /** Whether messages that are dropped from the head at the same time are dead-lettered in reverse order. */
  readonly dropsLastFirst: boolean
  /** Sends the dead letters if none may be lost. */
  readonly atLeastOnce: AtLeastOnceDeadLetters | undefined
}

export abstract class MessageQueue implements Queue {
  abstract readonly type: "classic" | "quorum"
  readonly name: string
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly owner: Owner | undefined
  readonly arguments: FieldTable

  protected readonly host: QueueHost
  protected readonly rules: VersionRules
  protected readonly resource: Resource
  protected readonly limits: LengthLimits
  protected readonly countsFailures: boolean
  protected readonly ready = new ReadyMessages<StoredEntry>()
  protected readonly consumers: Consumers
  protected readonly unacknowledged = new Map<Entry, Unacknowledged>()
  protected readonly ttl: MessageTtl
  private readonly options: MessageQueueOptions
  private readonly delivery: DeferredDelivery
  private readonly deadLettering: DeadLettering
  private readonly expiryTimer: MovableTimer
  private readonly queueExpiry: QueueExpiry
  private nextPlace = 0
  private isDeleted = false
  /** Whether a consumer is being called. What it makes ready is delivered after that, because nested deliveries would exhaust the stack. */
  private isDelivering = false

  constructor(definition: QueueDefinition, host: QueueHost, options: MessageQueueOptions) {
    const table = definition.arguments
    const { timers } = host
    this.name = definition.name
    this.durable = definition.durable
    this.autoDelete = definition.autoDelete
    this.owner = definition.owner
    this.arguments = table
    this.host = host
    this.rules = host.rules
    this.options = options
    this.limits = options.limits
    this.countsFailures = options.countsFailures
    this.resource = resource("queue", definition.name, host.virtualHost)
    this.consumers = new Consumers(table["x-single-active-consumer"] === true ? options.succession : undefined)
    this.ttl = new MessageTtl(table, timers)
    this.delivery = new DeferredDelivery(host, () => {
      if (!this.isDeleted) this.deliver()
    })
    this.deadLettering = new DeadLettering(definition, host, {
      passesFailures: options.countsFailures,
      atLeastOnce: options.atLeastOnce
    })
    this.expiryTimer = new MovableTimer(timers, () => this.deliver())
    this.queueExpiry = new QueueExpiry(table, timers, () => host.onUnused(this))
    this.touch()
  }

  /** Throws a `Refusal` if a queue of this type can't have the consumer. */
  protected abstract checkConsumer(consumer: Consumer): void
  /** Whether a message of this size is refused, in a queue that refuses messages when it is full. */
  protected abstract isFull(size: number): boolean
  /** The priority of a message among those that are ready. */
  protected abstract priorityOf(priority: number | undefined): number
  /**
   * Puts an entry back among those that are ready. `released`: because its channel was closed. Returns `false`, and does not put it back,
   * if it was put back too often.
   */
  protected abstract takeBack(entry: StoredEntry, failed: boolean, released: boolean): boolean
  /** The failures of a message that a client drops. */
  protected abstract failuresWhenDropped(entry: StoredEntry, failed: boolean): number

  get messageCount(): number {
    return this.ready.length
  }

  get unacknowledgedCount(): number {
    return this.unacknowledged.size
  }

  get consumerCount(): number {
    return this.consumers.length
  }

  get declared(): { readonly messageCount: number; readonly consumerCount: number } {
    const { consumerCount, messageCount } = this
    return { messageCount, consumerCount }
  }

  get messages(): ReadonlyArray<Entry> {
    return this.ready.toArray()
  }

  publish(message: Message): boolean {
    const { expiration, priority } = message.properties
    const { overflow } = this.limits
    const size = this.limits.sizeOf(message)
    if (overflow !== "drop-head" && this.isFull(size)) {
      if (overflow === "reject-publish-dlx") this.deadLettering.drop(message, "maxlen", message.failures ?? 0)
      return false
    }
    const entry: StoredEntry = {
      message,
      redelivered: false,
      published: message,
      priority: this.priorityOf(priority),
      place: this.placeAtEnd(),
      size,
      expiry: this.ttl.expiryOf(expiration),
      returns: 0,
      failures: message.failures ?? 0
    }
    const consumer = this.ready.length === 0 ? this.consumerFor(entry) : undefined
    if (consumer === undefined) {
      this.ready.push(this.presented(entry))
      this.dropExcess()
    } else {
      this.hand(consumer, this.presentedAtOnce(entry))
      this.deliver()
    }
    return true
  }

  get(noAck: boolean): Entry | undefined {
    this.touch()
    this.dropExpired()
    const entry = this.ready.shift()
    if (entry === undefined) return undefined
    const received = this.presentedToGet(entry)
    if (!noAck) this.unacknowledged.set(received, { entry: received, consumer: undefined })
    if (noAck || this.options.expiresBehindGet) this.dropExpired()
    this.setExpiryTimer()
    return received
  }

  consume(consumer: Consumer): void {
    checkConsumerArguments(this.rules.version, this.type, this.resource, consumer.arguments)
    this.checkConsumer(consumer)
    this.consumers.add(consumer)
    this.queueExpiry.stop()
    this.deliver()
  }

  cancel(consumer: Consumer): void {
    if (!this.consumers.remove(consumer)) return
    this.touch()
    if (this.autoDelete && this.consumers.length === 0) return this.host.onUnused(this)
    this.deliverLater()
  }

  deliver(): void {
    if (this.isDelivering || this.isDeliveryPending) return
    this.dropExpired()
    while (this.ready.length > 0) {
      const consumer = this.consumers.next()
      const entry = consumer === undefined ? undefined : this.ready.shift()
      if (consumer === undefined || entry === undefined) break
      this.hand(consumer, entry)
      this.dropExpired()
    }
    this.dropExcess()
  }

  /** Delivers at the end of the step. */
  protected deliverLater(): void {
    this.delivery.request()
  }

  protected get isDeliveryPending(): boolean {
    return this.delivery.isPending
  }

  touch(): void {
    if (!this.isDeleted && this.consumers.length === 0) this.queueExpiry.start()
  }

  acknowledge(entries: ReadonlyArray<Entry>): void {
    for (const entry of entries) this.unacknowledged.delete(entry)
  }

  requeue(entries: ReadonlyArray<Entry>, failed = false): void {
    this.putBack(entries, failed, false)
    this.deliver()
  }

  release(entries: ReadonlyArray<Entry>): void {
    this.putBack(entries, true, true)
    this.deliverLater()
  }

  reject(entries: ReadonlyArray<Entry>, failed = false): void {
    for (const entry of this.takeUnacknowledged(entries)) {
      this.deadLettering.drop(entry.published, "rejected", this.failuresWhenDropped(entry, failed))
    }
  }

  reclaim(consumer: Consumer, entries: ReadonlyArray<Entry>): void {
    this.putBack(entries, false, false)
    const keepsOthers = [...this.unacknowledged.values()].some((each) => each.consumer === consumer)
    if (!keepsOthers) this.consumers.stepBack(consumer)
    this.deliverLater()
  }

  purge(): number {
    const count = this.ready.length
    this.ready.clear()
    this.setExpiryTimer()
    return count
  }

  delete(): number {
    const { messageCount } = this
    this.isDeleted = true
    this.ready.clear()
    this.unacknowledged.clear()
    this.expiryTimer.clear()
    this.queueExpiry.stop()
    for (const consumer of this.consumers.clear()) this.host.defer(() => consumer.cancelled())
    return messageCount
  }

  /** An entry as it is first delivered: with the headers and the `redelivered` flag that the queue adds. */
  protected presented(entry: StoredEntry): StoredEntry {
    return entry
  }

  /** The same for an entry that is handed to a consumer at once. */
  protected presentedAtOnce(entry: StoredEntry): StoredEntry {
    return this.presented(entry)
  }

  /** The same for an entry that `basic.get` returns. */
  protected presentedToGet(entry: StoredEntry): StoredEntry {
    return entry
  }

  protected placeAtEnd(): number {
    return this.nextPlace++
  }

  /**
   * The consumer that gets a message at once, in an empty queue. While a consumer is being called a message has to wait, unless it would
   * expire by that.
   */
  private consumerFor(entry: StoredEntry): Consumer | undefined {
    const canWait = !this.ttl.isExpired(entry)
    return this.isDelivering && canWait ? undefined : this.consumers.next()
  }

  private hand(consumer: Consumer, entry: StoredEntry): void {
    if (!consumer.noAck) this.unacknowledged.set(entry, { entry, consumer })
    const outer = this.isDelivering
    this.isDelivering = true
    try {
      consumer.deliver(this, entry)
    } finally {
      this.isDelivering = outer
    }
  }

  private takeUnacknowledged(entries: ReadonlyArray<Entry>): ReadonlyArray<StoredEntry> {
    return entries.flatMap((entry) => {
      const found = this.unacknowledged.get(entry)
      this.unacknowledged.delete(entry)
      return found === undefined ? [] : [found.entry]
    })
  }

  protected putBack(entries: ReadonlyArray<Entry>, failed: boolean, released: boolean): void {
    const spent = this.takeUnacknowledged(entries).filter((entry) => !this.takeBack(entry, failed, released))
    for (const entry of spent) {
      this.deadLettering.drop(entry.published, "delivery_limit", this.failuresAtLimit(entry, failed))
    }
    if (this.options.dropsBeforeDelivery) this.dropExcess()
  }

  /** The failures of a message that was put back too often. */
  protected failuresAtLimit({ failures }: StoredEntry, _failed: boolean): number {
    return failures
  }

  /** Drops messages that are too many or have expired. */
  protected dropExcess(): void {
    this.enforceLimits()
    this.dropExpired()
    this.setExpiryTimer()
  }

  /** Drops the messages at the head that exceed the limits, if that is the overflow behaviour. */
  protected enforceLimits(): void {
    if (this.limits.overflow !== "drop-head") return
    const dropped: Array<StoredEntry> = []
    while (this.limits.isExceeded(this.ready)) {
      const entry = this.ready.shift()
      if (entry === undefined) break
      dropped.push(entry)
    }
    if (this.options.dropsLastFirst) dropped.reverse()
    for (const { failures, published } of dropped) this.deadLettering.drop(published, "maxlen", failures)
  }

  /** As in RabbitMQ, only the first message expires: one behind it may be overdue. */
  protected dropExpired(): void {
    for (let entry = this.ready.first; entry !== undefined && this.ttl.isExpired(entry); entry = this.ready.first) {
      this.ready.shift()
      this.expire(entry)
    }
  }

  protected expire({ failures, published }: StoredEntry): void {
    this.deadLettering.drop(published, "expired", failures)
  }

  /** When the next message may expire. */
  protected get nextExpiry(): number {
    return this.ready.first?.expiry ?? Infinity
  }

  private setExpiryTimer(): void {
    this.expiryTimer.moveTo(this.nextExpiry)
  }
}
