/** What a channel and a virtual host know of a queue, whatever its type. */
import type { FieldTable } from "../../protocol/fieldTable.ts"
import type { Message } from "./message.ts"

/** A message in one queue. */
export interface Entry {
  readonly message: Message
  /** Whether a consumer or a `basic.get` had it before and did not settle it. */
  readonly redelivered: boolean
}

/** Whoever receives from a queue by `basic.consume`. */
export interface Consumer {
  readonly tag: string
  readonly noAck: boolean
  readonly exclusive: boolean
  /** `x-priority`: the higher is served first. */
  readonly priority: number
  /** The arguments of `basic.consume`. */
  readonly arguments: FieldTable
  /** Whether it takes another message now: its prefetch, its channel and its connection allow it. */
  readonly isReady: boolean
  deliver(queue: Queue, entry: Entry): void
  /** The queue is gone: the consumer is no longer the queue's, and is told by `basic.cancel`. */
  cancelled(): void
}

/** The connection that an exclusive queue belongs to. */
export interface Owner {
  readonly isOwner: true
}

export type QueueType = "classic" | "quorum" | "stream"

export interface Queue {
  readonly name: string
  readonly type: QueueType
  readonly durable: boolean
  readonly autoDelete: boolean
  /** The connection that it is exclusive to. */
  readonly owner: Owner | undefined
  readonly arguments: FieldTable
  /** Messages that nobody received. */
  readonly messageCount: number
  /** Messages that were received and not settled. */
  readonly unacknowledgedCount: number
  readonly consumerCount: number
  /** The messages that nobody received, in their order, for people who look inside. */
  readonly messages: ReadonlyArray<Entry>

  /** Takes a message, and says whether it did: not if it is full and its overflow is `reject-publish`. */
  publish(message: Message): boolean
  /** Receives the next message. With `noAck` it is settled by that. */
  get(noAck: boolean): Entry | undefined
  /** Adds a consumer and delivers what it takes. Throws a `Refusal` if the queue is in exclusive use. */
  consume(consumer: Consumer): void
  cancel(consumer: Consumer): void
  /** Delivers to consumers that became ready. */
  deliver(): void

  acknowledge(entries: ReadonlyArray<Entry>): void
  /** Puts back what was received, at its old place as far as that is there, marked as redelivered. */
  requeue(entries: ReadonlyArray<Entry>): void
  /** Drops what was received, or sends it to the dead-letter exchange. */
  reject(entries: ReadonlyArray<Entry>): void

  /** Drops what nobody received, and answers how many that were. */
  purge(): number
  /** Drops everything, cancels the consumers and ends the timers. */
  delete(): void
}
