import { decodeTable, encodeTable, maxTableDepth, TypedField } from "@effect-amqp/core/protocol/fieldTable"
import type { FieldTable, FieldValue } from "@effect-amqp/core/protocol/fieldTable"
import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as golden from "../../fixtures/golden.ts"
import { hex, wire } from "../../fixtures/wire.ts"
import { assertEncodeError, assertProtocolError, concat, fieldTable, readerOf, written } from "./support.ts"

const encode = (table: FieldTable): Uint8Array => written((writer) => encodeTable(writer, table))
const decode = (bytes: Uint8Array): FieldTable => decodeTable(readerOf(bytes))

/** A table of one value under the key `k`, with the value's encoding given. */
const holding = (value: Uint8Array): Uint8Array =>
  concat([written((writer) => writer.long(value.length + 2)), wire(`01"k"`), value])

/** A value of a type the compiler refuses, as JavaScript could pass it. */
const untyped = (value: unknown): FieldValue => value as FieldValue

const nestedTable = (depth: number): FieldTable => depth === 1 ? {} : { t: nestedTable(depth - 1) }
const nestedArray = (depth: number): FieldValue => depth === 1 ? [] : [nestedArray(depth - 1)]

describe("the field table codec", () => {
  for (const { bytes, name, value } of golden.fieldValues) {
    it(`encodes and decodes ${name}`, () => {
      assert.strictEqual(hex(encode({ k: value })), hex(holding(bytes)))
      assert.deepStrictEqual(decode(holding(bytes)), { k: value })
    })
  }

  for (const { bytes, decoded, field, name } of golden.typedValues) {
    it(`C9: decodes ${name}${field === undefined ? "" : ", and encodes it when it is forced"}`, () => {
      if (field !== undefined) assert.strictEqual(hex(encode({ k: field })), hex(holding(bytes)))
      assert.deepStrictEqual(decode(holding(bytes)), { k: decoded })
    })
  }

  it("C9: refuses a value of an unknown type with 502, naming the type and not the content", () => {
    const known = new Set(new TextEncoder().encode("tbBsuUIilLfdDSATFVx"))
    for (let type = 0; type < 256; type++) {
      if (known.has(type)) continue
      const message = assertProtocolError(502, () => decode(holding(Uint8Array.of(type, 1, 2, 3, 4, 5, 6, 7, 8))))
      assert.include(message, String(type))
    }
  })

  it.prop("round-trips any table, and encodes it to the same bytes again", [fieldTable], ([table]) => {
    const bytes = encode(table)
    const decoded = decode(bytes)
    assert.deepStrictEqual(decoded, table)
    assert.strictEqual(hex(encode(decoded)), hex(bytes))
  })

  it("encodes small bigints as the smallest integer", () => {
    assert.deepStrictEqual(decode(encode({ k: 5n, l: -40000n })), { k: 5, l: -40000 })
    assert.strictEqual(hex(encode({ k: 5n })), hex(encode({ k: 5 })))
  })

  it("encodes maps and objects without prototype like plain objects, in order", () => {
    const plain = encode({ a: 1, b: { c: 2 } })
    const inner: FieldTable = Object.assign(Object.create(null), { c: 2 })
    const map = new Map<string, FieldValue>([["a", 1], ["b", new Map([["c", 2]])]])
    assert.strictEqual(hex(written((writer) => encodeTable(writer, map))), hex(plain))
    assert.strictEqual(hex(encode({ a: 1, b: inner })), hex(plain))
  })

  it("omits keys whose value is undefined", () => {
    assert.strictEqual(hex(encode({ a: undefined, b: 1, c: undefined })), hex(encode({ b: 1 })))
    const map = new Map<string, FieldValue | undefined>([["a", undefined], ["b", 1]])
    assert.strictEqual(hex(written((writer) => encodeTable(writer, map))), hex(encode({ b: 1 })))
  })

  it("encodes a DateTime as a timestamp", () => {
    const dateTime = DateTime.makeUnsafe(1999)
    assert.deepStrictEqual(encode({ k: dateTime }), encode({ k: new Date(1999) }))
    assert.deepStrictEqual(decode(encode({ k: dateTime })), { k: new Date(1000) })
  })

  it("encodes a date in whole seconds", () => {
    assert.deepStrictEqual(decode(encode({ k: new Date(1999) })), { k: new Date(1000) })
  })

  it("C19: throws an error that names the key of a value without a field type", () => {
    class Instance {
      readonly field = 1
    }
    const values = [
      () => 1,
      Symbol("s"),
      new Instance(),
      new Set([1]),
      new Uint16Array(1),
      new ArrayBuffer(1),
      /x/,
      new Date(NaN),
      new Date(-1000),
      [undefined],
      2 ** 53,
      1e300,
      2n ** 63n,
      -(2n ** 63n) - 1n,
      TypedField.int8(128),
      TypedField.uint8(-1),
      TypedField.int16(40000),
      TypedField.uint16(-1),
      TypedField.int32(2 ** 31),
      TypedField.uint32(-1),
      TypedField.int64(2n ** 63n),
      TypedField.decimal(256, 1),
      TypedField.decimal(0, 2 ** 31),
      TypedField.timestamp(-1),
      new TypedField({ type: "int8", value: 1n, scale: 0 })
    ]
    for (const value of values) assert.include(assertEncodeError(() => encode({ key1: untyped(value) })), "key1")
  })

  it("C19: refuses a key over 255 bytes of UTF-8", () => {
    encode({ ["é".repeat(127)]: 1 })
    assertEncodeError(() => encode({ ["é".repeat(128)]: 1 }))
    assertEncodeError(() => written((writer) => encodeTable(writer, new Map([[1, 1]]) as unknown as FieldTable)))
  })

  it("C8: refuses tables and arrays beyond 32 levels, in both directions", () => {
    for (const nested of [nestedTable(maxTableDepth), { k: nestedArray(maxTableDepth - 1) }]) {
      assert.deepStrictEqual(decode(encode(nested)), nested)
    }
    assertEncodeError(() => encode(nestedTable(maxTableDepth + 1)))
    assertEncodeError(() => encode({ k: nestedArray(maxTableDepth) }))
    let table = wire("00000000")
    for (let level = 1; level <= maxTableDepth; level++) table = holding(concat([wire(`"F"`), table]))
    assertProtocolError(502, () => decode(table))
    let array = wire(`"A" 00000000`)
    for (let level = 1; level < maxTableDepth; level++) {
      array = concat([wire(`"A"`), written((writer) => writer.longString(array))])
    }
    assertProtocolError(502, () => decode(holding(array)))
  })

  it("C8: refuses ten thousand levels without exhausting the stack or taking long", () => {
    let levels = wire("")
    for (let level = 0; level < 10_000; level++) levels = concat([wire(`"A" ffffffff`), levels])
    assertProtocolError(502, () => decode(holding(levels)))
  })

  it("C8: refuses a table that contains itself", () => {
    const cycle: Record<string, FieldValue> = {}
    cycle["self"] = cycle
    assertEncodeError(() => encode(cycle))
  })

  it("C7: refuses lengths beyond the remaining bytes, even nested ones", () => {
    const tables = [
      "00000001",
      "ffffffff",
      `00000003 01"k" "S"`,
      `00000007 01"k" "S" 00000001`,
      `00000007 01"k" "x" ffffffff`,
      `00000007 01"k" "A" 00000001`,
      `00000007 01"k" "F" 00000001`,
      // The inner table would reach into the bytes after the outer one.
      `00000008 01"k" "F" 00000004 01"a" "t" 01`,
      `00000002 05"k"`
    ]
    for (const table of tables) assertProtocolError(502, () => decode(wire(table)))
  })

  it("reads only the bytes of the table", () => {
    const reader = readerOf(wire(`00000004 01"k" "t" 01 | 2a`))
    assert.deepStrictEqual(decodeTable(reader), { k: true })
    assert.strictEqual(reader.octet(), 42)
  })

  it("treats __proto__ as an ordinary key that changes no prototype", () => {
    const bytes = wire(`00000017 09"__proto__" "F" 00000008 05"admin" "t" 01`)
    const table = decode(bytes)
    assert.deepStrictEqual(Object.keys(table), ["__proto__"])
    assert.strictEqual(Object.getPrototypeOf(table), Object.prototype)
    assert.isUndefined(table["admin"])
    assert.isUndefined(({} as FieldTable)["admin"])
    assert.strictEqual(hex(encode(table)), hex(bytes))
  })

  it("uses the last of equal keys", () => {
    assert.deepStrictEqual(decode(wire(`00000008 01"k" "b" 01 01"k" "b" 02`)), { k: 2 })
  })
})
