/**
 * The exchanges and routes of a publisher whose messages made the broker close its channel.
 *
 * A program that publishes such a message again and again would lose everything else in flight each time. So messages to these
 * places are sent separately: while nothing else is in flight. After a close whose cause is unknown, as many of the next messages
 * are sent separately as were in flight: if one of them makes the broker close the channel again, the cause is known.
 */
import type { CloseCause } from "../channel/closeCause.ts"
import type { InFlight } from "../errors/replyTexts.ts"

type Route = Pick<InFlight, "exchange" | "routingKey">

/** The most exchanges and routes that are remembered. A program rarely has more than one that fails. */
const maxRoutes = 64

const keyOf = ({ exchange, routingKey }: Route): string => `${exchange}\u0000${routingKey}`

export class FailingRoutes {
  /** Exchanges, and routes by {@link keyOf}. */
  private readonly failing = new Set<string>()
  /** How many of the next messages are sent separately, to whichever route. */
  private separateSends = 0
  /** The route of the message that was sent separately and is in flight. */
  private current: Route | undefined
  private isWaiting = false

  /** Whether a message is in flight that was sent separately, or one waits to be sent so. */
  get isSeparate(): boolean {
    return this.current !== undefined || this.isWaiting
  }

  /** Whether a message may be sent to this route now, with this many others in flight. */
  admits(route: Route, inFlight: number): boolean {
    if (!this.has(route)) return true
    this.isWaiting = inFlight > 0
    if (inFlight > 0) return false
    this.current = route
    return true
  }

  private has(route: Route): boolean {
    if (this.separateSends === 0 && this.failing.size === 0) return false
    return this.separateSends > 0 || this.failing.has(route.exchange) || this.failing.has(keyOf(route))
  }

  /** The broker closed the channel because of a publish. */
  add({ candidates, isNamed, publishes }: CloseCause): void {
    this.separateSends = Math.max(this.separateSends, candidates)
    for (const publish of publishes) {
      if (this.failing.size >= maxRoutes) this.failing.clear()
      this.failing.add(isNamed ? publish.exchange : keyOf(publish))
    }
  }

  /** Called when nothing is in flight. `isOpen`: whether the channel is still open. */
  settled(isOpen: boolean): void {
    const { current } = this
    this.reset()
    if (current === undefined) return
    this.separateSends = Math.max(0, this.separateSends - 1)
    if (!isOpen) return
    this.failing.delete(current.exchange)
    this.failing.delete(keyOf(current))
  }

  /** The channel is no longer used. */
  reset(): void {
    this.current = undefined
    this.isWaiting = false
  }
}
