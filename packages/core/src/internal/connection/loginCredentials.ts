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
  /** How often the credentials have changed. Endpoints with different fixed credentials do not count. */
  changes = 0
  private last: Credentials | undefined
  private replacement: Credentials | undefined

  /** The credentials for a session. */
  forSession(given: Credentials | CredentialsEffect): CredentialsEffect {
    return Effect.isEffect(given)
      ? Effect.tap(given, (credentials) => Effect.sync(() => this.received(credentials)))
      : Effect.sync(() => this.replacement?.username === given.username ? { ...given, ...this.replacement } : given)
  }

  private received(credentials: Credentials): void {
    // The session checks what an effect yields.
    if (!Predicate.isObject(credentials)) return
    if (this.last !== undefined && !areEqual(this.last, credentials)) this.changes++
    this.last = credentials
  }

  /** The broker has accepted another password for this user. */
  replaced(username: string, password: Redacted.Redacted<string>): void {
    this.replacement = { username, password }
    this.changes++
  }
}

const areEqual = (a: Credentials, b: Credentials): boolean =>
  a.username === b.username && Redacted.isRedacted(a.password) && Redacted.isRedacted(b.password) &&
  Redacted.value(a.password) === Redacted.value(b.password)
