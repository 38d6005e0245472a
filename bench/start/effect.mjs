import * as Effect from "effect/Effect"
import { report } from "./task.mjs"

await Effect.runPromise(Effect.void)
report()
