/** What a channel and a virtual host know of a queue, whatever its type, and what a queue knows of them. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { Message } from "../common/message.ts"
import type { Rules } from "../common/rules.ts"
import type { Timers } from "../common/timers.ts"

/** A message in one queue. It is never changed: a message that is put back becomes another entry. */
export interface Entry {
  /** The message with what its queue says of it in headers: `x-delivery-count`, `x-stream-offset`. */
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
  /** How many unsettled messages `basic.qos` lets it have, 0 for any number. Streams insist on a limit. */
  readonly prefetch: number
  /** Whether `basic.qos` with `global` limits its whole channel. Quorum queues and streams refuse that. */
  readonly globalPrefetch: boolean
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

/** What a queue is declared as. The virtual host has checked that its type allows these arguments. */
export interface QueueDefinition {
  readonly name: string
  readonly type: QueueType
  readonly durable: boolean
  readonly autoDelete: boolean
  /** The connection that it is exclusive to. */
  readonly owner: Owner | undefined
  readonly arguments: FieldTable
}

/** What came of a dead letter: all queues have it, some refused it, or it belongs to none. */
export type Posting = "arrived" | "refused" | "no queue"

/** What a queue needs of the virtual host that it is in. */
export interface QueueHost {
  readonly virtualHost: string
  readonly timers: Timers
  readonly rules: Rules
  /**
   * Publishes a dead letter to the exchange and with the routing key that it has, but to no queue that closes a cycle and to none of
   * those in `taken`, to which it adds the queues that took it.
   */
  deadLetter(message: Message, taken?: Set<Queue>): Posting
  /** Runs an action now or, during a publish or a settlement that concerns several queues, when all of them have been served. */
  afterAllQueues(action: () => void): void
  /** Does something at the end of the step, when all is done that the client has asked for so far. */
  defer(action: () => void): void
  /** It lost its last consumer and is `auto-delete`, or nobody used it for `x-expires`: to be deleted, with its bindings. */
  onUnused(queue: Queue): void
}

/**
 * A queue.
 *
 * Each of its methods leaves it in order before it calls a consumer or the host, so that those may call it again.
 */
export interface Queue extends QueueDefinition {
  /** Messages that nobody received; in a stream, all messages. */
  readonly messageCount: number
  /** What `queue.declare-ok` says of the messages and consumers, which may be something else. */
  readonly declared: { readonly messageCount: number; readonly consumerCount: number }
  /** Messages that were received and not settled. */
  readonly unacknowledgedCount: number
  readonly consumerCount: number
  /** The messages that `messageCount` counts, in their order, for people who look inside. */
  readonly messages: ReadonlyArray<Entry>

  /** Takes a message, and says whether it did: not if it is full and its overflow is `reject-publish`. */
  publish(message: Message): boolean
  /** Receives the next message. With `noAck` it is settled by that. Throws a `Refusal` if there is no `get` from it. */
  get(noAck: boolean): Entry | undefined
  /** Adds a consumer and delivers what it takes. Throws a `Refusal` for a consumer that it cannot have. */
  consume(consumer: Consumer): void
  /** Removes a consumer. Whoever follows it is served at the end of the step. */
  cancel(consumer: Consumer): void
  /** Delivers to consumers that became ready. */
  deliver(): void
  /** It was declared again, also passively, and so begins to wait for `x-expires` anew. */
  touch(): void

  acknowledge(entries: ReadonlyArray<Entry>): void
  /** Puts back what a client asks to, marked as redelivered. `failed`: by `basic.reject`, and not by `basic.nack` or `basic.recover`. */
  requeue(entries: ReadonlyArray<Entry>, failed?: boolean): void
  /**
   * Puts back what a channel had that is closed, in the order that it had it in, marked as redelivered. It is delivered at the end of
   * the step, when all that comes back with it is in its place.
   */
  release(entries: ReadonlyArray<Entry>): void
  /** Drops what was received, or sends it to the dead-letter exchange. `failed`: by `basic.reject`, and not by `basic.nack`. */
  reject(entries: ReadonlyArray<Entry>, failed?: boolean): void

  /** Takes back what a consumer kept for too long, to whom it gives nothing more for now. */
  takeFrom(consumer: Consumer, entries: ReadonlyArray<Entry>): void

  /** Drops what nobody received, and answers how many that were. */
  purge(): number
  /** Drops everything, ends the timers, and cancels the consumers at the end of the step. Answers what `queue.delete-ok` counts. */
  delete(): number
}
