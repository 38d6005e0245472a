/**
 * An empty program of `effect`, with the modules that a program with a service usually imports.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { Client } from "../workload.ts"
import { idle } from "./idle.ts"

await Effect.runPromise(Effect.provide(Stream.runDrain(Stream.empty), Layer.empty))

export const client: Client = { idle }
