/**
 * Field tables: the self-describing values of headers and arguments (section 4.2.5.5 of the specification, with the type
 * letters as RabbitMQ reads them, https://www.rabbitmq.com/amqp-0-9-1-errata#section_3).
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import type { ByteReader } from "./ByteReader.ts"
import type { ByteWriter } from "./ByteWriter.ts"
import { ReplyCode } from "./constants.ts"
import { EncodeError, ProtocolError } from "./ProtocolError.ts"

/**
 * How deep tables and arrays may be nested, the outermost table included. A limit of this client: RabbitMQ itself has
 * none, and a peer must not be able to exhaust the stack.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxTableDepth = 32

/**
 * The field types that a {@link TypedField} can force.
 *
 * @category models
 * @since 0.1.0
 */
export type FieldType =
  | "int8"
  | "uint8"
  | "int16"
  | "uint16"
  | "int32"
  | "uint32"
  | "int64"
  | "float"
  | "double"
  | "decimal"
  | "timestamp"

/**
 * A number with the field type it is to have on the wire, for brokers and peers that insist on one. Ranges are checked
 * when it is encoded.
 *
 * **Details**
 *
 * Decoding yields a `TypedField` where nothing simpler can be sent again as it came: for decimals, for timestamps beyond what a
 * `Date` holds, and for floats and doubles that are integers beyond 2^53 - 1, which are too inexact for a plain number.
 *
 * @category models
 * @since 0.1.0
 */
export class TypedField extends Data.TaggedClass("TypedField")<{
  readonly type: FieldType
  readonly value: number | bigint
  /** Decimal digits after the point, from 0 to 255; 0 for all types but `decimal`. */
  readonly scale: number
}> {
  /** From -128 to 127. */
  static int8(value: number): TypedField {
    return new TypedField({ type: "int8", value, scale: 0 })
  }
  /** From 0 to 255. */
  static uint8(value: number): TypedField {
    return new TypedField({ type: "uint8", value, scale: 0 })
  }
  /** From -32768 to 32767. */
  static int16(value: number): TypedField {
    return new TypedField({ type: "int16", value, scale: 0 })
  }
  /** From 0 to 65535. */
  static uint16(value: number): TypedField {
    return new TypedField({ type: "uint16", value, scale: 0 })
  }
  /** From -2^31 to 2^31 - 1. */
  static int32(value: number): TypedField {
    return new TypedField({ type: "int32", value, scale: 0 })
  }
  /** From 0 to 2^32 - 1. */
  static uint32(value: number): TypedField {
    return new TypedField({ type: "uint32", value, scale: 0 })
  }
  /** From -2^63 to 2^63 - 1. */
  static int64(value: number | bigint): TypedField {
    return new TypedField({ type: "int64", value, scale: 0 })
  }
  /** An IEEE 754 single: the nearest one to the value. */
  static float(value: number): TypedField {
    return new TypedField({ type: "float", value, scale: 0 })
  }
  /** An IEEE 754 double, also for whole numbers. */
  static double(value: number): TypedField {
    return new TypedField({ type: "double", value, scale: 0 })
  }
  /** `value` / 10^`scale`; scale from 0 to 255, value from -2^31 to 2^31 - 1. */
  static decimal(scale: number, value: number): TypedField {
    return new TypedField({ type: "decimal", value, scale })
  }
  /** Seconds since 1970-01-01T00:00:00Z, from 0 to 2^64 - 1. */
  static timestamp(seconds: number | bigint): TypedField {
    return new TypedField({ type: "timestamp", value: seconds, scale: 0 })
  }
}

/**
 * What a field table can hold.
 *
 * **Details**
 *
 * Encoded as: an integer as the smallest of `b s I l` (beyond 2^53 - 1 as a bigint), another number as `d`, text as `S`,
 * a boolean as `t`, `null` as `V`, bytes as `x`, a `Date` or `DateTime` as `T` (whole seconds, from 1970 on), an array as `A`, a plain
 * object or `Map` as `F`, and a {@link TypedField} as what it says.
 *
 * Decoded to the same, where 64-bit integers are numbers when safe and bigints otherwise, `S` that is no UTF-8 is bytes,
 * `T` is a `Date`, and `D` a {@link TypedField}, as are the values that it names. Bytes are a view into what was received.
 *
 * @category models
 * @since 0.1.0
 */
export type FieldValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | Uint8Array
  | Date
  | DateTime.DateTime
  | TypedField
  | ReadonlyArray<FieldValue>
  | ReadonlyMap<string, FieldValue | undefined>
  | FieldTable

/**
 * A field table. Keys are short strings of at most 255 bytes of UTF-8; a key whose value is `undefined` is left out.
 *
 * @category models
 * @since 0.1.0
 */
export interface FieldTable {
  readonly [key: string]: FieldValue | undefined
}

/** The last second that a `Date` can hold. */
const maxDateSeconds = 8_640_000_000_000

const letter = {
  A: 65,
  B: 66,
  D: 68,
  F: 70,
  I: 73,
  L: 76,
  S: 83,
  T: 84,
  U: 85,
  V: 86,
  b: 98,
  d: 100,
  f: 102,
  i: 105,
  l: 108,
  s: 115,
  t: 116,
  u: 117,
  x: 120
} as const

/**
 * Writes a field table with its length. Throws an {@link EncodeError} for what has no field type, for an `undefined` in
 * an array, and for nesting (or a cycle) deeper than {@link maxTableDepth}.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeTable = (
  writer: ByteWriter,
  table: FieldTable | ReadonlyMap<string, FieldValue | undefined>
): void => writeTable(writer, table, 1)

/**
 * Reads a field table. Throws a {@link ProtocolError} with code 502 for an unknown type letter, a length beyond what is
 * left, and nesting deeper than {@link maxTableDepth}.
 *
 * **Details**
 *
 * The table is a plain object; `__proto__` is an ordinary key in it. Of equal keys the last one counts.
 *
 * @category decoding
 * @since 0.1.0
 */
export const decodeTable = (reader: ByteReader): FieldTable => readTable(reader, 1)

const writeTable = (
  writer: ByteWriter,
  table: FieldTable | ReadonlyMap<string, FieldValue | undefined>,
  depth: number
): void => {
  if (depth > maxTableDepth) throw tooDeepToEncode()
  const mark = writer.reserve(4)
  if (table instanceof Map) {
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
  writer.shortString(key, "table key")
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

/** Whether a number is an integer that other integers may have been rounded to. */
const isInexact = (value: number): boolean => Number.isInteger(value) && !Number.isSafeInteger(value)

const writeNumber = (writer: ByteWriter, key: string, value: number): void => {
  if (!Number.isInteger(value) || Object.is(value, -0)) {
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
    writer.octet(letter.x)
    return writer.longString(value)
  }
  if (value instanceof Date) return writeTimestamp(writer, key, Math.floor(value.getTime() / 1000))
  if (DateTime.isDateTime(value)) return writeTimestamp(writer, key, Math.floor(value.epochMilliseconds / 1000))
  if (value instanceof TypedField) return writeTyped(writer, key, value)
  if (Array.isArray(value)) return writeArray(writer, key, value, depth + 1)
  if (!(value instanceof Map) && !isRecord(value)) throw unsupported(key, "an instance of a class")
  writer.octet(letter.F)
  // Only a `Map` or a record is left, which `Array.isArray` on a readonly array type does not tell the compiler.
  writeTable(writer, value as FieldTable, depth + 1)
}

const writeArray = (writer: ByteWriter, key: string, items: ReadonlyArray<FieldValue>, depth: number): void => {
  if (depth > maxTableDepth) throw tooDeepToEncode()
  writer.octet(letter.A)
  const mark = writer.reserve(4)
  for (let index = 0; index < items.length; index++) writeValue(writer, key, items[index], depth)
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
  if (typeof value !== "number") throw new EncodeError({ message: `${name}: ${type} takes a number, not a bigint` })
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
      writer.octet(letter.f)
      return writer.float(value)
    case "double":
      writer.octet(letter.d)
      return writer.double(value)
    case "decimal":
      writer.octet(letter.D)
      writer.octet(field.scale, `${name}, scale,`)
      return writer.signedLong(value, name)
  }
}

/** Whether an object is made of keys and values only; by its prototype's prototype, as it may be of another realm. */
const isRecord = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

const unsupported = (key: string, what: string): EncodeError =>
  new EncodeError({ message: `table value "${key}": ${what} has no AMQP field type` })

const tooDeepToEncode = (): EncodeError =>
  new EncodeError({ message: `a field table is nested more than ${maxTableDepth} deep, or contains itself` })

const readTable = (reader: ByteReader, depth: number): FieldTable => {
  checkDepth(depth)
  const table: Record<string, FieldValue> = {}
  const outer = reader.enter(reader.long())
  while (reader.remaining > 0) {
    const key = reader.shortString()
    const value = readValue(reader, depth)
    if (key === "__proto__") {
      // Assigning this key would set the prototype.
      Object.defineProperty(table, key, { value, enumerable: true, configurable: true, writable: true })
    } else {
      table[key] = value
    }
  }
  reader.leave(outer)
  return table
}

const readArray = (reader: ByteReader, depth: number): ReadonlyArray<FieldValue> => {
  checkDepth(depth)
  const items: Array<FieldValue> = []
  const outer = reader.enter(reader.long())
  while (reader.remaining > 0) items.push(readValue(reader, depth))
  reader.leave(outer)
  return items
}

const readValue = (reader: ByteReader, depth: number): FieldValue => {
  const type = reader.octet()
  switch (type) {
    case letter.S:
      return reader.longTextOrBytes()
    case letter.I:
      return reader.int32()
    case letter.l:
    case letter.L:
      return reader.int64()
    case letter.t:
      return reader.octet() !== 0
    case letter.b:
      return reader.int8()
    case letter.B:
      return reader.octet()
    case letter.s:
    case letter.U:
      return reader.int16()
    case letter.u:
      return reader.short()
    case letter.i:
      return reader.long()
    case letter.f: {
      const value = reader.float()
      return isInexact(value) ? TypedField.float(value) : value
    }
    case letter.d: {
      const value = reader.double()
      return isInexact(value) ? TypedField.double(value) : value
    }
    case letter.D: {
      const scale = reader.octet()
      return TypedField.decimal(scale, reader.int32())
    }
    case letter.T: {
      const seconds = reader.longLong()
      return typeof seconds === "number" && seconds <= maxDateSeconds
        ? new Date(seconds * 1000)
        : TypedField.timestamp(seconds)
    }
    case letter.A:
      return readArray(reader, depth + 1)
    case letter.F:
      return readTable(reader, depth + 1)
    case letter.V:
      return null
    case letter.x:
      return reader.longString()
    default:
      throw new ProtocolError({
        replyCode: ReplyCode.syntaxError,
        message: `a field table contains a value of the unknown type ${type}`
      })
  }
}

const checkDepth = (depth: number): void => {
  if (depth > maxTableDepth) {
    throw new ProtocolError({
      replyCode: ReplyCode.syntaxError,
      message: `a field table is nested more than ${maxTableDepth} deep`
    })
  }
}
