/**
 * The publishes of a confirm-mode channel that the broker has not answered yet.
 *
 * The broker counts publishes from 1 (RabbitMQ, "Publisher Confirms"), and so does this ledger: a publish takes the next
 * number in the same step that encodes it. Slots live in a ring, so a message costs no object here.
 */
import * as Effect from "effect/Effect"
import type { AmqpChannelError, NotSent } from "../../AmqpError.ts"
import { Returned } from "../../AmqpError.ts"
import { ReplyCode } from "../../protocol/constants.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import type { BasicReturn } from "../../protocol/methods.generated.ts"
import { ProtocolError } from "../../protocol/ProtocolError.ts"
import type { InFlight } from "../errors/replyTexts.ts"
import type { Counts } from "../telemetry/counters.ts"
import { canBlame, judge } from "./closeCause.ts"
import type { Judgement } from "./closeCause.ts"

type Route = Pick<InFlight, "exchange" | "routingKey">

/** What became of a publish: the broker has it, refused it, returned it, can't have it, or it is unknown. */
export type Outcome = "Acked" | "Nacked" | Returned | NotSent | AmqpChannelError

/** Whoever waits for publishes; `index` is what it passed to `add`. */
export interface PublishOwner {
  settled(index: number, outcome: Outcome): void
}

/** A message that comes back when no queue takes it. `properties` are encoded. */
export interface MandatoryMessage {
  readonly exchange: string
  readonly routingKey: string
  readonly properties: Uint8Array
  readonly body: Uint8Array
}

export class ConfirmLedger {
  /** How many publishes are outstanding. */
  count = 0
  /** What they hold: their bodies and encoded properties, in bytes. */
  bytes = 0
  /** Is told which publishes a close is about, before their owners are. */
  onJudged: ((judgement: Judgement) => void) | undefined

  private readonly counts: Counts
  private oldest = 1
  private next = 1
  private mask = 255
  private owners: Array<PublishOwner | undefined> = new Array(256).fill(undefined)
  private indexes = new Float64Array(256)
  private bodySizes = new Float64Array(256)
  private propertySizes = new Float64Array(256)
  private routes: Array<Route | undefined> = new Array(256).fill(undefined)
  private times: Float64Array | undefined
  private now: () => number = () => 0
  private waitsForLeaving = false
  /** The mandatory ones that have not come back, and those that have, by their numbers. */
  private readonly mandatory = new Map<number, MandatoryMessage>()
  private readonly returned = new Map<number, Returned>()
  private onEmpty: (() => void) | undefined

  constructor(counts: Counts) {
    this.counts = counts
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

  /**
   * Handles `basic.return`, which comes before the confirm of its message. It has no number: it is of the oldest message that
   * it can be of. A broker or its plugins may have changed the properties, and then the rest has to do.
   */
  handleReturn({ body, bodySize, method, oversized, properties }: Content<BasicReturn>): void {
    let found: number | undefined
    for (const [number, message] of this.mandatory) {
      if (message.exchange !== method.exchange || message.routingKey !== method.routingKey) continue
      // A body above the limit was dropped as it came, so its size has to do.
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

  /** The last publish takes its time to leave. Returns what is to be called when it has, if that matters for its time. */
  lastIsLeaving(): (() => void) | undefined {
    if (!this.waitsForLeaving) return undefined
    const number = this.next - 1
    const note = (time: number): void => {
      if (this.times !== undefined && number >= this.oldest) this.times[number & this.mask] = time
    }
    note(Infinity)
    return () => note(this.now())
  }

  /** When the oldest outstanding publish was sent, `Infinity`: it is leaving; `undefined` when there is none. */
  get oldestTime(): number | undefined {
    return this.count === 0 ? undefined : this.times?.[this.oldest & this.mask]
  }

  /** From now on the ledger notes when publishes are sent: when they are handed over, or large ones when they have left. */
  noteTimes(now: () => number, waitsForLeaving: boolean): void {
    this.now = now
    this.waitsForLeaving = waitsForLeaving
    this.times = new Float64Array(this.mask + 1)
  }

  /** Ends the publishes that were sent at this time or before. A confirm that comes later is ignored. */
  expire(time: number, error: AmqpChannelError): void {
    for (let oldest = this.oldestTime; oldest !== undefined && oldest <= time; oldest = this.oldestTime) {
      this.settle(this.oldest, false, error)
    }
  }

  /** Ends the last publish, of which not everything was sent. */
  failLast(outcome: NotSent): void {
    this.settle(this.next - 1, false, outcome)
  }

  /** Ends every outstanding publish, as the channel is gone: each with what that says about it. */
  fail(error: AmqpChannelError): void {
    if (this.count === 0 || !canBlame(error)) return this.settle(0, true, error)
    const judgement = judge(error, this.inFlight(), this.onJudged !== undefined)
    this.onJudged?.(judgement)
    // Owners may do anything when they are told, but not publish here: the channel is gone.
    const last = this.next - 1
    for (let number = this.oldest; number <= last; number++) {
      const publish = this.publishAt(number)
      if (publish !== undefined) this.settleOne(number, judgement.outcomeOf(publish))
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
    // An owner that was settled before may have done anything, and a slot below the oldest is another publish's.
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
    if (outcome === "Acked") this.counts.confirmed++
    else if (outcome === "Nacked") this.counts.nacked++
    // The broker can't have what was not all sent.
    else if (outcome._tag === "AmqpChannelError") this.counts.unknown++
  }

  private grow(): void {
    const size = (this.mask + 1) * 2
    const owners: Array<PublishOwner | undefined> = new Array(size).fill(undefined)
    const indexes = new Float64Array(size)
    const bodySizes = new Float64Array(size)
    const propertySizes = new Float64Array(size)
    const routes: Array<Route | undefined> = new Array(size).fill(undefined)
    const times = this.times && new Float64Array(size)
    for (let number = this.oldest; number < this.next; number++) {
      const from = number & this.mask
      const to = number & (size - 1)
      owners[to] = this.owners[from]
      indexes[to] = this.indexes[from]
      bodySizes[to] = this.bodySizes[from]
      propertySizes[to] = this.propertySizes[from]
      routes[to] = this.routes[from]
      if (times !== undefined && this.times !== undefined) times[to] = this.times[from]
    }
    this.owners = owners
    this.indexes = indexes
    this.bodySizes = bodySizes
    this.propertySizes = propertySizes
    this.routes = routes
    this.times = times
    this.mask = size - 1
  }
}

/** What a `basic.return` says. */
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
