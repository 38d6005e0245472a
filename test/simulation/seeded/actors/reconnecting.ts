/** Replaces its connection in order, as a rotation of nodes does. */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as Effect from "effect/Effect"
import type { ReconnectorPlan } from "../plan.ts"
import type { Role } from "../role.ts"

export const reconnect = (plan: ReconnectorPlan, { client, history }: Role) =>
  Effect.gen(function*() {
    const connection = yield* AmqpConnection.AmqpConnection
    for (const pause of plan.pauses) {
      yield* Effect.sleep(pause)
      const before = history.dialsOf(client).filter(({ openedAt }) => openedAt !== undefined).length
      const { _tag } = yield* connection.state
      yield* connection.reconnect
      const after = history.dialsOf(client).filter(({ openedAt }) => openedAt !== undefined).length
      if (_tag === "Open" && after === before) {
        history.violations.push(`client ${client} reconnects to the same session`)
      }
    }
  })
