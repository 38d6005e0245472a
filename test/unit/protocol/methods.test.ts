import {
  decodeMethod,
  encodeMethod,
  hasContent,
  methodIds,
  methodName,
  replyTags
} from "@effect-amqp/core/protocol/methods.generated"
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import { assert, describe, it } from "@effect/vitest"
import * as golden from "../../fixtures/golden.ts"
import { hex, wire } from "../../fixtures/wire.ts"
import { arbitraryMethods, assertEncodeError, assertProtocolError, concat, readerOf, written } from "./support.ts"

const encode = (method: Method): Uint8Array => written((writer) => encodeMethod(writer, method))
const decode = (bytes: Uint8Array): Method => decodeMethod(readerOf(bytes))

describe("the method codec", () => {
  for (const { method, payload } of golden.methods) {
    it(`encodes and decodes ${method._tag} as the specification says: ${hex(payload).slice(0, 60)}`, () => {
      assert.strictEqual(hex(encode(method)), hex(payload))
      assert.deepStrictEqual(decode(payload), method)
    })
  }

  for (const { arbitrary, tag } of arbitraryMethods) {
    it.prop(`round-trips any ${tag}`, [arbitrary], ([method]) => {
      assert.deepStrictEqual(decode(encode(method)), method)
    }, { arbitrary: { runs: 40 } })
  }

  it("C18: keeps a delivery tag beyond 2^53 exact", () => {
    const method: Method = { _tag: "basic.ack", deliveryTag: 18446744073709551615n, multiple: false }
    assert.deepStrictEqual(decode(encode(method)), method)
    assertEncodeError(() => encode({ _tag: "basic.ack", deliveryTag: 2 ** 53, multiple: false }))
  })

  it("C19: throws an error that names an argument out of range", () => {
    const qos = (prefetchCount: number): Method => ({
      _tag: "basic.qos",
      prefetchSize: 0,
      prefetchCount,
      global: false
    })
    for (const count of [65536, -1, 1.5, NaN]) {
      assert.include(assertEncodeError(() => encode(qos(count))), "prefetch-count")
    }
    assert.include(
      assertEncodeError(() =>
        encode({
          _tag: "basic.publish",
          exchange: "x",
          routingKey: "é".repeat(128),
          mandatory: false,
          immediate: false
        })
      ),
      "routing-key"
    )
  })

  it("C10: refuses an unknown class or method with 503", () => {
    assert.include(assertProtocolError(503, () => decode(wire("0063 0001"))), "class 99 method 1")
    assert.include(assertProtocolError(503, () => decode(wire("0032 0063"))), "class 50 method 99")
    assertProtocolError(502, () => decode(wire("0032")))
  })

  it("C7: refuses every method that is truncated or too long with 502", () => {
    for (const { payload } of golden.methods) {
      for (let length = 0; length < payload.length; length++) {
        assertProtocolError(502, () => decode(payload.subarray(0, length)))
      }
      assertProtocolError(502, () => decode(concat([payload, wire("00")])))
    }
  })

  it("names methods by their ids", () => {
    assert.deepStrictEqual(methodIds["exchange.unbind-ok"], { classId: 40, methodId: 51 })
    assert.strictEqual(methodName(50, 10), "queue.declare")
    assert.strictEqual(methodName(0, 0), "class 0 method 0")
  })

  it("knows the replies of methods, and which methods have content", () => {
    assert.deepStrictEqual(replyTags["basic.get"], ["basic.get-ok", "basic.get-empty"])
    assert.deepStrictEqual(replyTags["basic.recover"], ["basic.recover-ok"])
    assert.deepStrictEqual(replyTags["connection.update-secret"], ["connection.update-secret-ok"])
    assert.deepStrictEqual(
      arbitraryMethods.map(({ tag }) => tag).filter((tag) => hasContent(tag as Method["_tag"])),
      ["basic.publish", "basic.return", "basic.deliver", "basic.get-ok"]
    )
  })
})
