import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { assertReason, connected } from "../../support/broker.ts"
import { isAdministrable } from "../../support/brokerUnderTest.ts"
import { freshVirtualHost } from "../../support/vhost.ts"

describe("a test's virtual host", () => {
  it.live.runIf(isAdministrable)(
    "exists until its scope closes",
    () =>
      Effect.gen(function*() {
        const { url } = yield* Effect.scoped(
          Effect.tap(freshVirtualHost, ({ url }) => connected(Effect.void, { url }))
        )
        const error = yield* Effect.flip(connected(Effect.void, { url }))
        if (error._tag !== "AmqpConnectionError") return assert.fail(String(error))
        assertReason(error, "VirtualHostRefused")
      })
  )
})
