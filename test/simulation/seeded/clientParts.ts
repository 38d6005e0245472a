/** What both kinds of clients of a simulated run are made of. */
import type { Acting } from "./acting.ts"
import type { Dialing } from "./dialing.ts"
import type { FinalChecks } from "./finalChecks.ts"
import type { World } from "./world.ts"

export interface ClientParts {
  readonly index: 0 | 1
  readonly world: World
  readonly dialing: Dialing
  readonly acting: Acting
  readonly checks: FinalChecks
}
