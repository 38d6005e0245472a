/**
 * Which messages of a publisher may close its channel, by what closed it before.
 *
 * A program that tries such a message again and again would take down whatever else is in flight each time. So what goes where a
 * close came from is sent alone, and after a close that names nothing, as many messages as were in flight are: one of them may
 * close the channel again, and is known then.
 */
import type { Judgement } from "../channel/closeCause.ts"
import type { InFlight } from "../errors/replyTexts.ts"

type Route = Pick<InFlight, "exchange" | "routingKey">

/** So many exchanges or routes are remembered at most; a program rarely has one that is wrong. */
const maxRoutes = 64

const keyOf = ({ exchange, routingKey }: Route): string => `${exchange}\u0000${routingKey}`

export class Suspicion {
  /** Exchanges, and routes by {@link keyOf}. */
  private readonly closers = new Set<string>()
  /** How many of the next messages go alone, wherever they go. */
  private cautious = 0
  private alone: Route | undefined
  private waitsForAlone = false

  /** Whether a message is in flight that is to be alone, or waits for that. */
  get isAlone(): boolean {
    return this.alone !== undefined || this.waitsForAlone
  }

  /** Whether a message that goes there is to be sent alone. */
  has(route: Route): boolean {
    if (this.cautious === 0 && this.closers.size === 0) return false
    return this.cautious > 0 || this.closers.has(route.exchange) || this.closers.has(keyOf(route))
  }

  /** Whether it may be sent now. */
  goesAlone(route: Route, inFlight: number): boolean {
    this.waitsForAlone = inFlight > 0
    if (inFlight === 0) this.alone = route
    return inFlight === 0
  }

  /** The channel was closed. */
  note({ culprits, isNamed, suspects }: Judgement): void {
    this.cautious = Math.max(this.cautious, suspects)
    for (const culprit of culprits) {
      if (this.closers.size >= maxRoutes) this.closers.clear()
      this.closers.add(isNamed ? culprit.exchange : keyOf(culprit))
    }
  }

  /** Nothing is in flight any more. `isOpen`: the channel survived it. */
  settled(isOpen: boolean): void {
    const { alone } = this
    this.forgetAlone()
    if (alone === undefined) return
    this.cautious = Math.max(0, this.cautious - 1)
    if (!isOpen) return
    this.closers.delete(alone.exchange)
    this.closers.delete(keyOf(alone))
  }

  forgetAlone(): void {
    this.alone = undefined
    this.waitsForAlone = false
  }
}
