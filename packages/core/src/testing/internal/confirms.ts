/** The publisher confirms of a channel: what is due within a step is merged to as few acks as can be. */

/**
 * What the broker answers to a publish of a channel with confirms that its queues took: `hold` leaves the publisher without an
 * answer.
 *
 * @category models
 * @since 0.1.0
 */
export type Confirmation = "ack" | "nack" | "hold"

export class Confirms {
  private readonly send: (tag: "basic.ack" | "basic.nack", deliveryTag: number, multiple: boolean) => void
  /** The number of the last publish. */
  private published = 0
  /** What is due is what lies between. */
  private settled = 0
  /** Whether a publish was ever left without an answer: a multiple ack would answer it. */
  private holds = false

  constructor(send: (tag: "basic.ack" | "basic.nack", deliveryTag: number, multiple: boolean) => void) {
    this.send = send
  }

  add(confirmation: Confirmation): void {
    if (confirmation === "ack") {
      this.published++
      return
    }
    this.flush()
    this.settled = ++this.published
    if (confirmation === "nack") this.send("basic.nack", this.settled, false)
    else this.holds = true
  }

  flush(): void {
    const { published, settled } = this
    if (published === settled) return
    this.settled = published
    if (!this.holds) return this.send("basic.ack", published, published - settled > 1)
    for (let tag = settled + 1; tag <= published; tag++) this.send("basic.ack", tag, false)
  }
}
