import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { administrableBroker, rabbitmqctl } from "./rabbitmqctl.ts"

/** A virtual host that one test has for itself. */
export interface VirtualHost {
  readonly name: string
  /** The administrable broker's URL for this virtual host. */
  readonly url: string
}

/**
 * Makes a virtual host in which the user of the administrable broker may do everything, and deletes it with all that
 * is in it at the end of the scope. Costs two calls of `rabbitmqctl`.
 */
export const freshVirtualHost: Effect.Effect<VirtualHost, Error, Scope.Scope> = Effect.acquireRelease(
  Effect.tryPromise({
    try: async () => {
      const broker = administrableBroker()
      const name = `effect-amqp-test-${crypto.randomUUID()}`
      const url = new URL(broker.url)
      const user = decodeURIComponent(url.username) || "guest"
      // Both steps in one call, as each call takes over a second.
      await rabbitmqctl(
        "eval",
        `rabbit_vhost:add(<<"${name}">>, <<"test">>),
         All = <<".*">>,
         rabbit_auth_backend_internal:set_permissions(<<"${user}">>, <<"${name}">>, All, All, All, <<"test">>).`
      )
      url.pathname = `/${name}`
      return { name, url: url.href }
    },
    catch: (cause) => cause instanceof Error ? cause : new Error("the virtual host was not made", { cause })
  }),
  ({ name }) => Effect.promise(() => rabbitmqctl("delete_vhost", name))
)
