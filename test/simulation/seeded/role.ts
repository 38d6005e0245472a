/** Who acts in a simulated run. */
import type { History } from "./history.ts"

export interface Role {
  readonly actor: number
  /** How often it has begun anew because its connection was lost. */
  readonly generation: number
  readonly history: History
}

/** The number of the first message of this generation: none has one of another. */
export const firstNumber = ({ generation }: Role): number => generation * 10_000
