/** The failures that a plan explains: a waiter must fail with what happened, and with nothing else. */
import * as Exit from "effect/Exit"
import { reasonsOfCause } from "./history.ts"
import type { History } from "./history.ts"
import { confirmTimeoutMillis, passingQueue, requestTimeoutMillis } from "./plan.ts"
import type { ActorPlan, Fault, Plan } from "./plan.ts"

/** The reasons for which a connection can be lost, by its faults. */
const ofConnection = (plan: Plan, connection: 0 | 1): ReadonlyArray<string> => {
  const faults = plan.faults.filter((fault) => fault.connection === connection)
  const isCut = connection === 0 && (plan.cutAfterReceived !== undefined || plan.cutAfterSent !== undefined)
  return [...isCut ? ["SocketLost"] : [], ...faults.flatMap(ofFault)]
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
        ...fault.forMillis >= confirmTimeoutMillis ? ["ConfirmTimeout"] : []
      ]
    case "CloseConnection":
      return [fault.replyCode === 320 ? "ConnectionForced" : "InternalError"]
    case "CloseChannel":
      // `ChannelLost` is for messages of a publisher that did not cause the close, or may not have.
      return [fault.replyCode === 404 ? "NotFound" : "PreconditionFailed", "ChannelLost"]
    case "Hostile":
      return ["ProtocolViolation"]
    case "Block":
    case "DeleteQueue":
      return []
  }
}

const ofActor = (plan: Plan, actor: ActorPlan): ReadonlyArray<string> => {
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
        ...mayBeNacked || actor.queue === "small" ? ["Nacked"] : []
      ]
    }
    case "Rpc":
    case "Solitary":
    case "Reader":
      return mayBeNacked ? ["Nacked"] : []
    case "Secrets":
      return []
  }
}

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
    const possible = new Set([
      ...ofConnection(plan, actorPlan.connection),
      ...ofActor(plan, actorPlan),
      ...plan.channelMax < 100 ? ["TooManyChannels"] : []
    ])
    return reasons.filter((reason) => !possible.has(reason))
      .map((reason) => `actor ${actor} (${actorPlan._tag}) failed with ${reason}, which the plan does not explain`)
  })
}
