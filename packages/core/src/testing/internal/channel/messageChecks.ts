/** What RabbitMQ refuses of a message whose exchange may be published to. */
import type { BasicProperties } from "../../../protocol/BasicProperties.ts"
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { termAt } from "../common/fieldTerms.ts"
import { Refusal } from "../common/refusal.ts"
import type { Rules } from "../common/rules.ts"

/** Ten years, in milliseconds. */
const maxExpiration = 315_360_000_000

/** Throws for what RabbitMQ refuses of a user, in its order. */
export const checkProperties = (properties: BasicProperties, username: string, rules: Rules): void => {
  const { deliveryMode, expiration, headers, userId } = properties
  if (rules.checksUserFirst) checkUser(userId, username)
  if (expiration !== undefined) checkExpiration(expiration)
  if (headers !== undefined) checkCopies(headers)
  if (rules.refusesDeliveryModes) checkDeliveryMode(deliveryMode)
  if (!rules.checksUserFirst) checkUser(userId, username)
}

const checkUser = (userId: string | undefined, username: string): void => {
  if (userId === undefined || userId === username) return
  throw new Refusal(
    "preconditionFailed",
    `user_id property set to '${userId}' but authenticated user was '${username}'`
  )
}

const checkDeliveryMode = (mode: number | undefined): void => {
  if (mode === undefined || mode === 1 || mode === 2) return
  throw new Refusal("preconditionFailed", `invalid message: {delivery_mode_unknown,${mode}}`)
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
  for (const name of ["CC", "BCC"]) {
    const term = termAt(headers, name)
    if (term === undefined || term.type === "array") continue
    throw new Refusal(
      "preconditionFailed",
      `invalid message: {unacceptable_type_in_header,"${name}",${term.type}}`
    )
  }
}
