/** What RabbitMQ accepts and refuses in the handshake of a connection. */
import * as Redacted from "effect/Redacted"
import { frameMinSize, protocolHeader, ReplyCode } from "../../../protocol/constants.ts"
import type { ConnectionStartOk, ConnectionTuneOk } from "../../../protocol/methods.generated.ts"
import { Refusal } from "../common/refusal.ts"
import type { User } from "../common/users.ts"
import type { VersionRules } from "../common/versionRules.ts"
import { mechanisms } from "./saslMechanisms.ts"

/** The version in `connection.start`. */
export interface ProtocolVersion {
  readonly major: number
  readonly minor: number
}

/** By the last four bytes of the protocol headers that RabbitMQ accepts: of 0-9-1, and of 0-9. */
const versions: ReadonlyMap<string, ProtocolVersion> = new Map([
  ["0 0 9 1", { major: 0, minor: 9 }],
  ["1 1 0 9", { major: 0, minor: 9 }]
])

/** With two headers of 0-8. */
const versionsWith08: ReadonlyMap<string, ProtocolVersion> = new Map([
  ...versions,
  ["1 1 8 0", { major: 8, minor: 0 }],
  ["1 1 9 1", { major: 8, minor: 0 }]
])

/** The version of a protocol header of eight bytes; `undefined` if the broker does not accept it. */
export const versionOf = (header: Uint8Array, { otherProtocol }: VersionRules): ProtocolVersion | undefined => {
  if (new TextDecoder().decode(header.subarray(0, 4)) !== "AMQP") return undefined
  return (otherProtocol === "AMQP 0-8" ? versionsWith08 : versions).get(header.subarray(4).join(" "))
}

/** The header with which the broker answers one that it does not accept: of AMQP 1.0 that for SASL, which comes first. */
export const headerFor = ({ otherProtocol }: VersionRules): Uint8Array =>
  otherProtocol === "AMQP 0-8" ? protocolHeader : Uint8Array.of(...protocolHeader.subarray(0, 4), 3, 1, 0, 0)

/** Refuses a wrong name or password. Only this error of a login is reported to the client, if it supports that. */
const wrongLogin = (mechanism: string): Refusal =>
  new Refusal(
    "accessRefused",
    `Login was refused using authentication mechanism ${mechanism}. For details see the broker logfile.`
  )

/** The user who logs in. Throws a `Refusal` if the login fails. */
export const logIn = (
  { mechanism, response }: ConnectionStartOk,
  offered: ReadonlyArray<string>,
  userNamed: (name: string) => User | undefined
): User => {
  const read = offered.includes(mechanism) ? mechanisms.get(mechanism) : undefined
  if (read === undefined) throw new Refusal("commandInvalid", `unknown authentication mechanism '${mechanism}'`)
  const login = read(response)
  // The response is a view of the received bytes, which stay in memory until others arrive.
  response.fill(0)
  if (login === undefined) throw new Refusal("syntaxError", `response to ${mechanism} invalid`)
  const user = userNamed(login.username)
  if (user === undefined || Redacted.value(user.password) !== login.password) throw wrongLogin(mechanism)
  return user
}

/** Whether a login was refused for a wrong name or password. */
export const isWrongLogin = ({ replyCode }: Refusal): boolean => replyCode === ReplyCode.accessRefused

/** Throws a `Refusal` unless the client stays within the server's limits; 0 stands for no limit. */
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
