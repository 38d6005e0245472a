/**
 * The channel numbers of a session, from 1 to the negotiated maximum. A number is free again when the close of its channel is complete.
 */
export class ChannelNumbers {
  readonly limit: number
  private next = 1
  private readonly free: Array<number> = []

  /** `limit` 0 means that neither side has set a limit: numbers have 16 bits. */
  constructor(limit: number) {
    this.limit = limit === 0 ? 65535 : limit
  }

  /** A number that no open channel has, or `undefined` if all are in use. */
  acquire(): number | undefined {
    return this.free.pop() ?? (this.next <= this.limit ? this.next++ : undefined)
  }

  release(number: number): void {
    this.free.push(number)
  }

  /** Whether a channel ever had this number. Late frames for such a number are ignored; frames for others are an error. */
  wasUsed(number: number): boolean {
    return number > 0 && number < this.next
  }
}
