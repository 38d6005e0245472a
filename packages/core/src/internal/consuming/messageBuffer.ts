/**
 * Messages that have arrived and that no handler has taken, oldest first.
 */

/** Taken entries are dropped when there are this many, and they are at least half of the array. */
const maxTaken = 1024

export class MessageBuffer<A> {
  private items: Array<A | undefined> = []
  /** The index of the oldest message. Entries below it are taken: `shift` would move all that follow, for each message. */
  private head = 0

  get size(): number {
    return this.items.length - this.head
  }

  offer(item: A): void {
    this.items.push(item)
  }

  /** Removes and returns the oldest message. */
  take(): A | undefined {
    if (this.head === this.items.length) return undefined
    const item = this.items[this.head]
    this.items[this.head++] = undefined
    if (this.head === this.items.length) this.reset([])
    // A consumer that is never idle has a buffer that is never empty.
    else if (this.head >= maxTaken && this.head * 2 >= this.items.length) this.reset(this.items.slice(this.head))
    return item
  }

  /** Removes and returns all messages. */
  clear(): ReadonlyArray<A> {
    const left = this.items.slice(this.head)
    this.reset([])
    // Only entries below `head` are undefined.
    return left as ReadonlyArray<A>
  }

  private reset(items: Array<A | undefined>): void {
    this.items = items
    this.head = 0
  }
}
