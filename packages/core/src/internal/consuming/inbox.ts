/**
 * Where a subscription puts the messages that it decodes, until a program takes them.
 */
import type * as Cause from "effect/Cause"
import type { AmqpChannelError, AmqpConsumerCancelled } from "../../AmqpError.ts"

/** Why a subscription ends. */
export type SubscriptionError = AmqpChannelError | AmqpConsumerCancelled

export interface Inbox<A> {
  readonly size: number
  /** Whether further messages are ignored. */
  readonly hasEnded: boolean
  offer(item: A): void
  /** All deliveries of a socket read have been offered. */
  flush(): void
  /** Removes and returns the messages that were not taken. */
  clear(): ReadonlyArray<A>
  /** No further message arrives, because the consumer failed or was cancelled by the program (`Done`). */
  fail(error: SubscriptionError | Cause.Done): void
  /** Settles a message that was not offered, at a time when no other is being settled. If absent, any time is right. */
  settleBetween?(settle: () => boolean): void
}
