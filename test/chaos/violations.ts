/** What went wrong in a run. */

/** A kind of violation, with how often it happened and some examples. */
export interface Violation {
  readonly kind: string
  readonly count: number
  readonly examples: ReadonlyArray<string>
}

/** How many examples of a kind are kept: a lost queue loses thousands of messages. */
const maxExamples = 10

export class Violations {
  private readonly kinds = new Map<string, { count: number; readonly examples: Array<string> }>()

  add(kind: string, example: string): void {
    let found = this.kinds.get(kind)
    if (found === undefined) this.kinds.set(kind, found = { count: 0, examples: [] })
    found.count++
    if (found.examples.length < maxExamples) found.examples.push(example)
  }

  get all(): ReadonlyArray<Violation> {
    return [...this.kinds].map(([kind, { count, examples }]) => ({ kind, count, examples }))
  }
}
