/**
 * Which SASL mechanism (RFC 4422) a connection logs in with, and how large a frame it may do so with.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import { AmqpConnectionError, NoCommonMechanism } from "../../AmqpError.ts"
import type { Mechanism } from "../../AmqpSasl.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"

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
