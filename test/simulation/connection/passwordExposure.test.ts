import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpSasl from "@effect-amqp/core/AmqpSasl"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { dial, fork, script, start } from "../../support/scriptedPeer.ts"
import { assertHides, logged } from "../../support/secrets.ts"

describe("a password sent over a transport", () => {
  const secret = "s3cret"
  const credentials = { username: "ann", password: Redacted.make(secret) }

  /** The warnings after connecting twice over such a transport. */
  const warningsOf = (
    level: "Verified" | "Unverified" | "Local" | "None" | undefined,
    options: AmqpConnection.Options = {}
  ) => {
    const peer = `${crypto.randomUUID()}.example:5672`
    return logged((lines) =>
      Effect.gen(function*() {
        for (let count = 0; count < 2; count++) {
          const connecting = script((peer) =>
            Effect.gen(function*() {
              yield* fork(dial(peer, { credentials, ...options }))
              yield* peer.send(0, start({ mechanisms: "PLAIN EXTERNAL" }))
              yield* peer.expect("connection.start-ok")
            })
          )
          yield* level === undefined
            ? connecting
            : Effect.provideService(connecting, AmqpConnection.TransportProtection, { peer, level })
        }
        assertHides(lines, secret)
        return lines.filter((line) => line.includes("level=WARN") && line.includes(peer))
      })
    )
  }

  it.effect("without encryption causes one warning, which names the broker", () =>
    Effect.gen(function*() {
      const warnings = yield* warningsOf("None")
      assert.lengthOf(warnings, 1)
      assert.match(warnings[0], /unencrypted.*amqps:/)
    }))

  it.effect("to an unverified server causes one warning", () =>
    Effect.gen(function*() {
      const warnings = yield* warningsOf("Unverified")
      assert.lengthOf(warnings, 1)
      assert.include(warnings[0], "not verified")
    }))

  it.effect("by a custom mechanism that may reveal it causes a warning", () =>
    Effect.gen(function*() {
      const mechanism = AmqpSasl.singleStep(
        "PLAIN",
        ({ password }) => new TextEncoder().encode(Redacted.value(password))
      )
      assert.lengthOf(yield* warningsOf("None", { mechanisms: [mechanism] }), 1)
    }))

  it.effect("causes no warning with TLS, on the same machine, over an unknown transport, or if none is sent", () =>
    Effect.gen(function*() {
      for (const level of ["Verified", "Local", undefined] as const) {
        assert.lengthOf(yield* warningsOf(level), 0)
      }
      assert.lengthOf(yield* warningsOf("None", { mechanisms: [AmqpSasl.external] }), 0)
    }))
})
