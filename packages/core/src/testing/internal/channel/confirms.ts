/** The publisher confirms of a channel. Those that are due in a step are merged into as few acks as possible. */
import * as Duration from "effect/Duration"
import type { Confirmation } from "../../AmqpBroker.ts"
import type { Timers } from "../common/timers.ts"

type Send = (tag: "basic.ack" | "basic.nack", deliveryTag: number, multiple: boolean) => void

export class Confirms {
  private readonly send: Send
  private readonly timers: Timers
  /** The number of the last publish. */
  private published = 0
  /** The number of the last publish that was confirmed or skipped. Those after it are due. */
  private settled = 0
  /** Whether a publish was ever skipped. From then on an ack with `multiple` would confirm it. */
  private hasSkipped = false

  constructor(send: Send, timers: Timers) {
    this.send = send
    this.timers = timers
  }

  add(confirmation: Confirmation): void {
    if (confirmation === "ack") {
      this.published++
      return
    }
    this.flush()
    this.settled = ++this.published
    // RabbitMQ sets `multiple` also for a single nack, if everything before it has been confirmed.
    if (confirmation === "nack") return this.send("basic.nack", this.settled, !this.hasSkipped)
    this.hasSkipped = true
    if (confirmation === "hold") return
    const { settled } = this
    const tag = confirmation.confirmation === "ack" ? "basic.ack" : "basic.nack"
    this.timers.schedule(Duration.toMillis(confirmation.after), () => this.send(tag, settled, false))
  }

  /** Sends the acks that are due. */
  flush(): void {
    const { published, settled } = this
    if (published === settled) return
    this.settled = published
    if (!this.hasSkipped) return this.send("basic.ack", published, published - settled > 1)
    for (let tag = settled + 1; tag <= published; tag++) this.send("basic.ack", tag, false)
  }
}
