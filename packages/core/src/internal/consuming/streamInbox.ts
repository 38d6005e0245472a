/**
 * The inbox of a consumer whose deliveries are taken as a Stream.
 */
import type * as Cause from "effect/Cause"
import type * as Effect from "effect/Effect"
import { Mailbox } from "../wire/mailbox.ts"
import type { Received } from "./delivery.ts"
import type { Inbox, SubscriptionError } from "./inbox.ts"
import type { Subscription } from "./subscription.ts"

export class StreamInbox extends Mailbox<Received, SubscriptionError | Cause.Done> implements Inbox {
  begin(): void {}

  interrupted(): void {}

  awaitHandled(subscription: Subscription): Effect.Effect<void> {
    const { acknowledgements } = subscription.channel
    return acknowledgements.until(() => acknowledgements.openTags().every((tag) => subscription.handedBack.has(tag)))
  }

  unhandledTags({ handedBack }: Subscription): ReadonlyArray<number> {
    return [...handedBack]
  }
}
