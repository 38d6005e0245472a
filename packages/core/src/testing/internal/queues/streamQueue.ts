/** A stream as AMQP 0-9-1 clients see it, with one message in each chunk (https://www.rabbitmq.com/docs/streams). */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { TypedField } from "../../../protocol/fieldTable.ts"
import type { Message } from "../common/message.ts"
import { withHeaders } from "../common/messageHeaders.ts"
import { crash, Refusal } from "../common/refusal.ts"
import { resource } from "../common/resource.ts"
import type { Resource } from "../common/resource.ts"
import { isInteger, textIn, wireValueAt } from "../common/wireValues.ts"
import { intervalOf } from "./argumentValues.ts"
import { checkConsumerArguments, invalidStreamOffset } from "./consumerArguments.ts"
import type { Consumer, Entry, Owner, Queue, QueueDefinition, QueueHost } from "./queue.ts"
import { StreamLog } from "./streamLog.ts"

/** How often the number of messages in `queue.declare-ok` is updated, in milliseconds. */
const countMillis = 5000

/** A consumer and the offset of its next message. */
interface Reader {
  readonly consumer: Consumer
  offset: number
}

export class StreamQueue implements Queue {
  readonly type = "stream"
  readonly name: string
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly owner: Owner | undefined
  readonly arguments: FieldTable

  private readonly host: QueueHost
  private readonly resource: Resource
  private readonly log: StreamLog
  private readonly created: number
  private readonly unacknowledged = new Set<Entry>()
  private readers: ReadonlyArray<Reader> = []
  /** Whether a consumer is being called. What it makes ready is delivered after that, because nested deliveries would exhaust the stack. */
  private isDelivering = false

  constructor(definition: QueueDefinition, host: QueueHost) {
    this.name = definition.name
    this.durable = definition.durable
    this.autoDelete = definition.autoDelete
    this.owner = definition.owner
    this.arguments = definition.arguments
    this.host = host
    this.resource = resource("queue", definition.name, host.virtualHost)
    this.log = new StreamLog(definition.arguments)
    this.created = host.timers.now()
  }

  get messageCount(): number {
    return this.log.length
  }

  get unacknowledgedCount(): number {
    return this.unacknowledged.size
  }

  get consumerCount(): number {
    return this.readers.length
  }

  get messages(): ReadonlyArray<Entry> {
    return this.log.toArray().map((message) => ({ message, redelivered: false }))
  }

  /** RabbitMQ counts no consumers here, and counts the messages at intervals. */
  get declared(): { readonly messageCount: number; readonly consumerCount: number } {
    const { host, log } = this
    const age = host.timers.now() - this.created
    const lastCount = this.created + age - age % countMillis
    return { messageCount: log.lengthAt(lastCount), consumerCount: 0 }
  }

  publish(message: Message): boolean {
    const stored = withHeaders(message, { "x-stream-offset": TypedField.int64(this.log.end) })
    this.log.append(this.host.rules.streamsMarkTransient ? withDeliveryMode(stored) : stored, this.host.timers.now())
    this.deliver()
    return true
  }

  get(_noAck: boolean): Entry | undefined {
    throw this.unsupported("basic.get")
  }

  consume(consumer: Consumer): void {
    const { rules } = this.host
    checkConsumerArguments(rules.version, this.type, this.resource, consumer.arguments)
    if (consumer.prefetch === 0) {
      const named = rules.namesStreams ? `stream ${this.resource}` : `'${this.resource}'`
      throw new Refusal("preconditionFailed", `consumer prefetch count is not set for ${named}`)
    }
    if (consumer.noAck) {
      throw this.unsupported("automatic acknowledgement", rules.namesStreams ? "stream" : "stream queues")
    }
    if (consumer.globalPrefetch) {
      throw new Refusal("notImplemented", `${this.resource} does not support global qos`)
    }
    const offset = this.startOf(consumer.arguments)
    this.readers = [...this.readers, { consumer, offset }]
    this.deliver()
  }

  cancel(consumer: Consumer): void {
    this.readers = this.readers.filter((reader) => reader.consumer !== consumer)
  }

  deliver(): void {
    if (this.isDelivering) return
    this.isDelivering = true
    try {
      // A consumer that is served may add and remove readers, so each round serves those of its beginning.
      for (let served = true; served;) {
        served = false
        for (const reader of this.readers) served = this.serve(reader) || served
      }
    } finally {
      this.isDelivering = false
    }
  }

  /** Streams do not have `x-expires`. */
  touch(): void {}

  acknowledge(entries: ReadonlyArray<Entry>): void {
    for (const entry of entries) this.unacknowledged.delete(entry)
  }

  requeue(_entries: ReadonlyArray<Entry>): void {
    throw this.unsupported("basic.nack and basic.reject")
  }

  /** The messages are still in the stream. */
  release(entries: ReadonlyArray<Entry>): void {
    this.acknowledge(entries)
  }

  reject(_entries: ReadonlyArray<Entry>): void {
    throw this.unsupported("basic.nack and basic.reject")
  }

  reclaim(_consumer: Consumer, entries: ReadonlyArray<Entry>): void {
    this.acknowledge(entries)
  }

  purge(): number {
    throw this.unsupported("queue.purge")
  }

  delete(): number {
    const readers = this.readers
    this.readers = []
    this.unacknowledged.clear()
    this.log.clear()
    for (const { consumer } of readers) this.host.defer(() => consumer.cancelled())
    return 0
  }

  /** Delivers the next message of a reader, if there is one and its consumer is ready. */
  private serve(reader: Reader): boolean {
    const { consumer } = reader
    if (!consumer.isReady || !this.readers.includes(reader)) return false
    const offset = Math.max(reader.offset, this.log.start)
    const message = this.log.at(offset)
    if (message === undefined) return false
    const entry: Entry = { message, redelivered: false }
    reader.offset = offset + 1
    this.unacknowledged.add(entry)
    consumer.deliver(this, entry)
    return true
  }

  /** The first offset of a new reader, which may be beyond the end. */
  private startOf(table: FieldTable): number {
    const { log } = this
    const offset = wireValueAt(table, "x-stream-offset")
    const text = textIn(offset)
    if (offset === undefined || text === "next") return log.end
    if (text === "first") return log.start
    if (text === "last") return Math.max(log.start, log.end - 1)
    if (isInteger(offset)) return Number(offset.value)
    if (offset.type === "timestamp") return log.since(Number(offset.value) * 1000)
    // RabbitMQ crashes on anything but text, and up to 4.0 on text without a number.
    if (text === undefined || (!/^\d/.test(text) && this.host.rules.crashesOnIntervals)) throw crash()
    const interval = intervalOf(text)
    if (interval === undefined) throw invalidStreamOffset(this.resource, offset)
    return log.since(this.host.timers.now() - interval)
  }

  private unsupported(what: string, by = "stream queues"): Refusal {
    return new Refusal("notImplemented", `${what} not supported by ${by} ${this.resource}`)
  }
}

/** RabbitMQ 4.x marks messages without a delivery mode as transient, although a stream persists all of them. */
const withDeliveryMode = (message: Message): Message =>
  message.properties.deliveryMode === undefined
    ? { ...message, properties: { ...message.properties, deliveryMode: 1 } }
    : message
