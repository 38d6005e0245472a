import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { report } from "./task.mjs"

await Effect.runPromise(Effect.provide(Stream.runDrain(Stream.empty), Layer.empty))
report()
