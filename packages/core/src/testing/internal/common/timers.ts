/** Effect's Clock for code that runs synchronously. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"

export interface Timers {
  /** Milliseconds since 1970-01-01T00:00:00Z. */
  readonly now: () => number
  /** Runs the action after this time, unless the returned function is called before. */
  readonly schedule: (milliseconds: number, action: () => void) => () => void
}

/** Timers that end with the scope. */
export const make: Effect.Effect<Timers, never, Scope.Scope> = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const run = yield* FiberSet.makeRuntime()
  return {
    now: () => clock.currentTimeMillisUnsafe(),
    schedule: (milliseconds, action) => {
      const fiber = run(Effect.andThen(Effect.sleep(milliseconds), Effect.sync(action)))
      return () => fiber.interruptUnsafe()
    }
  }
})
