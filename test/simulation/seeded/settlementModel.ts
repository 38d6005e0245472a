/** The settlements that were sent must be those that handlers have decided. */
import type { Decision, History, Published, Settlement } from "./history.ts"
import { autoQueue, followedStream, retriedQueue } from "./plan.ts"

/** The decisions that may lead to a settlement. `requeue` needs none: a consumer that stops requeues what no handler has. */
const decisionsFor: Readonly<Record<Exclude<Settlement, "requeue">, ReadonlySet<Decision>>> = {
  ack: new Set(["ack"]),
  reject: new Set(["reject", "fail"])
}

/**
 * A settlement of an old session that is sent on a new one settles another delivery with the same tag: one that its handler has not
 * decided about yet, or that has no handler yet. It may be a delivery of the same message.
 */
export const wrongSettlements = (history: History): ReadonlyArray<string> => {
  const decided = new Map<string, Array<Decision>>()
  for (const { decision, id, session } of history.received) {
    const key = `${session} ${id}`
    if (decision !== undefined) decided.set(key, [...decided.get(key) ?? [], decision])
  }
  const sent = new Map<string, number>()
  return history.settlements.flatMap(({ id, session, settlement }) => {
    const published = history.published.get(id)
    if (settlement === "requeue" || published === undefined || !isChecked(published)) return []
    const count = (sent.get(`${session} ${settlement} ${id}`) ?? 0) + 1
    sent.set(`${session} ${settlement} ${id}`, count)
    const decisions = decided.get(`${session} ${id}`) ?? []
    const possible = decisions.filter((decision) => decisionsFor[settlement].has(decision)).length
    return count <= possible
      ? []
      : [`${settlement} of ${id} was sent on session ${session}, where ${possible} handlers have decided that`]
  })
}

/** A retry policy acknowledges what it has published again. */
const isChecked = ({ actor, queue }: Published): boolean =>
  queue !== retriedQueue && queue !== autoQueue && queue !== followedStream(actor)
