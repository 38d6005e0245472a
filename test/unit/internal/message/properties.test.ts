/**
 * A received message that is sent on keeps the bytes of everything that was not changed.
 */
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { decodeProperties, writeProperties } from "@effect-amqp/core/internal/message/properties"
import { inject } from "@effect-amqp/core/internal/telemetry/traceContext"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Tracer from "effect/Tracer"
import { inspect } from "node:util"
import { hex, wire } from "../../../fixtures/wire.ts"
import { concat, written } from "../../protocol/support.ts"

const sent = (properties: AmqpMessage.Properties): string =>
  hex(written((writer) => writeProperties(writer, properties)))

const sized = (bytes: Uint8Array): Uint8Array => written((writer) => writer.longString(bytes))

/** Properties whose headers have these entries. */
const withHeaders = (...entries: ReadonlyArray<string>): Uint8Array =>
  concat([wire("2000"), sized(concat(entries.map((entry) => wire(entry))))])

const received = (bytes: Uint8Array) => decodeProperties(bytes)

/** Entries of headers by what is special about them. Each has the key `k` or a key that no other entry here has. */
const entries: Record<string, string> = {
  "an 8-bit integer": `01"k" "b" 05`,
  "an unsigned 8-bit integer": `01"k" "B" 05`,
  "a 16-bit integer": `01"k" "s" 0005`,
  "a 16-bit integer of type U": `01"k" "U" 0005`,
  "an unsigned 16-bit integer": `01"k" "u" 0005`,
  "a 32-bit integer": `01"k" "I" 00000005`,
  "an unsigned 32-bit integer": `01"k" "i" 00000005`,
  "a 64-bit integer": `01"k" "l" 0000000000000005`,
  "a 64-bit integer of type L": `01"k" "L" 0000000000000005`,
  "a large 64-bit integer of type L": `01"k" "L" ffffffffffffffff`,
  "a float": `01"k" "f" 3fc00000`,
  "a whole float": `01"k" "f" 40a00000`,
  "a float that is a large integer": `01"k" "f" 7f7fffff`,
  "a whole double": `01"k" "d" 4014000000000000`,
  "a double that is minus zero": `01"k" "d" 8000000000000000`,
  "a double that is a large integer": `01"k" "d" 4340000000000000`,
  "a decimal": `01"k" "D" 02 ffffffff`,
  "a boolean that is neither 0 nor 1": `01"k" "t" 02`,
  "a timestamp": `01"k" "T" 0000000000000005`,
  "a timestamp that a Date can't hold": `01"k" "T" ffffffffffffffff`,
  "no value": `01"k" "V"`,
  "text that is not UTF-8": `01"k" "S" 00000004 ff0080c3`,
  bytes: `01"k" "x" 00000004 ff0080c3`,
  "an empty table": `01"k" "F" 00000000`,
  "an empty array": `01"k" "A" 00000000`,
  "a table of typed values": `01"k" "F" 0000000c 01"a" "I" 00000005 01"b" "s" 0005`,
  "an array of typed values": `01"k" "A" 00000008 "I" 00000005 "s" 0005`,
  "a key that is not UTF-8": `02 ff80 "b" 05`,
  "an empty key": `00 "I" 00000005`,
  "a key that is a number, after others": `01"z" "b" 01 02"10" "b" 02 01"9" "b" 03 `,
  "a key __proto__": `09"__proto__" "I" 00000005`,
  "a key constructor": `0b"constructor" "b" 05`,
  "a repeated key": `01"k" "I" 00000001 01"y" "b" 01 01"k" "s" 0002`,
  "a repeated key, once with a date": `01"k" "b" 01 01"k" "T" 0000000000000005`
}

describe("headers that are sent on", () => {
  for (const [name, entry] of Object.entries(entries)) {
    const bytes = withHeaders(`05"first" "b" 01`, entry, `04"last" "S" 00000001"x"`)

    it(`keep ${name}`, () => {
      const properties = received(bytes)
      assert.strictEqual(sent(properties), hex(bytes))
      assert.strictEqual(sent({ ...properties }), hex(bytes))
      assert.strictEqual(sent({ ...properties, headers: { ...properties.headers } }), hex(bytes))
      assert.strictEqual(sent({ headers: properties.headers }), hex(bytes))
    })

    it(`keep ${name} when another header is added, replaced or removed`, () => {
      const properties = received(bytes)
      const headers = { ...properties.headers, added: 1 }
      const added = withHeaders(`05"first" "b" 01`, entry, `04"last" "S" 00000001"x"`, `05"added" "b" 01`)
      assert.strictEqual(sent({ ...properties, headers }), hex(added))
      const replaced = withHeaders(`05"first" "S" 00000001"y"`, entry, `04"last" "S" 00000001"x"`)
      assert.strictEqual(sent({ ...properties, headers: { ...properties.headers, first: "y" } }), hex(replaced))
      const { first: _, ...others } = properties.headers ?? {}
      const removed = withHeaders(entry, `04"last" "S" 00000001"x"`)
      assert.strictEqual(sent({ ...properties, headers: others }), hex(removed))
      const cleared = { ...properties.headers, first: undefined }
      assert.strictEqual(sent({ ...properties, headers: cleared }), hex(removed))
    })
  }

  it("are numbers, strings and dates", () => {
    const { headers } = received(withHeaders(
      `01"a" "l" 0000000000000005`,
      `01"b" "f" 3fc00000`,
      `01"c" "I" 00000001`,
      `01"d" "F" 00000005 01"n" "u" 0007`,
      `01"e" "T" 0000000000000001`
    ))
    assert.deepStrictEqual(headers, { a: 5, b: 1.5, c: 1, d: { n: 7 }, e: new Date(1000) })
    assert.notInclude(inspect(headers, { showHidden: true, depth: 5 }), "Uint8Array")
    assert.deepStrictEqual(Reflect.ownKeys(headers ?? {}), ["a", "b", "c", "d", "e"])
  })

  it("have their current values, even if one was changed in place", () => {
    const bytes = withHeaders(`01"a" "l" 0000000000000005`, `01"b" "I" 00000005`)
    const properties = received(bytes)
    Object.assign(properties.headers ?? {}, { a: 6 })
    assert.strictEqual(sent(properties), hex(withHeaders(`01"a" "b" 06`, `01"b" "I" 00000005`)))
  })

  it("keep unchanged values within tables and arrays", () => {
    const properties = received(withHeaders(`01"t" "F" 0000000e 01"a" "I" 00000005 01"b" "I" 00000006`))
    const { t } = properties.headers ?? {}
    const headers = { ...properties.headers, t: { ...(t as AmqpMessage.FieldTable), a: 7 } }
    const changed = withHeaders(`01"t" "F" 0000000b 01"a" "b" 07 01"b" "I" 00000006`)
    assert.strictEqual(sent({ ...properties, headers }), hex(changed))
    const listed = received(withHeaders(`01"l" "A" 0000000f "I" 00000005 "I" 00000006 "I" 00000007`))
    const l = listed.headers?.["l"] as ReadonlyArray<number>
    const longer = withHeaders(`01"l" "A" 00000011 "b" 04 "I" 00000005 "I" 00000006 "I" 00000007`)
    assert.strictEqual(sent({ ...listed, headers: { l: [4, ...l] } }), hex(longer))
    const shorter = withHeaders(`01"l" "A" 0000000a "I" 00000005 "I" 00000007`)
    assert.strictEqual(sent({ ...listed, headers: { l: [l[0], l[2]] } }), hex(shorter))
  })

  it("with a repeated key are merged when it gets another value", () => {
    const properties = received(withHeaders(`01"k" "I" 00000001`, `01"y" "b" 01`, `01"k" "s" 0002`))
    const headers = { ...properties.headers, k: 3 }
    assert.strictEqual(sent({ ...properties, headers }), hex(withHeaders(`01"y" "b" 01`, `01"k" "b" 03`)))
  })

  it("take their types from their values in a message that was not received", () => {
    const { headers } = received(withHeaders(`01"a" "l" 0000000000000005`))
    assert.strictEqual(sent({ headers: { a: headers?.["a"] } }), hex(withHeaders(`01"a" "b" 05`)))
  })

  it("keep their types when the trace context is added", () => {
    const properties = received(withHeaders(`01"a" "l" 0000000000000005`))
    const span = Tracer.externalSpan({ traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331" })
    const { raw, ...injected } = inject(properties, span)
    assert.include(sent({ ...injected, raw }), "01 61 6c 00 00 00 00 00 00 00 05")
  })

  it("are refused with a number that no broker accepts, even a received one", () => {
    for (const entry of [`01"k" "d" 7ff8000000000000`, `01"k" "f" 7f800000`, `01"k" "A" 00000005 "f" ff800000`]) {
      const properties = received(withHeaders(entry, `01"y" "I" 00000001`))
      assert.throws(() => sent(properties), /is not a finite number/)
      assert.throws(() => sent({ ...properties, headers: { ...properties.headers } }), /is not a finite number/)
    }
  })
})

describe("properties that are sent on", () => {
  const cases: Record<string, string> = {
    "a correlation id that is not UTF-8": "0400 04 ff0080c3",
    "a reply address, a type and an application that are not UTF-8": "0228 02 c328 01 80 03 eda080",
    "a message id with a byte order mark": "0080 05 efbbbf 61ff",
    "a string of 255 bytes that are not UTF-8": `0400 ff ${"ff".repeat(255)}`,
    "an expiration with leading zeros": `0100 04"0005"`,
    "an expiration that is not a number": `0100 02"5s"`,
    "an expiration beyond 32 bits": `0100 0a"4294967296"`,
    "an unknown delivery mode": "1000 07",
    "a timestamp that a Date can't hold": "0040 ffffffffffffffff",
    "the deprecated cluster id": `0004 01"c"`,
    "an empty table of headers": "2000 00000000",
    "empty strings": "8400 00 00",
    "a flag of an unknown property": "0002",
    "a flag of an unknown property, with a value": "8002 01\"t\" 05 0102030405",
    "two words of flags": `8401 8000 01"t" 01 ff 04"more"`,
    "two words of flags, and typed headers": "2001 fffe 00000007 01\"k\" \"I\" 00000005 0000"
  }
  for (const [name, encoded] of Object.entries(cases)) {
    it(`keep ${name}`, () => {
      const bytes = wire(encoded)
      const properties = received(bytes)
      assert.strictEqual(sent(properties), hex(bytes))
      assert.strictEqual(sent({ ...properties }), hex(bytes))
      const { priority } = received(wire(sent({ ...properties, priority: 3 }).replaceAll(" ", "")))
      assert.strictEqual(priority, 3)
      assert.strictEqual(
        sent({ ...received(wire(sent({ ...properties, priority: 3 }))), priority: undefined }),
        hex(bytes)
      )
    })
  }

  it("are strings, durations and dates", () => {
    const properties = received(wire(`0540 02 ff41 02"05" 0000000000000001`))
    assert.strictEqual(properties.correlationId, "\udcffA")
    assert.deepStrictEqual(properties.expiration, Duration.millis(5))
    assert.deepStrictEqual(properties.timestamp, new Date(1000))
    assert.isUndefined(properties.raw)
  })

  it("can be copied as strings to another message, such as a reply", () => {
    const { correlationId } = received(wire("0400 04 ff0080c3"))
    assert.strictEqual(sent({ correlationId }), "04 00 04 ff 00 80 c3")
    assert.strictEqual(
      sent({ correlationId: JSON.parse(JSON.stringify(correlationId)) as string }),
      "04 00 04 ff 00 80 c3"
    )
  })

  it("do not show their encoding in logs", () => {
    const properties = received(withHeaders(`01"k" "I" 00000005`))
    assert.notInclude(AmqpMessage.pretty(AmqpMessage.make(new Uint8Array(), properties)), "raw")
    assert.notInclude(inspect(properties, { depth: 9, showHidden: true }), "Uint8Array")
    assert.strictEqual(JSON.stringify(properties), `{"headers":{"k":5},"raw":{"headers":{}}}`)
  })

  it.effect("by fromDelivery are the received ones, except for those that are given", () =>
    Effect.gen(function*() {
      const properties = received(wire(`2410 0000000b 01"k" "I" 00000005 01"b" "t" 02 01 ff 04"user"`))
      const delivery = { body: new Uint8Array(), properties }
      const message = yield* AmqpMessage.fromDelivery(delivery, { appId: "me" })
      assert.strictEqual(
        sent(message.properties),
        hex(wire(`2408 0000000b 01"k" "I" 00000005 01"b" "t" 02 01 ff 02"me"`))
      )
      const other = yield* AmqpMessage.fromDelivery(delivery, { headers: { ...properties.headers, n: 1 } })
      assert.strictEqual(
        sent(other.properties),
        hex(wire(`2400 0000000f 01"k" "I" 00000005 01"b" "t" 02 01"n" "b" 01 01 ff`))
      )
    }))
})
