/** Reads a property that may be there. */
const get = (value: object, key: string): unknown => Reflect.get(value, key)

/**
 * An error of the client in one line: the tags of the error, of its reason, and of the causes below. For a batch, those of the
 * first failure.
 */
export const tagsOf = (error: unknown): string => {
  const tags: Array<string> = []
  let current = error
  while (typeof current === "object" && current !== null && "_tag" in current) {
    tags.push(String(current._tag))
    const failures = get(current, "failures")
    const first: unknown = Array.isArray(failures) ? failures[0] : undefined
    current = typeof first === "object" && first !== null
      ? get(first, "error")
      : get(current, "reason") ?? get(current, "cause")
  }
  return tags.length === 0 ? String(error) : tags.join(" > ")
}
