import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { uniqueName } from "./broker.ts"
import { administrableBroker, rabbitmqctl } from "./rabbitmqctl.ts"

/** A text as Erlang writes it: by its bytes, so that no character means anything. */
const binary = (text: string): string => `<<${new TextEncoder().encode(text).join(",")}>>`

/**
 * Makes a user who may log in to the virtual host of the administrable broker's URL and do nothing there but read, and
 * deletes it at the end of the scope. Answers the user's name. Costs two calls of `rabbitmqctl`.
 */
export const freshReader = (password: string): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const name = uniqueName("user")
      const virtualHost = decodeURIComponent(new URL(administrableBroker().url).pathname.slice(1)) || "/"
      const user = binary(name)
      await rabbitmqctl(
        "eval",
        `rabbit_auth_backend_internal:add_user(${user}, ${binary(password)}, <<"test">>),
         Nothing = <<"^$">>,
         rabbit_auth_backend_internal:set_permissions(
           ${user}, ${binary(virtualHost)}, Nothing, Nothing, <<".*">>, <<"test">>).`
      )
      return name
    }),
    (name) => Effect.promise(() => rabbitmqctl("delete_user", name))
  )
