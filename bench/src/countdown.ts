/**
 * A promise that resolves after a number of calls.
 */
export class Countdown {
  readonly ended: Promise<void>
  private resolve = () => {}
  private left: number

  constructor(calls: number) {
    this.left = calls
    this.ended = new Promise((resolve) => {
      this.resolve = resolve
    })
  }

  count(): void {
    if (--this.left === 0) this.resolve()
  }
}
