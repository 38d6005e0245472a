/** The failures that a plan explains: a waiter must fail with what happened, and with nothing else. */
import * as Exit from "effect/Exit"
import { reasonsOfCause } from "./history.ts"
import type { History } from "./history.ts"
import { confirmTimeoutMillis, passingQueue, requestTimeoutMillis, topologyName } from "./plan.ts"
import type { ActorPlan, DialPlan, Fault, Plan, RecoveryPlan } from "./plan.ts"
import { isOrderly } from "./planFacts.ts"

/** The reasons for which a connection can be lost, by its faults. */
const ofConnection = (plan: Plan, connection: 0 | 1): ReadonlyArray<string> => {
  // The broker refuses connections of all clients.
  const faults = plan.faults.filter((fault) => fault.connection === connection || fault._tag === "Refuse")
  const recovery = plan.recovery[connection]
  const isCut = connection === 0 && recovery === undefined &&
    (plan.cutAfterReceived !== undefined || plan.cutAfterSent !== undefined)
  return [
    ...isCut ? ["SocketLost"] : [],
    ...faults.flatMap(ofFault),
    ...recovery === undefined ? [] : ofRecovery(plan, connection, recovery)
  ]
}

const ofFault = (fault: Fault): ReadonlyArray<string> => {
  switch (fault._tag) {
    case "Cut":
    case "CutAfter":
      return ["SocketLost"]
    case "Stall":
      // Either side may time out first.
      return [
        "HeartbeatTimeout",
        "SocketLost",
        ...fault.forMillis >= requestTimeoutMillis ? ["RequestTimeout", "UpdateSecretFailed"] : [],
        ...fault.forMillis >= confirmTimeoutMillis ? ["ConfirmTimeout", "ConfirmsOverdue"] : []
      ]
    case "CloseConnection":
      return [fault.replyCode === 320 ? "ConnectionForced" : "InternalError"]
    case "CloseChannel":
      // `ChannelLost` is for messages of a publisher that did not cause the close, or may not have.
      return [fault.replyCode === 404 ? "NotFound" : "PreconditionFailed", "ChannelLost"]
    case "Hostile":
      return ["ProtocolViolation"]
    case "Refuse":
      return ["ConnectFailed"]
    case "ChangePassword":
      return ["AuthenticationFailed", "UpdateSecretFailed"]
    case "Block":
    case "DeleteQueue":
      return []
  }
}

/** Further reasons for a connection that is established again. */
const ofRecovery = (plan: Plan, connection: 0 | 1, { dials, endpoints }: RecoveryPlan): ReadonlyArray<string> => [
  ...dials.flatMap(ofDial),
  ...endpoints > 1 ? ["EndpointsFailed"] : [],
  ...!isOrderly(plan) && hasReconnector(plan, connection) ? ["ConnectionReplaced"] : [],
  // A publisher of the connection may wait for less time than others for the confirm of a message.
  ...plan.actors.some((actor) =>
      actor._tag === "Publisher" && actor.connection === connection && actor.confirmTimeoutMillis !== undefined
    )
    ? ["ConfirmsOverdue"]
    : []
]

/** Whether an actor may notice an ordered replacement: what it does takes longer than it may, or does not wait for the next session. */
const noticesReplacement = (actor: ActorPlan): boolean => {
  switch (actor._tag) {
    case "Consumer":
    case "Topology":
    case "Follower":
      return false
    case "Publisher":
      return actor.whenDisconnected === "fail" || actor.sendTimeoutMillis !== undefined
    default:
      return true
  }
}

const hasReconnector = ({ actors }: Plan, client: 0 | 1): boolean =>
  actors.some(({ _tag, connection }) => _tag === "Reconnector" && connection === client)

const ofDial = (dial: DialPlan): ReadonlyArray<string> => {
  switch (dial._tag) {
    case "Connect":
      return []
    case "Refuse":
      return ["ConnectFailed"]
    case "Close":
    case "Cut":
      return ["SocketLost"]
    case "Stall":
      return ["HandshakeTimeout", "SocketLost"]
    case "Linger":
      // The dead connection still has the exclusive queues.
      return ["ResourceLocked"]
  }
}

/** What a publisher and a consumer of a queue get that is missing. */
const missing = ["Returned", "NotFound", "AmqpConsumerCancelled"]

const ofActor = (plan: Plan, actor: ActorPlan, number: number): ReadonlyArray<string> => {
  const mayBeNacked = plan.confirming === "someNacked" || plan.confirming === "someLate"
  switch (actor._tag) {
    case "Publisher":
      return [
        ...mayBeNacked || actor.queue === "small" ? ["Nacked"] : [],
        ...actor.misroutes && actor.mandatory ? ["Returned"] : [],
        ...actor.confirmTimeoutMillis === undefined ? [] : ["ConfirmTimeout"],
        ...actor.sendTimeoutMillis === undefined ? [] : ["SendTimeout"],
        ...plan.faults.some(({ _tag }) => _tag === "Block") ? ["ConnectionBlocked"] : []
      ]
    case "Consumer":
      return actor.queues.includes(passingQueue) ? ["NotFound", "AmqpConsumerCancelled"] : []
    case "Program": {
      const has = (tag: string): boolean => actor.steps.some(({ _tag }) => _tag === tag)
      return [
        ...has("Fail") ? ["ProgramFailed"] : [],
        ...has("Refused") ? ["NotFound"] : [],
        ...has("Misroute") ? ["Returned"] : [],
        // The queue is full: the broker commits the rest of the transaction, and closes the channel.
        ...actor.runner === "transaction" && actor.queue === "small" ? ["PreconditionFailed"] : [],
        ...mayBeNacked || actor.queue === "small" ? ["Nacked"] : []
      ]
    }
    case "Rpc":
    case "Solitary":
    case "Reader":
      return mayBeNacked ? ["Nacked"] : []
    case "Topology":
      return [...mayBeNacked ? ["Nacked"] : [], ...mayMissTopology(plan, number) ? missing : []]
    case "Follower":
      return []
    case "Secrets":
    case "Reconnector":
      return []
  }
}

/** Whether a queue of a topology may be missing: its declaration is late, or fails, its last consumer ends, or it is deleted. */
const mayMissTopology = ({ faults, recovery }: Plan, actor: number): boolean =>
  faults.some((fault) =>
    fault._tag === "CloseChannel" || fault._tag === "Stall" ||
    fault._tag === "DeleteQueue" && fault.queue === topologyName(actor)
  ) ||
  recovery.some((each) => each?.dials.some(({ _tag }) => _tag === "Linger"))

/** The publishers that go on until their message is confirmed, and the consumers, notice nothing of a loss. */
const noticesLosses = (plan: Plan, actor: ActorPlan): boolean => {
  if (plan.recovery[actor.connection] === undefined) return true
  switch (actor._tag) {
    case "Consumer":
    case "Follower":
    case "Topology":
      return false
    case "Publisher":
      // A batch ends when its next message is not sent.
      return actor.retry === undefined || actor.retry.times !== undefined ||
        actor.mode === "batch" && (actor.sendTimeoutMillis !== undefined || actor.whenDisconnected === "fail")
    case "Rpc":
      return !actor.retries
    default:
      return true
  }
}

/** What an actor gets that notices no loss: the reasons for which a channel can be lost, and those that end retries. */
const ofUnnoticed = (plan: Plan, { _tag, connection }: ActorPlan): ReadonlyArray<string> => {
  const ofChannels = plan.faults.flatMap((fault) =>
    fault._tag === "CloseChannel" && fault.connection === connection ? ofFault(fault) : []
  )
  if (_tag === "Consumer") return ofChannels
  const possible = ofConnection(plan, connection)
  // If a publisher's next channel is refused, its messages are not published again, and fail with the loss of the last one.
  if (ofChannels.length > 0) return possible
  return possible.filter((reason) => endsRetries.has(reason) || _tag === "Topology" && delaysTopology.has(reason))
}

/** A part of a topology is declared later if the broker does not reply, or the dead connection still has the queue. */
const delaysTopology: ReadonlySet<string> = new Set(["RequestTimeout", "ResourceLocked"])

/**
 * The reasons that are not retryable, for which the connection recovers all the same. A message may be what the broker or the client could
 * not process, so it is not published again.
 */
const endsRetries: ReadonlySet<string> = new Set(["InternalError", "ProtocolViolation", "UpdateSecretFailed"])

/** Further reasons for which a connection can be lost during the handshake. */
const ofHandshake = ["AuthenticationFailed", "HandshakeTimeout"]

/** The failures of actors and connections that the plan does not explain. */
export const unexplained = (plan: Plan, history: History): ReadonlyArray<string> => [
  ...history.refused.flatMap(({ cause, connection }) => {
    const losses = ofConnection(plan, connection)
    const possible = new Set(losses.length === 0 ? [] : [...losses, ...ofHandshake])
    return reasonsOfCause(cause).filter((reason) => !possible.has(reason))
      .map((reason) => `connection ${connection} could not be made, which the plan does not explain: ${reason}`)
  }),
  ...unexplainedOfActors(plan, history)
]

const unexplainedOfActors = (plan: Plan, history: History): ReadonlyArray<string> => {
  const ended = history.exits.flatMap(({ actor, exit }) =>
    exit === "running" || Exit.isSuccess(exit) ? [] : [{ actor, reasons: reasonsOfCause(exit.cause) }]
  )
  return [...history.failures, ...ended].flatMap(({ actor, reasons }) => {
    const actorPlan = plan.actors[actor]
    const { connection } = actorPlan
    const isClosed = history.states[connection].some(({ state }) => state._tag === "Closed")
    const possible = new Set([
      ...hasReconnector(plan, connection) && noticesReplacement(actorPlan) ? ["ConnectionReplaced"] : [],
      ...isClosed || noticesLosses(plan, actorPlan) ? ofConnection(plan, connection) : ofUnnoticed(plan, actorPlan),
      ...ofActor(plan, actorPlan, actor),
      ...plan.channelMax < 100 ? ["TooManyChannels"] : []
    ])
    return reasons.filter((reason) => !possible.has(reason))
      .map((reason) => `actor ${actor} (${actorPlan._tag}) failed with ${reason}, which the plan does not explain`)
  })
}
