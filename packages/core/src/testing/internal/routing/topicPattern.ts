/** The binding keys of topic exchanges: words between dots, `*` for one word and `#` for any number of them. */

/** The words of a routing key. An empty key has no word, and not one that is empty. */
export const wordsOf = (routingKey: string): ReadonlyArray<string> => routingKey === "" ? [] : routingKey.split(".")

/**
 * Whether the words of a routing key match those of a binding key.
 *
 * Takes time by the product of both lengths at most, however many `#` there are: only the last one that was passed is gone back
 * to, since an earlier one could reach nothing that this one can't.
 */
export const matchesTopic = (pattern: ReadonlyArray<string>, words: ReadonlyArray<string>): boolean => {
  let at = 0
  let word = 0
  /** The pattern after the last `#`, and how far the words were that it may still take. */
  let resumePattern = -1
  let resumeWord = 0
  while (word < words.length) {
    const expected = pattern[at]
    if (expected === "#") {
      resumePattern = ++at
      resumeWord = word
    } else if (at < pattern.length && (expected === "*" || expected === words[word])) {
      at++
      word++
    } else if (resumePattern >= 0) {
      at = resumePattern
      word = ++resumeWord
    } else {
      return false
    }
  }
  while (pattern[at] === "#") at++
  return at === pattern.length
}
