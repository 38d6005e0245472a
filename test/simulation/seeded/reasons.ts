/** Which reasons of failure a plan can explain: whoever waits is to hear of what happened, and of nothing else. */
import * as Exit from "effect/Exit"
import { reasonsOfCause } from "./history.ts"
import type { History } from "./history.ts"
import { passingQueue, requestTimeoutMillis } from "./plan.ts"
import type { ActorPlan, Fault, Plan } from "./plan.ts"

/** What a lost connection is told as, by what was done to it. */
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
      // Either side may give up first.
      return [
        "HeartbeatTimeout",
        "SocketLost",
        ...fault.forMillis >= requestTimeoutMillis ? ["RequestTimeout", "UpdateSecretFailed"] : []
      ]
    case "CloseConnection":
      return [fault.replyCode === 320 ? "ConnectionForced" : "InternalError"]
    case "CloseChannel":
      // A publisher hears that it was for this or another of its messages, where there are several.
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

/** What else the loss of a connection is told as while it is made. */
const ofHandshake = ["AuthenticationFailed", "HandshakeTimeout"]

/** What actors and connections were told, and can't be so. */
export const unexplained = (plan: Plan, history: History): ReadonlyArray<string> => [
  ...history.refused.flatMap(({ cause, connection }) => {
    const losses = ofConnection(plan, connection)
    const possible = new Set(losses.length === 0 ? [] : [...losses, ...ofHandshake])
    return reasonsOfCause(cause).filter((reason) => !possible.has(reason))
      .map((reason) => `connection ${connection} could not be made, without a reason: ${reason}`)
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
      .map((reason) => `actor ${actor} (${actorPlan._tag}) was told ${reason}, and there was no reason for that`)
  })
}
