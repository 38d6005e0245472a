/**
 * Settlements and decisions of handlers and failure policies. Only values that are made here are valid, and not those
 * of the same shape, which may come from the body of a message.
 */
import type { Settlement, SettlementTag } from "../../AmqpDelivery.ts"
import type { Decision } from "../../AmqpFailurePolicy.ts"

/** How long a message that can't be handled now is held before it is requeued: long enough to avoid a busy loop. */
export const defaultHoldMillis = 60_000

/** All values made here. */
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

/** A handler rejects or requeues a message of a stream. */
export class StreamSettlement extends TypeError {
  constructor(tag: string) {
    super(
      `A stream's message can't be ${tag === "Reject" ? "rejected" : "requeued"}: it stays in the stream. ` +
        "Return AmqpDelivery.ack to continue after it; onFailure decides what happens when a handler fails."
    )
    this.name = "StreamSettlement"
  }
}
