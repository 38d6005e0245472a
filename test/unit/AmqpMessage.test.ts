import * as AmqpCompression from "@effect-amqp/core/AmqpCompression"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { decodeProperties, writeProperties } from "@effect-amqp/core/internal/message/properties"
import {
  decodeProperties as decodeWire,
  encodeProperties as encodeWire
} from "@effect-amqp/core/protocol/BasicProperties"
import type { BasicProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { EncodeError } from "@effect-amqp/core/protocol/ProtocolError"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as TestClock from "effect/testing/TestClock"
import { inspect } from "node:util"
import { assertEncodeError, basicProperties, thrownBy, written } from "./protocol/support.ts"

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

const textOf = ({ body }: AmqpMessage.AmqpMessage): string => new TextDecoder().decode(body)

const bytesOf = (properties: AmqpMessage.Properties): Uint8Array =>
  written((writer) => writeProperties(writer, properties))

/** Properties as a consumer receives them. */
const received = (properties: AmqpMessage.Properties): AmqpMessage.ReceivedProperties =>
  decodeProperties(bytesOf(properties))

const receivedWire = (properties: BasicProperties): AmqpMessage.ReceivedProperties =>
  decodeProperties(written((writer) => encodeWire(writer, properties)))

/** Only the properties that are set. */
const present = (properties: object): object =>
  Object.fromEntries(Object.entries(properties).filter(([, value]) => value !== undefined))

/** Properties as JavaScript may pass them. */
const untyped = (properties: object): AmqpMessage.Properties => properties

describe("properties", () => {
  it("arrive as they were sent, all thirteen", () => {
    const properties: AmqpMessage.Properties = {
      contentType: "application/json",
      contentEncoding: "gzip",
      headers: { attempt: 2, nested: { list: [1, "two", true, null] } },
      deliveryMode: "persistent",
      priority: 7,
      correlationId: "a",
      replyTo: "replies",
      expiration: Duration.seconds(5),
      messageId: "b",
      timestamp: new Date("2026-02-03T04:05:06Z"),
      type: "order",
      userId: "guest",
      appId: "shop"
    }
    assert.deepStrictEqual(present(received(properties)), properties)
  })

  it("keep values that are empty or zero", () => {
    const properties: AmqpMessage.Properties = {
      contentType: "",
      headers: {},
      deliveryMode: "transient",
      priority: 0,
      expiration: Duration.zero,
      timestamp: new Date(0)
    }
    assert.deepStrictEqual(present(received(properties)), properties)
  })

  it("are not sent when they are absent or undefined", () => {
    assert.deepStrictEqual([...bytesOf({})], [0, 0])
    assert.deepStrictEqual([...bytesOf({ priority: undefined, raw: undefined, timestamp: undefined })], [0, 0])
    assert.deepStrictEqual(present(received({})), {})
  })

  it.prop("of another client can be sent on unchanged", [basicProperties], ([properties]) => {
    assert.deepStrictEqual(decodeWire(bytesOf(receivedWire(properties))), properties)
  })

  it("keep the digits of a received expiration unless it is removed or replaced", () => {
    const properties = receivedWire({ expiration: "007" })
    assert.strictEqual(decodeWire(bytesOf({ ...properties, type: "t" })).expiration, "007")
    assert.strictEqual(decodeWire(bytesOf({ ...properties, expiration: 8 })).expiration, "8")
    assert.isUndefined(decodeWire(bytesOf({ ...properties, expiration: undefined })).expiration)
  })

  it("send a TypedField in headers with its type", () => {
    const { headers = {} } = received({
      headers: { long: AmqpMessage.TypedField.int64(1), price: AmqpMessage.TypedField.decimal(2, 999) }
    })
    assert.strictEqual(headers.long, 1)
    assert.deepStrictEqual(headers.price, AmqpMessage.TypedField.decimal(2, 999))
  })

  it("are encoded once when they are frozen, unless they have a Date", () => {
    const frozen = Object.freeze({ type: "a" })
    assert.strictEqual(received(frozen).type, "a")
    assert.strictEqual(received(frozen).type, "a")
    const timestamp = new Date(1000)
    const dated = Object.freeze({ timestamp })
    assert.strictEqual(received(dated).timestamp?.getTime(), 1000)
    timestamp.setTime(2000)
    assert.strictEqual(received(dated).timestamp?.getTime(), 2000)
  })
})

describe("a timestamp", () => {
  const zoned = DateTime.makeZonedUnsafe("2026-02-03T04:05:06Z", { timeZone: "Asia/Tokyo" })

  for (
    const [name, timestamp, expected] of [
      ["a Date", new Date("2026-02-03T04:05:06Z"), "2026-02-03T04:05:06.000Z"],
      ["a DateTime in UTC", DateTime.makeUnsafe("2026-02-03T04:05:06Z"), "2026-02-03T04:05:06.000Z"],
      ["a DateTime in a time zone", zoned, "2026-02-03T04:05:06.000Z"],
      ["a fraction of a second", new Date("2026-02-03T04:05:06.999Z"), "2026-02-03T04:05:06.000Z"],
      ["the first second", new Date(0), "1970-01-01T00:00:00.000Z"],
      ["a second that no longer fits 32 bits", new Date(2 ** 32 * 1000), "2106-02-07T06:28:16.000Z"],
      ["the last second of a Date", new Date(8.64e15), "+275760-09-13T00:00:00.000Z"]
    ] as const
  ) {
    it(`of ${name} arrives as a Date`, () => {
      assert.strictEqual(received({ timestamp }).timestamp?.toISOString(), expected)
    })
  }

  for (
    const [name, timestamp] of [
      ["before 1970", new Date(-1)],
      ["an invalid Date", new Date(NaN)],
      ["a string", "2026-02-03T04:05:06Z"],
      ["a number, which could be seconds or milliseconds", 1_770_000_000],
      ["a bigint", 1n],
      ["null", null],
      ["an object", {}]
    ] as const
  ) {
    it(`that is ${name} is refused`, () => {
      assert.include(assertEncodeError(() => bytesOf(untyped({ timestamp }))), "timestamp: must be a valid Date")
    })
  }

  it("that a Date can't hold, such as one in microseconds, is kept as it is", () => {
    for (const timestamp of [8_640_000_000_001, 1_770_000_000_000_000, 2n ** 64n - 1n]) {
      const properties = receivedWire({ timestamp })
      assert.isUndefined(properties.timestamp)
      assert.strictEqual(properties.raw?.timestamp, timestamp)
      assert.strictEqual(decodeWire(bytesOf(properties)).timestamp, timestamp)
      // A program may replace it.
      assert.strictEqual(received({ ...properties, timestamp: new Date(1000) }).timestamp?.getTime(), 1000)
    }
  })
})

describe("an expiration", () => {
  for (
    const [name, expiration, expected] of [
      ["0", 0, "0"],
      ["milliseconds", 1500, "1500"],
      ["a string", "5 seconds", "5000"],
      ["a Duration", Duration.minutes(1), "60000"],
      ["parts", { seconds: 1, milliseconds: 1 }, "1001"],
      ["part of a millisecond, rounded up to one,", Duration.micros(1n), "1"],
      ["a fraction", 1.2, "2"],
      ["the longest that RabbitMQ accepts", 0xffffffff, "4294967295"]
    ] as const
  ) {
    it(`of ${name} is sent in whole milliseconds`, () => {
      assert.strictEqual(decodeWire(bytesOf({ expiration })).expiration, expected)
    })
  }

  for (
    const [name, expiration, message] of [
      ["the text Infinity", "Infinity", "must be finite"],
      ["Duration.infinity", Duration.infinity, "must be finite"],
      ["the number Infinity", Infinity, "must be finite"],
      ["less than 0", -1, "from 0 to 4294967295"],
      ["the text -Infinity", "-Infinity", "from 0 to 4294967295"],
      ["more than RabbitMQ accepts", "50 days", "from 0 to 4294967295"],
      ["NaN", NaN, "from 0 to 4294967295"],
      ["text that is not a duration", "soon", "from 0 to 4294967295"],
      ["null", null, "from 0 to 4294967295"]
    ] as const
  ) {
    it(`of ${name} is refused`, () => {
      assert.include(assertEncodeError(() => bytesOf(untyped({ expiration }))), `expiration: must be`)
      assert.include(assertEncodeError(() => bytesOf(untyped({ expiration }))), message)
    })
  }

  it("that is not a valid number of milliseconds is kept as it is", () => {
    for (const expiration of ["", "soon", "-1", "1.5", "4294967296", "9".repeat(30)]) {
      const properties = receivedWire({ expiration })
      assert.isUndefined(properties.expiration)
      assert.strictEqual(properties.raw?.expiration, expiration)
      assert.strictEqual(decodeWire(bytesOf(properties)).expiration, expiration)
    }
  })
})

describe("a delivery mode", () => {
  it("that is neither transient nor persistent is kept as it is", () => {
    for (const deliveryMode of [0, 3, 255]) {
      const properties = receivedWire({ deliveryMode })
      assert.isUndefined(properties.deliveryMode)
      assert.strictEqual(properties.raw?.deliveryMode, deliveryMode)
      assert.strictEqual(decodeWire(bytesOf(properties)).deliveryMode, deliveryMode)
      assert.strictEqual(received({ ...properties, deliveryMode: "persistent" }).deliveryMode, "persistent")
    }
  })
})

describe("an invalid property is refused:", () => {
  for (
    const [name, properties] of [
      ["a number for a string", { messageId: 5 }],
      ["null for a string", { correlationId: null }],
      ["bytes for a string", { contentType: utf8("text/plain") }],
      ["a secret for a string", { userId: Redacted.make("guest") }],
      ["a string that is too long", { messageId: "x".repeat(256) }],
      ["a string for a priority", { priority: "5" }],
      ["a priority of 256", { priority: 256 }],
      ["a priority of 1.5", { priority: 1.5 }],
      ["a negative priority", { priority: -1 }],
      ["a number for a delivery mode", { deliveryMode: 2 }],
      ["an unknown word for a delivery mode", { deliveryMode: "durable" }],
      ["a string for headers", { headers: "a=1" }],
      ["a list for headers", { headers: [["a", 1]] }],
      ["null for headers", { headers: null }],
      ["a function in headers", { headers: { a: () => 1 } }],
      ["a secret in headers", { headers: { token: Redacted.make("s3cret") } }],
      ["a property with an unknown name", { content_type: "text/plain" }],
      ["a misspelled property", { prority: 1 }],
      ["a number for a raw string", { raw: { expiration: 5 } }],
      ["a raw delivery mode of 256", { raw: { deliveryMode: 256 } }]
    ] as const
  ) {
    it(name, () => {
      const error = thrownBy(() => bytesOf(untyped(properties)))
      assert.instanceOf(error, EncodeError)
      assert.notInclude(error.message, "s3cret")
    })
  }

  it("with an error that names it", () => {
    assert.strictEqual(assertEncodeError(() => bytesOf(untyped({ messageId: 5 }))), "messageId: must be a string")
    assert.strictEqual(assertEncodeError(() => bytesOf(untyped({ prority: 1 }))), "prority: no property has this name")
  })
})

describe("a message", () => {
  it("of bytes has no content type", () => {
    assert.deepStrictEqual(AmqpMessage.make(utf8("a")).properties, {})
  })

  it("of text is UTF-8, and its content type says so unless another is given", () => {
    const message = AmqpMessage.text("héllo €", { priority: 0 })
    assert.strictEqual(textOf(message), "héllo €")
    assert.deepStrictEqual(message.properties, { contentType: "text/plain; charset=utf-8", priority: 0 })
    assert.strictEqual(AmqpMessage.text("a", { contentType: "text/csv" }).properties.contentType, "text/csv")
  })

  it("of a value is JSON", () => {
    const message = AmqpMessage.json({ id: 1, at: new Date(0) }, { type: "order" })
    assert.strictEqual(textOf(message), "{\"id\":1,\"at\":\"1970-01-01T00:00:00.000Z\"}")
    assert.deepStrictEqual(message.properties, { contentType: "application/json", type: "order" })
    assert.strictEqual(textOf(AmqpMessage.json(null)), "null")
  })

  it("of a value that JSON can't hold throws a TypeError", () => {
    const cycle: Record<string, unknown> = {}
    cycle.self = cycle
    for (const value of [undefined, () => 1, 1n, cycle]) {
      assert.instanceOf(thrownBy(() => AmqpMessage.json(value)), TypeError)
    }
  })
})

const Order = Schema.Struct({ id: Schema.Int, placedAt: Schema.Date, total: Schema.BigInt })
const order = { id: 1, placedAt: new Date(0), total: 2n ** 70n }

describe("a schema", () => {
  it.effect("encodes a value and decodes it", () =>
    Effect.gen(function*() {
      const message = yield* AmqpMessage.schema(Order)(order)
      assert.strictEqual(message.properties.contentType, "application/json")
      assert.deepStrictEqual(JSON.parse(textOf(message)), {
        id: 1,
        placedAt: "1970-01-01T00:00:00.000Z",
        total: "1180591620717411303424"
      })
      assert.deepStrictEqual(yield* AmqpMessage.decode(Order)(message), order)
    }))

  it.effect("adds the properties of a message to its own", () =>
    Effect.gen(function*() {
      const encode = AmqpMessage.schema(Schema.String, {
        contentType: "application/vnd.a+json",
        type: "a",
        priority: 1
      })
      assert.deepStrictEqual((yield* encode("x")).properties, {
        contentType: "application/vnd.a+json",
        type: "a",
        priority: 1
      })
      const { properties } = yield* encode("x", { priority: 0, messageId: "m" })
      assert.deepStrictEqual(properties, {
        contentType: "application/vnd.a+json",
        type: "a",
        priority: 0,
        messageId: "m"
      })
      // Messages without properties of their own share one object, which is encoded once.
      assert.strictEqual((yield* encode("x")).properties, (yield* encode("y")).properties)
      assert.isTrue(Object.isFrozen((yield* encode("x")).properties))
    }))

  it.effect("refuses to encode a value of another type", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(AmqpMessage.schema(Order)({ ...order, id: 1.5 }))
      assert.strictEqual(error._tag, "SchemaError")
      // `AmqpMessage.json` throws for these.
      for (const value of [1n, () => 1]) {
        const error = yield* Effect.flip(AmqpMessage.schema(Schema.Unknown)(value))
        assert.strictEqual(error._tag, "SchemaError")
      }
    }))

  it.effect("may require services to encode and to decode", () =>
    Effect.gen(function*() {
      class Prefix extends Context.Service<Prefix, string>()("test/Prefix") {}
      const Name = Schema.String.pipe(Schema.decodeTo(Schema.String, {
        decode: SchemaGetter.transformEffect((text: string) =>
          Effect.map(Prefix, (prefix) => text.slice(prefix.length))
        ),
        encode: SchemaGetter.transformEffect((text: string) => Effect.map(Prefix, (prefix) => prefix + text))
      }))
      const message = yield* Effect.provideService(AmqpMessage.schema(Name)("ann"), Prefix, "user:")
      assert.strictEqual(textOf(message), "\"user:ann\"")
      assert.strictEqual(yield* Effect.provideService(AmqpMessage.decode(Name)(message), Prefix, "user:"), "ann")
    }))
})

describe("decoding a message", () => {
  const decode = AmqpMessage.decode(Schema.Struct({ id: Schema.Int }))
  const good = utf8("{\"id\":1}")

  for (
    const [name, properties] of [
      ["that are not set", {}],
      ["of JSON", { contentType: "application/json" }],
      ["of JSON in another case", { contentType: "Application/JSON" }],
      ["of JSON in UTF-8", { contentType: "application/json; charset=utf-8", contentEncoding: "identity" }],
      ["of JSON in quoted UTF-8", { contentType: "application/json;charset=\"UTF-8\"" }],
      ["of a type based on JSON", { contentType: "application/vnd.shop.order+json; version=2" }],
      ["of text/json", { contentType: "text/json" }],
      ["with the charset as the content encoding", { contentType: "application/json", contentEncoding: "utf-8" }],
      ["that are empty", { contentType: "", contentEncoding: "" }]
    ] as const
  ) {
    it.effect(`accepts properties ${name}`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* decode(AmqpMessage.make(good, properties)), { id: 1 })
      }))
  }

  for (
    const [name, problem, body, properties] of [
      ["another content type", "ContentType", good, { contentType: "text/plain" }],
      ["a content type that only contains JSON", "ContentType", good, { contentType: "application/jsonx" }],
      ["another charset", "ContentType", good, { contentType: "application/json; charset=latin1" }],
      ["a compressed body", "ContentEncoding", good, { contentType: "application/json", contentEncoding: "gzip" }],
      ["invalid UTF-8", "Text", Uint8Array.of(0x22, 0xff, 0x22), {}],
      ["text that is cut within a character", "Text", utf8("\"é\"").subarray(0, 2), {}],
      ["text that is not JSON", "Json", utf8("s3cret"), {}],
      ["truncated JSON", "Json", good.subarray(0, 5), {}],
      ["an empty body", "Json", utf8(""), {}],
      ["a value of another type", "Schema", utf8("{\"id\":\"s3cret\"}"), {}],
      ["a value that lacks a field", "Schema", utf8("{}"), {}]
    ] as const
  ) {
    it.effect(`reports ${name} as the problem ${problem}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(decode(AmqpMessage.make(body, properties)))
        assert.strictEqual(error._tag, "AmqpDecodeError")
        assert.strictEqual(error.problem, problem)
        assert.isNotEmpty(error.description)
        assert.notInclude(inspect(error) + error.message, "s3cret")
        // It still decodes the next message.
        assert.deepStrictEqual(yield* decode(AmqpMessage.make(good)), { id: 1 })
      }))
  }

  it.effect("reports where in the value the problem is", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(decode(AmqpMessage.json({ id: "x" })))
      assert.include(error.description, "[\"id\"]")
    }))

  it.effect("reports malformed properties, which a publisher can send", () =>
    Effect.gen(function*() {
      const malformed = {
        body: good,
        get properties(): AmqpMessage.ReceivedProperties {
          return decodeProperties(Uint8Array.of(0, 1))
        }
      }
      assert.strictEqual((yield* Effect.flip(decode(malformed))).problem, "Properties")
      assert.include(AmqpMessage.pretty(malformed), "malformed")
    }))

  it.effect("ignores the content type when checkContentType is false", () =>
    Effect.gen(function*() {
      const decode = AmqpMessage.decode(Schema.Json, { checkContentType: false })
      assert.strictEqual(yield* decode(AmqpMessage.make(utf8("5"), { contentType: "text/plain" })), 5)
    }))

  it.effect("decodes any JSON without a schema", () =>
    Effect.gen(function*() {
      const value = { a: [1, "two", null, true, { b: 1.5 }] }
      assert.deepStrictEqual(yield* AmqpMessage.decodeJson(AmqpMessage.json(value)), value)
      assert.strictEqual((yield* Effect.flip(AmqpMessage.decodeJson(AmqpMessage.text("[]")))).problem, "ContentType")
    }))

  it.prop("decodes any JSON that was encoded", [Schema.Json], ([value]) => {
    const message = Effect.runSync(AmqpMessage.schema(Schema.Json)(value))
    assert.deepStrictEqual(Effect.runSync(AmqpMessage.decodeJson(message)), JSON.parse(JSON.stringify(value)))
  })
})

describe("a stamp", () => {
  const both = AmqpMessage.stamp({ messageId: true, timestamp: true })

  it.effect("is a version 7 UUID and the time of the clock", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_770_091_506_789)
      const { body, properties } = yield* both(AmqpMessage.text("a", { priority: 0 }))
      assert.strictEqual(new TextDecoder().decode(body), "a")
      assert.deepStrictEqual(properties.timestamp, new Date(1_770_091_506_789))
      assert.strictEqual(properties.priority, 0)
      const id = properties.messageId ?? ""
      assert.isTrue(Schema.is(Schema.String.check(Schema.isUUID(7)))(id))
      assert.strictEqual(Number.parseInt(id.replace("-", "").slice(0, 12), 16), 1_770_091_506_789)
    }))

  it.effect("is reproducible with a seed, and unique", () =>
    Effect.gen(function*() {
      const ids = Effect.map(
        Effect.forEach(Array.from({ length: 1000 }), () => both(AmqpMessage.text("a"))),
        (messages) => messages.map(({ properties }) => properties.messageId)
      )
      const first = yield* Random.withSeed(ids, "seed")
      assert.deepStrictEqual(yield* Random.withSeed(ids, "seed"), first)
      assert.notDeepEqual(yield* Random.withSeed(ids, "other"), first)
      assert.strictEqual(new Set(first).size, 1000)
    }))

  it.effect("sorts by time", () =>
    Effect.gen(function*() {
      const ids: Array<string> = []
      for (const time of [0, 1, 255, 256, 2 ** 32, 2 ** 40]) {
        yield* TestClock.setTime(time)
        ids.push((yield* both(AmqpMessage.text("a"))).properties.messageId ?? "")
      }
      assert.deepStrictEqual(ids.toSorted((a, b) => a < b ? -1 : 1), ids)
    }))

  it.effect("adds only the chosen properties, and only where they are missing", () =>
    Effect.gen(function*() {
      const own = AmqpMessage.text("a", { messageId: "mine", timestamp: new Date(0) })
      assert.strictEqual(yield* both(own), own)
      assert.strictEqual(yield* AmqpMessage.stamp({})(AmqpMessage.text("a")).pipe(Effect.map(textOf)), "a")
      const idOnly = yield* AmqpMessage.stamp({ messageId: true })(AmqpMessage.text("a"))
      assert.isUndefined(idOnly.properties.timestamp)
      const timeOnly = yield* AmqpMessage.stamp({ timestamp: true })(AmqpMessage.text("a", { messageId: "" }))
      assert.strictEqual(timeOnly.properties.messageId, "")
      assert.isDefined(timeOnly.properties.timestamp)
      // A timestamp that a Date can't hold counts too.
      const raw = AmqpMessage.text("a", { messageId: "mine", raw: { timestamp: 2n ** 60n } })
      assert.strictEqual(yield* both(raw), raw)
    }))
})

describe("the text of a message", () => {
  it("shows the properties that are set, the headers and the body", () => {
    const message = AmqpMessage.json({ id: 1 }, {
      priority: 0,
      expiration: "5 seconds",
      timestamp: new Date(0),
      headers: { attempt: 2, nested: { list: [1, "two"], at: new Date(0) }, bytes: Uint8Array.of(1, 255), big: 1n }
    })
    assert.strictEqual(
      AmqpMessage.pretty(message),
      [
        "AmqpMessage",
        "  contentType: \"application/json\"",
        "  priority: 0",
        "  expiration: \"5 seconds\"",
        "  timestamp: \"1970-01-01T00:00:00.000Z\"",
        "  headers:",
        "    attempt: 2",
        "    nested:",
        "      list: [1,\"two\"]",
        "      at: \"1970-01-01T00:00:00.000Z\"",
        "    bytes: \"0x01ff\"",
        "    big: \"1n\"",
        "  body of 8 bytes:",
        "    {\"id\":1}"
      ].join("\n")
    )
  })

  it("is what console.log and String() print", () => {
    const message = AmqpMessage.text("hello")
    assert.strictEqual(inspect(message), AmqpMessage.pretty(message))
    assert.strictEqual(String(message), AmqpMessage.pretty(message))
  })

  it("is structured data as JSON", () => {
    assert.deepStrictEqual(JSON.parse(JSON.stringify(AmqpMessage.text("hello", { headers: { a: 2n ** 60n } }))), {
      _tag: "AmqpMessage",
      properties: { contentType: "text/plain; charset=utf-8", headers: { a: "1152921504606846976n" } },
      bodySize: 5,
      body: "hello"
    })
  })

  it("shows an unprintable body as hexadecimal digits", () => {
    const lastLine = (body: Uint8Array) => AmqpMessage.pretty(AmqpMessage.make(body)).split("\n").at(-1)
    assert.strictEqual(lastLine(Uint8Array.of(0xff, 0x00)), "    0xff00")
    assert.strictEqual(lastLine(utf8("\u001b[2Jgone")), "    0x1b5b324a676f6e65")
    assert.strictEqual(lastLine(utf8("a\u202eb")), "    0x61e280ae62")
    assert.strictEqual(lastLine(utf8("tab\tand 🎉")), "    tab\tand 🎉")
    assert.strictEqual(lastLine(utf8("")), "  empty body")
  })

  it("truncates a long body between characters, and shows its size", () => {
    const text = AmqpMessage.pretty(AmqpMessage.make(utf8("a" + "é".repeat(1000))))
    assert.include(text, "  body of 2001 bytes, the first 1023:")
    assert.isTrue(text.endsWith(`    a${"é".repeat(511)}`))
    const bytes = AmqpMessage.pretty(AmqpMessage.make(new Uint8Array(1_000_000)))
    assert.include(bytes, "  body of 1000000 bytes, the first 128:")
    assert.isBelow(bytes.length, 400)
    assert.isBelow(JSON.stringify(AmqpMessage.make(new Uint8Array(1_000_000))).length, 500)
    const short = AmqpMessage.pretty(AmqpMessage.text("abcdef"), { maxBodySize: 3 })
    assert.isTrue(short.endsWith("body of 6 bytes, the first 3:\n    abc"))
    assert.include(AmqpMessage.pretty(AmqpMessage.text("abcdef"), { maxBodySize: 10 }), "body of 6 bytes:")
  })

  it("truncates long headers, and shows their size", () => {
    const { headers } = JSON.parse(JSON.stringify(AmqpMessage.make(utf8(""), {
      headers: {
        text: "x".repeat(10_000),
        bytes: new Uint8Array(10_000),
        list: Array.from({ length: 1000 }, () => 0),
        table: Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`k${index}`, index]))
      }
    }))).properties
    assert.strictEqual(headers.text, `${"x".repeat(512)}… (10000 characters)`)
    assert.strictEqual(headers.bytes, `0x${"00".repeat(64)}… (10000 bytes)`)
    assert.lengthOf(headers.list, 65)
    assert.strictEqual(headers.list.at(-1), "… 936 more")
    assert.strictEqual(headers.table["…"], "… 936 more")
  })

  it("never shows the value of a Redacted", () => {
    const message = AmqpMessage.make(
      utf8("x"),
      untyped({
        appId: Redacted.make("s3cret"),
        headers: { token: Redacted.make("s3cret"), list: [Redacted.make("s3cret")] }
      })
    )
    for (const shown of [AmqpMessage.pretty(message), JSON.stringify(message), inspect({ deep: [{ message }] })]) {
      assert.notInclude(shown, "s3cret")
      assert.include(shown, "<redacted>")
    }
  })

  it("can't imitate log lines, whatever the message contains", () => {
    const cycle: Record<string, AmqpMessage.FieldValue> = {}
    cycle.self = cycle
    const message = AmqpMessage.make(utf8("a\r\nINFO all is well"), {
      messageId: "x\nINFO all is well\u001b[0m\u2028\u202e",
      headers: { "a\nkey": 1, ["__proto__"]: 2, cycle, strange: untyped({}) as never }
    })
    const shown = AmqpMessage.pretty(message)
    assert.notMatch(shown, /^INFO/m)
    assert.include(shown, String.raw`"x\nINFO all is well\u001b[0m\u2028\u202e"`)
    assert.include(shown, String.raw`    "a\nkey": 1`)
    assert.include(shown, "    __proto__: 2")
    assert.include(shown, "    INFO all is well")
  })
})

describe("invalid options", () => {
  const untyped = (options: unknown) => options as never
  it.each([
    ["decode", () => AmqpMessage.decode(Schema.Json, untyped({ decompres: true })), /did you mean "decompress"/],
    [
      "decode",
      () => AmqpMessage.decode(Schema.Json, untyped({ decompress: "no" })),
      /decompress: must be true or false/
    ],
    [
      "decode",
      () => AmqpMessage.decode(Schema.Json, { maxDecompressedSize: Number.NaN }),
      /maxDecompressedSize: must be/
    ],
    ["decompress", () => AmqpCompression.decompress(untyped({ maxSize: 1 })), /there is no "maxSize"/],
    ["decompress", () => AmqpCompression.decompress({ maxDecompressedSize: -1 }), /must be a number from 0/],
    ["stamp", () => AmqpMessage.stamp(untyped({ messageid: true })), /did you mean "messageId"/],
    ["stamp", () => AmqpMessage.stamp(untyped({ timestamp: 1 })), /timestamp: must be true or false/],
    [
      "pretty",
      () => AmqpMessage.pretty(AmqpMessage.text(""), untyped({ maxBodysize: 1 })),
      /did you mean "maxBodySize"/
    ],
    [
      "pretty",
      () => AmqpMessage.pretty(AmqpMessage.text(""), { maxBodySize: -1 }),
      /maxBodySize: must be a number from 0/
    ]
  ])("are refused at once: %s, case %#", (_, use, words) => {
    assert.throws(use, words)
  })
})
