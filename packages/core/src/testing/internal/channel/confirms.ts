/** The publisher confirms of a channel: what is due within a step is merged to as few acks as can be. */
import * as Duration from "effect/Duration"
import type { Confirmation } from "../../AmqpBroker.ts"
import type { Timers } from "../common/timers.ts"

type Send = (tag: "basic.ack" | "basic.nack", deliveryTag: number, multiple: boolean) => void

export class Confirms {
  private readonly send: Send
  private readonly timers: Timers
  /** The number of the last publish. */
  private published = 0
  /** What is due is what lies between. */
  private settled = 0
  /** Whether a publish was ever left without an answer in its turn: a multiple ack would answer it. */
  private holds = false

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
    // RabbitMQ sets `multiple` also for a single nack, if everything before it has been settled.
    if (confirmation === "nack") return this.send("basic.nack", this.settled, !this.holds)
    this.holds = true
    if (confirmation === "hold") return
    const { settled } = this
    const tag = confirmation.confirmation === "ack" ? "basic.ack" : "basic.nack"
    this.timers.schedule(Duration.toMillis(confirmation.after), () => this.send(tag, settled, false))
  }

  flush(): void {
    const { published, settled } = this
    if (published === settled) return
    this.settled = published
    if (!this.holds) return this.send("basic.ack", published, published - settled > 1)
    for (let tag = settled + 1; tag <= published; tag++) this.send("basic.ack", tag, false)
  }
}
