/** What is declared again has to be what it was (RabbitMQ, "Queues: Declaration and Property Equivalence"). */
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"
import { equalFields, showField, typeName } from "./fields.ts"
import { Refusal } from "./refusal.ts"

/** An exchange or a queue as RabbitMQ's texts name it. */
export type Named = `${"exchange" | "queue"} '${string}' in vhost '${string}'`

export const assertEqual = (
  what: Named,
  argument: string,
  received: string | boolean,
  current: string | boolean
): void => {
  if (received === current) return
  throw new Refusal(
    "preconditionFailed",
    `inequivalent arg '${argument}' for ${what}: received '${received}' but current is '${current}'`
  )
}

/** Compares the arguments of these names. */
export const assertEqualArguments = (
  what: Named,
  names: ReadonlyArray<string>,
  received: FieldTable,
  current: FieldTable
): void => {
  for (const name of names) {
    const one = received[name]
    const other = current[name]
    if (equalFields(one, other) || (name === "x-queue-type" && isClassic(one) && isClassic(other))) continue
    const texts = one !== undefined && other !== undefined
      ? [quoted(one), quoted(other)]
      : [described(one), described(other)]
    throw new Refusal(
      "preconditionFailed",
      `inequivalent arg '${name}' for ${what}: received ${texts[0]} but current is ${texts[1]}`
    )
  }
}

/** Checks an argument that names an exchange. */
export const checkExchangeArgument = (what: Named, argument: string, table: FieldTable): void => {
  const value = table[argument]
  if (value === undefined || typeof value === "string") return
  throw new Refusal("preconditionFailed", `invalid type '${typeName(value)}' for arg '${argument}' in ${what}`)
}

/** The type of a queue that is declared without one. */
const isClassic = (type: FieldValue | undefined): boolean => type === undefined || type === "classic"

const quoted = (value: FieldValue): string => value === null ? "none" : `'${showField(value)}'`

const described = (value: FieldValue | undefined): string =>
  value === undefined ? "none" : `the value '${showField(value)}' of type '${typeName(value)}'`
