/**
 * The errors of publishes.
 */
import * as Predicate from "effect/Predicate"
import * as AmqpError from "../../AmqpError.ts"
import type { Properties } from "../../AmqpMessage.ts"
import { failureOfStep } from "../channel/channelErrors.ts"
import type { Outcome } from "../channel/confirmLedger.ts"

/** Which message an error is about. */
export type PublishTarget = NonNullable<AmqpError.AmqpPublishError["target"]>

/** The target of a message, even if the target itself is invalid. */
export const targetOf = (
  { exchange, routingKey }: { readonly exchange: unknown; readonly routingKey: unknown },
  { messageId }: Properties
): PublishTarget => ({
  exchange: String(Predicate.hasProperty(exchange, "name") ? exchange.name : exchange),
  routingKey: String(routingKey),
  ...(typeof messageId === "string" ? { messageId } : {})
})

const publishError = (reason: AmqpError.AmqpPublishError["reason"], target: PublishTarget | undefined) =>
  new AmqpError.AmqpPublishError({ reason, ...(target === undefined ? {} : { target }) })

/** The error of a message that was not sent. */
export const notSent = (cause: AmqpError.AmqpChannelError, target?: PublishTarget): AmqpError.AmqpPublishError =>
  publishError(new AmqpError.NotSent({ cause }), target)

/** The error of a message that was sent and not acknowledged. */
export const notConfirmed = (
  outcome: Exclude<Outcome, "Acked">,
  target?: PublishTarget
): AmqpError.AmqpPublishError => {
  if (outcome === "Nacked") return publishError(new AmqpError.Nacked(), target)
  return publishError(
    outcome._tag === "AmqpChannelError" ? new AmqpError.OutcomeUnknown({ cause: outcome }) : outcome,
    target
  )
}

/** The error of a message whose encoding threw: it is invalid, or its channel has closed meanwhile. Throws anything else. */
export const notEncoded = (thrown: unknown, target?: PublishTarget): AmqpError.AmqpPublishError =>
  notSent(failureOfStep(thrown), target)
