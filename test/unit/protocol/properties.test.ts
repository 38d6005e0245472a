import { decodeProperties, encodeProperties } from "@effect-amqp/core/protocol/BasicProperties"
import type { BasicProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { assert, describe, it } from "@effect/vitest"
import * as golden from "../../fixtures/golden.ts"
import { hex, wire } from "../../fixtures/wire.ts"
import { assertEncodeError, assertProtocolError, basicProperties, concat, written } from "./support.ts"

const encode = (properties: BasicProperties): Uint8Array => written((writer) => encodeProperties(writer, properties))

/** Only the properties that are set: a decoder returns every key. */
const present = (properties: BasicProperties): BasicProperties =>
  Object.fromEntries(Object.entries(properties).filter(([, value]) => value !== undefined))

describe("the properties codec", () => {
  for (const { bytes, name, properties } of golden.properties) {
    it(`encodes and decodes ${name}`, () => {
      assert.strictEqual(hex(encode(properties)), hex(bytes))
      assert.deepStrictEqual(present(decodeProperties(bytes)), properties)
    })
  }

  it.prop("round-trips any properties", [basicProperties], ([properties]) => {
    assert.deepStrictEqual(decodeProperties(encode(properties)), properties)
  })

  it("C7: refuses properties that are truncated or too long with 502", () => {
    for (const { bytes } of golden.properties) {
      for (let length = 0; length < bytes.length; length++) {
        assertProtocolError(502, () => decodeProperties(bytes.subarray(0, length)))
      }
      assertProtocolError(502, () => decodeProperties(concat([bytes, wire("00")])))
    }
  })

  for (
    const [name, bytes] of [
      ["a fifteenth property without a value", "0002"],
      ["a fifteenth property", `8002 01"t" 05"value"`],
      ["an empty second word of flags", `8001 0000 01"t"`],
      ["a second word of flags with values", `8001 8000 01"t" 04"more"`],
      ["three words of flags", `a003 0001 ffff 0002 01"t" 00000004 01"k" "b" 05 00ff`]
    ] as const
  ) {
    it(`keeps ${name}`, () => {
      const properties = decodeProperties(wire(bytes))
      assert.strictEqual(hex(encode(properties)), hex(wire(bytes)))
      assert.strictEqual(
        hex(encode({ ...properties, contentType: undefined, headers: undefined, unknown: undefined })),
        "00 00"
      )
    })
  }

  it("refuses missing words of flags and missing values with 502", () => {
    assertProtocolError(502, () => decodeProperties(wire("0001")))
    assertProtocolError(502, () => decodeProperties(wire("0001 0001")))
    assertProtocolError(502, () => decodeProperties(wire("8001 8000")))
  })

  it("C19: throws an error that names a property out of range", () => {
    assert.include(assertEncodeError(() => encode({ priority: 256 })), "priority")
    assert.include(assertEncodeError(() => encode({ deliveryMode: -1 })), "delivery-mode")
    assert.include(assertEncodeError(() => encode({ timestamp: 1.5 })), "timestamp")
    assert.include(assertEncodeError(() => encode({ messageId: "é".repeat(128) })), "message-id")
  })

  it("decodes again after an error", () => {
    assertProtocolError(502, () => decodeProperties(wire("2000 ffffffff")))
    assert.deepStrictEqual(present(decodeProperties(wire("1000 01"))), { deliveryMode: 1 })
  })
})
