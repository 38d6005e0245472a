import * as Effect from "effect/Effect"
import { make } from "./makePlan.ts"
import { runPlan } from "./run.ts"
process.env.SIM_DEBUG = "1"
const plan = make(process.argv[2])
const { violations } = await Effect.runPromise(runPlan(plan))
console.log(violations)
