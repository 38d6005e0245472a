/**
 * What handlers and failure policies decide. Only what is made here counts: a value that looks the same, such as one that was parsed
 * from the body of a message, does not.
 */
import type { Settlement, SettlementTag } from "../../AmqpDelivery.ts"
import type { Decision } from "../../AmqpFailurePolicy.ts"

/** How long a message that can't be handled now is held before it goes back into its queue: so long that there is no hot loop. */
export const defaultHoldMillis = 60_000

/** All that were made. */
const settlements = new WeakSet<object>()
const decisions = new WeakSet<object>()

export const make = <A, Tag extends SettlementTag>(_tag: Tag, value: A): Settlement<A, Tag> => {
  const settlement = Object.freeze({ _tag, value })
  settlements.add(settlement)
  return settlement
}

/** Makes a decision. */
export const decide = <A extends Decision>(decision: A): A => {
  decisions.add(decision)
  return Object.freeze(decision)
}

/** Whether a value was made by `make`. */
export const isSettlement = (value: unknown): value is Settlement<unknown> =>
  typeof value === "object" && value !== null && settlements.has(value)

/** Whether a value was made by `decide`. */
export const isDecision = (value: unknown): value is Decision =>
  typeof value === "object" && value !== null && decisions.has(value)

/** A handler wants to reject or requeue what a stream delivered. */
export class StreamSettlement extends TypeError {
  constructor(tag: string) {
    super(
      `A stream's message can't be ${tag === "Reject" ? "rejected" : "requeued"}: it stays in the stream anyway. ` +
        "Return AmqpDelivery.ack to go on after it, and decide with onFailure what happens when a handler fails."
    )
    this.name = "StreamSettlement"
  }
}
