/**
 * The query parameters of an AMQP URI: their names, their values, and the fields that they set. Names and units are
 * those of RabbitMQ's "URI Query Parameters" and of rabbitpy; several may set the same field.
 *
 * Descriptions of problems never contain a value.
 */
import * as Duration from "effect/Duration"
import * as Equal from "effect/Equal"
import * as Redacted from "effect/Redacted"
import type { MechanismName } from "../../AmqpSasl.ts"
import { nearestName } from "../errors/nearestName.ts"

/** The fields that parameters can set, absent if no parameter does. */
export interface ParameterFields {
  readonly heartbeat?: Duration.Duration | undefined
  readonly channelMax?: number | undefined
  readonly frameMax?: number | undefined
  readonly connectTimeout?: Duration.Duration | undefined
  readonly locale?: string | undefined
  readonly caFile?: string | undefined
  readonly caPath?: string | undefined
  readonly certFile?: string | undefined
  readonly keyFile?: string | undefined
  readonly passphrase?: Redacted.Redacted<string> | undefined
  readonly mechanisms?: ReadonlyArray<MechanismName> | undefined
  readonly dangerouslyAcceptAnyCertificate?: boolean | undefined
  readonly dangerouslyAcceptAnyHostname?: boolean | undefined
  readonly serverName?: string | false | undefined
}

type MutableFields = { -readonly [K in keyof ParameterFields]: ParameterFields[K] }

interface Parameter {
  readonly field: keyof ParameterFields
  readonly expects: string
  readonly isTls: boolean
  /** Sets the field, or returns what is wrong with the value. */
  readonly set: (fields: MutableFields, text: string) => "Malformed" | "Contradictory" | undefined
}

const parameter = <K extends keyof ParameterFields>(
  field: K,
  expects: string,
  read: (text: string) => ParameterFields[K],
  isTls = false
): Parameter => ({
  field,
  expects,
  isTls,
  set: (fields, text) => {
    const value = read(text)
    if (value === undefined) return "Malformed"
    const earlier = fields[field]
    if (earlier !== undefined && !Equal.equals(earlier, value)) return "Contradictory"
    fields[field] = value
  }
})

const tlsParameter = <K extends keyof ParameterFields>(
  field: K,
  expects: string,
  read: (text: string) => ParameterFields[K]
): Parameter => parameter(field, expects, read, true)

/** Parses decimal digits; `undefined` for anything else and for a number out of range. */
export const wholeNumber = (minimum: number, maximum: number) => (text: string): number | undefined => {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  return value >= minimum && value <= maximum ? value : undefined
}

const duration =
  (fromNumber: (value: number) => Duration.Duration, minimum: number, maximum: number) =>
  (text: string): Duration.Duration | undefined => {
    const value = wholeNumber(minimum, maximum)(text)
    return value === undefined ? undefined : fromNumber(value)
  }

const nonEmpty = (text: string): string | undefined => text === "" ? undefined : text

const choice = <A>(choices: Readonly<Record<string, A>>) => (text: string): A | undefined => {
  const key = text.toLowerCase()
  return Object.hasOwn(choices, key) ? choices[key] : undefined
}

const readFrameMax = (text: string): number | undefined => text === "0" ? 0 : wholeNumber(8192, 2 ** 32 - 1)(text)

const readServerName = (text: string): string | false | undefined => text === "disable" ? false : nonEmpty(text)

// The longest duration of a JavaScript timer.
const maxMillis = 2 ** 31 - 1
const maxSeconds = Math.floor(maxMillis / 1000)

const timeoutMillis = duration(Duration.millis, 1, maxMillis)
const timeoutSeconds = duration(Duration.seconds, 1, maxSeconds)
const verifications = { verify_peer: false, required: false, optional: false, verify_none: true, ignore: true }
const hostnameChecks = { true: false, yes: false, 1: false, false: true, no: true, 0: true }

const mechanismNames: Readonly<Record<string, MechanismName>> = {
  plain: "PLAIN",
  amqplain: "AMQPLAIN",
  external: "EXTERNAL",
  anonymous: "ANONYMOUS"
}

/** The only parameter that may be repeated with other values: each adds a mechanism. */
const authMechanism: Parameter = {
  field: "mechanisms",
  expects: "plain, amqplain, external or anonymous",
  isTls: false,
  set: (fields, text) => {
    const name = choice(mechanismNames)(text)
    if (name === undefined) return "Malformed"
    const { mechanisms = [] } = fields
    if (!mechanisms.includes(name)) fields.mechanisms = [...mechanisms, name]
    return undefined
  }
}

const caFile = tlsParameter("caFile", "the path of a file", nonEmpty)
const certFile = tlsParameter("certFile", "the path of a file", nonEmpty)
const keyFile = tlsParameter("keyFile", "the path of a file", nonEmpty)
const verify = tlsParameter(
  "dangerouslyAcceptAnyCertificate",
  "verify_peer or verify_none (or: required, optional, ignore)",
  choice(verifications)
)

const parameters: ReadonlyMap<string, Parameter> = new Map([
  ["auth_mechanism", authMechanism],
  ["heartbeat", parameter("heartbeat", "whole seconds from 0 (off) to 65535", duration(Duration.seconds, 0, 65535))],
  ["channel_max", parameter("channelMax", "a whole number from 0 (no limit) to 65535", wholeNumber(0, 65535))],
  ["frame_max", parameter("frameMax", "0 (no limit) or whole bytes from 8192 to 4294967295", readFrameMax)],
  ["connection_timeout", parameter("connectTimeout", `whole milliseconds from 1 to ${maxMillis}`, timeoutMillis)],
  ["timeout", parameter("connectTimeout", `whole seconds from 1 to ${maxSeconds}`, timeoutSeconds)],
  ["locale", parameter("locale", "the name of a locale, such as en_US", nonEmpty)],
  ["cacertfile", caFile],
  ["ssl_cacert", caFile],
  ["cafile", caFile],
  ["capath", tlsParameter("caPath", "the path of a folder", nonEmpty)],
  ["certfile", certFile],
  ["ssl_cert", certFile],
  ["keyfile", keyFile],
  ["ssl_key", keyFile],
  ["password", tlsParameter("passphrase", "what the key file is encrypted with", Redacted.make)],
  ["verify", verify],
  ["ssl_validation", verify],
  [
    "ssl_check_hostname",
    tlsParameter("dangerouslyAcceptAnyHostname", "true or false (or: yes, no, 1, 0)", choice(hostnameChecks))
  ],
  ["server_name_indication", tlsParameter("serverName", "a host name, or disable", readServerName)]
])

const namesWhere = (predicate: (parameter: Parameter) => boolean): string =>
  [...parameters].filter(([, parameter]) => predicate(parameter)).map(([name]) => name).join(", ")

/** Sets a parameter, or returns what is wrong with it. */
const setParameter = (fields: MutableFields, name: string, value: string, secure: boolean): string | undefined => {
  const parameter = parameters.get(name)
  if (parameter === undefined) {
    const shown = name.slice(0, 40)
    const similar = nearestName(shown, parameters.keys())
    if (similar !== undefined) return `there is no parameter ${JSON.stringify(shown)}; did you mean "${similar}"?`
    return `there is no parameter ${JSON.stringify(shown)}; there are ` +
      `${namesWhere(({ isTls }) => !isTls)}, and with amqps:// ${namesWhere(({ isTls }) => isTls)}`
  }
  if (parameter.isTls && !secure) {
    return `"${name}" is a TLS parameter, and needs amqps:// instead of amqp://, which is not encrypted`
  }
  switch (parameter.set(fields, value)) {
    case "Malformed":
      return `"${name}" must be ${parameter.expects}`
    case "Contradictory": {
      const names = namesWhere(({ field }) => field === parameter.field)
      return `"${name}" contradicts an earlier parameter; keep one (${names})`
    }
    case undefined:
      return undefined
  }
}

/** Reads the decoded names and values of a query. Returns the fields, or the first problem as a string. */
export const readParameters = (
  pairs: ReadonlyArray<readonly [name: string, value: string]>,
  secure: boolean
): ParameterFields | string => {
  const fields: MutableFields = {}
  for (const [name, value] of pairs) {
    const problem = setParameter(fields, name, value, secure)
    if (problem !== undefined) return problem
  }
  if (fields.certFile === undefined && (fields.keyFile !== undefined || fields.passphrase !== undefined)) {
    return "\"keyfile\" and \"password\" need a \"certfile\""
  }
  return fields
}
