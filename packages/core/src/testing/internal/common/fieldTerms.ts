/**
 * Field values with the types that they have on the wire, as RabbitMQ names, compares and prints them.
 *
 * JavaScript knows one type of number and AMQP a dozen, so these are read from the bytes that a table is encoded to.
 */
import { ByteWriter } from "../../../protocol/ByteWriter.ts"
import { encodeTable } from "../../../protocol/fieldTable.ts"
import type { FieldTable } from "../../../protocol/fieldTable.ts"

/** A value and what RabbitMQ calls its type. */
export type Term =
  | IntegerTerm
  | { readonly type: "timestamp"; readonly value: bigint }
  | { readonly type: "float" | "double"; readonly value: number }
  | { readonly type: "decimal"; readonly scale: number; readonly value: bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "void" }
  | { readonly type: "longstr" | "binary"; readonly value: Uint8Array }
  | { readonly type: "array"; readonly value: ReadonlyArray<Term> }
  | { readonly type: "table"; readonly value: ReadonlyArray<readonly [key: string, term: Term]> }

interface IntegerTerm {
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
export const termsOf = (table: FieldTable): ReadonlyMap<string, Term> =>
  isEmpty(table) ? none : new Map(entriesOf(table))

const none: ReadonlyMap<string, Term> = new Map()

/** Most tables are: nothing is encoded for them. */
const isEmpty = (table: FieldTable): boolean => {
  for (const _ in table) return false
  return true
}

/** The value of a table by that name. */
export const termAt = (table: FieldTable, name: string): Term | undefined =>
  table[name] === undefined ? undefined : termsOf(table).get(name)

export const isInteger = (term: Term): term is IntegerTerm => integerTypes.has(term.type)

/** The text of a value, if it is one. */
export const textIn = (term: Term | undefined): string | undefined =>
  term?.type === "longstr" ? decoder.decode(term.value) : undefined

/** How RabbitMQ shows a value in its texts: text as it is, and anything else as Erlang does. */
export const show = (term: Term): string =>
  term.type === "longstr" || term.type === "binary" ? decoder.decode(term.value) : erlang(term)

/**
 * Whether Erlang takes the values for the same, whatever their types are called: an integer is never a float. `loosely`: 1 is 1.0.
 * In arrays and tables the names of the types count.
 */
export const isSame = (one: Term, other: Term, loosely: boolean): boolean =>
  comparable(one, loosely) === comparable(other, loosely)

/** A text that is the same for the same arguments, in any order. */
export const identityOf = (table: FieldTable): string =>
  isEmpty(table) ? "" : entriesOf(table)
    .map(([name, term]) => JSON.stringify([name, typed(term, false)]))
    .toSorted()
    .join()

// -----------------------------------------------------------------------------
// reading
// -----------------------------------------------------------------------------

const decoder = new TextDecoder()

/** One for all: each begins with a buffer that is far larger than most tables. */
const writer = new ByteWriter()

const entriesOf = (table: FieldTable): ReadonlyArray<readonly [string, Term]> => {
  encodeTable(writer, table)
  writer.commit()
  const chunks = writer.take()
  const bytes = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0))
  let offset = 0
  for (const chunk of chunks) {
    bytes.set(chunk, offset)
    offset += chunk.length
  }
  return new Reader(bytes).entries()
}

/** Reads what this process has encoded, and so nothing malformed. */
class Reader {
  private readonly bytes: Uint8Array
  private readonly view: DataView
  private offset = 0

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Of a table, with its length. */
  entries(): ReadonlyArray<readonly [string, Term]> {
    const entries: Array<readonly [string, Term]> = []
    for (const end = this.length() + this.offset; this.offset < end;) {
      const key = decoder.decode(this.take(this.view.getUint8(this.offset++)))
      entries.push([key, this.term()])
    }
    return entries
  }

  private term(): Term {
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
        const items: Array<Term> = []
        for (const end = this.length() + this.offset; this.offset < end;) items.push(this.term())
        return { type: "array", value: items }
      }
      default:
        return { type: "void" }
    }
  }

  private length(): number {
    return this.view.getUint32(this.skip(4))
  }

  /** The offset before so many bytes. */
  private skip(count: number): number {
    this.offset += count
    return this.offset - count
  }

  private take(count: number): Uint8Array {
    const start = this.skip(count)
    return this.bytes.subarray(start, start + count)
  }
}

// -----------------------------------------------------------------------------
// comparing
// -----------------------------------------------------------------------------

/** A text that is the same for values that are. */
const comparable = (term: Term, loosely: boolean): string => JSON.stringify(untyped(term, loosely))

type Plain = string | boolean | ReadonlyArray<Plain>

const untyped = (term: Term, loosely: boolean): Plain => {
  switch (term.type) {
    case "longstr":
    case "binary":
      return ["bytes", term.value.join()]
    case "array":
      return ["array", term.value.map((item) => typed(item, loosely))]
    case "table":
      return ["table", term.value.map(([key, value]) => [key, typed(value, loosely)])]
    case "decimal":
      return ["decimal", String(term.scale), String(term.value)]
    case "bool":
      return term.value
    case "void":
      return "undefined"
    case "float":
    case "double":
      return ["number", loosely && Number.isInteger(term.value) ? String(BigInt(term.value)) : `${term.value} (float)`]
    default:
      return ["number", String(term.value)]
  }
}

const typed = (term: Term, loosely: boolean): Plain => [term.type, untyped(term, loosely)]

// -----------------------------------------------------------------------------
// printing
// -----------------------------------------------------------------------------

/** A value as an Erlang term, which RabbitMQ prints where it has no better text. */
const erlang = (term: Term): string => {
  switch (term.type) {
    case "longstr":
      return `<<"${decoder.decode(term.value)}">>`
    case "binary":
      return `<<${term.value.join(",")}>>`
    case "array":
      return `[${term.value.map((item) => `{${item.type},${erlang(item)}}`).join(",")}]`
    case "table":
      return `[${term.value.map(([key, value]) => `{<<"${key}">>,${value.type},${erlang(value)}}`).join(",")}]`
    case "decimal":
      return `{${term.scale},${term.value}}`
    case "void":
      return "undefined"
    case "float":
    case "double":
      return float(term.value)
    default:
      return String(term.value)
  }
}

/** Erlang prints a float in the shorter of two ways, and always with a point. */
const float = (value: number): string => {
  const [mantissa = "0", exponent = "0"] = value.toExponential().split("e")
  const scientific = `${withPoint(mantissa)}e${Number(exponent)}`
  const plain = withPoint(String(value))
  return plain.includes("e") || scientific.length < plain.length ? scientific : plain
}

const withPoint = (digits: string): string => digits.includes(".") || digits.includes("e") ? digits : `${digits}.0`
