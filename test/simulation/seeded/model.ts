/** What must be true of every simulated run, whatever its faults were. */
import type { AmqpBroker } from "@effect-amqp/core/testing/AmqpBroker"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { idOf } from "./history.ts"
import type { History, Outcome, Published } from "./history.ts"
import { autoQueue, passingQueue, retriedQueue } from "./plan.ts"
import type { ActorPlan, Plan } from "./plan.ts"
import { unexplained } from "./reasons.ts"

/** Outcomes that say that no queue has the message. */
const never: ReadonlySet<Outcome> = new Set(["notSent", "rolledBack", "returned"])

/** Reply codes with which the broker says that the client broke the protocol. */
const isViolation = (replyCode: number): boolean => replyCode >= 501 && replyCode !== 541

/** Checks what happened against what is left in the broker; answers what is wrong, in words. */
export const check = (
  plan: Plan,
  history: History,
  broker: AmqpBroker["Service"]
): Effect.Effect<ReadonlyArray<string>> =>
  Effect.gen(function*() {
    const wrong = [...history.violations]
    const left = new Map<string, number>()
    for (const { name } of yield* broker.queues()) {
      if (name === passingQueue || isPrivate(name)) continue
      for (const { text } of yield* broker.messages(name)) {
        const id = idOf(text)
        if (id === undefined) wrong.push(`${name} has a message that nobody published: ${text.slice(0, 80)}`)
        else left.set(id, (left.get(id) ?? 0) + 1)
      }
    }
    const handled = new Set(
      history.received.filter(({ decision }) => decision === "ack").map(({ id }) => id)
    )
    const seen = new Set(history.received.map(({ id }) => id))
    for (const published of history.published.values()) {
      const { id, mandatory, outcome, queue } = published
      const copies = left.get(id) ?? 0
      if (outcome === "confirmed" && isKept(published, plan) && copies === 0 && !handled.has(id)) {
        wrong.push(`${id} was confirmed, nobody acknowledged it, and it is gone`)
      }
      if (outcome === "confirmed" && mandatory && queue === "nowhere") wrong.push(`${id} was not returned`)
      if (copies > 1 && queue !== retriedQueue) wrong.push(`${id} is there ${copies} times`)
      if (never.has(outcome) && (copies > 0 || seen.has(id))) wrong.push(`${id} is there, although it was ${outcome}`)
    }
    wrong.push(
      ...torn(history, left, seen),
      ...disorder(history),
      ...duplicates(history),
      ...unexplained(plan, history)
    )
    if (isGentle(plan)) wrong.push(...returns(history, left))
    for (const { exit, actor } of history.exits) {
      if (exit === "running") wrong.push(`actor ${actor} (${plan.actors[actor]._tag}) did not end`)
      else if (exit._tag === "Failure") wrong.push(...defects(exit.cause).map((text) => `actor ${actor} died: ${text}`))
    }
    for (const { cause, connection } of history.refused) {
      wrong.push(...defects(cause).map((text) => `connection ${connection} could not be made: ${text}`))
    }
    const hostile = plan.faults.some(({ _tag }) => _tag === "Hostile")
    for (const { replyCode, replyText } of yield* broker.refusals) {
      if (isViolation(replyCode) && !hostile) wrong.push(`the client broke the protocol: ${replyText}`)
      if (replyText.includes("unknown delivery tag")) wrong.push(`a delivery was settled twice: ${replyText}`)
    }
    if (
      plan.confirming === "all" && plan.faults.length === 0 && plan.cutAfterReceived === undefined &&
      plan.cutAfterSent === undefined
    ) {
      wrong.push(...calm(plan, history))
    }
    for (const { messagesUnacknowledged, name } of yield* broker.queues()) {
      if (messagesUnacknowledged > 0) wrong.push(`${messagesUnacknowledged} messages of ${name} are nobody's`)
    }
    return wrong
  })

/** Whether a queue is the affair of one actor, which looks after it itself. */
const isPrivate = (queue: string): boolean => /^(?:calls|solitary|read)\./.test(queue)

/**
 * Whether a queue takes it for certain, or says that it does not: a full queue refuses a message of a transaction silently. And
 * whether it can't get lost on the way to a consumer, as it can where the broker forgets what it sends.
 */
const isKept = ({ queue, transaction }: Published, plan: Plan): boolean =>
  queue === autoQueue
    ? arrives(plan)
    : queue !== "nowhere" && (queue !== "small" || transaction === undefined)

/** Whether all that the broker sends arrives, and somebody is there who takes it. */
const arrives = (plan: Plan): boolean =>
  plan.cutAfterReceived === undefined && plan.cutAfterSent === undefined &&
  plan.faults.every(({ _tag }) => _tag === "Block" || _tag === "DeleteQueue" || _tag === "CloseChannel") &&
  plan.actors.every((actor) => actor.interruptMillis === undefined || !takesAtOnce(actor))

/** Whether it receives what the broker has forgotten. */
const takesAtOnce = (actor: ActorPlan): boolean =>
  actor._tag === "Consumer"
    ? actor.mode === "autoAck"
    : actor._tag === "Program" && actor.steps.some(({ _tag }) => _tag === "GetAutoAck")

/** Whether no connection and no channel is lost. */
const isGentle = (plan: Plan): boolean =>
  plan.cutAfterReceived === undefined && plan.cutAfterSent === undefined &&
  plan.faults.every(({ _tag }) => _tag === "Block" || _tag === "DeleteQueue")

const defects = (cause: Cause.Cause<unknown>): ReadonlyArray<string> =>
  cause.reasons.flatMap((reason) => Cause.isDieReason(reason) ? [String(reason.defect)] : [])

/** A transaction is there as a whole or not at all. */
const torn = (
  history: History,
  left: ReadonlyMap<string, number>,
  seen: ReadonlySet<string>
): ReadonlyArray<string> => {
  const transactions = new Map<string, Array<Published>>()
  for (const published of history.published.values()) {
    const { queue, transaction } = published
    if (transaction === undefined || queue === "small" || queue === "nowhere") continue
    transactions.set(transaction, [...transactions.get(transaction) ?? [], published])
  }
  return [...transactions].flatMap(([transaction, published]) => {
    const there = published.filter(({ id }) => left.has(id) || seen.has(id)).length
    return there === 0 || there === published.length
      ? []
      : [`of transaction ${transaction} there are ${there} of ${published.length} messages`]
  })
}

/** Whoever handles one message at a time gets those of a publisher in their order, the first time. */
const disorder = (history: History): ReadonlyArray<string> => {
  const last = new Map<string, Published>()
  return history.received.flatMap(({ id, inOrder, queue, receiver, redelivered }) => {
    const published = history.published.get(id)
    if (published === undefined || !inOrder || redelivered || queue === retriedQueue) return []
    const key = `${receiver} ${queue} ${published.actor}`
    const before = last.get(key)
    last.set(key, published)
    return before === undefined || before.number < published.number
      ? []
      : [`${receiver} got ${id} after ${before.id}`]
  })
}

/** Only what comes back is delivered again, and then it says so. */
const duplicates = (history: History): ReadonlyArray<string> => {
  const first = new Set<string>()
  return history.received.flatMap(({ id, queue, redelivered }) => {
    if (redelivered || queue === retriedQueue) return []
    if (first.has(id)) return [`${id} was delivered twice as if for the first time`]
    first.add(id)
    return []
  })
}

/** What was acknowledged does not come back. */
const returns = (history: History, left: ReadonlyMap<string, number>): ReadonlyArray<string> => {
  const acknowledged = new Set<string>()
  const again = history.received.flatMap(({ decision, id, isSettled, queue }) => {
    const cameBack = acknowledged.has(id)
    if (decision === "ack" && isSettled && queue !== retriedQueue) acknowledged.add(id)
    return cameBack ? [`${id} came again after it was acknowledged`] : []
  })
  return [
    ...again,
    ...[...acknowledged].filter((id) => left.has(id)).map((id) => `${id} is there after it was acknowledged`)
  ]
}

/** Without faults nobody loses the connection, and what was published is confirmed unless a limit or an interruption says why not. */
const calm = (plan: Plan, history: History): ReadonlyArray<string> =>
  history.exits.flatMap(({ actor, exit }) => {
    if (exit === "running" || exit._tag === "Success" || Cause.hasInterrupts(exit.cause)) return []
    const { _tag, channelMax } = { ...plan.actors[actor], channelMax: plan.channelMax }
    // With few channels one of several actors may find none.
    return channelMax > 100 ? [`actor ${actor} (${_tag}) failed without a fault: ${Cause.pretty(exit.cause)}`] : []
  })
