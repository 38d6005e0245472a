/** A delivery at the end of the step, once however often it is requested. */
export class DeferredDelivery {
  private readonly host: { defer(action: () => void): void }
  private readonly deliver: () => void
  /** Whether it is going to happen. Until then the queue delivers nothing. */
  isPending = false

  constructor(host: { defer(action: () => void): void }, deliver: () => void) {
    this.host = host
    this.deliver = deliver
  }

  request(): void {
    if (this.isPending) return
    this.isPending = true
    this.host.defer(() => {
      this.isPending = false
      this.deliver()
    })
  }
}
