/**
 * Ring buffers: arrays whose size is a power of two, in which entry `n` is at index `n & (size - 1)`.
 */
interface Ring<A> {
  readonly length: number
  [index: number]: A
}

/** Copies the entries from `first` up to `end` into another ring, which must have room for them, and returns that. */
export const copyRing = <A, R extends Ring<A>>(from: Ring<A>, to: R, first: number, end: number): R => {
  for (let entry = first; entry < end; entry++) to[entry & (to.length - 1)] = from[entry & (from.length - 1)]
  return to
}
