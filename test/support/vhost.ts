import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { afterAll, beforeAll } from "vitest"
import { administration, brokerUrl, isAdministrable } from "./brokerUnderTest.ts"
import { uniqueName } from "./names.ts"

/** A virtual host that one test has for itself. */
export interface VirtualHost {
  readonly name: string
  /** The administrable broker's URL for this virtual host. */
  readonly url: string
}

/**
 * Makes a virtual host in which the user of the administrable broker may do everything, and deletes it with all that
 * is in it at the end of the scope.
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
 * Gives the tests of a file, which use names that are not their own, a virtual host that they share with nobody. Answers its URL
 * while they run; where tests can't administer a broker, that is the URL of the broker.
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
