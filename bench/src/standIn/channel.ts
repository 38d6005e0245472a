/**
 * A channel: what it has published and confirmed, and what it has delivered.
 */
import type { Queue } from "./queues.ts"

interface Receiver {
  readonly queue: Queue
  readonly deliver: () => void
  readonly cancel: () => void
}

export class Channel {
  readonly number: number
  readonly consumers = new Map<string, Receiver>()
  confirms = false
  /** Messages published since `confirm.select`, and the tag up to which they are confirmed. */
  published = 0
  confirmed = 0
  /** The queue of the message that is being published, and the bytes of its body that are still to come. */
  target: Queue | undefined
  remaining = 0
  prefetch = 0
  /** The last delivery tag. */
  delivered = 0
  /**
   * How many are acknowledged: one for an `ack`, all up to its tag for an `ack` of `multiple`. That is exact for a client that acknowledges
   * in order.
   */
  acknowledged = 0

  constructor(number: number) {
    this.number = number
  }

  /** How many more messages may be delivered. */
  get allowed(): number {
    return this.prefetch === 0 ? Infinity : this.prefetch - (this.delivered - this.acknowledged)
  }

  acknowledge(tag: number, multiple: boolean): void {
    if (multiple) this.acknowledged = Math.max(this.acknowledged, tag)
    else this.acknowledged++
  }

  /** Returns what was not acknowledged to the queue of the last consumer. */
  close(): void {
    const consumers = [...this.consumers.values()]
    for (const consumer of consumers) consumer.cancel()
    const last = consumers.at(-1)
    if (last !== undefined) last.queue.ready += this.delivered - this.acknowledged
    this.consumers.clear()
  }
}
