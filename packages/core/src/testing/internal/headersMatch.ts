/** The bindings of headers exchanges: which headers a message needs. */
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"
import { equalFields, showField, typeName } from "./fields.ts"
import { Refusal } from "./refusal.ts"

const modes = ["all", "any", "all-with-x", "any-with-x"] as const

type Mode = typeof modes[number]

/** Throws what RabbitMQ says of a binding's `x-match` that it does not know. */
export const checkMatch = (table: FieldTable): void => void modeOf(table)

const modeOf = (table: FieldTable): Mode => {
  const value = table["x-match"]
  if (value === undefined) return "all"
  if (typeof value !== "string") {
    throw new Refusal(
      "preconditionFailed",
      `Invalid x-match field type ${typeName(value)} (value ${showField(value)}); expected longstr`
    )
  }
  const mode = modes.find((mode) => mode === value)
  if (mode !== undefined) return mode
  throw new Refusal(
    "preconditionFailed",
    `Invalid x-match field value <<"${value}">>; expected all, any, all-with-x, or any-with-x`
  )
}

/** Makes a function that says whether a message with these headers matches a binding with these arguments. */
export const headersMatcher = (table: FieldTable): (headers: FieldTable) => boolean => {
  const mode = modeOf(table)
  const withX = mode.endsWith("-with-x")
  const wanted = Object.entries(table).filter(([name]) => name !== "x-match" && (withX || !name.startsWith("x-")))
  return (headers) => {
    const isThere = ([name, value]: [string, FieldValue | undefined]): boolean => {
      const header = Object.hasOwn(headers, name) ? headers[name] : undefined
      // A binding without a value asks for the header alone.
      return header !== undefined && (value === null || equalFields(comparable(value), comparable(header)))
    }
    return mode.startsWith("all") ? wanted.every(isThere) : wanted.some(isThere)
  }
}

const encoder = new TextEncoder()

/** A value as RabbitMQ compares it, to which text is bytes and a time is a number of seconds. */
const comparable = (value: FieldValue | undefined): FieldValue | undefined => {
  if (typeof value === "string") return encoder.encode(value)
  return value instanceof Date ? value.getTime() / 1000 : value
}
