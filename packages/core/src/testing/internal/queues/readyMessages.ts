/** The ready messages of a queue, ordered by priority, and by place within a priority. */
import { Fifo } from "./fifo.ts"
import { PlaceHeap } from "./placeHeap.ts"

/** What determines the order, and the load. */
export interface Placed {
  /** The higher comes first; a small whole number. */
  readonly priority: number
  /** The lower comes first within a priority. */
  readonly place: number
  /** The size for `x-max-length-bytes`. */
  readonly size: number
}

/**
 * Items that are pushed keep the order in which they come; items that are put back are ordered by place and come first, since whatever
 * was taken stood before what is left. Pushing and taking are O(1), putting back is O(log n).
 */
export class ReadyMessages<A extends Placed> {
  /** Whether the priorities 0 and 1 take turns, as in a quorum queue of RabbitMQ 4.0: two of the higher, and one of the lower. */
  alternates = false
  /** Items that come before all those in the lanes. */
  private readonly front = new PlaceHeap<A>()
  /** By priority. */
  private readonly lanes: Array<Lane<A>> = []
  /** How many items were taken from the lanes since the last turn of the lower priority. */
  private turns = 0
  /** All lanes above this priority are empty. */
  private top = -1
  private count = 0
  private size = 0

  get length(): number {
    return this.count
  }

  /** The sum of the sizes. */
  get bytes(): number {
    return this.size
  }

  get first(): A | undefined {
    return this.front.first ?? this.firstPushed
  }

  /** The first item that `putBackFirst` has not put back. */
  get firstPushed(): A | undefined {
    return this.nextLane()?.first
  }

  push(item: A): void {
    this.laneFor(item).fresh.push(item)
  }

  /** Puts an item back in its place within its priority. */
  putBack(item: A): void {
    this.laneFor(item).returned.push(item)
  }

  /** Puts an item back before all others of any priority, and in its place among those put back in this way. */
  putBackFirst(item: A): void {
    this.front.push(item)
    this.count++
    this.size += item.size
  }

  shift(): A | undefined {
    return this.counted(this.front.shift()) ?? this.shiftPushed()
  }

  shiftPushed(): A | undefined {
    const item = this.nextLane()?.shift()
    if (item !== undefined) this.turns = this.turns === 2 ? 0 : this.turns + 1
    return this.counted(item)
  }

  clear(): void {
    this.front.clear()
    this.lanes.length = 0
    this.top = -1
    this.count = 0
    this.size = 0
  }

  /** By priority, even if priorities take turns. */
  toArray(): ReadonlyArray<A> {
    return [...this.front.toArray(), ...this.lanes.toReversed().flatMap((lane) => lane.toArray())]
  }

  private counted(item: A | undefined): A | undefined {
    if (item === undefined) return undefined
    this.count--
    this.size -= item.size
    return item
  }

  private laneFor({ priority, size }: A): Lane<A> {
    while (this.lanes.length <= priority) this.lanes.push(new Lane())
    this.count++
    this.size += size
    if (priority > this.top) this.top = priority
    return this.lanes[priority]
  }

  private nextLane(): Lane<A> | undefined {
    const top = this.topLane()
    if (!this.alternates || this.turns < 2 || this.top !== 1) return top
    const lower = this.lanes[0]
    // On its turn, the lower lane goes first unless the higher one has waited longer.
    return lower.first !== undefined && lower.first.place < (top?.first?.place ?? Infinity) ? lower : top
  }

  private topLane(): Lane<A> | undefined {
    while (this.top >= 0) {
      const lane = this.lanes[this.top]
      if (!lane.isEmpty) return lane
      this.top--
    }
    return undefined
  }
}

/** The messages of one priority. */
class Lane<A extends Placed> {
  readonly returned = new PlaceHeap<A>()
  readonly fresh = new Fifo<A>()

  get isEmpty(): boolean {
    return this.first === undefined
  }

  get first(): A | undefined {
    return this.returned.first ?? this.fresh.first
  }

  shift(): A | undefined {
    return this.returned.shift() ?? this.fresh.shift()
  }

  toArray(): ReadonlyArray<A> {
    return [...this.returned.toArray(), ...this.fresh.toArray()]
  }
}
