/** The pace of time: short steps while much happens, longer ones while everything waits. */
export class Pace {
  private step = 1

  /** To be called when something starts, so that its effects happen in order and not all at the end of a long step. */
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
