/** A delivery at the end of the step, however often it is asked for until then. */
export class DeferredDelivery {
  private readonly host: { defer(action: () => void): void }
  private readonly deliver: () => void
  /** Whether there will be one: no other is to go before it. */
  isRequested = false

  constructor(host: { defer(action: () => void): void }, deliver: () => void) {
    this.host = host
    this.deliver = deliver
  }

  request(): void {
    if (this.isRequested) return
    this.isRequested = true
    this.host.defer(() => {
      this.isRequested = false
      this.deliver()
    })
  }
}
