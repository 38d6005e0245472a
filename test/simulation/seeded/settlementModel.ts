/** The settlements that were sent must be those that handlers have decided. */
import type { Decision, History, Settlement } from "./history.ts"
import { autoQueue, followedStream, retriedQueue } from "./plan.ts"

/** The decisions that may lead to a settlement. `requeue` needs none: a consumer that stops requeues what no handler has. */
const decisionsFor: Readonly<Record<Exclude<Settlement, "requeue">, ReadonlySet<Decision>>> = {
  ack: new Set(["ack"]),
  reject: new Set(["reject", "fail"])
}

/**
 * A settlement of an old session that is sent on a new one settles another delivery with the same tag: one that its handler has not
 * decided about yet, or that has no handler yet.
 */
export const wrongSettlements = (history: History): ReadonlyArray<string> => {
  const decided = new Map<string, Array<Decision>>()
  for (const { decision, id } of history.received) {
    if (decision !== undefined) decided.set(id, [...decided.get(id) ?? [], decision])
  }
  return [...history.published.values()].flatMap(({ actor, id, queue }) => {
    // A retry policy acknowledges what it has published again.
    if (queue === retriedQueue || queue === autoQueue || queue === followedStream(actor)) return []
    return (["ack", "reject"] as const).flatMap((settlement) => {
      const sent = history.settledCount(id, settlement)
      const possible = (decided.get(id) ?? []).filter((decision) => decisionsFor[settlement].has(decision)).length
      return sent <= possible
        ? []
        : [`${sent} settlements (${settlement}) of ${id} were sent, and ${possible} were decided`]
    })
  })
}
