/** Updates the secret of the connection, as a renewal of tokens does. */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { SecretsPlan } from "../plan.ts"
import type { Role } from "../role.ts"

export const updateSecrets = (plan: SecretsPlan, { password }: Role) =>
  Effect.gen(function*() {
    const { updateSecret } = yield* AmqpConnection.AmqpConnection
    for (let round = 0; round < plan.count; round++) {
      // Concurrent updates are answered in order.
      yield* Effect.all(
        [updateSecret(Redacted.make(password()), "first"), updateSecret(Redacted.make(password()), "second")],
        {
          concurrency: 2,
          discard: true
        }
      )
      yield* Effect.sleep(50)
    }
  })
