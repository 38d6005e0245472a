/**
 * The values of field tables: the self-describing values of headers and arguments (section 4.2.5.5 of the specification, with the
 * type letters as RabbitMQ reads them, https://www.rabbitmq.com/amqp-0-9-1-errata#section_3).
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type * as DateTime from "effect/DateTime"

/**
 * How deep tables and arrays may be nested, the outermost table included. A limit of this client: a peer must not be able to exhaust
 * the stack. RabbitMQ has no limit, and 20,000 levels in the arguments of a binding crash a whole node (3.10).
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
 * A number with an explicit field type on the wire, for brokers and peers that insist on one. Ranges are checked
 * when it is encoded.
 *
 * **Details**
 *
 * Decoding yields a `TypedField` where a plain value is not enough: for decimals, for timestamps beyond what a `Date` holds,
 * and for floats and doubles that are integers beyond 2^53 - 1, which are too inexact for a plain number. Other numbers are plain, and
 * are still forwarded with their original type.
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
  /** An IEEE 754 single: the nearest one to the value, which must be finite. */
  static float(value: number): TypedField {
    return new TypedField({ type: "float", value, scale: 0 })
  }
  /** An IEEE 754 double, also for whole numbers. Must be finite. */
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
 * The values that a field table can hold.
 *
 * **Details**
 *
 * Encoded as: an integer as the smallest of `b s I l` (beyond 2^53 - 1 as a bigint), another number as `d`, text as `S`,
 * a boolean as `t`, `null` as `V`, bytes as `x`, a `Date` or `DateTime` as `T` (whole seconds, from 1970 on), an array as `A`, a plain
 * object or `Map` as `F`, and a {@link TypedField} as its type. NaN and infinities are refused, as RabbitMQ closes the whole
 * connection on them, with 541.
 *
 * Decoded to the same, where 64-bit integers are numbers when safe and bigints otherwise, `S` that is not UTF-8 is bytes (forwarded
 * as `S`), `T` is a `Date`, and `D` a {@link TypedField}, as are the values that it names. Bytes are a view into the received chunk.
 *
 * A table that was received keeps the bytes of its entries if their values don't determine them. Unchanged entries
 * are forwarded as these bytes: with their types, in their order, and with repeated keys.
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

/** The letters of the field types. */
export const letter = {
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
 * Whether a number is an integer that other integers may have been rounded to.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isInexact = (value: number): boolean => Number.isInteger(value) && !Number.isSafeInteger(value)
