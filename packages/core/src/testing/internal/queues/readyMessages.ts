/** The messages of a queue that nobody has: an order by priority, and by place among equals. */

/** What the order is by. */
export interface Placed {
  /** The higher comes first; a small whole number. */
  readonly priority: number
  /** The lower comes first among equal priorities. */
  readonly place: number
  /** What it counts for `x-max-length-bytes`. */
  readonly size: number
}

/**
 * What is pushed is ordered as it comes, and what is put back by its place, before what is pushed: whatever was taken stood
 * before what is still there. Pushing and taking are O(1), putting back is O(log n).
 */
export class ReadyMessages<A extends Placed> {
  /** Whether the priorities 0 and 1 take turns, as in a quorum queue of RabbitMQ 4.0: two of the higher, and one of the lower. */
  alternates = false
  /** What goes before all that is in the lanes. */
  private readonly front = new PlaceHeap<A>()
  /** By priority. */
  private readonly lanes: Array<Lane<A>> = []
  /** How many were taken from the lanes since it was the turn of the lower. */
  private turns = 0
  /** No lane above this priority has messages. */
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

  /** The first one of those that `putBackFirst` has not put back. */
  get firstPushed(): A | undefined {
    return this.nextLane()?.first
  }

  push(item: A): void {
    this.laneFor(item).fresh.push(item)
  }

  /** Puts an item back to its place among those of its priority. */
  putBack(item: A): void {
    this.laneFor(item).returned.push(item)
  }

  /** Puts an item back before all others, whatever their priority, and to its place among those that are there. */
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

  /** By priority: turns are not looked at. */
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
    // It is the lower one's turn, unless the higher one has waited longer.
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
  readonly fresh = new Line<A>()

  get isEmpty(): boolean {
    return this.returned.first === undefined && this.fresh.first === undefined
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

/** First in, first out. What was taken is cut off when it is the larger part, so that taking is O(1) on average. */
class Line<A> {
  private items: Array<A | undefined> = []
  private head = 0

  get first(): A | undefined {
    return this.items[this.head]
  }

  push(item: A): void {
    this.items.push(item)
  }

  shift(): A | undefined {
    const item = this.items[this.head]
    if (item === undefined) return undefined
    this.items[this.head++] = undefined
    if (this.head === this.items.length) {
      this.items.length = 0
      this.head = 0
    } else if (this.head > 1024 && this.head * 2 > this.items.length) {
      this.items = this.items.slice(this.head)
      this.head = 0
    }
    return item
  }

  toArray(): ReadonlyArray<A> {
    return this.items.filter((item) => item !== undefined)
  }
}

/** A binary heap: each item stands after its parent, at half its index. */
class PlaceHeap<A extends Placed> {
  private readonly items: Array<A> = []

  get first(): A | undefined {
    return this.items[0]
  }

  push(item: A): void {
    const items = this.items
    let index = items.length
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (items[parent].place <= item.place) break
      items[index] = items[parent]
      index = parent
    }
    items[index] = item
  }

  shift(): A | undefined {
    const items = this.items
    const first = items[0]
    const last = items.pop()
    if (last === undefined || items.length === 0) return first
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= items.length) break
      if (child + 1 < items.length && items[child + 1].place < items[child].place) child++
      if (items[child].place >= last.place) break
      items[index] = items[child]
      index = child
    }
    items[index] = last
    return first
  }

  clear(): void {
    this.items.length = 0
  }

  toArray(): ReadonlyArray<A> {
    return this.items.toSorted((left, right) => left.place - right.place)
  }
}
