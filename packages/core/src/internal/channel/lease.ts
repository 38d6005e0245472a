/**
 * What programs have done on a channel, and whether another program may use it after them.
 */
import type { Returned } from "../../AmqpError.ts"

export class Lease {
  /** Whether a message was published without confirmation, so that only closing the channel shows whether the broker accepted it. */
  isUnconfirmed = false
  /** The first message that was returned, on a channel that is not in confirm mode. */
  firstReturned: Returned | undefined
  /** Whether another program would notice that a program ran on the channel before. */
  private isAltered = false
  /** The queues that messages were fetched from, and whether the channel has deleted them since. */
  private readonly fetchedFrom = new Map<string, "present" | "deleted">()

  /** Whether another program may use the channel. */
  get isClean(): boolean {
    return !this.isAltered && !this.isUnconfirmed && this.firstReturned === undefined
  }

  /** A message was published without confirmation. */
  published(): void {
    this.isUnconfirmed = true
  }

  /** The broker has committed or rolled back what was published. */
  committed(): void {
    this.isUnconfirmed = false
  }

  returned(message: Returned): void {
    this.firstReturned ??= message
  }

  /** The returned message was reported, or concerns a program that has ended. */
  clearReturned(): void {
    this.firstReturned = undefined
  }

  /** The state of the channel at the broker was changed, for example its prefetch. */
  altered(): void {
    this.isAltered = true
  }

  /**
   * A message is about to be fetched from a queue. Returns `false` if that would end the connection: if a queue is deleted and declared with
   * another type, RabbitMQ replies with 541 to the next `basic.get` on a channel that has fetched from the old queue. For the same reason
   * no other program may use the channel.
   */
  fetchesFrom(queue: string): boolean {
    if (this.fetchedFrom.get(queue) === "deleted") return false
    this.fetchedFrom.set(queue, "present")
    this.altered()
    return true
  }

  /** A queue was deleted on the channel. */
  deleted(queue: string): void {
    if (this.fetchedFrom.has(queue)) this.fetchedFrom.set(queue, "deleted")
  }
}
