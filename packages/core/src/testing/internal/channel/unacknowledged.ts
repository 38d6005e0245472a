/** What a channel delivered and the client has not settled, by delivery tag. */
import { Refusal } from "../common/refusal.ts"
import type { Timers } from "../common/timers.ts"
import type { Entry, Queue } from "../queues/queue.ts"
import type { ChannelConsumer } from "./channelConsumer.ts"

export interface Received {
  readonly deliveryTag: number
  readonly queue: Queue
  readonly entry: Entry
  /** `undefined`: it came by `basic.get`. */
  readonly consumer: ChannelConsumer | undefined
  /** When, in milliseconds of the timers. */
  readonly at: number
}

/** How long the client may keep a message unsettled (RabbitMQ, "Delivery Acknowledgement Timeout"). */
export interface Deadline {
  readonly timers: Timers
  /** In milliseconds; `Infinity`: as long as it likes. */
  readonly timeoutOf: (received: Received) => number
  /** Called once with each message that is kept for longer. */
  readonly onMissed: (overdue: ReadonlyArray<Received>) => void
}

export class Unacknowledged {
  /** In the order of the delivery tags. */
  private entries = new Map<number, Received>()
  private readonly deadline: Deadline
  /** What was kept for too long. */
  private missed: ReadonlySet<Received> = new Set()
  /** Ends the timer, of which there is one as long as there may be something to wait for. */
  private stopTimer: (() => void) | undefined
  /** When the timer ends. */
  private armed = Infinity

  constructor(deadline: Deadline) {
    this.deadline = deadline
  }

  get size(): number {
    return this.entries.size
  }

  add(received: Received): void {
    this.entries.set(received.deliveryTag, received)
    this.watch(this.dueOf(received))
  }

  /** Takes out what a delivery tag names, `multiple`: with all before it; tag 0 names all there is. */
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

  /** The channel is no more. */
  end(): void {
    this.stopTimer?.()
  }

  /** Undoes `take`. */
  restore(received: ReadonlyArray<Received>): void {
    const all = [...received, ...this.entries.values()].toSorted((one, other) => one.deliveryTag - other.deliveryTag)
    this.entries = new Map(all.map((each) => [each.deliveryTag, each]))
  }

  private dueOf(received: Received): number {
    return received.at + this.deadline.timeoutOf(received)
  }

  private watch(due: number): void {
    if (due >= this.armed) return
    this.stopTimer?.()
    this.armed = due
    const { timers } = this.deadline
    this.stopTimer = timers.schedule(due - timers.now(), () => this.ring())
  }

  private ring(): void {
    this.armed = Infinity
    this.stopTimer = undefined
    const { onMissed, timers } = this.deadline
    const { missed } = this
    const overdue: Array<Received> = []
    const all = [...this.entries.values()]
    for (const received of all) {
      if (missed.has(received)) continue
      const due = this.dueOf(received)
      if (due <= timers.now()) overdue.push(received)
      else this.watch(due)
    }
    this.missed = new Set([...all.filter((received) => missed.has(received)), ...overdue])
    if (overdue.length > 0) onMissed(overdue)
  }
}
