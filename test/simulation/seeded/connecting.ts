/** What the connections of all clients have in common. */
import type * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as Effect from "effect/Effect"
import type { Plan } from "./plan.ts"

export const connectionOptions = (
  index: 0 | 1,
  { heartbeatSeconds, maxIdleChannels }: Plan
): AmqpConnection.Options => ({
  connectionName: `c${index}`,
  maxIdleChannels,
  heartbeat: `${heartbeatSeconds} seconds`
})

/** Whether the connection has not closed for good. */
export const isOpen = (connection: AmqpConnection.AmqpConnection["Service"]): Effect.Effect<boolean> =>
  Effect.map(connection.state, ({ _tag }) => _tag !== "Closed")

/** Whether there is a session. */
export const isConnected = (connection: AmqpConnection.AmqpConnection["Service"]): Effect.Effect<boolean> =>
  Effect.map(connection.state, ({ _tag }) => _tag === "Open" || _tag === "Blocked")

export const partition = <A>(values: ReadonlyArray<A>, predicate: (value: A) => boolean) =>
  [values.filter(predicate), values.filter((value) => !predicate(value))] as const
