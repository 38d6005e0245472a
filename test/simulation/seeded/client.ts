/** A client of a simulated run, with what it may be asked while it runs. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { countingFibers } from "../../support/countingFibers.ts"
import { Acting } from "./acting.ts"
import type { ClientParts } from "./clientParts.ts"
import { Dialing } from "./dialing.ts"
import { FinalChecks } from "./finalChecks.ts"
import { reconnecting } from "./reconnectingClient.ts"
import { recovering } from "./recoveringClient.ts"
import type { World } from "./world.ts"

/** Starts a client. `done` completes when it has nothing more to run. */
export const startClient = (index: 0 | 1, world: World, scope: Scope.Scope) =>
  Effect.gen(function*() {
    const fibers = countingFibers()
    const acting = new Acting(index, world)
    const parts: ClientParts = {
      index,
      world,
      acting,
      dialing: new Dialing(index, world),
      checks: new FinalChecks(index, world, fibers)
    }
    const recovery = world.plan.recovery[index]
    const run = recovery === undefined ? reconnecting(parts) : recovering(parts, recovery)
    const fiber = yield* Effect.forkIn(fibers.counted(run), scope)
    return { done: Fiber.await(fiber), running: () => [...acting.running], fibers }
  })
