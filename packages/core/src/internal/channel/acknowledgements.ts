/**
 * The deliveries of a channel that are not settled, and the acks that are due.
 *
 * Acks are held back until the write at the end of the turn. Acks of consecutive deliveries are then merged into one `basic.ack` with
 * `multiple` if all earlier deliveries are settled. Other acks are sent one by one. On RabbitMQ 3.10, merging made consuming 1.7 times
 * as fast.
 *
 * The broker assigns delivery tags. They increase, usually by one, so the entry of a delivery is computed from its tag, and searched for if
 * the broker has skipped tags. There is an entry for each delivery since the oldest open one, and none for a skipped tag.
 */
import type * as Effect from "effect/Effect"
import type { ByteWriter } from "../../protocol/ByteWriter.ts"
import { ReplyCode } from "../../protocol/constants.ts"
import { encodeMethodFrame } from "../../protocol/frames.ts"
import type { BasicNack, BasicReject } from "../../protocol/methods.generated.ts"
import { ProtocolError } from "../../protocol/ProtocolError.ts"
import { copyRing } from "../common/ring.ts"
import { Signal } from "../common/signal.ts"
import type { Counts } from "../telemetry/counters.ts"
import type { Outbound } from "../wire/outbound.ts"

const isOpen = 0
const isDue = 1
const isSettled = 2

const none: ReadonlySet<number> = new Set()

/** A power of two; as small as that of a `ConfirmLedger`, for the same reason. */
const initialSlots = 8

export class Acknowledgements {
  private readonly outbound: Outbound
  private readonly channel: number
  private readonly hasNack: boolean
  private readonly counts: Counts
  /** The number of the oldest entry that may be open. Entries are numbered from 0 in the order of their deliveries. */
  private base = 0
  /** The number of the next entry. */
  private next = 0
  /** The tag and the state of each entry from `base` up to `next`, at the index `entry & mask`. */
  private tags = new Float64Array(initialSlots)
  private states = new Uint8Array(initialSlots)
  private mask = initialSlots - 1
  private lastTag = 0
  private due: Array<number> = []
  /** Whether `flush` runs before the next write. */
  private isDeferred = false
  /** The tags that were settled since `beginJournal`. */
  private journal: Array<number> | undefined
  private lostTags = none
  private readonly settledSome = new Signal()

  /** `hasNack`: whether the broker supports `basic.nack`, an extension of RabbitMQ. */
  constructor(outbound: Outbound, channel: number, hasNack: boolean, counts: Counts) {
    this.outbound = outbound
    this.channel = channel
    this.hasNack = hasNack
    this.counts = counts
  }

  /** Whether deliveries are open. Closing the channel requeues them. */
  get open(): boolean {
    return this.base < this.next
  }

  /** How many deliveries are open. O(n): do not call per message. */
  get openCount(): number {
    let count = 0
    for (let entry = this.base; entry < this.next; entry++) if (this.states[entry & this.mask] === isOpen) count++
    return count
  }

  /** The tags of the open deliveries, in ascending order. O(n): do not call per message. */
  openTags(): Array<number> {
    const tags: Array<number> = []
    for (let entry = this.base; entry < this.next; entry++) {
      if (this.states[entry & this.mask] === isOpen) tags.push(this.tags[entry & this.mask])
    }
    return tags
  }

  /** The tags of the deliveries that were open when the channel closed. */
  get lost(): ReadonlySet<number> {
    return this.lostTags
  }

  /** All deliveries with a tag below this one are settled. */
  get settledBelow(): number {
    return this.base < this.next ? this.tags[this.base & this.mask] : this.lastTag + 1
  }

  /** Waits until a condition about the open deliveries holds. Checks it at once, and whenever some were settled. */
  until(condition: () => boolean): Effect.Effect<void> {
    return this.settledSome.until(condition)
  }

  /** Adds a delivery. Throws a `ProtocolError` if its tag is not greater than those before. */
  delivered(tag: number | bigint): void {
    const number = Number(tag)
    if (!(number > this.lastTag && number <= Number.MAX_SAFE_INTEGER)) {
      throw new ProtocolError({
        replyCode: ReplyCode.commandInvalid,
        message: `delivery tag ${tag} arrived on channel ${this.channel} after ${this.lastTag}`
      })
    }
    this.lastTag = number
    if (this.next - this.base === this.states.length) this.grow()
    const slot = this.next++ & this.mask
    this.tags[slot] = number
    this.states[slot] = isOpen
  }

  /** Whether the delivery with this tag is open. */
  isOpen(tag: number): boolean {
    return this.entryOf(tag) !== -1
  }

  /** Returns `false` if the delivery is not open. */
  ack(tag: number): boolean {
    const entry = this.entryOf(tag)
    if (entry === -1) return false
    this.states[entry & this.mask] = isDue
    this.due.push(entry)
    this.journal?.push(tag)
    this.counts.acknowledged++
    if (!this.isDeferred) {
      this.isDeferred = true
      this.outbound.defer(this)
    }
    return true
  }

  /** Returns `false` if the delivery is not open. Acks that are due are sent first, so the broker gets all settlements in order. */
  nack(tag: number, requeue: boolean): boolean {
    // The same for a single delivery.
    if (!this.hasNack) return this.reject(tag, requeue)
    return this.refuse({ _tag: "basic.nack", deliveryTag: tag, multiple: false, requeue }, tag)
  }

  /** Like `nack`, with the method that every broker supports. */
  reject(tag: number, requeue: boolean): boolean {
    return this.refuse({ _tag: "basic.reject", deliveryTag: tag, requeue }, tag)
  }

  /** Requeues every open delivery up to this tag, with one method if the broker supports that. */
  requeueUpTo(tag: number): void {
    const tags = this.openTags().filter((open) => open <= tag)
    if (!this.hasNack || tags.length < 2) {
      for (const open of tags) this.nack(open, true)
      return
    }
    this.flush()
    this.counts.requeued += tags.length
    for (const open of tags) {
      this.states[this.entryOf(open) & this.mask] = isSettled
      this.journal?.push(open)
    }
    this.advance()
    this.outbound.sendMethod(this.channel, { _tag: "basic.nack", deliveryTag: tag, multiple: true, requeue: true })
    this.settledSome.notify()
  }

  /**
   * Requeues every open delivery, with one method if the broker supports that. In RabbitMQ a requeue takes time in proportion to the
   * length of the queue, so requeuing one by one can take minutes.
   */
  requeueAll(): void {
    this.flush()
    if (!this.hasNack) {
      for (const tag of this.openTags()) this.reject(tag, true)
      return
    }
    const count = this.openCount
    if (count === 0) return
    this.counts.requeued += count
    const deliveryTag = this.lastTag
    this.outbound.sendMethod(this.channel, { _tag: "basic.nack", deliveryTag, multiple: true, requeue: true })
    this.close()
  }

  /** No delivery can be settled any longer. */
  close(): void {
    if (this.base < this.next) this.lostTags = new Set(this.openTags())
    this.base = this.next
    this.due = []
    this.settledSome.notify()
  }

  /** From now on notes which deliveries are settled. */
  beginJournal(): void {
    this.journal = []
  }

  endJournal(): void {
    this.journal = undefined
  }

  /**
   * Requeues the deliveries in the journal, which are open at the broker after a rollback. Returns `false` if there are none.
   */
  requeueJournal(): boolean {
    const { journal = [] } = this
    this.journal = undefined
    for (const deliveryTag of journal) {
      this.outbound.sendMethod(
        this.channel,
        this.hasNack
          ? { _tag: "basic.nack", deliveryTag, multiple: false, requeue: true }
          : { _tag: "basic.reject", deliveryTag, requeue: true }
      )
    }
    return journal.length > 0
  }

  private refuse(method: BasicNack | BasicReject, tag: number): boolean {
    const entry = this.entryOf(tag)
    if (entry === -1) return false
    if (method.requeue) this.counts.requeued++
    else this.counts.rejected++
    this.flush()
    this.states[entry & this.mask] = isSettled
    this.advance()
    this.journal?.push(tag)
    this.outbound.sendMethod(this.channel, method)
    this.settledSome.notify()
    return true
  }

  /** Sends the acks that are due. */
  flush(): void {
    this.isDeferred = false
    if (this.due.length === 0) return
    const due = this.due
    this.due = []
    const writer = this.outbound.writerOf(this.channel)
    let merged = 0
    let last = 0
    while (this.base < this.next && this.states[this.base & this.mask] !== isOpen) {
      if (this.states[this.base & this.mask] === isDue) {
        merged++
        last = this.base
      }
      this.base++
    }
    if (merged > 0) this.writeAck(writer, last, merged > 1)
    for (const entry of due) {
      if (entry < this.base) continue
      this.states[entry & this.mask] = isSettled
      this.writeAck(writer, entry, false)
    }
    this.outbound.commit(writer)
    this.settledSome.notify()
  }

  private writeAck(writer: ByteWriter, entry: number, multiple: boolean): void {
    const deliveryTag = this.tags[entry & this.mask]
    encodeMethodFrame(writer, this.channel, { _tag: "basic.ack", deliveryTag, multiple })
  }

  /** The entry of an open delivery, or -1. */
  private entryOf(tag: number): number {
    const { base, mask, next, tags } = this
    if (base === next) return -1
    // Right unless the broker has skipped a tag since the oldest entry.
    const guess = base + tag - tags[base & mask]
    const entry = guess < next && tags[guess & mask] === tag ? guess : this.search(tag)
    return entry >= base && this.states[entry & mask] === isOpen ? entry : -1
  }

  private search(tag: number): number {
    let low = this.base
    let high = this.next - 1
    while (low <= high) {
      const middle = Math.floor((low + high) / 2)
      const found = this.tags[middle & this.mask]
      if (found === tag) return middle
      if (found < tag) low = middle + 1
      else high = middle - 1
    }
    return -1
  }

  private advance(): void {
    while (this.base < this.next && this.states[this.base & this.mask] === isSettled) this.base++
  }

  private grow(): void {
    const size = (this.mask + 1) * 2
    this.states = copyRing(this.states, new Uint8Array(size), this.base, this.next)
    this.tags = copyRing(this.tags, new Float64Array(size), this.base, this.next)
    this.mask = size - 1
  }
}
