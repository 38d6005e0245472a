/** What follows from a plan. */
import type { ActorPlan, Fault, Plan } from "./plan.ts"

/** Whether the password of a client changes. */
export const changesPassword = ({ faults }: Plan, client: 0 | 1): boolean =>
  faults.some(({ _tag, connection }) => _tag === "ChangePassword" && connection === client)

/** When the last fault is over, in milliseconds. */
export const quietAt = ({ faults }: Plan): number => Math.max(0, ...faults.map(endOf))

const endOf = (fault: Fault): number => fault.atMillis + ("forMillis" in fault ? fault.forMillis : 0)

/** How long the broker keeps a connection that its client has left. */
export const lingerMillis = ({ recovery }: Plan): number =>
  Math.max(0, ...recovery.flatMap((each) => each?.dials ?? []).map((dial) => dial._tag === "Linger" ? dial.millis : 0))

/** Whether nothing happens but what programs do. */
export const isCalm = (plan: Plan): boolean =>
  plan.confirming === "all" && plan.faults.length === 0 && keepsConnections(plan)

/** Whether no connection is lost for other reasons than faults. */
export const keepsConnections = (plan: Plan): boolean =>
  replacesInOrder(plan) && plan.actors.every(({ _tag }) => _tag !== "Reconnector")

/** Whether no connection is lost for other reasons than faults, unless it is replaced in order. */
const replacesInOrder = (plan: Plan): boolean =>
  plan.cutAfterReceived === undefined && plan.cutAfterSent === undefined &&
  plan.recovery.every((each) => each === undefined || each.dials.length === 0) &&
  plan.actors.every((actor) => !mayBeOverdue(plan, actor))

/** Whether sessions are only replaced in order, which publishers and consumers do not notice. */
export const isOrderly = (plan: Plan): boolean =>
  plan.confirming === "all" && replacesInOrder(plan) && plan.faults.every(({ _tag }) => _tag === "DeleteQueue")

/** Whether the confirms of an actor may be so late that its connection is replaced. */
const mayBeOverdue = ({ confirming, recovery }: Plan, actor: ActorPlan): boolean =>
  recovery[actor.connection] !== undefined && (
    confirming === "someHeld" || actor._tag === "Publisher" && actor.confirmTimeoutMillis !== undefined
  )

/** Whether no connection and no channel is lost. */
export const keepsChannels = (plan: Plan): boolean =>
  keepsConnections(plan) && plan.faults.every(({ _tag }) => _tag === "Block" || _tag === "DeleteQueue")

/** Whether an actor receives without acknowledgements. */
export const isAutoAck = (actor: ActorPlan): boolean =>
  actor._tag === "Consumer"
    ? actor.mode === "autoAck"
    : actor._tag === "Program" && actor.steps.some(({ _tag }) => _tag === "GetAutoAck")
