/**
 * What a handler decides. Only what is made here settles a delivery: a value that looks the same, such as one that was parsed
 * from the body of a message, does not.
 */

export type SettlementTag = "Ack" | "Reject" | "Requeue"

export interface Settlement<out A> {
  readonly _tag: SettlementTag
  readonly value: A
}

/** All that were made. */
const settlements = new WeakSet<object>()

export const make = <A>(_tag: SettlementTag, value: A): Settlement<A> => {
  const settlement = Object.freeze({ _tag, value })
  settlements.add(settlement)
  return settlement
}

/** Whether a value was made here. */
export const isSettlement = (value: unknown): value is Settlement<unknown> =>
  typeof value === "object" && value !== null && settlements.has(value)
