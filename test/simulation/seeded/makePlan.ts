/** The plan of a seed. */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { basePlan } from "./basePlan.ts"
import type { Plan } from "./plan.ts"
import { withRecovery } from "./recoveryPlan.ts"

/** The plan of a seed without recovery: for seeds that found something before clients recovered. */
export const makeWithoutRecovery = (seed: string): Plan => Effect.runSync(Random.withSeed(basePlan(seed), seed))

export const make = (seed: string): Plan =>
  Effect.runSync(Random.withSeed(withRecovery(makeWithoutRecovery(seed)), `${seed} recovers`))
