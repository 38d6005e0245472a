import { make } from "./makePlan.ts"
import { runPlan } from "./run.ts"
import * as Effect from "effect/Effect"
process.env.SIM_DEBUG = "1"
const plan = make(process.argv[2])
const { violations } = await Effect.runPromise(runPlan(plan))
console.log(violations)
