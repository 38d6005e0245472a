/**
 * Values of field tables with visible types: as a plan writes them, on the wire, and as a reply shows them.
 *
 * This is a separate codec, because the one under test must not judge itself, and because that of amqplib loses the widths of numbers.
 */

/** A value with RabbitMQ's letter for its type, if a plain value does not determine it. */
export interface Typed {
  readonly type: "b" | "B" | "s" | "u" | "i" | "l" | "f" | "d" | "T" | "D" | "S" | "x"
  /** Bytes (`S`, `x`) are in hexadecimal. A decimal (`D`) is given by its digits, of which two are decimal places. */
  readonly value: number | string
}

/** A string is an `S`, an integer an `I`, another number a `d`, `null` a `V`, an array an `A`, an object an `F`. */
export type Field = string | number | boolean | null | Typed | ReadonlyArray<Field> | Fields

export interface Fields {
  readonly [name: string]: Field
}

const isTyped = (field: Typed | Fields): field is Typed =>
  typeof field["type"] === "string" && Object.keys(field).length === 2 && "value" in field

const isList = (field: Field): field is ReadonlyArray<Field> => Array.isArray(field)

const decimalPlaces = 2

// -----------------------------------------------------------------------------
// encoding
// -----------------------------------------------------------------------------

const sized = (bytes: Buffer): Buffer => {
  const size = Buffer.alloc(4)
  size.writeUInt32BE(bytes.length)
  return Buffer.concat([size, bytes])
}

/** At most 255 bytes; more are an error in the plan. */
export const encodeShortString = (bytes: Buffer): Buffer => {
  if (bytes.length > 255) throw new RangeError(`a short string of ${bytes.length} bytes`)
  return Buffer.concat([Buffer.of(bytes.length), bytes])
}

const written = (size: number, write: (buffer: Buffer) => void): Buffer => {
  const buffer = Buffer.alloc(size)
  write(buffer)
  return buffer
}

const encodeTyped = ({ type, value }: Typed): Buffer => {
  const number = Number(value)
  switch (type) {
    case "b":
      return written(1, (buffer) => buffer.writeInt8(number))
    case "B":
      return written(1, (buffer) => buffer.writeUInt8(number))
    case "s":
      return written(2, (buffer) => buffer.writeInt16BE(number))
    case "u":
      return written(2, (buffer) => buffer.writeUInt16BE(number))
    case "i":
      return written(4, (buffer) => buffer.writeUInt32BE(number))
    case "l":
      return written(8, (buffer) => buffer.writeBigInt64BE(BigInt(value)))
    case "T":
      return written(8, (buffer) => buffer.writeBigUInt64BE(BigInt(value)))
    case "f":
      return written(4, (buffer) => buffer.writeFloatBE(number))
    case "d":
      return written(8, (buffer) => buffer.writeDoubleBE(number))
    case "D":
      return written(5, (buffer) => {
        buffer.writeUInt8(decimalPlaces)
        buffer.writeUInt32BE(number, 1)
      })
    case "S":
    case "x":
      return sized(Buffer.from(String(value), "hex"))
  }
}

const encodeField = (field: Field): Buffer => {
  const tagged = (letter: string, bytes: Buffer): Buffer => Buffer.concat([Buffer.from(letter), bytes])
  if (field === null) return tagged("V", Buffer.alloc(0))
  switch (typeof field) {
    case "string":
      return tagged("S", sized(Buffer.from(field)))
    case "boolean":
      return tagged("t", Buffer.of(field ? 1 : 0))
    case "number":
      return Number.isInteger(field)
        ? tagged("I", written(4, (buffer) => buffer.writeInt32BE(field)))
        : tagged("d", encodeTyped({ type: "d", value: field }))
    default:
      if (isList(field)) return tagged("A", sized(Buffer.concat(field.map(encodeField))))
      return isTyped(field) ? tagged(field.type, encodeTyped(field)) : tagged("F", encodeFields(field))
  }
}

/** A table with its size. */
export const encodeFields = (fields: Fields): Buffer =>
  sized(Buffer.concat(
    Object.entries(fields).flatMap(([name, field]) => [encodeShortString(Buffer.from(name)), encodeField(field)])
  ))

// -----------------------------------------------------------------------------
// decoding
// -----------------------------------------------------------------------------

/** Bytes as text: quoted if they are valid UTF-8, otherwise in hexadecimal. */
export const showBytes = (bytes: Buffer): string => {
  const text = bytes.toString()
  return Buffer.from(text).equals(bytes) ? JSON.stringify(text) : `0x${bytes.toString("hex")}`
}

/** Reads a buffer from start to end. */
export class Reader {
  private readonly bytes: Buffer
  private offset = 0

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.offset >= this.bytes.length
  }

  take(size: number): Buffer {
    if (this.offset + size > this.bytes.length) throw new RangeError("the broker sent a truncated value")
    this.offset += size
    return this.bytes.subarray(this.offset - size, this.offset)
  }

  unsigned(size: 1 | 2 | 4): number {
    return this.take(size).readUIntBE(0, size)
  }

  unsignedLong(): bigint {
    return this.take(8).readBigUInt64BE()
  }

  shortString(): Buffer {
    return this.take(this.unsigned(1))
  }

  longString(): Buffer {
    return this.take(this.unsigned(4))
  }

  /** A table as text: `{name=type:value …}`, sorted by name, because a table has no order. */
  table(): string {
    const reader = new Reader(this.longString())
    const entries: Array<string> = []
    while (!reader.isAtEnd) {
      const name = reader.shortString()
      entries.push(`${name.toString()}=${reader.field()}`)
    }
    return `{${entries.toSorted().join(" ")}}`
  }

  private field(): string {
    const letter = this.take(1).toString()
    switch (letter) {
      case "V":
        return letter
      case "t":
        return `t:${this.unsigned(1) !== 0}`
      case "b":
        return `b:${this.take(1).readInt8()}`
      case "B":
        return `B:${this.unsigned(1)}`
      case "s":
        return `s:${this.take(2).readInt16BE()}`
      case "u":
        return `u:${this.unsigned(2)}`
      case "I":
        return `I:${this.take(4).readInt32BE()}`
      case "i":
        return `i:${this.unsigned(4)}`
      case "l":
        return `l:${this.take(8).readBigInt64BE()}`
      case "f":
        return `f:${this.take(4).readFloatBE()}`
      case "d":
        return `d:${this.take(8).readDoubleBE()}`
      case "D":
        return `D:${this.unsigned(1)},${this.unsigned(4)}`
      case "T":
        return `T:${showTime(this.unsignedLong())}`
      case "S":
      case "x":
        return `${letter}:${showBytes(this.longString())}`
      case "F":
        return this.table()
      case "A": {
        const reader = new Reader(this.longString())
        const fields: Array<string> = []
        while (!reader.isAtEnd) fields.push(reader.field())
        return `[${fields.join(" ")}]`
      }
      default:
        throw new RangeError(`the broker sent a field of the type ${JSON.stringify(letter)}`)
    }
  }
}

const nearlyNowSeconds = 3600

/** The current time differs in every run, and is shown as `now`. Other times come from the plan. */
const showTime = (seconds: bigint): string =>
  Math.abs(Number(seconds) - Date.now() / 1000) < nearlyNowSeconds ? "now" : String(seconds)
