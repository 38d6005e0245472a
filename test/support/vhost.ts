import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { afterAll, beforeAll } from "vitest"
import { administration, brokerUrl, isAdministrable } from "./brokerUnderTest.ts"
import { uniqueName } from "./names.ts"

/** A virtual host of one test. */
export interface VirtualHost {
  readonly name: string
  /** The administrable broker's URL for this virtual host. */
  readonly url: string
}

/**
 * Adds a virtual host in which the user of the administrable broker has all permissions, and deletes it with everything in it
 * at the end of the scope.
 */
export const freshVirtualHost: Effect.Effect<VirtualHost, never, Scope.Scope> = Effect.acquireRelease(
  Effect.suspend(() => {
    const name = uniqueName("vhost")
    const url = new URL(administration().url)
    url.pathname = `/${name}`
    return Effect.as(administration().addVirtualHost(name), { name, url: url.href })
  }),
  ({ name }) => administration().deleteVirtualHost(name)
)

/**
 * Gives the tests of a file, which use fixed names, their own virtual host. Returns a function for its URL; if tests cannot
 * administer a broker, that is the URL of the broker.
 */
export const withVirtualHost = (): () => string => {
  const scope = Scope.makeUnsafe()
  let url = brokerUrl
  beforeAll(async () => {
    if (isAdministrable) ({ url } = await Effect.runPromise(Scope.provide(freshVirtualHost, scope)))
  })
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  return () => url
}
