/** The programs of a simulated run: what users of the client write, with their results recorded. */
import type { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import type * as Effect from "effect/Effect"
import { call } from "./actors/calls.ts"
import { consume } from "./actors/consuming.ts"
import { follow } from "./actors/following.ts"
import { runProgram } from "./actors/programs.ts"
import { publish } from "./actors/publishing.ts"
import { read } from "./actors/reading.ts"
import { reconnect } from "./actors/reconnecting.ts"
import { updateSecrets } from "./actors/secrets.ts"
import { workAlone } from "./actors/solitary.ts"
import { useTopology } from "./actors/topology.ts"
import type { ActorPlan } from "./plan.ts"
import type { Role } from "./role.ts"

/** Runs an actor to its end, on the connection that is provided. */
export const act = (plan: ActorPlan, role: Role): Effect.Effect<void, unknown, AmqpConnection> => {
  switch (plan._tag) {
    case "Publisher":
      return publish(plan, role)
    case "Consumer":
      return consume(plan, role)
    case "Program":
      return runProgram(plan, role)
    case "Rpc":
      return call(plan, role)
    case "Solitary":
      return workAlone(plan, role)
    case "Reader":
      return read(plan, role)
    case "Secrets":
      return updateSecrets(plan, role)
    case "Topology":
      return useTopology(plan, role)
    case "Follower":
      return follow(plan, role)
    case "Reconnector":
      return reconnect(plan, role)
  }
}
