/**
 * Writes field tables.
 *
 * Reading user values may run user code: getters, proxies, iterators, subclasses of dates. So a table is never written
 * to a shared output, but to a draft (see `draft.ts`).
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Equal from "effect/Equal"
import { bytesOf } from "./bytes.ts"
import type { ByteWriter } from "./ByteWriter.ts"
import { entriesIn, itemsIn } from "./fieldDecoder.ts"
import type { Item } from "./fieldDecoder.ts"
import { EncodedTable, isText, originOf } from "./fieldOrigin.ts"
import { isInexact, letter, maxTableDepth, TypedField } from "./fieldValue.ts"
import type { FieldTable, FieldValue } from "./fieldValue.ts"
import { EncodeError } from "./ProtocolError.ts"

type Table = FieldTable | ReadonlyMap<string, FieldValue | undefined>

/**
 * Writes a field table with its length. Throws an {@link EncodeError} for values without a field type, for numbers that are not
 * finite, for an `undefined` in an array, and for nesting (or a cycle) deeper than {@link maxTableDepth}.
 *
 * **Details**
 *
 * A table that `decodeTable` returned is written as the original bytes where its values are unchanged: in the same order,
 * with the same types. For a copy of such a table, pass `encoded`.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeTable = (writer: ByteWriter, table: Table, encoded?: EncodedTable): void => {
  // Anything else, such as a `Set` or a date, would be sent as an empty table.
  if (!isTable(table)) throw new EncodeError({ message: "a field table must be a plain object" })
  writeTable(writer, table, 1, EncodedTable.entriesOf(encoded))
}

const writeTable = (writer: ByteWriter, table: Table, depth: number, given?: Uint8Array): void => {
  if (depth > maxTableDepth) throw tooDeep()
  const origin = originOf(table) ?? given
  const mark = writer.reserve(4)
  if (origin !== undefined) {
    writeChanged(writer, table, depth, origin)
  } else if (table instanceof Map) {
    for (const [key, value] of table) {
      if (value !== undefined) writeEntry(writer, key, value, depth)
    }
  } else {
    // `instanceof Map` does not narrow `ReadonlyMap` away.
    const record = table as FieldTable
    for (const key of Object.keys(record)) {
      const value = record[key]
      if (value !== undefined) writeEntry(writer, key, value, depth)
    }
  }
  writer.patchSize(mark)
}

const writeEntry = (writer: ByteWriter, key: string, value: FieldValue, depth: number): void => {
  if (typeof key !== "string") throw new EncodeError({ message: "a key of a field table must be a string" })
  writer.shortText(key, "table key")
  writeValue(writer, key, value, depth)
}

const writeValue = (writer: ByteWriter, key: string, value: FieldValue, depth: number): void => {
  switch (typeof value) {
    case "string":
      writer.octet(letter.S)
      return writer.longString(value)
    case "number":
      return writeNumber(writer, key, value)
    case "boolean":
      writer.octet(letter.t)
      return writer.octet(value ? 1 : 0)
    case "bigint":
      return writeBigInt(writer, key, value)
    case "object":
      return value === null ? writer.octet(letter.V) : writeObject(writer, key, value, depth)
    default:
      throw unsupported(key, typeof value)
  }
}

const writeNumber = (writer: ByteWriter, key: string, value: number): void => {
  if (!Number.isInteger(value) || Object.is(value, -0)) {
    checkFinite(key, value)
    writer.octet(letter.d)
    return writer.double(value)
  }
  if (value >= -128 && value <= 127) {
    writer.octet(letter.b)
    return writer.int8(value)
  }
  if (value >= -32768 && value <= 32767) {
    writer.octet(letter.s)
    return writer.int16(value)
  }
  if (value >= -2147483648 && value <= 2147483647) {
    writer.octet(letter.I)
    return writer.signedLong(value)
  }
  if (isInexact(value)) {
    throw new EncodeError({
      message:
        `table value "${key}": an integer beyond 2^53 - 1 must be a bigint, or a TypedField.double if it is inexact`
    })
  }
  writer.octet(letter.l)
  writer.signedLongLong(value)
}

/** RabbitMQ closes the whole connection on NaN and infinities, with 541. */
const checkFinite = (key: string, value: number, rounded: number = value): void => {
  if (Number.isFinite(rounded)) return
  const what = Number.isFinite(value) ? `${value} is too large for a float` : `${value} is not a finite number`
  throw new EncodeError({ message: `table value "${key}": ${what}` })
}

const writeBigInt = (writer: ByteWriter, key: string, value: bigint): void => {
  if (value >= -2147483648n && value <= 2147483647n) return writeNumber(writer, key, Number(value))
  writer.octet(letter.l)
  writer.signedLongLong(value, `table value "${key}"`)
}

const writeObject = (
  writer: ByteWriter,
  key: string,
  value: Extract<FieldValue, object>,
  depth: number
): void => {
  if (value instanceof Uint8Array) {
    writer.octet(isText(value) ? letter.S : letter.x)
    return writer.longString(bytesOf(`table value "${key}"`, value))
  }
  if (value instanceof Date) return writeTimestamp(writer, key, Math.floor(value.getTime() / 1000))
  if (DateTime.isDateTime(value)) return writeTimestamp(writer, key, Math.floor(value.epochMilliseconds / 1000))
  if (value instanceof TypedField) return writeTyped(writer, key, value)
  if (Array.isArray(value)) return writeArray(writer, key, value, depth + 1)
  if (!isTable(value)) throw unsupported(key, "an instance of a class")
  writer.octet(letter.F)
  writeTable(writer, value, depth + 1)
}

const writeArray = (
  writer: ByteWriter,
  key: string,
  items: ReadonlyArray<FieldValue>,
  depth: number,
  given?: Uint8Array
): void => {
  if (depth > maxTableDepth) throw tooDeep()
  const origin = originOf(items) ?? given
  writer.octet(letter.A)
  const mark = writer.reserve(4)
  if (origin !== undefined) writeChangedItems(writer, key, items, depth, origin)
  else for (let index = 0; index < items.length; index++) writeValue(writer, key, items[index], depth)
  writer.patchSize(mark)
}

const writeTimestamp = (writer: ByteWriter, key: string, seconds: number | bigint): void => {
  writer.octet(letter.T)
  writer.longLong(seconds, `table value "${key}", in seconds since 1970,`)
}

const writeTyped = (writer: ByteWriter, key: string, field: TypedField): void => {
  const { type, value } = field
  const name = `table value "${key}"`
  if (type === "timestamp") return writeTimestamp(writer, key, value)
  if (type === "int64") {
    writer.octet(letter.l)
    return writer.signedLongLong(value, name)
  }
  if (typeof value !== "number") throw new EncodeError({ message: `${name}: ${type} must be a number, not a bigint` })
  switch (type) {
    case "int8":
      writer.octet(letter.b)
      return writer.int8(value, name)
    case "uint8":
      writer.octet(letter.B)
      return writer.octet(value, name)
    case "int16":
      writer.octet(letter.s)
      return writer.int16(value, name)
    case "uint16":
      writer.octet(letter.u)
      return writer.short(value, name)
    case "int32":
      writer.octet(letter.I)
      return writer.signedLong(value, name)
    case "uint32":
      writer.octet(letter.i)
      return writer.long(value, name)
    case "float":
      checkFinite(key, value, Math.fround(value))
      writer.octet(letter.f)
      return writer.float(value)
    case "double":
      checkFinite(key, value)
      writer.octet(letter.d)
      return writer.double(value)
    case "decimal":
      writer.octet(letter.D)
      writer.octet(field.scale, `${name}, scale,`)
      return writer.signedLong(value, name)
    default:
      throw unsupported(key, `a TypedField of the type ${JSON.stringify(type)}`)
  }
}

/**
 * Whether a value is a plain object; checks its prototype's prototype, as it may be of another realm.
 *
 * @category guards
 * @since 0.1.0
 */
export const isTable = (value: unknown): value is Table => {
  if (typeof value !== "object" || value === null) return false
  if (value instanceof Map) return true
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

const unsupported = (key: string, what: string): EncodeError =>
  new EncodeError({ message: `table value "${key}": ${what} has no AMQP field type` })

const tooDeep = (): EncodeError =>
  new EncodeError({ message: `a field table is nested more than ${maxTableDepth} deep, or contains itself` })

// -----------------------------------------------------------------------------
// tables that were decoded
// -----------------------------------------------------------------------------

/** Writes the entries of a table in their original order and with their original types, then those that were added. */
const writeChanged = (writer: ByteWriter, table: Table, depth: number, origin: Uint8Array): void => {
  // Read once, as reading may run user code.
  const values = new Map<string, FieldValue | undefined>(table instanceof Map ? table : Object.entries(table))
  const entries = entriesIn(origin)
  const counting = new Map(entries.map((entry) => [entry.key, entry]))
  const isKept = new Set<string>()
  for (const entry of entries) {
    const { end, key, keyStart, start } = entry
    const value = values.get(key)
    if (value === undefined) continue
    const last = counting.get(key)
    if (entry !== last) {
      // Of equal keys the last one counts. The earlier ones are kept as long as the last one is.
      if (last !== undefined && fits(value, last)) writer.bytes(origin, keyStart, end)
      continue
    }
    isKept.add(key)
    writer.bytes(origin, keyStart, start)
    writeItem(writer, key, value, depth, entry, origin)
  }
  for (const [key, value] of values) {
    if (value !== undefined && !isKept.has(key)) writeEntry(writer, key, value, depth)
  }
}

const writeChangedItems = (
  writer: ByteWriter,
  key: string,
  items: ReadonlyArray<FieldValue>,
  depth: number,
  origin: Uint8Array
): void => {
  const known = itemsIn(origin)
  // If items were added or removed in the middle, those before are counted from the start and those after from the end.
  const shift = known.length - items.length
  for (let index = 0; index < items.length; index++) {
    const value = items[index]
    const item = [known[index], known[index + shift]].find((item) => item !== undefined && fits(value, item))
    if (item === undefined) writeValue(writer, key, value, depth)
    else writeItem(writer, key, value, depth, item, origin)
  }
}

/** Writes a value in place of a decoded one: with the decoded bytes if it is unchanged. */
const writeItem = (
  writer: ByteWriter,
  key: string,
  value: FieldValue,
  depth: number,
  item: Item,
  origin: Uint8Array
): void => {
  if (!fits(value, item)) return writeValue(writer, key, value, depth)
  if (typeof value === "number") checkFinite(key, value)
  // The entries of a table and the items of an array follow a type and a length.
  const inner = origin.subarray(item.start + 5, item.end)
  if (item.type === letter.A) return writeArray(writer, key, value as ReadonlyArray<FieldValue>, depth + 1, inner)
  if (item.type !== letter.F) return writer.bytes(origin, item.start, item.end)
  writer.octet(letter.F)
  writeTable(writer, value as Table, depth + 1, inner)
}

/** Whether a value is the decoded one, or a table or array in place of one. */
const fits = (value: FieldValue, { type, value: decoded }: Item): boolean => {
  if (type === letter.A) return Array.isArray(value)
  if (typeof value !== "object" || value === null) return type !== letter.F && Object.is(value, decoded)
  if (type === letter.F) return isTable(value)
  if (decoded instanceof Uint8Array) return value instanceof Uint8Array && areEqual(value, decoded)
  if (decoded instanceof Date) return value instanceof Date && value.getTime() === decoded.getTime()
  return decoded instanceof TypedField && value instanceof TypedField && Equal.equals(value, decoded)
}

const areEqual = (one: Uint8Array, other: Uint8Array): boolean =>
  one.length === other.length && one.every((byte, index) => byte === other[index])
