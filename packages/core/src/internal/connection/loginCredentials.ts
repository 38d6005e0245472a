/**
 * The credentials of a connection across its sessions.
 *
 * An effect of the program is run for each session. A fixed password that the program has replaced (`updateSecret`) is used in its new
 * form.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import type { CredentialsUnavailable } from "../../AmqpError.ts"
import type { Credentials } from "../../AmqpSasl.ts"

type CredentialsEffect = Effect.Effect<Credentials, CredentialsUnavailable>

export class LoginCredentials {
  /** How often a session has logged in with other credentials than the one before. */
  changes = 0
  private last: Credentials | undefined
  private newPassword: Redacted.Redacted<string> | undefined

  /** The credentials for a session. */
  forSession(given: Credentials | CredentialsEffect): CredentialsEffect {
    const isFixed = !Effect.isEffect(given)
    return Effect.map(isFixed ? Effect.succeed(given) : given, (credentials) => {
      // The session checks what an effect yields.
      if (!Predicate.isObject(credentials)) return credentials
      const { newPassword } = this
      const current = isFixed && newPassword !== undefined ? { ...credentials, password: newPassword } : credentials
      if (this.last !== undefined && !areEqual(this.last, current)) this.changes++
      return this.last = current
    })
  }

  /** The broker has accepted another password. */
  replaced(password: Redacted.Redacted<string>): void {
    this.newPassword = password
  }
}

const areEqual = (a: Credentials, b: Credentials): boolean =>
  a.username === b.username && Redacted.isRedacted(a.password) && Redacted.isRedacted(b.password) &&
  Redacted.value(a.password) === Redacted.value(b.password)
