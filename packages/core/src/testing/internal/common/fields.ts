/** Field values as RabbitMQ names and compares them. */
import * as DateTime from "effect/DateTime"
import { TypedField } from "../../../protocol/fieldTable.ts"
import type { FieldTable, FieldValue } from "../../../protocol/fieldTable.ts"

/** What RabbitMQ calls the type of a value in its texts; integers are those that the value is sent as. */
export const typeName = (value: FieldValue): string => {
  switch (typeof value) {
    case "string":
      return "longstr"
    case "boolean":
      return "bool"
    case "bigint":
      return "long"
    case "number":
      return Number.isInteger(value) ? integerName(value) : "double"
  }
  if (value === null) return "void"
  if (value instanceof Uint8Array) return "binary"
  if (value instanceof Date || DateTime.isDateTime(value)) return "timestamp"
  if (value instanceof TypedField) return value.type
  return Array.isArray(value) ? "array" : "table"
}

const integerName = (value: number): string => {
  if (value >= -0x80 && value < 0x80) return "byte"
  if (value >= -0x8000 && value < 0x8000) return "short"
  return value >= -0x80000000 && value < 0x80000000 ? "signedint" : "long"
}

/** How RabbitMQ shows a value in its texts: text as it is, and anything else as Erlang does. */
export const showField = (value: FieldValue): string => {
  if (typeof value === "string") return value
  return value instanceof Uint8Array ? new TextDecoder().decode(value) : termOf(value)
}

/** A value as an Erlang term, which RabbitMQ prints where it has no better text. */
const termOf = (value: FieldValue): string => {
  if (typeof value === "string") return `<<"${value}">>`
  if (typeof value !== "object") return String(value)
  if (value === null) return "undefined"
  if (value instanceof Uint8Array) return `<<${value.join(",")}>>`
  if (value instanceof Date) return String(value.getTime() / 1000)
  if (value instanceof TypedField) {
    return value.type === "decimal" ? `{${value.scale},${value.value}}` : String(value.value)
  }
  if (Array.isArray(value)) return `[${value.map((each) => `{${typeName(each)},${termOf(each)}}`).join(",")}]`
  return `[${Object.entries(value).map(([key, each]) => `{<<"${key}">>,${typeName(each)},${termOf(each)}}`).join(",")}]`
}

/** Whether two values are the same; of numbers only the value counts, and not how many bytes it was sent in. */
export const equalFields = (one: FieldValue | undefined, other: FieldValue | undefined): boolean => {
  if (one === other) return true
  if (typeof one === "number" || typeof one === "bigint") {
    // eslint-disable-next-line eqeqeq
    return (typeof other === "number" || typeof other === "bigint") && one == other
  }
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false
  if (one instanceof Uint8Array && other instanceof Uint8Array) {
    return one.length === other.length && one.every((byte, index) => byte === other[index])
  }
  if (one instanceof Date && other instanceof Date) return one.getTime() === other.getTime()
  return equalTables(entriesOf(one), entriesOf(other))
}

const entriesOf = (value: object): ReadonlyArray<[string, FieldValue | undefined]> => Object.entries(value)

const equalTables = (
  one: ReadonlyArray<[string, FieldValue | undefined]>,
  other: ReadonlyArray<[string, FieldValue | undefined]>
): boolean => {
  const values = new Map(other)
  return one.length === other.length &&
    one.every(([key, value]) => values.has(key) && equalFields(value, values.get(key)))
}

/** A text that is the same for the same table, whatever the order of its keys. */
export const keyOf = (table: FieldTable): string =>
  JSON.stringify(
    Object.entries(table).toSorted(([one], [other]) => one < other ? -1 : 1),
    (_, value: unknown) => typeof value === "bigint" ? `${value}n` : value
  )
