/** RabbitMQ's checks of the properties of a published message. */
import type { BasicProperties } from "../../../protocol/BasicProperties.ts"
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { Refusal } from "../common/refusal.ts"
import type { VersionRules } from "../common/versionRules.ts"
import { wireValueAt } from "../common/wireValues.ts"

/** Ten years, in milliseconds. */
const maxExpiration = 315_360_000_000

/** Throws a `Refusal` for the first property that is wrong, in the order of RabbitMQ. */
export const checkProperties = (properties: BasicProperties, username: string, rules: VersionRules): void => {
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

/** The headers for sender-selected distribution must be lists. */
const checkCopies = (headers: FieldTable): void => {
  for (const name of ["CC", "BCC"]) {
    const value = wireValueAt(headers, name)
    if (value === undefined || value.type === "array") continue
    throw new Refusal(
      "preconditionFailed",
      `invalid message: {unacceptable_type_in_header,"${name}",${value.type}}`
    )
  }
}
