/** The order in which the messages of a publisher arrive at the broker. */
import type { History } from "./history.ts"
import type { ActorPlan, Plan } from "./plan.ts"

/** Publishes wait for their confirm for this long by default, in milliseconds. A longer stall makes them time out. */
const longStall = 50_000

/**
 * The messages of a publisher arrive for the first time in the order in which they were published, over all sessions. With retries, a
 * message that times out or was not sent is published again after those that wait, so there must be nothing that causes that.
 */
export const arrivedOutOfOrder = (plan: Plan, history: History): ReadonlyArray<string> => {
  const seen = new Set<string>()
  const last = new Map<number, number>()
  return history.arrivals.flatMap((id) => {
    const published = history.published.get(id)
    if (published === undefined || seen.has(id)) return []
    seen.add(id)
    const { actor, number } = published
    if (!keepsOrder(plan, plan.actors[actor])) return []
    const before = last.get(actor) ?? -1
    last.set(actor, Math.max(before, number))
    return number > before ? [] : [`${id} arrived at the broker after ${actor}.${before}`]
  })
}

const keepsOrder = (plan: Plan, actor: ActorPlan): boolean => {
  const hasTimeouts = plan.faults.some((fault) => fault._tag === "Stall" && fault.forMillis >= longStall)
  if (actor._tag === "Follower") return !hasTimeouts
  if (actor._tag !== "Publisher") return false
  return actor.retry === undefined || (
    !hasTimeouts && actor.queue !== "small" && actor.confirmTimeoutMillis === undefined &&
    actor.sendTimeoutMillis === undefined && actor.timeoutMillis === undefined &&
    actor.whenBlocked === "wait" && actor.whenDisconnected === "wait"
  )
}
