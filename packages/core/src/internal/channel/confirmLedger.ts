/**
 * The publishes of a channel in confirm mode that the broker has not confirmed yet.
 *
 * The broker numbers publishes from 1 (RabbitMQ, "Publisher Confirms"), and so does this ledger: a publish takes the next
 * number in the same synchronous step that encodes it. The entries are in a ring, so a message allocates no object here.
 */
import type * as Effect from "effect/Effect"
import type { AmqpChannelError, NotSent } from "../../AmqpError.ts"
import { Returned } from "../../AmqpError.ts"
import { ReplyCode } from "../../protocol/constants.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import type { BasicReturn } from "../../protocol/methods.generated.ts"
import { ProtocolError } from "../../protocol/ProtocolError.ts"
import { copyRing } from "../common/ring.ts"
import { Signal } from "../common/signal.ts"
import type { InFlight } from "../errors/replyTexts.ts"
import type { Counts } from "../telemetry/counters.ts"
import { findCause, mayBeCausedByPublish } from "./closeCause.ts"
import type { CloseCause } from "./closeCause.ts"

type Route = Pick<InFlight, "exchange" | "routingKey">

/** The outcome of a publish: acknowledged, refused or returned by the broker, not sent, or unknown because of an error. */
export type Outcome = "Acked" | "Nacked" | Returned | NotSent | AmqpChannelError

/** Takes the outcome of its publishes; `index` is the one that was passed to `add`. */
export interface PublishOwner {
  settled(index: number, outcome: Outcome): void
}

/** What sends all publishes of a channel, whichever owner each has. */
export interface PublishSender {
  /** The broker closed the channel because of a publish. Called before the owners get their outcomes. */
  channelClosed(cause: CloseCause): void
  /** Publishes were settled, so fewer are in flight. Called once for all that one confirm settles, after their owners. */
  publishesSettled(): void
}

/** A message that the broker returns if no queue takes it. `properties` are encoded. */
export interface MandatoryMessage {
  readonly exchange: string
  readonly routingKey: string
  readonly properties: Uint8Array
  readonly body: Uint8Array
}

/** What a ledger needs from its session. */
export interface LedgerHost {
  readonly counts: Counts
  /** The broker has confirmed a publish. */
  confirmed(): void
}

/** A power of two. A channel that publishes little, as most of thousands do, takes little memory: eight numbers are kept without a buffer outside the heap. */
const initialSlots = 8

export class ConfirmLedger {
  /** How many publishes are in flight: sent and not settled. */
  count = 0
  /** The size of their bodies and encoded properties, in bytes. */
  bytes = 0
  /** Whether the broker has refused a publish. */
  hasNacked = false
  /** Notified when the broker refuses a publish. */
  readonly nacked = new Signal()
  /** Set by a sender that sends messages one at a time after a close whose cause is unknown. */
  sender: PublishSender | undefined

  private readonly host: LedgerHost
  private oldest = 1
  private next = 1
  private mask = initialSlots - 1
  private owners: Array<PublishOwner | undefined> = new Array(initialSlots).fill(undefined)
  private indexes = new Float64Array(initialSlots)
  private bodySizes = new Float64Array(initialSlots)
  private propertySizes = new Float64Array(initialSlots)
  private routes: Array<Route | undefined> = new Array(initialSlots).fill(undefined)
  private times: Float64Array | undefined
  private now: () => number = () => 0
  private waitsForLeaving = false
  /** The mandatory publishes that were not returned, and those that were, by their numbers. */
  private readonly mandatory = new Map<number, MandatoryMessage>()
  private readonly returned = new Map<number, Returned>()
  private readonly emptied = new Signal()

  constructor(host: LedgerHost) {
    this.host = host
  }

  /** Takes the next publish number for a message; sizes are in bytes. */
  add(
    owner: PublishOwner,
    index: number,
    bodySize: number,
    propertySize: number,
    route: Route,
    mandatory?: MandatoryMessage
  ): void {
    if (this.next - this.oldest > this.mask) this.grow()
    if (mandatory !== undefined) this.mandatory.set(this.next, mandatory)
    const slot = this.next++ & this.mask
    this.owners[slot] = owner
    this.indexes[slot] = index
    this.bodySizes[slot] = bodySize
    this.propertySizes[slot] = propertySize
    this.routes[slot] = route
    if (this.times !== undefined) this.times[slot] = this.now()
    this.count++
    this.bytes += bodySize + propertySize
  }

  /** Handles `basic.ack` and `basic.nack`. A number that is already settled is ignored; 0 with `multiple` means all. */
  settle(deliveryTag: number | bigint, multiple: boolean, outcome: Outcome): void {
    const tag = Number(deliveryTag)
    if (tag >= this.next) {
      throw new ProtocolError({
        replyCode: ReplyCode.preconditionFailed,
        message: `the broker confirmed publish ${tag}, but ${this.next - 1} is the last one`
      })
    }
    if (outcome === "Acked" || outcome === "Nacked") this.host.confirmed()
    const first = multiple ? this.oldest : tag
    const last = multiple && tag === 0 ? this.next - 1 : tag
    for (let number = Math.max(first, this.oldest); number <= last; number++) this.settleOne(number, outcome)
    while (this.oldest < this.next && this.owners[this.oldest & this.mask] === undefined) this.oldest++
    this.sender?.publishesSettled()
    if (this.count === 0) this.emptied.notify()
    if (outcome !== "Nacked") return
    this.hasNacked = true
    this.nacked.notify()
  }

  /** Waits until no publish is in flight. */
  readonly awaitEmpty: Effect.Effect<void> = this.emptied.until(() => this.count === 0)

  /** Waits until the broker refuses a publish. */
  get awaitNack(): Effect.Effect<void> {
    return this.nacked.next
  }

  /**
   * Handles `basic.return`, which comes before the confirm of its message. It has no publish number, so it belongs to the oldest
   * message that matches. If none has the same properties, which a broker or its plugins may change, the rest has to match.
   */
  handleReturn({ body, bodySize, method, oversized, properties }: Content<BasicReturn>): void {
    let found: number | undefined
    for (const [number, message] of this.mandatory) {
      if (message.exchange !== method.exchange || message.routingKey !== method.routingKey) continue
      // A body above the limit was dropped when it arrived, so only its size can be compared.
      if (oversized ? message.body.length !== bodySize : !areEqual(message.body, body)) continue
      found ??= number
      if (!areEqual(message.properties, properties)) continue
      found = number
      break
    }
    if (found === undefined) return
    this.mandatory.delete(found)
    this.returned.set(found, returnedOf(method))
  }

  /** The last publish is sent in pieces. Returns a function to call after the last piece, if the time of that is noted. */
  lastIsLeaving(): (() => void) | undefined {
    if (!this.waitsForLeaving) return undefined
    const number = this.next - 1
    const note = (time: number): void => {
      if (this.times !== undefined && number >= this.oldest) this.times[number & this.mask] = time
    }
    note(Infinity)
    return () => note(this.now())
  }

  /** When the oldest publish in flight was sent: `Infinity` if it is still being sent, `undefined` if none is in flight. */
  get oldestTime(): number | undefined {
    return this.count === 0 ? undefined : this.times?.[this.oldest & this.mask]
  }

  /** Notes from now on when publishes are sent. With `waitsForLeaving` a large publish counts from its last piece. */
  noteTimes(now: () => number, waitsForLeaving: boolean): void {
    this.now = now
    this.waitsForLeaving = waitsForLeaving
    this.times ??= new Float64Array(this.mask + 1)
  }

  /** Settles the publishes that were sent at this time or before. A later confirm of them is ignored. */
  expire(time: number, error: AmqpChannelError): void {
    for (let oldest = this.oldestTime; oldest !== undefined && oldest <= time; oldest = this.oldestTime) {
      this.settle(this.oldest, false, error)
    }
  }

  /** Settles the last publish, which was not sent to its end. */
  failLast(outcome: NotSent): void {
    this.settle(this.next - 1, false, outcome)
  }

  /** Settles every publish in flight, as the channel is closed: each according to whether it may have caused that. */
  fail(error: AmqpChannelError): void {
    if (this.count === 0 || !mayBeCausedByPublish(error)) return this.settle(0, true, error)
    const cause = findCause(error, this.inFlight(), this.sender !== undefined)
    this.sender?.channelClosed(cause)
    // Owners may run any code now, but can't publish here: the channel is closed.
    const last = this.next - 1
    for (let number = this.oldest; number <= last; number++) {
      const publish = this.publishAt(number)
      if (publish !== undefined) this.settleOne(number, cause.outcomeOf(publish))
    }
    this.settle(0, true, error)
  }

  private *inFlight(): Generator<InFlight> {
    for (let number = this.oldest; number < this.next; number++) {
      const publish = this.publishAt(number)
      if (publish !== undefined) yield publish
    }
  }

  private publishAt(number: number): InFlight | undefined {
    const slot = number & this.mask
    const route = this.routes[slot]
    if (this.owners[slot] === undefined || route === undefined) return undefined
    return { exchange: route.exchange, routingKey: route.routingKey, bodySize: this.bodySizes[slot] }
  }

  private settleOne(number: number, outcome: Outcome): void {
    const slot = number & this.mask
    const owner = this.owners[slot]
    // The owner of an earlier publish may have run any code, and a slot below the oldest belongs to another publish.
    if (owner === undefined || number < this.oldest) return
    this.owners[slot] = undefined
    this.routes[slot] = undefined
    this.count--
    this.bytes -= this.bodySizes[slot] + this.propertySizes[slot]
    const index = this.indexes[slot]
    this.note(outcome)
    if (this.mandatory.size === 0 && this.returned.size === 0) return owner.settled(index, outcome)
    const returned = this.returned.get(number)
    this.returned.delete(number)
    this.mandatory.delete(number)
    owner.settled(index, returned !== undefined && outcome !== "Nacked" ? returned : outcome)
  }

  private note(outcome: Outcome): void {
    if (outcome === "Acked") this.host.counts.confirmed++
    else if (outcome === "Nacked") this.host.counts.nacked++
    // The broker does not have a message that was not sent to its end, so only other errors leave the outcome unknown.
    else if (outcome._tag === "AmqpChannelError") this.host.counts.unknown++
  }

  private grow(): void {
    const size = (this.mask + 1) * 2
    const { next, oldest } = this
    this.owners = copyRing(this.owners, new Array<PublishOwner | undefined>(size).fill(undefined), oldest, next)
    this.indexes = copyRing(this.indexes, new Float64Array(size), oldest, next)
    this.bodySizes = copyRing(this.bodySizes, new Float64Array(size), oldest, next)
    this.propertySizes = copyRing(this.propertySizes, new Float64Array(size), oldest, next)
    this.routes = copyRing(this.routes, new Array<Route | undefined>(size).fill(undefined), oldest, next)
    this.times = this.times && copyRing(this.times, new Float64Array(size), oldest, next)
    this.mask = size - 1
  }
}

/** The reason of a `basic.return`. */
export const returnedOf = ({ exchange, replyCode, replyText, routingKey }: BasicReturn): Returned =>
  new Returned({ exchange, replyCode, replyText, routingKey })

const areEqual = (a: Uint8Array, b: Uint8Array): boolean => {
  if (a === b) return true
  if (a.length !== b.length) return false
  for (let index = 0; index < a.length; index++) {
    if (a[index] !== b[index]) return false
  }
  return true
}
