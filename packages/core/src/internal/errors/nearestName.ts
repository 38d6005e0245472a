/** Finds the known name that a misspelled one is meant to be. */

/** The number of inserted, deleted and replaced characters between two texts (Levenshtein). */
const distance = (one: string, other: string): number => {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index)
  for (const [done, letter] of Array.from(one).entries()) {
    const next = [done + 1]
    for (const [index, opposite] of Array.from(other).entries()) {
      next.push(Math.min(next[index] + 1, row[index + 1] + 1, row[index] + (letter === opposite ? 0 : 1)))
    }
    row = next
  }
  return row[other.length]
}

/**
 * The most similar known name, if the other one is likely a typing error of it: at most two characters differ, and at
 * most every third.
 */
export const nearestName = (name: string, known: Iterable<string>): string | undefined => {
  let nearest: string | undefined
  let least = Math.min(2, Math.floor(name.length / 3)) + 1
  for (const candidate of known) {
    const difference = distance(name.toLowerCase(), candidate.toLowerCase())
    if (difference >= least) continue
    nearest = candidate
    least = difference
  }
  return nearest
}
