/** Field values with the types that they have on the wire: reading, printing and comparing. */
import { TypedField } from "@effect-amqp/core/protocol/fieldTable"
import type { FieldValue } from "@effect-amqp/core/protocol/fieldTable"
import { identityOf, isSame } from "@effect-amqp/core/testing/internal/common/wireValueComparison"
import type { NumberComparison } from "@effect-amqp/core/testing/internal/common/wireValueComparison"
import { isInteger, textIn, wireValueAt, wireValues } from "@effect-amqp/core/testing/internal/common/wireValues"
import type { WireValue } from "@effect-amqp/core/testing/internal/common/wireValues"
import { show } from "@effect-amqp/core/testing/internal/common/wireValueTexts"
import { assert, describe, it } from "@effect/vitest"

const wire = (value: FieldValue): WireValue => wireValueAt({ a: value }, "a") ?? assert.fail("the value is missing")

const encoder = new TextEncoder()

/** A value of each type, with RabbitMQ's name for the type and its printed form. */
const values: ReadonlyArray<readonly [value: FieldValue, type: WireValue["type"], shown: string]> = [
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

describe("a wire value", () => {
  it("has the type that its value is encoded as, and prints as in RabbitMQ", () => {
    for (const [value, type, shown] of values) {
      assert.strictEqual(wire(value).type, type)
      assert.strictEqual(show(wire(value)), shown)
    }
    assert.deepStrictEqual(
      [...wireValues(Object.fromEntries(values.map(([value], index) => [`k${index}`, value]))).values()]
        .map(({ type }) => type),
      values.map(([, type]) => type)
    )
  })

  it("is an integer by its type and not by its value", () => {
    const integers = values.filter(([value]) => isInteger(wire(value))).map(([, type]) => type)
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

  it("has a text only if its type is text", () => {
    assert.deepStrictEqual(values.flatMap(([value]) => textIn(wire(value)) ?? []), ["é"])
    assert.isUndefined(textIn(undefined))
    assert.isUndefined(wireValueAt({ a: 1 }, "b"))
  })

  it("equals a value of another type, but an integer never equals a float unless numbers are compared by value", () => {
    const same = (one: FieldValue, other: FieldValue, numbers: NumberComparison = "exact") =>
      isSame(wire(one), wire(other), numbers)
    assert.isTrue(same(5, TypedField.int64(5)))
    assert.isTrue(same(5, TypedField.timestamp(5)))
    assert.isTrue(same("a", encoder.encode("a")))
    assert.isTrue(same(TypedField.float(1.5), 1.5))
    assert.isTrue(same({ a: [1] }, { a: [1] }))
    assert.isFalse(same(5, TypedField.double(5)))
    assert.isTrue(same(5, TypedField.double(5), "by value"))
    assert.isTrue(same(TypedField.timestamp(5), TypedField.float(5), "by value"))
    assert.isFalse(same(5, 6, "by value"))
    assert.isFalse(same(5, "5", "by value"))
    assert.isFalse(same(1, true, "by value"))
    assert.isFalse(same(null, "undefined", "by value"))
    // Within arrays and tables the types count.
    assert.isFalse(same([1], [TypedField.int64(1)], "by value"))
    assert.isFalse(same({ a: 1 }, { a: TypedField.double(1) }, "by value"))
    assert.isFalse(same({ a: 1, b: 2 }, { b: 2, a: 1 }))
  })

  it("of a table identifies it by types and values, in any order", () => {
    assert.strictEqual(identityOf({ a: 1, b: "x" }), identityOf({ b: "x", a: 1 }))
    const others = [{ a: 1 }, { a: TypedField.int64(1) }, { a: TypedField.double(1) }, { a: "1" }, {
      a: Uint8Array.of(49)
    }, {}]
    assert.strictEqual(new Set(others.map(identityOf)).size, others.length)
  })
})
