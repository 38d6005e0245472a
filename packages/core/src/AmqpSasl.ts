/**
 * Logging in: credentials, and the SASL mechanisms (RFC 4422) that present them to the broker.
 *
 * `AmqpConnection` takes credentials, as a value or as an Effect, and a list of mechanisms, of which it uses the first
 * that the broker offers. RabbitMQ supports {@link plain}, {@link amqplain}, {@link external} and {@link anonymous}; a
 * custom {@link Mechanism} can have several steps.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { MechanismFailed } from "./AmqpError.ts"
import type { CredentialsUnavailable } from "./AmqpError.ts"
import { ByteWriter } from "./protocol/ByteWriter.ts"
import { encodeTable } from "./protocol/fieldTable.ts"

/**
 * A user name with its password, or with a token in place of the password.
 *
 * @category models
 * @since 0.1.0
 */
export interface Credentials {
  /** The user name. With an OAuth 2.0 token RabbitMQ takes the user from the token and ignores the name. */
  readonly username: string
  /** The password or token. */
  readonly password: Redacted.Redacted<string>
  /**
   * When the password expires. Before that, the connection gets new credentials and sends their password to the broker
   * (`connection.update-secret`). Default: never.
   */
  readonly expiresAt?: DateTime.DateTime | Date | undefined
}

/**
 * A step of an authentication exchange (section 3 of RFC 4422): the response to send, and how to continue if the server
 * replies with a challenge.
 *
 * @category models
 * @since 0.1.0
 */
export interface Step {
  /** The initial response, or the response to a challenge: bytes as the mechanism defines them, possibly none. */
  readonly response: Redacted.Redacted<Uint8Array>
  /**
   * Computes the next step from the server's challenge (`connection.secure`). Absent in the last step: another
   * challenge then fails the exchange.
   */
  readonly answer?: ((challenge: Uint8Array) => Effect.Effect<Step, MechanismError>) | undefined
}

/**
 * The errors of a mechanism. Each becomes the reason of an `AmqpConnectionError`.
 *
 * @category models
 * @since 0.1.0
 */
export type MechanismError = CredentialsUnavailable | MechanismFailed

/**
 * The client's side of a SASL mechanism.
 *
 * **Details**
 *
 * `start` begins an exchange, once for each connection. It receives the credentials as an Effect, which mechanisms
 * without credentials do not run. State of an exchange, such as a nonce, belongs in its steps: a mechanism may serve
 * several connections at the same time.
 *
 * @category models
 * @since 0.1.0
 */
export interface Mechanism {
  /** The name in the server's list, such as `PLAIN`. */
  readonly name: string
  /** Whether the password is sent in a form that an eavesdropper can use. Default: `false`. */
  readonly revealsPassword?: boolean | undefined
  readonly start: (
    credentials: Effect.Effect<Credentials, CredentialsUnavailable>
  ) => Effect.Effect<Step, MechanismError>
}

const encoder = new TextEncoder()

const only = (bytes: Uint8Array): Step => ({ response: Redacted.make(bytes) })

/**
 * `PLAIN` (RFC 4616): sends user name and password in clear text. Every broker supports it.
 *
 * **Details**
 *
 * Fails with `MechanismFailed` for a user name or password with a NUL character, which this mechanism can't express.
 *
 * **Gotchas**
 *
 * Use it over TLS, as anyone who reads the connection gets the password. Connecting to another machine with `amqp://`
 * logs a warning.
 *
 * @category mechanisms
 * @since 0.1.0
 */
export const plain: Mechanism = {
  name: "PLAIN",
  revealsPassword: true,
  start: (credentials) =>
    Effect.flatMap(credentials, ({ password, username }) => {
      const secret = Redacted.value(password)
      return username.includes("\0") || secret.includes("\0")
        ? Effect.fail(
          new MechanismFailed({
            mechanism: "PLAIN",
            description: "the user name or password contains a NUL character"
          })
        )
        : Effect.succeed(only(encoder.encode(`\0${username}\0${secret}`)))
    })
}

/**
 * `AMQPLAIN`: sends user name and password in clear text, in a field table. RabbitMQ keeps it from AMQP 0-8.
 *
 * **Gotchas**
 *
 * As readable as {@link plain}.
 *
 * @category mechanisms
 * @since 0.1.0
 */
export const amqplain: Mechanism = {
  name: "AMQPLAIN",
  revealsPassword: true,
  start: (credentials) =>
    Effect.map(credentials, ({ password, username }) => {
      const writer = new ByteWriter(256)
      encodeTable(writer, { LOGIN: username, PASSWORD: Redacted.value(password) })
      const bytes = new Uint8Array(writer.provisionalBytes)
      writer.commit()
      let at = 0
      for (const chunk of writer.take()) {
        bytes.set(chunk, at)
        at += chunk.length
      }
      // Without the length of the table, as the response has its own.
      return only(bytes.subarray(4))
    })
}

/**
 * `EXTERNAL` (appendix A of RFC 4422): the broker identifies the client by its TLS certificate. Uses no credentials.
 *
 * **Details**
 *
 * Needs TLS with a client certificate, and in RabbitMQ the plugin `rabbitmq_auth_mechanism_ssl`, which takes the user
 * name from the certificate, and `EXTERNAL` in its `auth_mechanisms`.
 *
 * @category mechanisms
 * @since 0.1.0
 */
export const external: Mechanism = {
  name: "EXTERNAL",
  start: () => Effect.succeed(only(new Uint8Array(0)))
}

/**
 * `ANONYMOUS` (RFC 4505): logs in without an identity. RabbitMQ supports it from 4.0 on, as its `anonymous_login_user`.
 * Uses no credentials.
 *
 * @category mechanisms
 * @since 0.1.0
 */
export const anonymous: Mechanism = {
  name: "ANONYMOUS",
  start: () => Effect.succeed(only(new Uint8Array(0)))
}

/**
 * A mechanism that sends one response and expects no challenge, as most mechanisms do.
 *
 * **Details**
 *
 * For an exchange of several steps write a {@link Mechanism} whose {@link Step}s have an `answer`.
 *
 * **Example** (A broker's own mechanism)
 *
 * ```ts
 * import { AmqpSasl } from "@effect-amqp/core"
 * import * as Redacted from "effect/Redacted"
 *
 * const token = AmqpSasl.singleStep("X-TOKEN", ({ password }) =>
 *   new TextEncoder().encode(`token=${Redacted.value(password)}`)
 * )
 * ```
 *
 * @category mechanisms
 * @since 0.1.0
 */
export const singleStep = (name: string, response: (credentials: Credentials) => Uint8Array): Mechanism => ({
  name,
  // The response may contain the password.
  revealsPassword: true,
  start: (asked) => Effect.map(asked, (credentials) => only(response(credentials)))
})

/**
 * The names of this module's mechanisms, as brokers offer them.
 *
 * @category models
 * @since 0.1.0
 */
export type MechanismName = "PLAIN" | "AMQPLAIN" | "EXTERNAL" | "ANONYMOUS"

const byName: Readonly<Record<MechanismName, Mechanism>> = {
  PLAIN: plain,
  AMQPLAIN: amqplain,
  EXTERNAL: external,
  ANONYMOUS: anonymous
}

/**
 * The mechanism of this module with this name.
 *
 * @category mechanisms
 * @since 0.1.0
 */
export const fromName = (name: MechanismName): Mechanism => byName[name]
