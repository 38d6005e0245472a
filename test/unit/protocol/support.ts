/** Helpers for the tests of the protocol layer: they collect what is written and parsed, and generate values. */
import type { BasicProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { ByteReader } from "@effect-amqp/core/protocol/ByteReader"
import { ByteWriter } from "@effect-amqp/core/protocol/ByteWriter"
import { TypedField } from "@effect-amqp/core/protocol/fieldTable"
import type { FieldTable, FieldValue } from "@effect-amqp/core/protocol/fieldTable"
import { FrameParser } from "@effect-amqp/core/protocol/FrameParser"
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import { EncodeError, ProtocolError } from "@effect-amqp/core/protocol/ProtocolError"
import { assert } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import type { Field } from "../../../scripts/protocol/model.ts"
import { parseFields, parseMethods } from "../../../scripts/protocol/model.ts"
import * as table from "../../../scripts/protocol/table.ts"

export const concat = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => {
  const all = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}

/** The bytes that `write` writes. */
export const written = (write: (writer: ByteWriter) => void, slabSize?: number): Uint8Array => {
  const writer = new ByteWriter(slabSize)
  write(writer)
  writer.commit()
  return concat(writer.take())
}

export const readerOf = (bytes: Uint8Array): ByteReader => {
  const reader = new ByteReader()
  reader.reset(bytes)
  return reader
}

export const thrownBy = (f: () => void): unknown => {
  try {
    f()
  } catch (error) {
    return error
  }
  return assert.fail("nothing was thrown")
}

/** Asserts that `f` throws a `ProtocolError` with this code, and returns its message. */
export const assertProtocolError = (replyCode: number, f: () => void): string => {
  const error = thrownBy(f)
  assert.instanceOf(error, ProtocolError)
  assert.strictEqual(error.replyCode, replyCode, error.message)
  return error.message
}

/** Asserts that `f` throws an `EncodeError`, and returns its message. */
export const assertEncodeError = (f: () => void): string => {
  const error = thrownBy(f)
  assert.instanceOf(error, EncodeError)
  return error.message
}

/** What a parser emitted, in order. Bytes are copied when they are emitted. */
export type Emitted =
  | { readonly _tag: "method"; readonly channel: number; readonly method: Method }
  | { readonly _tag: "header"; readonly channel: number; readonly bodySize: number; readonly properties: Uint8Array }
  | { readonly _tag: "body"; readonly channel: number; readonly payload: Uint8Array }
  | { readonly _tag: "heartbeat" }

export const collecting = (maxFrameSize = 131072) => {
  const emitted: Array<Emitted> = []
  const parser = new FrameParser({
    onMethod: (channel, method) => void emitted.push({ _tag: "method", channel, method }),
    onHeader: (channel, header) =>
      void emitted.push({
        _tag: "header",
        channel,
        bodySize: header.bodySize,
        properties: Uint8Array.from(header.properties)
      }),
    onBody: (channel, payload) => void emitted.push({ _tag: "body", channel, payload: Uint8Array.from(payload) }),
    onHeartbeat: () => void emitted.push({ _tag: "heartbeat" })
  }, { maxFrameSize })
  return { emitted, parser }
}

export const parse = (chunks: ReadonlyArray<Uint8Array>, maxFrameSize?: number): ReadonlyArray<Emitted> => {
  const { emitted, parser } = collecting(maxFrameSize)
  for (const chunk of chunks) parser.push(chunk)
  return emitted
}

export const integer = (minimum: number, maximum: number): Arbitrary.Arbitrary<number> =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

export const oneOf = <A>(...choices: ReadonlyArray<Arbitrary.Arbitrary<A>>): Arbitrary.Arbitrary<A> =>
  Arbitrary.flatMap(integer(0, choices.length - 1), (index) => choices[index])

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/** UTF-8 has no lone surrogates. */
export const text: Arbitrary.Arbitrary<string> = Arbitrary.map(
  Arbitrary.schema(Schema.String),
  (value) => decoder.decode(encoder.encode(value))
)

export const shortText: Arbitrary.Arbitrary<string> = Arbitrary.filter(
  text,
  (value) => encoder.encode(value).length <= 255
)

export const bytes: Arbitrary.Arbitrary<Uint8Array> = Arbitrary.map(
  Arbitrary.array(integer(0, 255), { maxLength: 300 }),
  (items) => Uint8Array.from(items)
)

const boolean = Arbitrary.schema(Schema.Boolean)

/** Safe integers as numbers, as they are decoded. */
const normal = (value: bigint): number | bigint =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value

export const unsigned64: Arbitrary.Arbitrary<number | bigint> = Arbitrary.map(
  Arbitrary.all([integer(0, 0xffffffff), integer(0, 0xffffffff), integer(0, 63)]),
  ([high, low, shift]) => normal((BigInt(high) << 32n | BigInt(low)) >> BigInt(shift))
)

export const signed64: Arbitrary.Arbitrary<number | bigint> = Arbitrary.map(
  unsigned64,
  (value) => normal(BigInt.asIntN(64, BigInt(value)))
)

const scalar: Arbitrary.Arbitrary<FieldValue> = oneOf<FieldValue>(
  text,
  signed64,
  // Numbers that no broker accepts are refused.
  Arbitrary.filter(
    Arbitrary.schema(Schema.Number),
    (value) => Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value))
  ),
  boolean,
  Arbitrary.Constant(null),
  bytes,
  Arbitrary.map(integer(0, 8_640_000_000_000), (seconds) => new Date(seconds * 1000)),
  Arbitrary.map(
    Arbitrary.all([integer(0, 255), integer(-2147483648, 2147483647)]),
    ([scale, value]) => TypedField.decimal(scale, value)
  )
)

const tableOf = (value: Arbitrary.Arbitrary<FieldValue>): Arbitrary.Arbitrary<FieldTable> =>
  Arbitrary.map(
    Arbitrary.array(Arbitrary.all([shortText, value]), { maxLength: 5 }),
    (entries) => Object.fromEntries(entries)
  )

const nested = (depth: number): Arbitrary.Arbitrary<FieldValue> =>
  depth === 0
    ? scalar
    : oneOf<FieldValue>(scalar, Arbitrary.array(nested(depth - 1), { maxLength: 4 }), tableOf(nested(depth - 1)))

export const fieldTable: Arbitrary.Arbitrary<FieldTable> = tableOf(nested(2))

const arbitraryOf = (field: Field): Arbitrary.Arbitrary<unknown> => {
  switch (field.type) {
    case "bit":
      return boolean
    case "octet":
      return integer(0, 0xff)
    case "short":
      return integer(0, 0xffff)
    case "long":
      return integer(0, 0xffffffff)
    case "longlong":
      return unsigned64
    case "shortstr":
      return shortText
    case "text":
      return text
    case "longstr":
      return bytes
    case "table":
      return fieldTable
  }
}

/** An arbitrary value of each method of the table. */
export const arbitraryMethods: ReadonlyArray<
  { readonly tag: string; readonly arbitrary: Arbitrary.Arbitrary<Method> }
> = parseMethods(table.methods).map(({ fields, tag }) => ({
  tag,
  arbitrary: Arbitrary.map(
    Arbitrary.all(
      Object.fromEntries(
        fields.filter((field) => !field.reserved).map((field) => [field.property, arbitraryOf(field)])
      )
    ),
    // The table describes the type, which the compiler cannot see.
    (values) => ({ _tag: tag, ...values }) as unknown as Method
  )
}))

export const anyMethod: Arbitrary.Arbitrary<Method> = oneOf(...arbitraryMethods.map(({ arbitrary }) => arbitrary))

/** Arbitrary properties with every key, `undefined` for half of them. */
export const basicProperties: Arbitrary.Arbitrary<BasicProperties> = Arbitrary.map(
  Arbitrary.all(
    Object.fromEntries(
      parseFields(table.properties).map((
        field
      ) => [field.property, oneOf(arbitraryOf(field), Arbitrary.Constant(undefined))])
    )
  ),
  // As above.
  (values) => values as BasicProperties
)
