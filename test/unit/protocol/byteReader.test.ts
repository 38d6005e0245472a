import { ByteReader } from "@effect-amqp/core/protocol/ByteReader"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import { wire } from "../../fixtures/wire.ts"
import { assertProtocolError, concat, readerOf, shortText, written } from "./support.ts"

describe("ByteReader", () => {
  it("C7: refuses to read past the end, whatever the type", () => {
    const reads: ReadonlyArray<readonly [string, (reader: ByteReader) => unknown]> = [
      ["", (reader) => reader.octet()],
      ["00", (reader) => reader.short()],
      ["000000", (reader) => reader.long()],
      ["00000000000000", (reader) => reader.longLong()],
      ["", (reader) => reader.int8()],
      ["00", (reader) => reader.int16()],
      ["000000", (reader) => reader.int32()],
      ["00000000000000", (reader) => reader.int64()],
      ["000000", (reader) => reader.float()],
      ["00000000000000", (reader) => reader.double()],
      ["", (reader) => reader.shortString()],
      ["0261", (reader) => reader.shortString()],
      ["00000002 61", (reader) => reader.longString()],
      ["00000002 61", (reader) => reader.longText()],
      ["00000002 61", (reader) => reader.longTextOrBytes()],
      ["61", (reader) => reader.take(2)]
    ]
    for (const [bytes, read] of reads) assertProtocolError(502, () => read(readerOf(wire(bytes))))
  })

  it("C7: refuses a length of 2^32 - 1 before allocating memory for it", () => {
    for (const read of ["longString", "longText", "longTextOrBytes"] as const) {
      assertProtocolError(502, () => readerOf(wire("ffffffff 61"))[read]())
    }
  })

  it("C7: does not read beyond its range in a larger chunk", () => {
    const reader = new ByteReader()
    reader.reset(wire(`ff 03"ab" "c"`), 1, 4)
    assertProtocolError(502, () => reader.shortString())
  })

  it("stays within the range of a nested value, and then within the outer one", () => {
    const reader = readerOf(wire("01 0203"))
    const outer = reader.enter(1)
    assert.strictEqual(reader.octet(), 1)
    assertProtocolError(502, () => reader.octet())
    reader.leave(outer)
    assert.strictEqual(reader.short(), 0x0203)
    assertProtocolError(502, () => reader.enter(1))
  })

  it("returns plain byte arrays, even when it reads from a subclass", () => {
    const reader = readerOf(Buffer.from(wire(`00000001"a"`)))
    assert.strictEqual(Object.getPrototypeOf(reader.longString()), Uint8Array.prototype)
  })

  it("returns bytes as a view, not as a copy", () => {
    const chunk = wire(`ff 00000002"ab"`)
    const reader = new ByteReader()
    reader.reset(chunk, 1)
    const bytes = reader.longString()
    assert.strictEqual(bytes.buffer, chunk.buffer)
    assert.strictEqual(bytes.byteOffset, 5)
  })

  it("reads invalid UTF-8 in a short string as surrogates that represent the bytes", () => {
    assert.strictEqual(readerOf(wire("03 61ff62")).shortString(), "a\udcffb")
  })

  it("keeps a byte order mark", () => {
    assert.strictEqual(readerOf(wire("04 efbbbf61")).shortString(), "\ufeffa")
  })

  it("does not confuse the bytes of one string with the characters of another", () => {
    const reader = new ByteReader()
    // The characters of the first have the codes of the bytes of the second.
    const first = written((writer) => writer.shortString("Ã©"))
    const second = written((writer) => writer.shortString("é"))
    for (let round = 0; round < 3; round++) {
      reader.reset(first)
      assert.strictEqual(reader.shortString(), "Ã©")
      reader.reset(second)
      assert.strictEqual(reader.shortString(), "é")
    }
  })

  it.prop(
    "reads repeated strings unchanged",
    [Arbitrary.array(shortText, { maxLength: 20 })],
    ([texts]) => {
      const all = [...texts, ...texts.map((text) => text.slice(0, 40) + "."), ...texts]
      const reader = new ByteReader()
      reader.reset(concat(all.map((value) => written((writer) => writer.shortString(value)))))
      for (const value of all) assert.strictEqual(reader.shortString(), value)
    }
  )

  it("distinguishes thousands of names of one pattern", () => {
    const reader = new ByteReader()
    for (let round = 0; round < 2; round++) {
      for (let index = 0; index < 5000; index++) {
        const name = `orders.created.${index}.eu`
        reader.reset(written((writer) => writer.shortString(name), 64))
        assert.strictEqual(reader.shortString(), name)
      }
    }
  })
})
