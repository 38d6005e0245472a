/**
 * The supervisor of each `AmqpConnection`. A program cannot reach the registry, so it cannot reach a supervisor or a session.
 */
import type { Supervisor } from "./supervisor.ts"

/** The part of a connection that identifies its supervisor, and that a copy of the connection has too. */
interface Registered {
  readonly updateSecret: object
}

const supervisors = new WeakMap<object, Supervisor>()

/** Registers the supervisor of a connection. */
export const register = ({ updateSecret }: Registered, supervisor: Supervisor): void => {
  supervisors.set(updateSecret, supervisor)
}

/** The supervisor of a connection. */
export const supervisorOf = ({ updateSecret }: Registered): Supervisor => {
  const supervisor = supervisors.get(updateSecret)
  if (supervisor !== undefined) return supervisor
  throw new TypeError(
    "The AmqpConnection was not made by AmqpConnection.make or AmqpConnection.layer, and is not a copy of one that was"
  )
}
