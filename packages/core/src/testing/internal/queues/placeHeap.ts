/** A binary heap whose first item has the lowest place. The parent of an item is at half its index. */
export class PlaceHeap<A extends { readonly place: number }> {
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
