/** An actor in a simulated run. */
import type { History } from "./history.ts"

export interface Role {
  readonly actor: number
  /** How often it has started again after a lost connection. */
  readonly generation: number
  readonly history: History
}

/** The number of the first message of this generation: no two generations share a number. */
export const firstNumber = ({ generation }: Role): number => generation * 10_000
