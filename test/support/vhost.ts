import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { administration } from "./brokerUnderTest.ts"
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
