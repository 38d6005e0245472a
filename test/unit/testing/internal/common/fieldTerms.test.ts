/** Field values with the types that they have on the wire. */
import { TypedField } from "@effect-amqp/core/protocol/fieldTable"
import type { FieldValue } from "@effect-amqp/core/protocol/fieldTable"
import {
  identityOf,
  isInteger,
  isSame,
  show,
  termAt,
  termsOf,
  textIn
} from "@effect-amqp/core/testing/internal/common/fieldTerms"
import type { Term } from "@effect-amqp/core/testing/internal/common/fieldTerms"
import { assert, describe, it } from "@effect/vitest"

const term = (value: FieldValue): Term => termAt({ a: value }, "a") ?? assert.fail("it is missing")

const encoder = new TextEncoder()

/** A value of each type, with RabbitMQ's name of the type and what it prints. */
const values: ReadonlyArray<readonly [value: FieldValue, type: Term["type"], shown: string]> = [
  [TypedField.int8(-5), "byte", "-5"],
  [TypedField.uint8(250), "unsignedbyte", "250"],
  [TypedField.int16(-300), "short", "-300"],
  [TypedField.uint16(65_535), "unsignedshort", "65535"],
  [TypedField.int32(-70_000), "signedint", "-70000"],
  [TypedField.uint32(4_294_967_295), "unsignedint", "4294967295"],
  [TypedField.int64(-(2n ** 63n)), "long", "-9223372036854775808"],
  [TypedField.float(1.5), "float", "1.5"],
  [TypedField.double(5), "double", "5.0"],
  [TypedField.double(100), "double", "100.0"],
  [TypedField.double(1000), "double", "1.0e3"],
  [TypedField.double(1e21), "double", "1.0e21"],
  [TypedField.double(-0.00001), "double", "-1.0e-5"],
  [TypedField.decimal(2, 314), "decimal", "{2,314}"],
  [new Date(5000), "timestamp", "5"],
  [TypedField.timestamp(2n ** 63n), "timestamp", "9223372036854775808"],
  [true, "bool", "true"],
  [null, "void", "undefined"],
  ["é", "longstr", "é"],
  [encoder.encode("é"), "binary", "é"],
  [[1, "a", [null]], "array", `[{byte,1},{longstr,<<"a">>},{array,[{void,undefined}]}]`],
  [{ b: TypedField.float(1), a: Uint8Array.of(1, 2) }, "table", `[{<<"b">>,float,1.0},{<<"a">>,binary,<<1,2>>}]`]
]

describe("a term", () => {
  it("has the type that its value is sent as, and is shown as RabbitMQ shows it", () => {
    for (const [value, type, shown] of values) {
      assert.strictEqual(term(value).type, type)
      assert.strictEqual(show(term(value)), shown)
    }
    assert.deepStrictEqual(
      [...termsOf(Object.fromEntries(values.map(([value], index) => [`k${index}`, value]))).values()].map(({ type }) =>
        type
      ),
      values.map(([, type]) => type)
    )
  })

  it("is an integer or is not, whatever its value is", () => {
    const integers = values.filter(([value]) => isInteger(term(value))).map(([, type]) => type)
    assert.deepStrictEqual(integers, [
      "byte",
      "unsignedbyte",
      "short",
      "unsignedshort",
      "signedint",
      "unsignedint",
      "long"
    ])
  })

  it("has a text only if it is one", () => {
    assert.deepStrictEqual(values.flatMap(([value]) => textIn(term(value)) ?? []), ["é"])
    assert.isUndefined(textIn(undefined))
    assert.isUndefined(termAt({ a: 1 }, "b"))
  })

  it("is the same as one of another type that has its value, but an integer is no float", () => {
    const same = (one: FieldValue, other: FieldValue, loosely = false) => isSame(term(one), term(other), loosely)
    assert.isTrue(same(5, TypedField.int64(5)))
    assert.isTrue(same(5, TypedField.timestamp(5)))
    assert.isTrue(same("a", encoder.encode("a")))
    assert.isTrue(same(TypedField.float(1.5), 1.5))
    assert.isTrue(same({ a: [1] }, { a: [1] }))
    assert.isFalse(same(5, TypedField.double(5)))
    assert.isTrue(same(5, TypedField.double(5), true))
    assert.isTrue(same(TypedField.timestamp(5), TypedField.float(5), true))
    assert.isFalse(same(5, 6, true))
    assert.isFalse(same(5, "5", true))
    assert.isFalse(same(1, true, true))
    assert.isFalse(same(null, "undefined", true))
    // Within lists and tables the types count.
    assert.isFalse(same([1], [TypedField.int64(1)], true))
    assert.isFalse(same({ a: 1 }, { a: TypedField.double(1) }, true))
    assert.isFalse(same({ a: 1, b: 2 }, { b: 2, a: 1 }))
  })

  it("tells tables of arguments apart by type and not by order", () => {
    assert.strictEqual(identityOf({ a: 1, b: "x" }), identityOf({ b: "x", a: 1 }))
    const others = [{ a: 1 }, { a: TypedField.int64(1) }, { a: TypedField.double(1) }, { a: "1" }, {
      a: Uint8Array.of(49)
    }, {}]
    assert.strictEqual(new Set(others.map(identityOf)).size, others.length)
  })
})
