/** What a channel delivered and the client has not settled, by delivery tag. */
import type { ChannelConsumer } from "./channelConsumer.ts"
import type { Entry, Queue } from "./queue.ts"
import { Refusal } from "./refusal.ts"

export interface Received {
  readonly deliveryTag: number
  readonly queue: Queue
  readonly entry: Entry
  /** `undefined`: it came by `basic.get`. */
  readonly consumer: ChannelConsumer | undefined
}

export class Unacknowledged {
  /** In the order of the delivery tags. */
  private entries = new Map<number, Received>()

  get size(): number {
    return this.entries.size
  }

  add(received: Received): void {
    this.entries.set(received.deliveryTag, received)
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

  /** Undoes `take`. */
  restore(received: ReadonlyArray<Received>): void {
    const all = [...received, ...this.entries.values()].toSorted((one, other) => one.deliveryTag - other.deliveryTag)
    this.entries = new Map(all.map((each) => [each.deliveryTag, each]))
  }
}
