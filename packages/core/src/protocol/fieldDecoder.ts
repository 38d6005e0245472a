/**
 * Reads field tables.
 *
 * @since 0.1.0
 */
import { ByteReader } from "./ByteReader.ts"
import { ReplyCode } from "./constants.ts"
import { markAsText, setOrigin } from "./fieldOrigin.ts"
import { isInexact, letter, maxTableDepth, TypedField } from "./fieldValue.ts"
import type { FieldTable, FieldValue } from "./fieldValue.ts"
import { ProtocolError } from "./ProtocolError.ts"

/** The last second that a `Date` can hold. */
const maxDateSeconds = 8_640_000_000_000

/**
 * Whether encoding what was read of the innermost table or array gives the same bytes. Every call of
 * `decodeTable` resets it, and calls do not nest.
 */
let isExact = true

/**
 * Reads a field table. Throws a {@link ProtocolError} with code 502 for an unknown type letter, a length beyond the
 * remaining bytes, and nesting deeper than {@link maxTableDepth}.
 *
 * **Details**
 *
 * The table is a plain object; `__proto__` is an ordinary key in it. Of equal keys the last one counts. A table whose values don't
 * show how they were encoded, such as a 64-bit 5, is linked to its bytes, which `encodeTable` uses; so are nested tables.
 *
 * @category decoding
 * @since 0.1.0
 */
export const decodeTable = (reader: ByteReader): FieldTable => {
  isExact = true
  return readTable(reader, 1)
}

const readTable = (reader: ByteReader, depth: number): FieldTable => {
  checkDepth(depth)
  const isOuterExact = isExact
  isExact = true
  const table: Record<string, FieldValue> = {}
  const outer = reader.enter(reader.long())
  const start = reader.offset
  let count = 0
  while (reader.remaining > 0) {
    const key = reader.shortString()
    const value = readValue(reader, depth)
    count++
    // An object moves integer keys to the front.
    if (startsWithDigit(key)) isExact = false
    if (key === "__proto__") {
      // Assigning this key would set the prototype.
      Object.defineProperty(table, key, { value, enumerable: true, configurable: true, writable: true })
    } else {
      table[key] = value
    }
  }
  // Fewer keys than entries: one is repeated.
  if (isExact && Object.keys(table).length === count) {
    isExact = isOuterExact
  } else {
    setOrigin(table, reader.bytes, start, reader.offset)
    isExact = false
  }
  reader.leave(outer)
  return table
}

const startsWithDigit = (key: string): boolean => {
  // NaN for the empty key.
  const code = key.charCodeAt(0)
  return code >= 48 && code <= 57
}

const readArray = (reader: ByteReader, depth: number): ReadonlyArray<FieldValue> => {
  checkDepth(depth)
  const isOuterExact = isExact
  isExact = true
  const items: Array<FieldValue> = []
  const outer = reader.enter(reader.long())
  const start = reader.offset
  while (reader.remaining > 0) items.push(readValue(reader, depth))
  if (isExact) isExact = isOuterExact
  else setOrigin(items, reader.bytes, start, reader.offset)
  reader.leave(outer)
  return items
}

const readValue = (reader: ByteReader, depth: number): FieldValue => {
  const type = reader.octet()
  switch (type) {
    case letter.S: {
      const text = reader.longTextOrBytes()
      return typeof text === "string" ? text : markAsText(text)
    }
    case letter.I: {
      const value = reader.int32()
      if (value << 16 >> 16 === value) isExact = false
      return value
    }
    case letter.l: {
      const value = reader.int64()
      if (typeof value === "number" && (value | 0) === value) isExact = false
      return value
    }
    case letter.t: {
      const octet = reader.octet()
      if (octet > 1) isExact = false
      return octet !== 0
    }
    case letter.b:
      return reader.int8()
    case letter.s: {
      const value = reader.int16()
      if (value << 24 >> 24 === value) isExact = false
      return value
    }
    case letter.f: {
      const value = reader.float()
      if (isInexact(value)) return TypedField.float(value)
      isExact = false
      return value
    }
    case letter.d: {
      const value = reader.double()
      if (isInexact(value)) return TypedField.double(value)
      if (Number.isInteger(value) && !Object.is(value, -0)) isExact = false
      return value
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
      // Types that the encoder uses for a `TypedField` only.
      isExact = false
      return readRare(reader, type)
  }
}

const readRare = (reader: ByteReader, type: number): FieldValue => {
  switch (type) {
    case letter.L:
      return reader.int64()
    case letter.B:
      return reader.octet()
    case letter.U:
      return reader.int16()
    case letter.u:
      return reader.short()
    case letter.i:
      return reader.long()
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

// -----------------------------------------------------------------------------
// one level of a table
// -----------------------------------------------------------------------------

/** A value as it was encoded: from `start` (its type) to `end`. A table or an array has no `value`. */
export interface Item {
  readonly type: number
  readonly start: number
  readonly end: number
  readonly value: FieldValue | undefined
}

/** An entry of a table: its key, whose bytes begin at `keyStart`, and its value. */
export interface Entry extends Item {
  readonly key: string
  readonly keyStart: number
}

// Shared by all calls: they do not overlap.
const reader = new ByteReader()

/** The entries of a table that was decoded before. */
export const entriesIn = (bytes: Uint8Array): ReadonlyArray<Entry> => {
  reader.reset(bytes)
  const entries: Array<Entry> = []
  while (reader.remaining > 0) {
    const keyStart = reader.offset
    const key = reader.shortString()
    entries.push({ key, keyStart, ...readItem(bytes) })
  }
  return entries
}

/** The items of an array that was decoded before. */
export const itemsIn = (bytes: Uint8Array): ReadonlyArray<Item> => {
  reader.reset(bytes)
  const items: Array<Item> = []
  while (reader.remaining > 0) items.push(readItem(bytes))
  return items
}

const readItem = (bytes: Uint8Array): Item => {
  const start = reader.offset
  const type = bytes[start]
  if (type !== letter.A && type !== letter.F) {
    const value = readValue(reader, 1)
    return { type, start, end: reader.offset, value }
  }
  reader.octet()
  reader.longString()
  return { type, start, end: reader.offset, value: undefined }
}
