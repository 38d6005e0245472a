/** The limit of `basic.qos` with `global`, which the consumers of a channel share, counted as RabbitMQ counts it. */
export class GlobalPrefetch {
  private limit = 0
  private count = 0

  get isActive(): boolean {
    return this.limit > 0
  }

  /** Whether nothing may be delivered, not even without acknowledgement. */
  get isReached(): boolean {
    return this.limit > 0 && this.count >= this.limit
  }

  /** `unacknowledged`: the number of unacknowledged messages on the channel, including those from `basic.get`, which a new limit counts. */
  set(limit: number, unacknowledged: number): void {
    if (this.limit === 0) this.count = unacknowledged
    this.limit = limit
    if (limit === 0) this.count = 0
  }

  /** A consumer received a message that has to be acknowledged. A message that `basic.get` fetches does not count. */
  delivered(): void {
    if (this.limit > 0) this.count++
  }

  /** Messages of consumers were settled. Those from `basic.get` stay counted as long as the limit applies. */
  settled(count: number): void {
    if (this.count > 0) this.count -= count
  }
}
