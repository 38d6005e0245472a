/**
 * Where the next consumer of a stream begins: after the last message that was handled, so that none is skipped and few are delivered again.
 *
 * A message is handled when it was acknowledged. Messages that are handled at the same time are acknowledged in any order, so the next
 * consumer begins at the first one that was not.
 */
import { decodeProperties } from "../../protocol/BasicProperties.ts"
import type { Acknowledgements } from "../channel/acknowledgements.ts"
import { offsetKey } from "../message/streamOffset.ts"

/** Entries of settled messages are dropped when there are this many, and they are at least half of the array. */
const maxSettled = 1024

export class StreamPosition {
  /** Whether the queue is known to be a stream. */
  isStream: true | undefined
  /** The offset at which the next consumer begins. `undefined`: where the options say. */
  private next: bigint | undefined
  /** The messages of this channel that may be unsettled, oldest first: their tags and encoded properties. */
  private tags: Array<number> = []
  private properties: Array<Uint8Array | undefined> = []
  /** The index of the oldest one. */
  private head = 0
  private last: Uint8Array | undefined
  /** The offset after the last message on this channel that had one, as far as it was read. */
  private afterLast: bigint | undefined

  /** A message was delivered. */
  delivered(tag: number, properties: Uint8Array, { settledBelow }: Acknowledgements): void {
    this.last = properties
    while (this.head < this.tags.length && this.tags[this.head] < settledBelow) this.properties[this.head++] = undefined
    if (this.head === this.tags.length) this.drop()
    else if (this.head >= maxSettled && this.head * 2 >= this.tags.length) this.drop(this.head)
    this.tags.push(tag)
    this.properties.push(properties)
  }

  private drop(count = this.tags.length): void {
    this.tags = this.tags.slice(count)
    this.properties = this.properties.slice(count)
    this.head = 0
  }

  /** Whether messages were delivered, on this channel or an earlier one. */
  get isKnown(): boolean {
    return this.next !== undefined || this.last !== undefined
  }

  /** For a consumer on the same channel, where the messages that were delivered remain valid: the offset after the last one. */
  afterDelivered(): bigint | undefined {
    const offset = this.last && offsetOf(this.last)
    if (offset !== undefined) this.afterLast = offset + 1n
    return this.afterLast ?? this.next
  }

  /** For a consumer on another channel: the offset of the first message that was not handled. */
  afterHandled(): bigint | undefined {
    return this.next
  }

  /** The channel has closed, with these messages unsettled. */
  channelClosed(lost: ReadonlySet<number>): void {
    const after = this.afterDelivered()
    let first: bigint | undefined
    for (let index = this.head; index < this.tags.length && first === undefined; index++) {
      const properties = this.properties[index]
      if (properties !== undefined && lost.has(this.tags[index])) first = offsetOf(properties)
    }
    this.next = first ?? after
    this.drop()
    this.last = undefined
    this.afterLast = undefined
  }
}

/** The offset of a stream's message. `undefined` if the properties have no offset or cannot be decoded. */
const offsetOf = (properties: Uint8Array): bigint | undefined => {
  try {
    const offset = decodeProperties(properties).headers?.[offsetKey]
    return typeof offset === "number" || typeof offset === "bigint" ? BigInt(offset) : undefined
  } catch {
    return undefined
  }
}
