/**
 * Rings: arrays whose size is a power of two, in which entry `n` stands at `n & (size - 1)`.
 */
interface Ring<A> {
  readonly length: number
  [index: number]: A
}

/** Copies the entries from `first` up to `end` of a ring into another one, which has room for them. Returns the latter. */
export const copyRing = <A, R extends Ring<A>>(from: Ring<A>, to: R, first: number, end: number): R => {
  for (let entry = first; entry < end; entry++) to[entry & (to.length - 1)] = from[entry & (from.length - 1)]
  return to
}
