/**
 * What is declared on each session before it is announced to programs, publishers and consumers.
 *
 * It is done in phases: each begins when the one before has ended for everything that is registered, as a queue of one topology may be bound to
 * an exchange of another. A preparation does not fail: the others do not depend on it.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { inLane } from "../common/lanes.ts"
import type { Session } from "./session.ts"

/** The phases, in their order. */
const phases = ["exchanges", "exchangeBindings", "queues", "consumedQueues"] as const

/** What one topology or consumer does in the phases. */
export type Preparation = { readonly [Phase in (typeof phases)[number]]?: (session: Session) => Effect.Effect<void> }

/** How many preparations begin at a time: each may use several channels. One that takes longer delays no others. */
const maxLanes = 8

export class Preparations {
  private readonly all = new Set<Preparation>()

  get isEmpty(): boolean {
    return this.all.size === 0
  }

  /** Registers a preparation for further sessions, until the scope closes. */
  register(preparation: Preparation): Effect.Effect<void, never, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.sync(() => void this.all.add(preparation)),
      () => Effect.sync(() => void this.all.delete(preparation))
    )
  }

  run(session: Session): Effect.Effect<void> {
    return Effect.forEach(
      phases,
      (phase) => {
        const lanes = Semaphore.makeUnsafe(maxLanes)
        const prepare = (preparation: Preparation): Effect.Effect<void> => {
          const effect = preparation[phase]?.(session)
          return effect === undefined ? Effect.void : inLane(lanes, () => effect)
        }
        return Effect.forEach(this.all, prepare, { concurrency: "unbounded", discard: true })
      },
      { discard: true }
    )
  }
}
