/** The binding keys of topic exchanges: words between dots, `*` for one word and `#` for any number of them. */

/** The words of a routing key. An empty key has no words, rather than one empty word. */
export const wordsOf = (routingKey: string): ReadonlyArray<string> => routingKey === "" ? [] : routingKey.split(".")

/**
 * Whether the words of a routing key match those of a binding key.
 *
 * The time is at most proportional to the product of both lengths, however many `#` there are: backtracking only goes to the last `#`,
 * since an earlier one can match nothing that the last one can't.
 */
export const matchesTopic = (pattern: ReadonlyArray<string>, words: ReadonlyArray<string>): boolean => {
  let at = 0
  let word = 0
  /** The position after the last `#` in the pattern, and the first word that it does not match yet. */
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
