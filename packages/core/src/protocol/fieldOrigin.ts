/**
 * The bytes that decoded field tables were read from.
 *
 * JavaScript has one type of number where AMQP has a dozen, and an object has each key once: decoding a table to plain
 * values and encoding it again may change its bytes. So a table whose values don't show how they were encoded keeps a hidden
 * link to its bytes. The encoder copies the bytes of unchanged values, and encodes the rest.
 *
 * The link is a private field of the table: nothing enumerates, prints or copies it. That costs less than a nanosecond for a table,
 * where an entry in a `WeakMap` costs 190.
 *
 * @since 0.1.0
 */
import type { FieldTable, FieldValue } from "./fieldValue.ts"

/** Lets a subclass add its fields to any object. */
// oxlint-disable-next-line typescript/no-extraneous-class -- Only its return value is used.
class Extension {
  constructor(object: object) {
    return object
  }
}

/** The entries of a table or the items of an array, without the length before them. */
class Origin extends Extension {
  readonly #bytes: Uint8Array
  readonly #start: number
  readonly #end: number

  constructor(object: object, bytes: Uint8Array, start: number, end: number) {
    super(object)
    this.#bytes = bytes
    this.#start = start
    this.#end = end
  }

  static of(object: object): Uint8Array | undefined {
    return #bytes in object ? object.#bytes.subarray(object.#start, object.#end) : undefined
  }

  /** Copies the origin of one object to another. */
  static copy(from: object, to: object): void {
    if (#bytes in from) setOrigin(to, from.#bytes, from.#start, from.#end)
  }

  static has(object: object): boolean {
    return #bytes in object
  }
}

/** Text (`S`) that is not UTF-8. */
const texts = new WeakSet<Uint8Array>()

/** The bytes of the entries of a decoded table or array, if encoding its values would change them. */
export const originOf = (value: object): Uint8Array | undefined => Origin.of(value)

/** Records the bytes that a table or array was decoded from. Call once for each. */
export const setOrigin = (value: object, bytes: Uint8Array, start: number, end: number): void => {
  // The constructor returns `value`.
  void new Origin(value, bytes, start, end)
}

/** Bytes that are encoded as text. */
export const markAsText = (bytes: Uint8Array): Uint8Array => {
  texts.add(bytes)
  return bytes
}

/** Whether bytes were decoded from a text. */
export const isText = (bytes: Uint8Array): boolean => texts.has(bytes)

/**
 * How a field table was encoded, as an opaque value: copying the values of a table into another object loses the hidden link
 * between them and their bytes, and this restores it.
 *
 * @category models
 * @since 0.1.0
 */
export class EncodedTable {
  private constructor(table: FieldTable) {
    Origin.copy(table, this)
  }

  /** How a decoded table was encoded, if its values don't show it. */
  static of(table: FieldTable): EncodedTable | undefined {
    return Origin.has(table) ? new EncodedTable(table) : undefined
  }

  /** The bytes, if `value` is what `of` returned. A clone of it has none. */
  static entriesOf(value: EncodedTable | undefined): Uint8Array | undefined {
    return typeof value === "object" && value !== null ? originOf(value) : undefined
  }
}

/**
 * A copy of a decoded table with other values for some keys, which keeps how the rest was encoded. A key whose value is
 * `undefined` is left out.
 *
 * @category encoding
 * @since 0.1.0
 */
export const changeTable = (
  table: FieldTable | undefined,
  changes: Readonly<Record<string, FieldValue | undefined>>
): FieldTable => {
  const changed: Record<string, FieldValue | undefined> = { ...table, ...changes }
  for (const key of Object.keys(changes)) if (changes[key] === undefined) delete changed[key]
  if (table !== undefined) Origin.copy(table, changed)
  return changed
}
