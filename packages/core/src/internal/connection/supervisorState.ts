/** The states of a connection. */
import type { AmqpConnectionError } from "../../AmqpError.ts"

/** A phase in which there is no session. */
export interface Dialing {
  /** The number of the current or last attempt, from 1. 0 before the first. */
  readonly attempt: number
  /** The endpoint of the current or last attempt. */
  readonly endpoint: string | undefined
  /** Why the last attempt failed. */
  readonly lastError: AmqpConnectionError | undefined
  /** When the next attempt begins, in milliseconds since 1970. `undefined` while one is under way. */
  readonly nextAttempt: number | undefined
}

export type SupervisorState =
  | { readonly _tag: "Connecting" } & Dialing
  | { readonly _tag: "Open"; readonly endpoint: string }
  | { readonly _tag: "Recovering"; readonly cause: AmqpConnectionError; readonly since: number } & Dialing
  | { readonly _tag: "Closed"; readonly error: AmqpConnectionError }

export const notDialed: Dialing = { attempt: 0, endpoint: undefined, lastError: undefined, nextAttempt: undefined }
