/**
 * The session of each `AmqpConnection`. A program cannot reach the registry, so it cannot reach a session.
 */
import type { Session } from "./session.ts"

/** The part of a connection that identifies its session, and that a copy of the connection has too. */
interface WithSession {
  readonly updateSecret: object
}

const sessions = new WeakMap<object, Session>()

/** Registers the session of a connection. */
export const register = ({ updateSecret }: WithSession, session: Session): void => {
  sessions.set(updateSecret, session)
}

/** The session of a connection. */
export const sessionOf = ({ updateSecret }: WithSession): Session => {
  const session = sessions.get(updateSecret)
  if (session !== undefined) return session
  throw new TypeError(
    "The AmqpConnection was not made by AmqpConnection.make or AmqpConnection.layer, and is not a copy of one that was"
  )
}
