/** An actor in a simulated run. */
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

/** The number of the first message of this generation: no two generations share a number. */
export const firstNumber = ({ generation }: Role): number => generation * 10_000
