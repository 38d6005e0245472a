/** A stream (https://www.rabbitmq.com/docs/streams), as clients of AMQP 0-9-1 see it, with one message in each chunk. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { TypedField } from "../../../protocol/fieldTable.ts"
import { isInteger, termAt, textIn } from "../common/fieldTerms.ts"
import type { Message } from "../common/message.ts"
import { withHeaders } from "../common/messageHeaders.ts"
import { crash, Refusal } from "../common/refusal.ts"
import { checkConsumerArguments, invalidStreamOffset } from "./consumerArguments.ts"
import type { Consumer, Entry, Owner, Queue, QueueDefinition, QueueHost } from "./queue.ts"
import { intervalOf } from "./queueArguments.ts"
import { StreamLog } from "./streamLog.ts"

/** How long the number of messages that `queue.declare-ok` says stays what it was, in milliseconds. */
const countMillis = 5000

/** A consumer and the offset of what it gets next. */
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
  /** As RabbitMQ's texts have it. */
  private readonly resource: string
  private readonly log: StreamLog
  private readonly created: number
  private readonly held = new Set<Entry>()
  private readers: ReadonlyArray<Reader> = []
  /** Whether a consumer is being called. What it makes ready is delivered after that, not within: a stack is finite. */
  private isDelivering = false

  constructor(definition: QueueDefinition, host: QueueHost) {
    this.name = definition.name
    this.durable = definition.durable
    this.autoDelete = definition.autoDelete
    this.owner = definition.owner
    this.arguments = definition.arguments
    this.host = host
    this.resource = `queue '${definition.name}' in vhost '${host.virtualHost}'`
    this.log = new StreamLog(definition.arguments)
    this.created = host.timers.now()
  }

  get messageCount(): number {
    return this.log.length
  }

  get unacknowledgedCount(): number {
    return this.held.size
  }

  get consumerCount(): number {
    return this.readers.length
  }

  get messages(): ReadonlyArray<Entry> {
    return this.log.toArray().map((message) => ({ message, redelivered: false }))
  }

  /** RabbitMQ counts no consumers here, and counts messages only now and then. */
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
    checkConsumerArguments(rules.queueArguments, this.type, this.resource, consumer.arguments)
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
      // Who is served may add and remove readers: each round is of those that were there when it began.
      for (let served = true; served;) {
        served = false
        for (const reader of this.readers) served = this.serve(reader) || served
      }
    } finally {
      this.isDelivering = false
    }
  }

  /** Streams know no `x-expires`. */
  touch(): void {}

  acknowledge(entries: ReadonlyArray<Entry>): void {
    for (const entry of entries) this.held.delete(entry)
  }

  requeue(_entries: ReadonlyArray<Entry>): void {
    throw this.unsupported("basic.nack and basic.reject")
  }

  /** The messages are in the stream as before. */
  release(entries: ReadonlyArray<Entry>): void {
    this.acknowledge(entries)
  }

  reject(_entries: ReadonlyArray<Entry>): void {
    throw this.unsupported("basic.nack and basic.reject")
  }

  takeFrom(_consumer: Consumer, entries: ReadonlyArray<Entry>): void {
    this.acknowledge(entries)
  }

  purge(): number {
    throw this.unsupported("queue.purge")
  }

  delete(): number {
    const readers = this.readers
    this.readers = []
    this.held.clear()
    this.log.clear()
    for (const { consumer } of readers) this.host.defer(() => consumer.cancelled())
    return 0
  }

  /** Gives a reader its next message, if there is one and it takes it. */
  private serve(reader: Reader): boolean {
    const { consumer } = reader
    if (!consumer.isReady || !this.readers.includes(reader)) return false
    const offset = Math.max(reader.offset, this.log.start)
    const message = this.log.at(offset)
    if (message === undefined) return false
    const entry: Entry = { message, redelivered: false }
    reader.offset = offset + 1
    this.held.add(entry)
    consumer.deliver(this, entry)
    return true
  }

  /** The offset to begin at. One beyond the end is waited for. */
  private startOf(table: FieldTable): number {
    const { log } = this
    const term = termAt(table, "x-stream-offset")
    const text = textIn(term)
    if (term === undefined || text === "next") return log.end
    if (text === "first") return log.start
    if (text === "last") return Math.max(log.start, log.end - 1)
    if (isInteger(term)) return Number(term.value)
    if (term.type === "timestamp") return log.since(Number(term.value) * 1000)
    // RabbitMQ fails over what is no text, and up to 4.0 over text without a number.
    if (text === undefined || (!/^\d/.test(text) && this.host.rules.failsOverIntervals)) throw crash()
    const interval = intervalOf(text)
    if (interval === undefined) throw invalidStreamOffset(this.resource, term)
    return log.since(this.host.timers.now() - interval)
  }

  private unsupported(what: string, by = "stream queues"): Refusal {
    return new Refusal("notImplemented", `${what} not supported by ${by} ${this.resource}`)
  }
}

/** RabbitMQ 4.x makes what it is not told to keep transient, though a stream keeps all. */
const withDeliveryMode = (message: Message): Message =>
  message.properties.deliveryMode === undefined
    ? { ...message, properties: { ...message.properties, deliveryMode: 1 } }
    : message
