/** What must be true of every simulated run, whatever its faults were. */
import type { AmqpBroker } from "@effect-amqp/core/testing/AmqpBroker"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { idOf } from "./history.ts"
import type { History, Outcome, Published } from "./history.ts"
import { arrivedOutOfOrder } from "./orderModel.ts"
import { autoQueue, passingQueue, retriedQueue } from "./plan.ts"
import type { Plan } from "./plan.ts"
import { isAutoAck, isCalm, isOrderly, keepsChannels, keepsConnections } from "./planFacts.ts"
import { unexplained } from "./reasons.ts"
import { wrongSessions } from "./sessionsModel.ts"
import { wrongSettlements } from "./settlementModel.ts"

/** Outcomes with which no queue has the message. */
const never: ReadonlySet<Outcome> = new Set(["notSent", "rolledBack", "returned"])

/** Whether a reply code means that the client violated the protocol. */
const isViolation = (replyCode: number): boolean => replyCode >= 501 && replyCode !== 541

/** Compares the history with what is left in the broker. Returns a description of each violation. */
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
        if (id === undefined) wrong.push(`${name} has a message that was not published: ${text.slice(0, 80)}`)
        else left.set(id, (left.get(id) ?? 0) + 1)
      }
    }
    const handled = new Set(
      history.received.filter(({ decision }) => decision === "ack").map(({ id }) => id)
    )
    const seen = new Set(history.received.map(({ id }) => id))
    for (const published of history.published.values()) {
      const { actor, id, mandatory, outcome, queue } = published
      const copies = left.get(id) ?? 0
      if (outcome === "confirmed" && isKept(published, plan) && copies === 0 && !handled.has(id)) {
        wrong.push(`${id} was confirmed and not acknowledged, and is lost`)
      }
      if (outcome === "confirmed" && mandatory && queue === "nowhere") wrong.push(`${id} was not returned`)
      // With retries, a message may arrive several times.
      const arrivals = Math.max(1, history.arrivedCount(id))
      if (copies > arrivals && queue !== retriedQueue) {
        wrong.push(`there are ${copies} copies of ${id}, which arrived ${arrivals} times`)
      }
      if (arrivals > 1 && queue !== retriedQueue && !isRetried(plan, actor)) {
        wrong.push(`${id} was published ${arrivals} times without retries`)
      }
      if (history.arrivedCount(id) > history.sentCount(id)) wrong.push(`${id} arrived, and was not seen on its way`)
      // After a nack the client does not expect the broker to have the message from that attempt.
      const exists = copies > 0 || seen.has(id) || history.arrivedCount(id) > 0 && outcome !== "returned"
      if (never.has(outcome) && exists && !history.nacked.has(id)) {
        wrong.push(`${id} exists, although its outcome is ${outcome}`)
      }
    }
    wrong.push(
      ...partialTransactions(history, left, seen),
      ...outOfOrder(history),
      ...duplicates(history),
      ...arrivedOutOfOrder(plan, history),
      ...wrongSettlements(history),
      ...wrongSessions(plan, history),
      ...unexplained(plan, history)
    )
    if (keepsChannels(plan) || isOrderly(plan)) wrong.push(...keptAfterAck(history, left))
    for (const { exit, actor } of history.exits) {
      if (exit === "running") wrong.push(`actor ${actor} (${plan.actors[actor]._tag}) did not end`)
      else if (exit._tag === "Failure") wrong.push(...defects(exit.cause).map((text) => `actor ${actor} died: ${text}`))
    }
    for (const { cause, connection } of history.refused) {
      wrong.push(...defects(cause).map((text) => `connection ${connection} could not be made: ${text}`))
    }
    const hostile = plan.faults.some(({ _tag }) => _tag === "Hostile")
    for (const { replyCode, replyText } of yield* broker.refusals) {
      if (isViolation(replyCode) && !hostile) wrong.push(`the client violated the protocol: ${replyText}`)
      if (replyText.includes("unknown delivery tag")) wrong.push(`a delivery was settled twice: ${replyText}`)
    }
    if (isCalm(plan)) wrong.push(...failuresWithoutFaults(plan, history))
    for (const { messagesUnacknowledged, name } of yield* broker.queues()) {
      if (messagesUnacknowledged > 0) {
        wrong.push(`${messagesUnacknowledged} messages of ${name} are still unacknowledged`)
      }
    }
    return wrong
  })

/** Whether a queue belongs to one actor, which checks it itself. */
const isPrivate = (queue: string): boolean => /^(?:calls|solitary|read|topology)\./.test(queue)

/**
 * Whether the message must still exist once it is confirmed. A full queue drops a message of a transaction without a nack, and a
 * message that is delivered without acknowledgements can be lost on its way.
 */
const isKept = ({ queue, transaction }: Published, plan: Plan): boolean =>
  queue === autoQueue
    ? isDelivered(plan)
    : queue !== "nowhere" && (queue !== "small" || transaction === undefined)

/** Whether everything that the broker sends arrives, and an actor receives it. */
const isDelivered = (plan: Plan): boolean =>
  keepsConnections(plan) &&
  plan.faults.every(({ _tag }) => _tag === "Block" || _tag === "DeleteQueue" || _tag === "CloseChannel") &&
  plan.actors.every((actor) => actor.interruptMillis === undefined || !isAutoAck(actor))

/** Whether an actor publishes a message again whose outcome is unknown. */
const isRetried = (plan: Plan, actor: number): boolean => {
  const each = plan.actors[actor]
  return each._tag === "Follower" || each._tag === "Publisher" && each.retry !== undefined
}

const defects = (cause: Cause.Cause<unknown>): ReadonlyArray<string> =>
  cause.reasons.flatMap((reason) => Cause.isDieReason(reason) ? [String(reason.defect)] : [])

/** The messages of a transaction exist all or not at all. */
const partialTransactions = (
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
      : [`${there} of the ${published.length} messages of transaction ${transaction} exist`]
  })
}

/** A consumer that handles one message at a time gets the first deliveries from each publisher in order. */
const outOfOrder = (history: History): ReadonlyArray<string> => {
  const last = new Map<string, Published>()
  // A message may be published again after newer ones. The order of those without confirms is that of their numbers.
  const placeOf = ({ id, number }: Published): number => history.arrivalOf(id) ?? number
  return history.received.flatMap(({ id, inOrder, queue, receiver, redelivered }) => {
    const published = history.published.get(id)
    if (published === undefined || !inOrder || redelivered || queue === retriedQueue) return []
    // A copy of a message that was published again may come after newer ones.
    if (history.arrivedCount(id) > 1) return []
    const key = `${receiver} ${queue} ${published.actor}`
    const before = last.get(key)
    last.set(key, published)
    return before === undefined || placeOf(before) < placeOf(published)
      ? []
      : [`${receiver} got ${id} after ${before.id}`]
  })
}

/** A message is delivered again only with `redelivered` set. */
const duplicates = (history: History): ReadonlyArray<string> => {
  const first = new Map<string, number>()
  return history.received.flatMap(({ id, queue, redelivered }) => {
    if (redelivered || queue === retriedQueue) return []
    const count = (first.get(id) ?? 0) + 1
    first.set(id, count)
    return count > Math.max(1, history.arrivedCount(id))
      ? [`${id} was delivered ${count} times without redelivered`]
      : []
  })
}

/** An acknowledged message is not delivered again, and is in no queue. */
const keptAfterAck = (history: History, left: ReadonlyMap<string, number>): ReadonlyArray<string> => {
  const acknowledged = new Set<string>()
  const again = history.received.flatMap(({ decision, id, isSettled, queue }) => {
    const isAgain = acknowledged.has(id)
    if (decision === "ack" && isSettled && queue !== retriedQueue && history.arrivedCount(id) < 2) acknowledged.add(id)
    return isAgain ? [`${id} was delivered again after it was acknowledged`] : []
  })
  return [
    ...again,
    ...[...acknowledged].filter((id) => left.has(id)).map((id) => `${id} is in a queue after it was acknowledged`)
  ]
}

/** Without faults no actor fails, except by an interruption or for lack of a channel. */
const failuresWithoutFaults = (plan: Plan, history: History): ReadonlyArray<string> =>
  history.exits.flatMap(({ actor, exit }) => {
    if (exit === "running" || exit._tag === "Success" || Cause.hasInterrupts(exit.cause)) return []
    const { _tag, channelMax } = { ...plan.actors[actor], channelMax: plan.channelMax }
    // With few channels an actor may find none free.
    return channelMax > 100 ? [`actor ${actor} (${_tag}) failed without a fault: ${Cause.pretty(exit.cause)}`] : []
  })
