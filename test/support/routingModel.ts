/** What matches a binding of a topic or headers exchange: a literal, slow implementation of the specification. */
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"

/** Takes exponential time, so for short keys only. */
export const topicMatches = (bindingKey: string, routingKey: string): boolean =>
  wordsMatch(bindingKey === "" ? [] : bindingKey.split("."), routingKey === "" ? [] : routingKey.split("."))

const wordsMatch = ([first, ...pattern]: ReadonlyArray<string>, words: ReadonlyArray<string>): boolean => {
  if (first === undefined) return words.length === 0
  const [word, ...others] = words
  if (first === "#") {
    return wordsMatch(pattern, words) || (word !== undefined && wordsMatch([first, ...pattern], others))
  }
  return word !== undefined && (first === "*" || first === word) && wordsMatch(pattern, others)
}

/** For headers of strings, numbers, booleans and `null`. */
export const headersMatch = (table: FieldTable, headers: FieldTable): boolean => {
  const mode = table["x-match"] ?? "all"
  const results = Object.entries(table)
    .filter(([name]) =>
      name !== "x-match" && (mode === "all-with-x" || mode === "any-with-x" || !name.startsWith("x-"))
    )
    .map(([name, value]) => name in headers && (value === null || value === headers[name]))
  return mode === "all" || mode === "all-with-x" ? !results.includes(false) : results.includes(true)
}
