/** An actor in a simulated run. */
import * as Effect from "effect/Effect"
import { isLoss, isRetryable } from "./history.ts"
import type { History } from "./history.ts"

export interface Role {
  readonly actor: number
  readonly client: 0 | 1
  /** How often it has started again after a lost connection. */
  readonly generation: number
  readonly history: History
  /** Whether its connection is established again when it is lost. */
  readonly recovers: boolean
  /** The password of its connection. */
  readonly password: () => string
}

/** Starts something. A connection that recovers may be lost meanwhile, or be missing for longer than its limit. */
export const started = <A, E, R>({ recovers }: Role, start: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  recovers ? Effect.retry(start, { while: (error) => isLoss(error) && isRetryable(error) }) : start

/** The number of the first message of this generation: no two generations share a number. */
export const firstNumber = ({ generation }: Role): number => generation * 10_000
