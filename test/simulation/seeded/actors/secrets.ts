/** Updates the secret of the connection, as a renewal of tokens does. */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { SecretsPlan } from "../plan.ts"

export const updateSecrets = (plan: SecretsPlan) =>
  Effect.gen(function*() {
    const { updateSecret } = yield* AmqpConnection.AmqpConnection
    for (let round = 0; round < plan.count; round++) {
      // Concurrent updates are answered in order.
      yield* Effect.all(
        [updateSecret(Redacted.make("guest"), "first"), updateSecret(Redacted.make("guest"), "second")],
        {
          concurrency: 2,
          discard: true
        }
      )
      yield* Effect.sleep(50)
    }
  })
