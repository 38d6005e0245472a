/** What the workloads of a run share. */
import type * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Account } from "./account.ts"
import type { Monitor } from "./monitor.ts"
import type { Violations } from "./violations.ts"

export interface World {
  readonly account: Account
  readonly monitor: Monitor
  readonly violations: Violations
  /** How many messages each publisher publishes in a second. */
  readonly rate: number
  /** Whether faults hit whole nodes, and not only connections. */
  readonly nodesFail: boolean
  /** Checks that hold when everything has been handled. Each returns what is missing. */
  readonly checks: Array<() => ReadonlyArray<string>>
  /** Whether nothing new may be published. */
  readonly isStopping: () => boolean
}

/** A program that has to work again after each fault. */
export interface Workload {
  readonly name: string
  /**
   * Runs on a connection of this name. A workload with `ends` ends by itself once the world is stopping, the others run until they are
   * interrupted.
   */
  readonly run: (world: World, connection: string) => Effect.Effect<
    unknown,
    unknown,
    AmqpConnection.AmqpConnection | Scope.Scope
  >
  readonly ends: boolean
}
