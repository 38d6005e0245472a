/** A stream (https://www.rabbitmq.com/docs/streams), as clients of AMQP 0-9-1 see it, with one message in each chunk. */
import { changeTable, TypedField } from "../../protocol/fieldTable.ts"
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"
import { checkConsumerArguments, invalidStreamOffset } from "./consumerArguments.ts"
import type { Message } from "./message.ts"
import type { Consumer, Entry, Owner, Queue, QueueDefinition, QueueHost } from "./queue.ts"
import { intervalOf } from "./queueArguments.ts"
import { Refusal } from "./refusal.ts"
import { StreamLog } from "./streamLog.ts"

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

  publish(message: Message): boolean {
    const headers = changeTable(message.properties.headers, { "x-stream-offset": TypedField.int64(this.log.end) })
    this.log.append({ ...message, properties: { ...message.properties, headers } }, this.host.timers.now())
    this.deliver()
    return true
  }

  get(_noAck: boolean): Entry | undefined {
    throw this.unsupported("basic.get")
  }

  consume(consumer: Consumer): void {
    checkConsumerArguments(this.type, this.resource, consumer.arguments)
    if (consumer.prefetch === 0) {
      throw new Refusal("preconditionFailed", `consumer prefetch count is not set for '${this.resource}'`)
    }
    if (consumer.noAck) throw this.unsupported("automatic acknowledgement")
    if (consumer.globalPrefetch) {
      throw new Refusal("notImplemented", `${this.resource} does not support global qos`)
    }
    const offset = this.startOf(consumer.arguments["x-stream-offset"])
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

  purge(): number {
    throw this.unsupported("queue.purge")
  }

  delete(): void {
    const readers = this.readers
    this.readers = []
    this.held.clear()
    this.log.clear()
    for (const { consumer } of readers) consumer.cancelled()
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
  private startOf(value: FieldValue | undefined): number {
    const { log } = this
    if (value === undefined || value === "next") return log.end
    if (value === "first") return log.start
    if (value === "last") return Math.max(log.start, log.end - 1)
    if (typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value))) return Number(value)
    if (value instanceof Date) return log.since(value.getTime())
    // A timestamp that is no `Date` is one of a very far future.
    if (value instanceof TypedField && value.type === "timestamp") return log.end
    const interval = typeof value === "string" ? intervalOf(value) : undefined
    if (interval === undefined) throw invalidStreamOffset(this.resource, value)
    return log.since(this.host.timers.now() - interval)
  }

  private unsupported(what: string): Refusal {
    return new Refusal("notImplemented", `${what} not supported by stream queues ${this.resource}`)
  }
}
