/** What the parts of a simulated run share. */
import type { AmqpBroker } from "@effect-amqp/core/testing/AmqpBroker"
import type * as Clock from "effect/Clock"
import type * as Scope from "effect/Scope"
import type { History } from "./history.ts"
import type { Pace } from "./pace.ts"
import type { Plan } from "./plan.ts"

export interface World {
  readonly plan: Plan
  readonly broker: AmqpBroker["Service"]
  readonly history: History
  readonly pace: Pace
  readonly clock: Clock.Clock
  /** Where the network and the faults run: it outlives the clients. */
  readonly scope: Scope.Scope
  /** The password that each client has, and the one that it should have. */
  readonly passwords: [string, string]
  readonly newPasswords: [string, string]
}

/** The user of a client whose password changes. */
export const userOf = (client: 0 | 1): string => `user${client}`
