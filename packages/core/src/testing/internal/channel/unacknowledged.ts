/** The deliveries of a channel that the client has not settled, by delivery tag. */
import { MovableTimer } from "../common/movableTimer.ts"
import { Refusal } from "../common/refusal.ts"
import type { Timers } from "../common/timers.ts"
import type { Entry, Queue } from "../queues/queue.ts"
import type { ChannelConsumer } from "./channelConsumer.ts"

export interface Received {
  readonly deliveryTag: number
  readonly queue: Queue
  readonly entry: Entry
  /** `undefined`: it was fetched by `basic.get`. */
  readonly consumer: ChannelConsumer | undefined
  /** When it was delivered, in milliseconds since 1970. */
  readonly time: number
}

export interface UnacknowledgedOptions {
  readonly timers: Timers
  /** How long the client may keep a message, in milliseconds; infinite for no limit. */
  readonly timeoutOf: (received: Received) => number
  /** Called once with each message that the client keeps for longer. */
  readonly onOverdue: (overdue: ReadonlyArray<Received>) => void
}

export class Unacknowledged {
  private readonly options: UnacknowledgedOptions
  private readonly timer: MovableTimer
  /** In the order of the delivery tags. */
  private entries = new Map<number, Received>()
  /** Those that `onOverdue` was called with. */
  private reported: ReadonlySet<Received> = new Set()

  constructor(options: UnacknowledgedOptions) {
    this.options = options
    this.timer = new MovableTimer(options.timers, () => this.reportOverdue())
  }

  get size(): number {
    return this.entries.size
  }

  add(received: Received): void {
    this.entries.set(received.deliveryTag, received)
    this.timer.moveForwardTo(this.dueOf(received))
  }

  /** Removes the delivery with this tag; `multiple`: and all before it, or all deliveries for tag 0. */
  take(deliveryTag: number | bigint, multiple: boolean): ReadonlyArray<Received> {
    if (multiple && Number(deliveryTag) === 0) return this.takeAll()
    const last = this.entries.get(Number(deliveryTag))
    if (last === undefined) throw new Refusal("preconditionFailed", `unknown delivery tag ${deliveryTag}`)
    if (!multiple) {
      this.entries.delete(last.deliveryTag)
      return [last]
    }
    const taken: Array<Received> = []
    for (const [tag, received] of this.entries) {
      if (tag > last.deliveryTag) break
      this.entries.delete(tag)
      taken.push(received)
    }
    return taken
  }

  takeAll(): ReadonlyArray<Received> {
    const taken = [...this.entries.values()]
    this.entries.clear()
    return taken
  }

  /** Undoes `take`. */
  restore(received: ReadonlyArray<Received>): void {
    const all = [...received, ...this.entries.values()].toSorted((one, other) => one.deliveryTag - other.deliveryTag)
    this.entries = new Map(all.map((each) => [each.deliveryTag, each]))
  }

  /** Stops the timer: the channel was closed. */
  stop(): void {
    this.timer.clear()
  }

  private dueOf(received: Received): number {
    return received.time + this.options.timeoutOf(received)
  }

  private reportOverdue(): void {
    const { onOverdue, timers } = this.options
    const { reported } = this
    const overdue: Array<Received> = []
    const all = [...this.entries.values()]
    for (const received of all) {
      if (reported.has(received)) continue
      const due = this.dueOf(received)
      if (due <= timers.now()) overdue.push(received)
      else this.timer.moveForwardTo(due)
    }
    this.reported = new Set([...all.filter((received) => reported.has(received)), ...overdue])
    if (overdue.length > 0) onOverdue(overdue)
  }
}
