/** What RabbitMQ refuses of a message whose exchange may be published to. */
import type { BasicProperties } from "../../protocol/BasicProperties.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import { typeName } from "./fields.ts"
import { Refusal } from "./refusal.ts"

/** Ten years, in milliseconds. */
const maxExpiration = 315_360_000_000

export const checkProperties = ({ expiration, headers }: BasicProperties): void => {
  if (expiration !== undefined) checkExpiration(expiration)
  if (headers !== undefined) checkCopies(headers)
}

const checkExpiration = (text: string): void => {
  const fail = (problem: string): never => {
    throw new Refusal("preconditionFailed", `invalid expiration '${text}': ${problem}`)
  }
  const [digits = ""] = /^[+-]?\d+/.exec(text) ?? []
  if (digits === "") fail("no_integer")
  if (digits.length < text.length) fail(`{leftover_string,"${text.slice(digits.length)}"}`)
  const value = Number(digits)
  if (value < 0) fail(`{value_negative,${value}}`)
  if (value > maxExpiration) fail(`{value_too_large,${value}}`)
}

/** The headers of sender-selected distribution are lists of routing keys. */
const checkCopies = (headers: FieldTable): void => {
  for (const header of ["CC", "BCC"]) {
    const value = headers[header]
    if (value === undefined || Array.isArray(value)) continue
    throw new Refusal(
      "preconditionFailed",
      `invalid message: {unacceptable_type_in_header,"${header}",${typeName(value)}}`
    )
  }
}
