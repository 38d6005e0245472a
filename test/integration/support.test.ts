import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { hasRabbitmqctl, rabbitmqctl } from "../support/rabbitmqctl.ts"
import { freshVirtualHost } from "../support/vhost.ts"

const virtualHosts = Effect.promise(() => rabbitmqctl("list_vhosts"))

describe("the broker that tests administer", () => {
  it.live.runIf(hasRabbitmqctl())(
    "has a virtual host of a test's own until its scope closes",
    () =>
      Effect.gen(function*() {
        const name = yield* freshVirtualHost.pipe(
          Effect.tap(({ name }) => Effect.map(virtualHosts, (listed) => assert.include(listed, name))),
          Effect.map(({ name }) => name),
          Effect.scoped
        )
        assert.notInclude(yield* virtualHosts, name)
      })
  )
})
