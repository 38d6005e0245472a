/** The limit of `basic.qos` with `global`, which the consumers of a channel share, counted as RabbitMQ counts. */
export class GlobalPrefetch {
  private limit = 0
  private volume = 0

  get isActive(): boolean {
    return this.limit > 0
  }

  /** Whether no more may be delivered that is to be acknowledged, nor anything else. */
  get isReached(): boolean {
    return this.limit > 0 && this.volume >= this.limit
  }

  /** With the number of messages that the channel has unacknowledged, also those of `basic.get`: a new limit counts them. */
  set(limit: number, unacknowledged: number): void {
    if (this.limit === 0) this.volume = unacknowledged
    this.limit = limit
    if (limit === 0) this.volume = 0
  }

  /** A consumer got a message that is to be acknowledged. One that `basic.get` gets is not counted. */
  delivered(): void {
    if (this.limit > 0) this.volume++
  }

  /** So many messages of consumers were settled. Those of `basic.get` stay counted for as long as the limit is there. */
  settled(count: number): void {
    if (this.volume > 0) this.volume -= count
  }
}
