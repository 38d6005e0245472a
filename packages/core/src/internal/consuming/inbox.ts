/**
 * Where a subscription puts the messages that it decodes, until a program takes them. A consumer has one inbox and one subscription after
 * the other.
 */
import type * as Cause from "effect/Cause"
import type * as Effect from "effect/Effect"
import type { AmqpChannelError, AmqpConsumerCancelled } from "../../AmqpError.ts"
import type { Received } from "./delivery.ts"
import type { Subscription } from "./subscription.ts"

/** Why a subscription ends. */
export type SubscriptionError = AmqpChannelError | AmqpConsumerCancelled

export interface Inbox {
  readonly size: number
  /** Whether further messages are ignored. */
  readonly hasEnded: boolean
  offer(item: Received): void
  /** All deliveries of a socket read have been offered. */
  flush(): void
  /** Removes and returns the messages that were not taken. */
  clear(): ReadonlyArray<Received>
  /** Settles a message that was not offered, at a time when no other is being settled. If absent, any time is right. */
  settleBetween?(settle: () => boolean): void
  /** A subscription has begun to consume. */
  begin(subscription: Subscription): void
  /** The subscription has ended or leaves its session: messages that were delivered and are not being handled are no longer valid. */
  interrupted(): void
  /** Waits until the program has settled the messages that it has. Those of consumers that have ended can't be settled. */
  awaitHandled(subscription: Subscription): Effect.Effect<void>
  /** The tags of the unsettled messages that the program does not have. */
  unhandledTags(subscription: Subscription): ReadonlyArray<number>
  /** No further message arrives, because the consumer failed or was cancelled by the program (`Done`). */
  fail(error: SubscriptionError | Cause.Done): void
}
