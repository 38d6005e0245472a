/** What channels and virtual hosts know of a queue of any type, and what a queue knows of them. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { Message } from "../common/message.ts"
import type { Timers } from "../common/timers.ts"
import type { VersionRules } from "../common/versionRules.ts"

/** A message in one queue. It is immutable: putting a message back makes another entry. */
export interface Entry {
  /** The message, with the headers that its queue adds: `x-delivery-count`, `x-stream-offset`. */
  readonly message: Message
  /** Whether it was delivered before and put back. */
  readonly redelivered: boolean
}

/** A consumer, made by `basic.consume`. */
export interface Consumer {
  readonly tag: string
  readonly noAck: boolean
  readonly exclusive: boolean
  /** `x-priority`: consumers with a higher one are served first. */
  readonly priority: number
  /** The arguments of `basic.consume`. */
  readonly arguments: FieldTable
  /** Its limit of unacknowledged messages from `basic.qos`; 0 for none. Streams require one. */
  readonly prefetch: number
  /** Whether `basic.qos` with `global` limits its channel. Quorum queues and streams refuse that. */
  readonly globalPrefetch: boolean
  /** Whether its prefetch, its channel and its connection allow another delivery now. */
  readonly isReady: boolean
  deliver(queue: Queue, entry: Entry): void
  /** The queue was deleted. The consumer no longer belongs to it, and is notified by `basic.cancel`. */
  cancelled(): void
}

/** The connection that an exclusive queue belongs to. */
export interface Owner {
  readonly isOwner: true
}

export type QueueType = "classic" | "quorum" | "stream"

/** The declaration of a queue, whose arguments the virtual host has checked. */
export interface QueueDefinition {
  readonly name: string
  readonly type: QueueType
  readonly durable: boolean
  readonly autoDelete: boolean
  /** The connection that it is exclusive to. */
  readonly owner: Owner | undefined
  readonly arguments: FieldTable
}

/** The outcome of routing a dead letter: all queues took it, some refused it, or there was none for it. */
export type DeadLetterOutcome = "arrived" | "refused" | "no queue"

/** What a queue needs of its virtual host. */
export interface QueueHost {
  readonly virtualHost: string
  readonly timers: Timers
  readonly rules: VersionRules
  /**
   * Publishes a dead letter to its exchange with its routing key, except to queues that would close a cycle and to those in `taken`.
   * Adds the queues that took it to `taken`.
   */
  deadLetter(message: Message, taken?: Set<Queue>): DeadLetterOutcome
  /** Runs an action now or, during a publish or a settlement that concerns several queues, after all of them were served. */
  afterAllQueues(action: () => void): void
  /** Runs an action at the end of the step, after everything that the client has requested so far. */
  defer(action: () => void): void
  /** The queue is to be deleted: it is `auto-delete` and lost its last consumer, or was unused for `x-expires`. */
  onUnused(queue: Queue): void
}

/**
 * A queue.
 *
 * Its methods leave it in a consistent state before they call a consumer or the host, which may call it again.
 */
export interface Queue extends QueueDefinition {
  /** The number of ready messages, or of all messages in a stream. */
  readonly messageCount: number
  /** The counts in `queue.declare-ok`, which differ from the others in some types of queues. */
  readonly declared: { readonly messageCount: number; readonly consumerCount: number }
  readonly unacknowledgedCount: number
  readonly consumerCount: number
  /** The messages that `messageCount` counts, in order. For inspection. */
  readonly messages: ReadonlyArray<Entry>

  /** Returns whether it took the message: a full queue with the overflow `reject-publish` does not. */
  publish(message: Message): boolean
  /** Returns the next message, which is settled already if `noAck` is set. Throws a `Refusal` if the queue does not support it. */
  get(noAck: boolean): Entry | undefined
  /** Adds a consumer and delivers to it. Throws a `Refusal` if the queue can't have this consumer. */
  consume(consumer: Consumer): void
  /** Removes a consumer. Its successor is served at the end of the step. */
  cancel(consumer: Consumer): void
  /** Delivers to consumers that have become ready. */
  deliver(): void
  /** Restarts `x-expires`: the queue was used or declared again. */
  touch(): void

  acknowledge(entries: ReadonlyArray<Entry>): void
  /** Puts back messages at the client's request, marked as redelivered. `failed`: by `basic.reject`, not `basic.nack` or `basic.recover`. */
  requeue(entries: ReadonlyArray<Entry>, failed?: boolean): void
  /**
   * Puts back the messages of a closed channel, in their order there, marked as redelivered. They are delivered at the end of the step,
   * so that the messages of other channels that close with it are back in their places.
   */
  release(entries: ReadonlyArray<Entry>): void
  /** Drops or dead-letters messages at the client's request. `failed`: by `basic.reject`, not `basic.nack`. */
  reject(entries: ReadonlyArray<Entry>, failed?: boolean): void
  /** Takes back messages that a consumer kept for longer than the consumer timeout. */
  reclaim(consumer: Consumer, entries: ReadonlyArray<Entry>): void

  /** Drops the ready messages and returns their number. */
  purge(): number
  /** Drops everything, stops the timers, cancels the consumers at the end of the step, and returns the count in `queue.delete-ok`. */
  delete(): number
}
