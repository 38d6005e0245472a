import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { administration } from "./brokerUnderTest.ts"
import { uniqueName } from "./names.ts"

const fresh = (password: string, may: "everything" | "read"): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      const name = uniqueName("user")
      return Effect.as(administration().addUser(name, password, may), name)
    }),
    (name) => administration().deleteUser(name)
  )

/**
 * Adds a user with all permissions in the virtual host of the administrable broker's URL, and deletes it at the end of the scope.
 * Returns the user's name.
 */
export const freshUser = (password: string) => fresh(password, "everything")

/** The same, but the user may only read. */
export const freshReader = (password: string) => fresh(password, "read")
