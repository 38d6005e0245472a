/**
 * The publishes of a confirm-mode channel that the broker has not answered yet.
 *
 * The broker counts publishes from 1 (RabbitMQ, "Publisher Confirms"), and so does this ledger: a publish takes the next
 * number in the same step that encodes it. Slots live in a ring, so a message costs no object here.
 */
import * as Effect from "effect/Effect"
import type { AmqpChannelError } from "../AmqpError.ts"
import { ReplyCode } from "../protocol/constants.ts"
import { ProtocolError } from "../protocol/ProtocolError.ts"

/** What became of a publish: the broker has it, refused it, or nobody knows. */
export type Outcome = "Acked" | "Nacked" | AmqpChannelError

/** Whoever waits for publishes; `index` is what it passed to `add`. */
export interface PublishOwner {
  settled(index: number, outcome: Outcome): void
}

export class ConfirmLedger {
  /** How many publishes are outstanding. */
  count = 0
  /** Their bodies, in bytes. */
  bytes = 0

  private oldest = 1
  private next = 1
  private mask = 255
  private owners: Array<PublishOwner | undefined> = new Array(256).fill(undefined)
  private indexes = new Float64Array(256)
  private sizes = new Float64Array(256)
  private onEmpty: (() => void) | undefined

  /** Takes the next publish number for a message of `size` bytes. */
  add(owner: PublishOwner, index: number, size: number): void {
    if (this.next - this.oldest > this.mask) this.grow()
    const slot = this.next++ & this.mask
    this.owners[slot] = owner
    this.indexes[slot] = index
    this.sizes[slot] = size
    this.count++
    this.bytes += size
  }

  /** Handles `basic.ack` and `basic.nack`. A number that is not outstanding (any more) is ignored; 0 with `multiple` is all. */
  settle(deliveryTag: number | bigint, multiple: boolean, outcome: Outcome): void {
    const tag = Number(deliveryTag)
    if (tag >= this.next) {
      throw new ProtocolError({
        replyCode: ReplyCode.preconditionFailed,
        message: `the broker confirmed publish ${tag}, but ${this.next - 1} is the last one`
      })
    }
    const first = multiple ? this.oldest : tag
    const last = multiple && tag === 0 ? this.next - 1 : tag
    for (let number = Math.max(first, this.oldest); number <= last; number++) this.settleOne(number, outcome)
    while (this.oldest < this.next && this.owners[this.oldest & this.mask] === undefined) this.oldest++
    if (this.count === 0) this.onEmpty?.()
  }

  /** Waits until no publish is outstanding. */
  readonly awaitEmpty: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.count === 0) return resume(Effect.void)
    this.onEmpty = () => resume(Effect.void)
    return Effect.sync(() => {
      this.onEmpty = undefined
    })
  })

  /** Ends every outstanding publish. */
  fail(error: AmqpChannelError): void {
    this.settle(0, true, error)
  }

  private settleOne(number: number, outcome: Outcome): void {
    const slot = number & this.mask
    const owner = this.owners[slot]
    if (owner === undefined) return
    this.owners[slot] = undefined
    this.count--
    this.bytes -= this.sizes[slot]
    owner.settled(this.indexes[slot], outcome)
  }

  private grow(): void {
    const size = (this.mask + 1) * 2
    const owners: Array<PublishOwner | undefined> = new Array(size).fill(undefined)
    const indexes = new Float64Array(size)
    const sizes = new Float64Array(size)
    for (let number = this.oldest; number < this.next; number++) {
      const from = number & this.mask
      const to = number & (size - 1)
      owners[to] = this.owners[from]
      indexes[to] = this.indexes[from]
      sizes[to] = this.sizes[from]
    }
    this.owners = owners
    this.indexes = indexes
    this.sizes = sizes
    this.mask = size - 1
  }
}
