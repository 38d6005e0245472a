/**
 * What logging in consists of: credentials, and SASL mechanisms (RFC 4422) that turn them into what goes over the wire.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import { AmqpConnectionError, NoCommonMechanism } from "../../AmqpError.ts"
import type { CredentialsUnavailable, MechanismFailed } from "../../AmqpError.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"

/**
 * A user name with its password, or with a token in the place of the password.
 *
 * @category models
 * @since 0.1.0
 */
export interface Credentials {
  /** With an OAuth 2.0 token RabbitMQ takes the user from the token, and any name will do. */
  readonly username: string
  /** The password or token. */
  readonly password: Redacted.Redacted<string>
  /**
   * Until when the password is good, if it expires. Before that the connection asks for new credentials and hands their
   * password to the broker (`connection.update-secret`). Default: never.
   */
  readonly expiresAt?: DateTime.DateTime | Date | undefined
}

/**
 * A state of an authentication exchange (section 3 of RFC 4422): what to send now, and how to go on when the server answers
 * with a challenge.
 *
 * @category models
 * @since 0.1.0
 */
export interface Step {
  /** The response to the challenge, or the initial response: bytes as the mechanism defines them, maybe none. */
  readonly response: Redacted.Redacted<Uint8Array>
  /**
   * Answers the server's next challenge (`connection.secure`) with the next step. Absent in the last step: then the exchange
   * fails on another challenge.
   */
  readonly answer?: ((challenge: Uint8Array) => Effect.Effect<Step, MechanismError>) | undefined
}

/**
 * What a mechanism can fail with. Both become the reason of an `AmqpConnectionError`.
 *
 * @category models
 * @since 0.1.0
 */
export type MechanismError = CredentialsUnavailable | MechanismFailed

/**
 * A SASL mechanism, from the client's side.
 *
 * **Details**
 *
 * `start` begins an exchange, once for each connection. It is given the credentials as an Effect, and those that need none do
 * not run it. Everything that changes in the course of an exchange, such as a nonce, belongs in its steps: a mechanism is a
 * value, and may serve several connections at the same time.
 *
 * @category models
 * @since 0.1.0
 */
export interface Mechanism {
  /** As the server lists it, such as `PLAIN`. */
  readonly name: string
  /** Whether it sends the password in a form that whoever reads it can use. Default: `false`. */
  readonly revealsPassword?: boolean | undefined
  readonly start: (
    credentials: Effect.Effect<Credentials, CredentialsUnavailable>
  ) => Effect.Effect<Step, MechanismError>
}

/** The first of the client's mechanisms that the server offers. Its list is of names with spaces between them. */
export const chooseMechanism = (
  supported: NonEmptyReadonlyArray<Mechanism>,
  mechanisms: string
): Effect.Effect<Mechanism, AmqpConnectionError> => {
  const offered = mechanisms.split(" ").filter((name) => name !== "")
  const chosen = supported.find(({ name }) => offered.includes(name))
  if (chosen !== undefined) return Effect.succeed(chosen)
  const names = supported.map(({ name }) => name)
  return Effect.fail(new AmqpConnectionError({ reason: new NoCommonMechanism({ offered, supported: names }) }))
}

/** The largest frame that a server has to take before connection.tune (section 4.2.3 of the specification). */
const specifiedFirstFrame = 4096

/** As RabbitMQ has it since 4.1, for the sake of long tokens (release notes of RabbitMQ 4.1.0). */
const rabbitmqFirstFrame = 8192

/** How large a frame this server takes before connection.tune, in bytes. */
export const firstFrameMax = ({ product, version }: FieldTable): number => {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(typeof version === "string" ? version : "") ?? []
  const isRecent = Number(major) > 4 || (Number(major) === 4 && Number(minor) >= 1)
  return product === "RabbitMQ" && isRecent ? rabbitmqFirstFrame : specifiedFirstFrame
}
