import { ByteReader } from "@effect-amqp/core/protocol/ByteReader"
import { ByteWriter } from "@effect-amqp/core/protocol/ByteWriter"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import { wire } from "../../fixtures/wire.ts"
import {
  assertEncodeError,
  bytes,
  concat,
  readerOf,
  shortText,
  signed64,
  text,
  unsigned64,
  written
} from "./support.ts"

describe("ByteWriter", () => {
  it("writes integers in network byte order", () => {
    assert.deepStrictEqual(
      written((writer) => {
        writer.octet(0xab)
        writer.short(0x0102)
        writer.long(0xfffefdfc)
        writer.longLong(0x1_0000_0002)
        writer.longLong(0xffff_ffff_ffff_fffen)
        writer.int8(-1)
        writer.int16(-2)
        writer.signedLong(-3)
        writer.signedLongLong(-4)
        writer.signedLongLong(-9223372036854775808n)
      }),
      wire(`ab 0102 fffefdfc 0000000100000002 fffffffffffffffe
        ff fffe fffffffd fffffffffffffffc 8000000000000000`)
    )
  })

  it.prop(
    "C18: round-trips 64-bit integers exactly, as numbers when they are safe",
    [unsigned64, signed64],
    ([unsigned, signed]) => {
      const reader = readerOf(written((writer) => {
        writer.longLong(unsigned)
        writer.longLong(BigInt(unsigned))
        writer.signedLongLong(signed)
        writer.signedLongLong(BigInt(signed))
      }))
      assert.strictEqual(reader.longLong(), unsigned)
      assert.strictEqual(reader.longLong(), unsigned)
      assert.strictEqual(reader.int64(), signed)
      assert.strictEqual(reader.int64(), signed)
    }
  )

  it("C18: uses a number for 2^53 - 1 and a bigint for 2^53, in both directions", () => {
    const values = [9007199254740991, 9007199254740992n, -9007199254740991, -9007199254740992n]
    for (const value of values) {
      const reader = readerOf(written((writer) => writer.signedLongLong(value)))
      assert.strictEqual(reader.int64(), value)
    }
    const reader = readerOf(written((writer) => {
      writer.longLong(9007199254740991)
      writer.longLong(9007199254740992n)
    }))
    assert.strictEqual(reader.longLong(), 9007199254740991)
    assert.strictEqual(reader.longLong(), 9007199254740992n)
  })

  it("C18, C19: throws an error that names a number out of range, and never wraps it", () => {
    const attempts: ReadonlyArray<(writer: ByteWriter) => void> = [
      (writer) => writer.octet(256),
      (writer) => writer.octet(-1),
      (writer) => writer.short(65536),
      (writer) => writer.short(1.5),
      (writer) => writer.long(4294967296),
      (writer) => writer.long(-1),
      (writer) => writer.long(NaN),
      (writer) => writer.longLong(9007199254740992),
      (writer) => writer.longLong(-1),
      (writer) => writer.longLong(-1n),
      (writer) => writer.longLong(18446744073709551616n),
      (writer) => writer.int8(128),
      (writer) => writer.int16(-32769),
      (writer) => writer.signedLong(2147483648),
      (writer) => writer.signedLongLong(9007199254740992),
      (writer) => writer.signedLongLong(9223372036854775808n)
    ]
    for (const attempt of attempts) assertEncodeError(() => written(attempt))
    assert.strictEqual(
      assertEncodeError(() => written((writer) => writer.short(65536, "prefetch-count"))),
      "prefetch-count: 65536 is not an integer from 0 to 65535"
    )
  })

  it("C19: accepts a short string of up to 255 bytes of UTF-8, whatever the number of characters", () => {
    const fitting = ["", "a".repeat(255), "é".repeat(127) + "a", "€".repeat(85), "😀".repeat(63) + "abc"]
    for (const value of fitting) {
      assert.strictEqual(readerOf(written((writer) => writer.shortString(value))).shortString(), value)
    }
    for (
      const value of ["a".repeat(256), "é".repeat(128), "a" + "€".repeat(85), "😀".repeat(64), "a".repeat(254) + "é"]
    ) {
      assert.include(
        assertEncodeError(() => written((writer) => writer.shortString(value, "routing-key"))),
        "routing-key"
      )
    }
  })

  it.prop("round-trips strings", [shortText, text], ([short, long]) => {
    for (const slabSize of [16, 65536]) {
      const reader = readerOf(written((writer) => {
        writer.shortString(short)
        writer.longString(long)
        writer.longString(long.repeat(20))
      }, slabSize))
      assert.strictEqual(reader.shortString(), short)
      assert.strictEqual(reader.longText(), long)
      assert.strictEqual(reader.longTextOrBytes(), long.repeat(20))
      assert.strictEqual(reader.remaining, 0)
    }
  })

  it("round-trips strings of lengths around the thresholds of its fast paths", () => {
    for (const unit of ["a", "é", "😀", "\ufeff"]) {
      for (const count of [1, 7, 8, 9, 31, 32, 63, 64, 65, 66, 127, 128, 1000, 22000, 70000]) {
        const value = unit.repeat(count)
        assert.strictEqual(readerOf(written((writer) => writer.longString(value))).longText(), value)
      }
    }
  })

  it("does not hand out uncommitted bytes", () => {
    const writer = new ByteWriter()
    writer.octet(1)
    assert.strictEqual(writer.pendingBytes, 0)
    assert.deepStrictEqual(writer.take(), [])
    writer.octet(2)
    writer.commit()
    assert.strictEqual(writer.pendingBytes, 2)
    assert.deepStrictEqual(concat(writer.take()), Uint8Array.of(1, 2))
    assert.strictEqual(writer.pendingBytes, 0)
    assert.deepStrictEqual(writer.take(), [])
  })

  it("C19: leaves nothing of a message after a rollback, even across several slabs", () => {
    for (const size of [1, 3, 20, 100]) {
      const writer = new ByteWriter(16)
      writer.bytes(Uint8Array.of(1, 2, 3))
      writer.commit()
      for (let count = 0; count < size; count++) writer.octet(9)
      writer.rollback()
      writer.octet(4)
      writer.commit()
      assert.strictEqual(writer.pendingBytes, 4)
      assert.deepStrictEqual(concat(writer.take()), Uint8Array.of(1, 2, 3, 4))
    }
  })

  it("never overwrites bytes that it handed out", () => {
    const writer = new ByteWriter(32)
    const chunks: Array<Uint8Array> = []
    for (let count = 0; count < 100; count++) {
      writer.octet(count)
      writer.commit()
      if (count % 3 === 0) chunks.push(...writer.take())
      writer.octet(255)
      writer.rollback()
    }
    chunks.push(...writer.take())
    assert.deepStrictEqual(concat(chunks), Uint8Array.from({ length: 100 }, (_, index) => index))
  })

  it("allocates a larger slab for a value that exceeds the slab size", () => {
    const writer = new ByteWriter(16)
    const large = new Uint8Array(1000).fill(7)
    writer.octet(1)
    writer.longString(large)
    writer.octet(2)
    writer.commit()
    assert.deepStrictEqual(concat(writer.take()), concat([wire("01 000003e8"), large, wire("02")]))
  })

  it("fills in reserved sizes, even in a slab that has been replaced since", () => {
    const bytes = written((writer) => {
      const outer = writer.reserve(4)
      const flags = writer.reserve(2)
      for (let count = 0; count < 40; count++) writer.octet(count)
      const inner = writer.reserve(4)
      writer.patchSize(inner)
      writer.patchShort(flags, 0xbeef)
      writer.patchSize(outer)
    }, 16)
    assert.deepStrictEqual(bytes.subarray(0, 6), wire("0000002e beef"))
    assert.deepStrictEqual(bytes.subarray(46), wire("00000000"))
  })

  it("appends a reference in order without copying it", () => {
    const writer = new ByteWriter()
    const body = new Uint8Array(50).fill(5)
    writer.octet(1)
    assert.throws(() => writer.appendReference(body), /needs a commit/)
    writer.commit()
    writer.appendReference(body)
    writer.octet(2)
    assert.strictEqual(writer.pendingBytes, 51)
    writer.commit()
    assert.strictEqual(writer.pendingBytes, 52)
    const chunks = writer.take()
    assert.strictEqual(chunks[1], body)
    assert.deepStrictEqual(concat(chunks), concat([wire("01"), body, wire("02")]))
  })

  it.prop(
    "hands out committed bytes in order, whenever they are taken",
    [Arbitrary.array(bytes, { maxLength: 20 })],
    ([pieces]) => {
      const writer = new ByteWriter(64)
      const taken: Array<Uint8Array> = []
      const expected: Array<Uint8Array> = []
      for (const [index, piece] of pieces.entries()) {
        writer.bytes(piece)
        if (index % 3 === 2) {
          writer.rollback()
          continue
        }
        writer.commit()
        expected.push(piece)
        if (index % 4 === 0) writer.appendReference(piece)
        if (index % 4 === 0) expected.push(piece)
        if (index % 5 === 0) taken.push(...writer.take())
      }
      taken.push(...writer.take())
      assert.deepStrictEqual(concat(taken), concat(expected))
    }
  )

  it("round-trips floats and doubles", () => {
    const reader = new ByteReader()
    reader.reset(written((writer) => {
      writer.float(0.25)
      writer.double(-1e300)
      writer.double(NaN)
    }))
    assert.strictEqual(reader.float(), 0.25)
    assert.strictEqual(reader.double(), -1e300)
    assert.isNaN(reader.double())
  })
})
