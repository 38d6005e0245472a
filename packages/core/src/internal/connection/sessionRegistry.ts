/**
 * The sessions behind connections, where nothing that a program can reach leads to them.
 */
import type { Session } from "./session.ts"

/** The part of a connection that identifies its session. A copy of the connection has it too. */
interface WithSession {
  readonly updateSecret: object
}

const sessions = new WeakMap<object, Session>()

/** Makes a session that of a connection. */
export const register = ({ updateSecret }: WithSession, session: Session): void => {
  sessions.set(updateSecret, session)
}

/** The session that the channels of a connection are opened in. */
export const sessionOf = ({ updateSecret }: WithSession): Session => {
  const session = sessions.get(updateSecret)
  if (session !== undefined) return session
  throw new TypeError(
    "The AmqpConnection was not made by AmqpConnection.make or AmqpConnection.layer, and is not a copy of one that was"
  )
}
