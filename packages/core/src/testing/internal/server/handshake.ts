/** What RabbitMQ accepts in the handshake of a connection, and what it refuses. */
import * as Redacted from "effect/Redacted"
import { frameMinSize, ReplyCode } from "../../../protocol/constants.ts"
import type { ConnectionStartOk, ConnectionTuneOk } from "../../../protocol/methods.generated.ts"
import { Refusal } from "../common/refusal.ts"
import type { User } from "../common/users.ts"
import { mechanisms } from "./login.ts"

/** The version that `connection.start` says for a protocol header. */
export interface Version {
  readonly major: number
  readonly minor: number
}

/** The last four bytes of the headers that RabbitMQ greets: those of 0-9-1, of 0-9, and the two of 0-8. */
const versions: ReadonlyMap<string, Version> = new Map([
  ["0 0 9 1", { major: 0, minor: 9 }],
  ["1 1 0 9", { major: 0, minor: 9 }],
  ["1 1 8 0", { major: 8, minor: 0 }],
  ["1 1 9 1", { major: 8, minor: 0 }]
])

/** The version of a protocol header of eight bytes; `undefined`: it is of none that the broker speaks. */
export const versionOf = (header: Uint8Array): Version | undefined =>
  new TextDecoder().decode(header.subarray(0, 4)) === "AMQP"
    ? versions.get(header.subarray(4).join(" "))
    : undefined

/** A login with a wrong name or password, of which a client is told if it says that it understands. */
export const wrongLogin = (mechanism: string): Refusal =>
  new Refusal(
    "accessRefused",
    `Login was refused using authentication mechanism ${mechanism}. For details see the broker logfile.`
  )

/** The user of a login; throws a `Refusal`. */
export const logIn = (
  { mechanism, response }: ConnectionStartOk,
  offered: ReadonlyArray<string>,
  userNamed: (name: string) => User | undefined
): User => {
  const read = offered.includes(mechanism) ? mechanisms.get(mechanism) : undefined
  if (read === undefined) throw new Refusal("commandInvalid", `unknown authentication mechanism '${mechanism}'`)
  const login = read(response)
  // A view of what was received, which the reader may hold for as long as nothing else comes.
  response.fill(0)
  if (login === undefined) throw new Refusal("syntaxError", `response to ${mechanism} invalid`)
  const user = userNamed(login.username)
  if (user === undefined || Redacted.value(user.password) !== login.password) throw wrongLogin(mechanism)
  return user
}

/** Whether a refusal is that of `wrongLogin`. */
export const isWrongLogin = ({ replyCode }: Refusal): boolean => replyCode === ReplyCode.accessRefused

/** Throws a `Refusal` unless the client keeps within what the server asked for; 0 stands for no limit. */
export const checkTune = (
  { channelMax, frameMax }: ConnectionTuneOk,
  limits: { readonly channelMax: number; readonly frameMax: number }
): void => {
  checkTuned("frame_max", frameMax, limits.frameMax, frameMinSize)
  checkTuned("channel_max", channelMax, limits.channelMax, 1)
}

const checkTuned = (name: string, value: number, maximum: number, minimum: number): void => {
  if (value !== 0 && value < minimum) {
    throw new Refusal(
      "notAllowed",
      `negotiated ${name} = ${value} is lower than the minimum allowed value (${minimum})`
    )
  }
  if (maximum !== 0 && (value === 0 || value > maximum)) {
    const shown = value === 0 ? "no limit" : value
    throw new Refusal(
      "notAllowed",
      `negotiated ${name} = ${shown} is higher than the maximum allowed value (${maximum})`
    )
  }
}
