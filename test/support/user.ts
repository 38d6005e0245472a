import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { administration } from "./brokerUnderTest.ts"
import { uniqueName } from "./names.ts"

/**
 * Adds a user who may only read in the virtual host of the administrable broker's URL, and deletes it at the end of the scope.
 * Returns the user's name.
 */
export const freshReader = (password: string): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      const name = uniqueName("user")
      return Effect.as(administration().addUser(name, password, "read"), name)
    }),
    (name) => administration().deleteUser(name)
  )
