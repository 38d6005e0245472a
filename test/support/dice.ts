/** Random choices that are determined by a seed. */
export class Dice {
  private state: number

  constructor(seed: number) {
    this.state = seed >>> 0
    // The first draws of neighbouring seeds are similar, and are skipped.
    for (let draw = 0; draw < 8; draw++) this.next()
  }

  /** From 0 to 1, excluding 1: a linear congruential generator whose high bits are mixed into the low ones. */
  private next(): number {
    this.state = (Math.imul(this.state, 1_664_525) + 1_013_904_223) >>> 0
    const mixed = Math.imul(this.state ^ (this.state >>> 16), 0x45d9f3b)
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32
  }

  /** An integer between the limits, including both. */
  between(minimum: number, maximum: number): number {
    return minimum + Math.floor(this.next() * (maximum - minimum + 1))
  }

  /** Returns `true` in this percentage of calls. */
  chance(percent: number): boolean {
    return this.next() * 100 < percent
  }

  oneOf<const A>(...values: ReadonlyArray<A>): A {
    return values[this.between(0, values.length - 1)]
  }

  /** One of the names, each with a probability proportional to its weight. */
  weighted<Name extends string>(weights: Readonly<Record<Name, number>>): Name {
    // The keys of a record of this type are its names.
    const names = Object.keys(weights) as Array<Name>
    let left = this.next() * names.reduce((sum, name) => sum + weights[name], 0)
    for (const name of names) {
      left -= weights[name]
      if (left < 0) return name
    }
    return names[names.length - 1]
  }
}
