/**
 * Field values with the types that they have on the wire, named as RabbitMQ names them.
 *
 * JavaScript has one type of number where AMQP has a dozen, so the types are read from the bytes that a table is encoded to.
 */
import { ByteWriter } from "../../../protocol/ByteWriter.ts"
import { encodeTable } from "../../../protocol/fieldTable.ts"
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { joined } from "./bytes.ts"

/** A value and RabbitMQ's name of its type. */
export type WireValue =
  | IntegerValue
  | { readonly type: "timestamp"; readonly value: bigint }
  | { readonly type: "float" | "double"; readonly value: number }
  | { readonly type: "decimal"; readonly scale: number; readonly value: bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "void" }
  | { readonly type: "longstr" | "binary"; readonly value: Uint8Array }
  | { readonly type: "array"; readonly value: ReadonlyArray<WireValue> }
  | { readonly type: "table"; readonly value: ReadonlyArray<readonly [key: string, value: WireValue]> }

interface IntegerValue {
  readonly type: IntegerType
  readonly value: bigint
}

type IntegerType = "byte" | "unsignedbyte" | "short" | "unsignedshort" | "signedint" | "unsignedint" | "long"

const integerTypes: ReadonlySet<string> = new Set<IntegerType>([
  "byte",
  "unsignedbyte",
  "short",
  "unsignedshort",
  "signedint",
  "unsignedint",
  "long"
])

/** The values of a table by name. */
export const wireValues = (table: FieldTable): ReadonlyMap<string, WireValue> =>
  isEmpty(table) ? none : new Map(wireEntries(table))

const none: ReadonlyMap<string, WireValue> = new Map()

/** Whether a table has no entries. Most have none, and are not encoded. */
export const isEmpty = (table: FieldTable): boolean => {
  for (const _ in table) return false
  return true
}

/** The value of a table's entry. */
export const wireValueAt = (table: FieldTable, name: string): WireValue | undefined =>
  table[name] === undefined ? undefined : wireValues(table).get(name)

export const isInteger = (value: WireValue): value is IntegerValue => integerTypes.has(value.type)

/** The text of a value, or `undefined` if it is not text. */
export const textIn = (value: WireValue | undefined): string | undefined =>
  value?.type === "longstr" ? textOfBytes(value.value) : undefined

const decoder = new TextDecoder()

export const textOfBytes = (bytes: Uint8Array): string => decoder.decode(bytes)

/** Shared, because a writer begins with a buffer that is far larger than most tables. */
const writer = new ByteWriter()

/** The entries of a table, in order. */
export const wireEntries = (table: FieldTable): ReadonlyArray<readonly [string, WireValue]> => {
  encodeTable(writer, table)
  writer.commit()
  return new Reader(joined(writer.take())).entries()
}

/** Reads what this process has encoded, which is never malformed. */
class Reader {
  private readonly bytes: Uint8Array
  private readonly view: DataView
  private offset = 0

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** The entries of a table, which begins with its length. */
  entries(): ReadonlyArray<readonly [string, WireValue]> {
    const entries: Array<readonly [string, WireValue]> = []
    for (const end = this.length() + this.offset; this.offset < end;) {
      const key = textOfBytes(this.take(this.view.getUint8(this.offset++)))
      entries.push([key, this.value()])
    }
    return entries
  }

  private value(): WireValue {
    const { view } = this
    const letter = String.fromCharCode(view.getUint8(this.offset++))
    switch (letter) {
      case "b":
        return { type: "byte", value: BigInt(view.getInt8(this.skip(1))) }
      case "B":
        return { type: "unsignedbyte", value: BigInt(view.getUint8(this.skip(1))) }
      case "s":
      case "U":
        return { type: "short", value: BigInt(view.getInt16(this.skip(2))) }
      case "u":
        return { type: "unsignedshort", value: BigInt(view.getUint16(this.skip(2))) }
      case "I":
        return { type: "signedint", value: BigInt(view.getInt32(this.skip(4))) }
      case "i":
        return { type: "unsignedint", value: BigInt(view.getUint32(this.skip(4))) }
      case "l":
      case "L":
        return { type: "long", value: view.getBigInt64(this.skip(8)) }
      case "T":
        return { type: "timestamp", value: view.getBigUint64(this.skip(8)) }
      case "f":
        return { type: "float", value: view.getFloat32(this.skip(4)) }
      case "d":
        return { type: "double", value: view.getFloat64(this.skip(8)) }
      case "D": {
        const scale = view.getUint8(this.skip(1))
        return { type: "decimal", scale, value: BigInt(view.getUint32(this.skip(4))) }
      }
      case "t":
        return { type: "bool", value: view.getUint8(this.skip(1)) !== 0 }
      case "S":
        return { type: "longstr", value: this.take(this.length()) }
      case "x":
        return { type: "binary", value: this.take(this.length()) }
      case "F":
        return { type: "table", value: this.entries() }
      case "A": {
        const items: Array<WireValue> = []
        for (const end = this.length() + this.offset; this.offset < end;) items.push(this.value())
        return { type: "array", value: items }
      }
      default:
        return { type: "void" }
    }
  }

  private length(): number {
    return this.view.getUint32(this.skip(4))
  }

  /** Moves the offset on, and returns the previous one. */
  private skip(count: number): number {
    this.offset += count
    return this.offset - count
  }

  private take(count: number): Uint8Array {
    const start = this.skip(count)
    return this.bytes.subarray(start, start + count)
  }
}
