/** How fast time passes: in short steps while much happens, in longer ones when there is only waiting. */
export class Pace {
  private step = 1

  /** Something begins: what it leads to takes place in its order, and not all at the end of a step. */
  slowDown(): void {
    this.step = 1
  }

  /** The next step, in milliseconds. */
  next(): number {
    const { step } = this
    this.step = Math.min(step * 1.3, 1_000)
    return step
  }
}
