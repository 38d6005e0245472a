/**
 * A queue whose messages go to one consumer each and are gone when they are settled: what classic queues and quorum queues
 * have in common.
 */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { Alarm } from "../common/alarm.ts"
import type { Message } from "../common/message.ts"
import type { Rules } from "../common/rules.ts"
import { checkConsumerArguments } from "./consumerArguments.ts"
import { Consumers } from "./consumers.ts"
import type { Succession } from "./consumers.ts"
import { deadLetter } from "./deadLetters.ts"
import type { DeathReason } from "./deadLetters.ts"
import { DeferredDelivery } from "./deferredDelivery.ts"
import type { Limits } from "./limits.ts"
import type { Consumer, Entry, Owner, Queue, QueueDefinition, QueueHost } from "./queue.ts"
import { integerOf, textOf } from "./queueArguments.ts"
import { ReadyMessages } from "./readyMessages.ts"
import type { Placed } from "./readyMessages.ts"

export interface StoredEntry extends Entry, Placed {
  /** The message as it was published. */
  readonly published: Message
  /** When it is too old, in milliseconds since 1970; infinite for never. */
  readonly expiry: number
  /** How often it was put back. */
  readonly returns: number
  /** How often it failed, here and where it was dead-lettered from, as far as that is counted. */
  readonly failures: number
}

/** What somebody has. */
interface Held {
  readonly entry: StoredEntry
  /** `undefined`: it was fetched by `basic.get`. */
  readonly consumer: Consumer | undefined
}

export abstract class MessageQueue implements Queue {
  abstract readonly type: "classic" | "quorum"
  readonly name: string
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly owner: Owner | undefined
  readonly arguments: FieldTable

  protected readonly ready = new ReadyMessages<StoredEntry>()
  protected readonly consumers: Consumers
  protected readonly limits: Limits
  /** As RabbitMQ's texts have it. */
  protected readonly resource: string
  protected readonly host: QueueHost
  protected readonly rules: Rules
  /** What was received and not settled. */
  protected readonly held = new Map<Entry, Held>()
  private readonly delivery: DeferredDelivery
  private readonly timeToLive: number
  protected readonly deadLetterExchange: string | undefined
  private readonly deadLetterRoutingKey: string | undefined
  private readonly unusedFor: number
  private readonly messageAlarm: Alarm
  private readonly unusedAlarm: Alarm
  private nextPlace = 0
  private isDeleted = false
  /** Whether a consumer is being called. What it makes ready is delivered after that, not within: a stack is finite. */
  private isDelivering = false

  constructor(definition: QueueDefinition, host: QueueHost, limits: Limits, succession: Succession) {
    const table = definition.arguments
    this.name = definition.name
    this.durable = definition.durable
    this.autoDelete = definition.autoDelete
    this.owner = definition.owner
    this.arguments = table
    this.host = host
    this.rules = host.rules
    this.delivery = new DeferredDelivery(host, () => {
      if (!this.isDeleted) this.deliver()
    })
    this.resource = `queue '${definition.name}' in vhost '${host.virtualHost}'`
    this.consumers = new Consumers(table["x-single-active-consumer"] === true ? succession : undefined)
    this.limits = limits
    this.timeToLive = integerOf(table, "x-message-ttl") ?? Infinity
    this.deadLetterExchange = textOf(table, "x-dead-letter-exchange")
    this.deadLetterRoutingKey = textOf(table, "x-dead-letter-routing-key")
    this.unusedFor = integerOf(table, "x-expires") ?? Infinity
    this.messageAlarm = new Alarm(host.timers, () => this.deliver())
    this.unusedAlarm = new Alarm(host.timers, () => host.onUnused(this))
    this.touch()
  }

  /** Throws a `Refusal` for a consumer that a queue of this type cannot have. */
  protected abstract checkConsumer(consumer: Consumer): void
  /** Whether a message of this size is more than it takes, if it is to refuse that. */
  protected abstract isFull(size: number): boolean
  /** The place of a message among those that are ready: the higher is delivered first. */
  protected abstract priorityOf(priority: number | undefined): number
  /**
   * Puts an entry among the ready ones again; `released`: as its channel is closed. Answers `false` instead if that was done too
   * often.
   */
  protected abstract takeBack(entry: StoredEntry, failed: boolean, released: boolean): boolean
  /** How often a message has failed that a client drops. */
  protected abstract failuresWhenDropped(entry: StoredEntry, failed: boolean): number
  /** Whether this type of queue counts failures. */
  protected abstract readonly countsFailures: boolean
  /** Whether messages that are too old are dropped at once behind one that is fetched and not yet settled. */
  protected abstract readonly expiresWhenFetched: boolean

  /** Whether the dead letters of messages that are dropped at once come in the reverse order. */
  protected abstract readonly dropsLastFirst: boolean
  /** Whether the limits are enforced before a message that was put back is delivered again, or after that. */
  protected abstract readonly dropsBeforeDelivery: boolean

  get messageCount(): number {
    return this.ready.length
  }

  get unacknowledgedCount(): number {
    return this.held.size
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
      if (overflow === "reject-publish-dlx") this.bury(message, "maxlen", message.failures ?? 0)
      return false
    }
    const entry: StoredEntry = {
      message,
      redelivered: false,
      published: message,
      priority: this.priorityOf(priority),
      place: this.placeAtEnd(),
      size,
      expiry: this.expiryOf(expiration),
      returns: 0,
      failures: message.failures ?? 0
    }
    const consumer = this.ready.length === 0 ? this.consumerFor(entry) : undefined
    if (consumer === undefined) {
      this.ready.push(this.presented(entry))
      this.tidy()
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
    const received = this.inspected(entry)
    if (!noAck) this.held.set(received, { entry: received, consumer: undefined })
    if (noAck || this.expiresWhenFetched) this.dropExpired()
    this.watch()
    return received
  }

  consume(consumer: Consumer): void {
    checkConsumerArguments(this.rules.queueArguments, this.type, this.resource, consumer.arguments)
    this.checkConsumer(consumer)
    this.consumers.add(consumer)
    this.unusedAlarm.clear()
    this.deliver()
  }

  cancel(consumer: Consumer): void {
    if (!this.consumers.remove(consumer)) return
    this.touch()
    if (this.autoDelete && this.consumers.length === 0) return this.host.onUnused(this)
    this.deliverLater()
  }

  deliver(): void {
    if (this.isDelivering || this.delivery.isRequested) return
    this.dropExpired()
    while (this.ready.length > 0) {
      const consumer = this.consumers.next()
      const entry = consumer === undefined ? undefined : this.ready.shift()
      if (consumer === undefined || entry === undefined) break
      this.hand(consumer, entry)
      this.dropExpired()
    }
    this.tidy()
  }

  /** Whether messages are to be delivered at the end of the step. */
  protected get isDeliveryPending(): boolean {
    return this.delivery.isRequested
  }

  /** Delivers at the end of the step. */
  protected deliverLater(): void {
    this.delivery.request()
  }

  touch(): void {
    if (this.unusedFor === Infinity || this.isDeleted || this.consumers.length > 0) return
    this.unusedAlarm.set(this.host.timers.now() + this.unusedFor)
  }

  acknowledge(entries: ReadonlyArray<Entry>): void {
    for (const entry of entries) this.held.delete(entry)
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
    for (const entry of this.unhold(entries)) {
      this.bury(entry.published, "rejected", this.failuresWhenDropped(entry, failed))
    }
  }

  takeFrom(consumer: Consumer, entries: ReadonlyArray<Entry>): void {
    this.putBack(entries, false, false)
    if ([...this.held.values()].every((held) => held.consumer !== consumer)) this.consumers.stepBack(consumer)
    this.deliverLater()
  }

  purge(): number {
    const count = this.ready.length
    this.ready.clear()
    this.watch()
    return count
  }

  delete(): number {
    const { messageCount } = this
    this.isDeleted = true
    this.ready.clear()
    this.held.clear()
    this.messageAlarm.clear()
    this.unusedAlarm.clear()
    for (const consumer of this.consumers.clear()) this.host.defer(() => consumer.cancelled())
    return messageCount
  }

  /** The entry with what is said of it before anybody has received it. */
  protected presented(entry: StoredEntry): StoredEntry {
    return entry
  }

  /** The same of an entry that goes to a consumer without having been in the queue. */
  protected presentedAtOnce(entry: StoredEntry): StoredEntry {
    return this.presented(entry)
  }

  /** What `basic.get` answers. */
  protected inspected(entry: StoredEntry): StoredEntry {
    return entry
  }

  protected placeAtEnd(): number {
    return this.nextPlace++
  }

  /** The lower of the queue's and the message's time to live counts. */
  private expiryOf(expiration: string | undefined): number {
    const millis = Math.min(this.timeToLive, expiration === undefined ? Infinity : Number(expiration))
    return millis === Infinity ? Infinity : this.host.timers.now() + millis
  }

  /** Who gets a message that would stand first. One that is not to wait at all is not to wait for a consumer's call to end. */
  private consumerFor(entry: StoredEntry): Consumer | undefined {
    const canWait = !this.isExpired(entry)
    return this.isDelivering && canWait ? undefined : this.consumers.next()
  }

  private hand(consumer: Consumer, entry: StoredEntry): void {
    if (!consumer.noAck) this.held.set(entry, { entry, consumer })
    const outer = this.isDelivering
    this.isDelivering = true
    try {
      consumer.deliver(this, entry)
    } finally {
      this.isDelivering = outer
    }
  }

  private unhold(entries: ReadonlyArray<Entry>): Array<StoredEntry> {
    const found: Array<StoredEntry> = []
    for (const entry of entries) {
      const held = this.held.get(entry)
      if (held === undefined) continue
      this.held.delete(entry)
      found.push(held.entry)
    }
    return found
  }

  protected putBack(entries: ReadonlyArray<Entry>, failed: boolean, released: boolean): void {
    const spent = this.unhold(entries).filter((entry) => !this.takeBack(entry, failed, released))
    for (const entry of spent) this.bury(entry.published, "delivery_limit", this.failuresAtLimit(entry, failed))
    if (this.dropsBeforeDelivery) this.tidy()
  }

  /** How often a message has failed that was put back too often. */
  protected failuresAtLimit({ failures }: StoredEntry, _failed: boolean): number {
    return failures
  }

  /** Drops messages that are too many or too old. */
  protected tidy(): void {
    this.enforceLimits()
    this.dropExpired()
    this.watch()
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
    if (this.dropsLastFirst) dropped.reverse()
    for (const entry of dropped) this.bury(entry.published, "maxlen", entry.failures)
  }

  protected isExpired({ expiry }: StoredEntry): boolean {
    return expiry !== Infinity && expiry <= this.host.timers.now()
  }

  /** Only what stands first expires: a message behind it may be older than it may be, as in RabbitMQ. */
  protected dropExpired(): void {
    for (let entry = this.ready.first; entry !== undefined && this.isExpired(entry); entry = this.ready.first) {
      this.ready.shift()
      this.expire(entry)
    }
  }

  protected expire({ failures, published }: StoredEntry): void {
    this.bury(published, "expired", failures)
  }

  /** When the next message may have to be dropped. */
  protected get nextExpiry(): number {
    return this.ready.first?.expiry ?? Infinity
  }

  private watch(): void {
    this.messageAlarm.set(this.nextExpiry)
  }

  private bury(message: Message, reason: DeathReason, failures: number): void {
    const exchange = this.deadLetterExchange
    if (exchange === undefined) return
    const time = this.host.timers.now()
    const death = { reason, queue: this.name, time, exchange, routingKey: this.deadLetterRoutingKey }
    const letter = deadLetter(message, death, this.rules)
    if (letter === undefined) return
    this.post(this.countsFailures ? { ...letter, failures } : letter)
  }

  /** Sends a dead letter to where it belongs. */
  protected post(letter: Message): void {
    this.host.afterAllQueues(() => this.host.deadLetter(letter))
  }
}
