/** Chooses the SASL mechanism (RFC 4422) of a connection, and the size of the first frame. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import { AmqpConnectionError, NoCommonMechanism } from "../../AmqpError.ts"
import type { Mechanism } from "../../AmqpSasl.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"

/** The first of the client's mechanisms that the server offers, whose list is separated by spaces. */
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

/** The frame size that a server must accept before connection.tune (section 4.2.3 of the specification). */
const specifiedFirstFrame = 4096

/** RabbitMQ's default since 4.1, for long tokens (release notes of RabbitMQ 4.1.0). */
const rabbitmqFirstFrame = 8192

/** The frame size that this server accepts before connection.tune, in bytes. */
export const firstFrameMax = ({ product, version }: FieldTable): number => {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(typeof version === "string" ? version : "") ?? []
  const isRecent = Number(major) > 4 || (Number(major) === 4 && Number(minor) >= 1)
  return product === "RabbitMQ" && isRecent ? rabbitmqFirstFrame : specifiedFirstFrame
}
