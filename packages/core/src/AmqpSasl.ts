/**
 * How a connection logs in: credentials, and the SASL mechanisms (RFC 4422) that present them to the broker.
 *
 * `AmqpConnection` takes credentials, as a value or as an Effect, and an ordered list of mechanisms, of which it uses the first
 * that the broker offers. {@link plain}, {@link amqplain}, {@link external} and {@link anonymous} are those that RabbitMQ knows;
 * a {@link Mechanism} of your own can hold a conversation of several steps.
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

const encoder = new TextEncoder()

const only = (bytes: Uint8Array): Step => ({ response: Redacted.make(bytes) })

/**
 * `PLAIN` (RFC 4616): user name and password as they are. Every broker has it.
 *
 * **Details**
 *
 * Fails with `MechanismFailed` for a user name or password with a NUL character, which this mechanism cannot express.
 *
 * **Gotchas**
 *
 * Whoever reads the connection has the password, so use it over TLS. With `amqp://` and a host that is another machine,
 * connecting logs a warning.
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
            description: "there is a NUL character in the user name or password"
          })
        )
        : Effect.succeed(only(encoder.encode(`\0${username}\0${secret}`)))
    })
}

/**
 * `AMQPLAIN`: user name and password as they are, in a field table. RabbitMQ keeps it from AMQP 0-8.
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
      // The table without its length: the response has one of its own.
      return only(bytes.subarray(4))
    })
}

/**
 * `EXTERNAL` (appendix A of RFC 4422): the broker knows who this is by other means, which is a client certificate. Asks for no
 * credentials.
 *
 * **Details**
 *
 * Needs TLS with a client certificate, and in RabbitMQ the plugin `rabbitmq_auth_mechanism_ssl`, which takes the user name from
 * the certificate, and `EXTERNAL` in its `auth_mechanisms`.
 *
 * @category mechanisms
 * @since 0.1.0
 */
export const external: Mechanism = {
  name: "EXTERNAL",
  start: () => Effect.succeed(only(new Uint8Array(0)))
}

/**
 * `ANONYMOUS` (RFC 4505): as nobody. RabbitMQ has it since 4.0, and then logs in its `anonymous_login_user`. Asks for no
 * credentials.
 *
 * @category mechanisms
 * @since 0.1.0
 */
export const anonymous: Mechanism = {
  name: "ANONYMOUS",
  start: () => Effect.succeed(only(new Uint8Array(0)))
}

/**
 * A mechanism that sends one response and expects no challenge, which is what most mechanisms are.
 *
 * **Details**
 *
 * For a conversation of several steps write a {@link Mechanism}: each {@link Step} that has an `answer` goes on.
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
  // Nobody can tell what is in the response, so it is taken for the worst.
  revealsPassword: true,
  start: (asked) => Effect.map(asked, (credentials) => only(response(credentials)))
})

/**
 * The SASL mechanisms that this package has, by the names that brokers offer them under.
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
 * The mechanism of this module with that name.
 *
 * @category mechanisms
 * @since 0.1.0
 */
export const fromName = (name: MechanismName): Mechanism => byName[name]
