/** First in, first out. Both ends take constant time: the array is cut when most of its items were taken. */
export class Fifo<A> {
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
