import { movedProperties } from "@effect-amqp/core/internal/moving/movedProperties"
import { decodeProperties, encodeProperties } from "@effect-amqp/core/protocol/BasicProperties"
import type { BasicProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { assert, describe, it } from "@effect/vitest"
import { written } from "../../protocol/support.ts"

const encoded = (properties: BasicProperties) => written((writer) => encodeProperties(writer, properties))

const moved = (properties: BasicProperties, resetFailures = false) =>
  decodeProperties(movedProperties(encoded(properties), "me", resetFailures))

describe("the properties of a moved message", () => {
  it("are the received bytes", () => {
    const kept: ReadonlyArray<BasicProperties> = [
      {},
      { contentType: "text/plain", correlationId: "c", deliveryMode: 7, expiration: "soon", clusterId: "c" },
      { headers: {} },
      { headers: { a: 1, "x-death": [{ count: 1 }], "x-failure-count": 2 } },
      { userId: "me" }
    ]
    for (const properties of kept) {
      const bytes = encoded(properties)
      assert.strictEqual(movedProperties(bytes, "me", false), bytes)
    }
  })

  it("are the received bytes, even if malformed", () => {
    for (const bytes of [Uint8Array.of(), Uint8Array.of(0x20), Uint8Array.of(0x20, 0, 0, 0, 0, 9, 1)]) {
      assert.strictEqual(movedProperties(bytes, "me", true), bytes)
    }
  })

  it("have no userId of another user, which the broker would refuse", () => {
    assert.deepInclude(moved({ userId: "other", appId: "a", headers: { a: 1 } }), {
      userId: undefined,
      appId: "a",
      headers: { a: 1 }
    })
  })

  it("have no headers that the broker routes by or writes itself", () => {
    for (const name of ["CC", "BCC", "x-delivery-count", "x-acquired-count"]) {
      assert.deepStrictEqual(moved({ headers: { [name]: ["a"], a: 1 } }).headers, { a: 1 })
      assert.isUndefined(moved({ headers: { [name]: 1 }, userId: "me" }).headers)
    }
  })

  it("have no headers that count failures if these are reset", () => {
    const headers = {
      "x-failure-count": 1,
      "x-failure-error": "no",
      "x-death": [],
      "x-first-death-queue": "q",
      "x-last-death-reason": "expired",
      "x-deathly": 1,
      "x-failures": 2
    }
    assert.deepStrictEqual(moved({ headers }, true).headers, { "x-deathly": 1, "x-failures": 2 })
    assert.deepStrictEqual(moved({ headers }).headers, headers)
  })
})
