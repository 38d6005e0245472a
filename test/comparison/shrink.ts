/** Reduces a sequence to the shortest and simplest one that still has a certain property. */
import * as Effect from "effect/Effect"

export interface ShrinkOptions<A> {
  /** Whether a sequence has the property. */
  readonly holds: (sequence: ReadonlyArray<A>) => Effect.Effect<boolean>
  /** Slightly simpler versions of a part. */
  readonly simpler: (part: A) => ReadonlyArray<A>
  /** The maximum number of calls of `holds`. */
  readonly attempts: number
  /** The number of concurrent calls of `holds`. */
  readonly concurrency: number
}

/** Removes parts, many at once at first, and simplifies the others, until nothing more can be removed or the attempts are used up. */
export const shrink = <A>(
  sequence: ReadonlyArray<A>,
  options: ShrinkOptions<A>
): Effect.Effect<ReadonlyArray<A>> =>
  Effect.gen(function*() {
    let current = sequence
    let attemptsLeft = options.attempts
    /** The index of the first candidate from `start` on that has the property. */
    const firstThatHolds = (candidates: ReadonlyArray<ReadonlyArray<A>>, start: number) =>
      Effect.gen(function*() {
        for (let from = start; from < candidates.length && attemptsLeft > 0; from += options.concurrency) {
          const batch = candidates.slice(from, from + Math.min(options.concurrency, attemptsLeft))
          attemptsLeft -= batch.length
          const held = yield* Effect.forEach(batch, options.holds, { concurrency: options.concurrency })
          const index = held.indexOf(true)
          if (index >= 0) return from + index
        }
        return undefined
      })
    /** Replaces the sequence with candidates that have the property, and returns whether there was one. */
    const improve = (candidatesOf: (sequence: ReadonlyArray<A>) => ReadonlyArray<ReadonlyArray<A>>) =>
      Effect.gen(function*() {
        let hasImproved = false
        let start = 0
        for (;;) {
          const candidates = candidatesOf(current)
          const found = yield* firstThatHolds(candidates, start)
          if (found === undefined) return hasImproved
          current = candidates[found]
          start = found
          hasImproved = true
        }
      })
    for (;;) {
      let hasImproved = false
      for (let size = Math.ceil(current.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
        if (yield* improve((sequence) => withoutParts(sequence, size))) hasImproved = true
      }
      if (yield* improve((sequence) => withSimplerPart(sequence, options.simpler))) hasImproved = true
      if (!hasImproved || attemptsLeft <= 0) return current
    }
  })

/** Begins at the end, because later parts depend on earlier ones. */
const withoutParts = <A>(sequence: ReadonlyArray<A>, size: number): ReadonlyArray<ReadonlyArray<A>> =>
  Array.from({ length: Math.ceil(sequence.length / size) }, (_, index) => {
    const end = sequence.length - index * size
    return [...sequence.slice(0, Math.max(0, end - size)), ...sequence.slice(end)]
  })

const withSimplerPart = <A>(
  sequence: ReadonlyArray<A>,
  simpler: (part: A) => ReadonlyArray<A>
): ReadonlyArray<ReadonlyArray<A>> =>
  sequence.flatMap((part, index) => simpler(part).map((simple) => sequence.with(index, simple)))
