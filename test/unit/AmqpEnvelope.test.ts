import * as AmqpCompression from "@effect-amqp/core/AmqpCompression"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpEnvelope from "@effect-amqp/core/AmqpEnvelope"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { decodeProperties, writeProperties } from "@effect-amqp/core/internal/message/properties"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import { shortText, written } from "./protocol/support.ts"

/** A message as it arrives. */
const delivered = ({ body, properties }: AmqpMessage.AmqpMessage): AmqpDelivery.ReceivedMessage => ({
  body,
  properties: decodeProperties(written((writer) => writeProperties(writer, properties))),
  text: new TextDecoder().decode(body),
  exchange: "",
  routingKey: "orders",
  redelivered: false,
  deliveryTag: 1,
  queue: "orders",
  consumerTag: undefined
})

const Order = Schema.Struct({ id: Schema.Int, placedAt: Schema.Date })

const OrderPlaced = AmqpEnvelope.make({
  properties: Schema.Struct({
    type: Schema.Literal("order.placed"),
    messageId: Schema.String,
    timestamp: Schema.Date,
    expiration: Schema.optionalKey(Schema.Duration)
  }),
  headers: Schema.Struct({ tenant: Schema.String, attempt: Schema.optional(Schema.Int) }),
  body: Order
})

const placed = {
  properties: { type: "order.placed", messageId: "a", timestamp: new Date(5000) },
  headers: { tenant: "acme", attempt: 2 },
  body: { id: 1, placedAt: new Date(0) }
} as const

const encode = AmqpMessage.schema(OrderPlaced)
const decode = AmqpMessage.decode(OrderPlaced)

describe("an envelope", () => {
  it.effect("encodes properties, headers and body as one message, and decodes them as one value", () =>
    Effect.gen(function*() {
      const message = yield* encode(placed)
      assert.strictEqual(new TextDecoder().decode(message.body), "{\"id\":1,\"placedAt\":\"1970-01-01T00:00:00.000Z\"}")
      assert.deepStrictEqual(message.properties, {
        contentType: "application/json",
        ...placed.properties,
        headers: placed.headers
      })
      assert.deepStrictEqual(yield* decode(delivered(message)), placed)
    }))

  it.effect("ignores properties and headers that it does not name", () =>
    Effect.gen(function*() {
      const message = yield* encode(placed, { priority: 5, headers: { other: true } })
      assert.strictEqual(message.properties.priority, 5)
      assert.deepStrictEqual(message.properties.headers, { other: true, ...placed.headers })
      assert.deepStrictEqual(yield* decode(delivered(message)), placed)
    }))

  it.effect("prefers the value's properties to those of the call, and these to those of the encoder", () =>
    Effect.gen(function*() {
      const encode = AmqpMessage.schema(OrderPlaced, {
        messageId: "all",
        appId: "all",
        priority: 1,
        headers: { tenant: "all", all: 1 }
      })
      const { properties } = yield* encode(placed, { messageId: "given", appId: "given" })
      assert.strictEqual(properties.messageId, "a")
      assert.strictEqual(properties.appId, "given")
      assert.strictEqual(properties.priority, 1)
      assert.deepStrictEqual(properties.headers, { all: 1, ...placed.headers })
    }))

  it.effect("of some parts leaves the others unchanged", () =>
    Effect.gen(function*() {
      const Tenant = AmqpEnvelope.make({ headers: Schema.Struct({ tenant: Schema.String }) })
      const message = AmqpMessage.make(Uint8Array.of(0xff), { contentType: "image/png", headers: { tenant: "acme" } })
      const value = yield* AmqpMessage.decode(Tenant)(delivered(message))
      assert.deepStrictEqual(value, { headers: { tenant: "acme" } })
      const made = yield* AmqpMessage.schema(Tenant)(value)
      assert.isEmpty(made.body)
      assert.deepStrictEqual({ ...made.properties }, { headers: { tenant: "acme" } })

      const Body = AmqpEnvelope.make({ body: Order })
      const body = yield* AmqpMessage.schema(Body, { headers: { a: 1 } })({ body: placed.body })
      assert.deepStrictEqual({ ...body.properties }, { contentType: "application/json", headers: { a: 1 } })
      assert.deepStrictEqual(yield* AmqpMessage.decode(Body)(delivered(body)), { body: placed.body })
    }))

  it.effect("decodes unset properties as absent, and missing headers as empty", () =>
    Effect.gen(function*() {
      const anything = Schema.Record(Schema.String, Schema.Any)
      const decode = AmqpMessage.decode(
        AmqpEnvelope.fromSchema(Schema.Struct({ properties: anything, headers: anything }))
      )
      assert.deepStrictEqual(yield* decode(delivered(AmqpMessage.make(new Uint8Array()))), {
        properties: {},
        headers: {}
      })
      assert.deepStrictEqual(
        yield* decode(delivered(AmqpMessage.make(new Uint8Array(), { expiration: 5, raw: { clusterId: "c" } }))),
        {
          properties: {
            expiration: Duration.millis(5),
            raw: { deliveryMode: undefined, expiration: undefined, timestamp: undefined, clusterId: "c" }
          },
          headers: {}
        }
      )
    }))

  const seconds = Arbitrary.map(
    Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 4_000_000_000 }))),
    (seconds) => new Date(seconds * 1000)
  )
  /** JSON has no -0. */
  const numbers = Arbitrary.map(Arbitrary.schema(Schema.Finite), (number) => number + 0)

  it.effect.prop(
    "decodes the values that it encoded",
    [shortText, seconds, Schema.Int, Schema.Boolean, numbers],
    ([text, date, integer, boolean, number]) =>
      Effect.gen(function*() {
        const Any = AmqpEnvelope.make({
          properties: Schema.Struct({ messageId: Schema.String, timestamp: Schema.Date }),
          headers: Schema.Struct({
            text: Schema.String,
            integer: Schema.Int,
            number: Schema.FiniteFromString,
            at: Schema.Date,
            list: Schema.Array(Schema.Boolean)
          }),
          body: Schema.Struct({ number: Schema.Number, at: Schema.Date, text: Schema.String })
        })
        const value = {
          properties: { messageId: text, timestamp: date },
          headers: { text, integer, number, at: date, list: [boolean] },
          body: { number, at: date, text }
        }
        const message = delivered(yield* AmqpMessage.schema(Any)(value))
        assert.deepStrictEqual(yield* AmqpMessage.decode(Any)(message), value)
      })
  )

  it.effect("may require services to encode and to decode", () =>
    Effect.gen(function*() {
      class Prefix extends Context.Service<Prefix, string>()("test/Prefix") {}
      const Tenant = Schema.String.pipe(Schema.decodeTo(Schema.String, {
        decode: SchemaGetter.transformEffect((text: string) =>
          Effect.map(Prefix, (prefix) => text.slice(prefix.length))
        ),
        encode: SchemaGetter.transformEffect((text: string) => Effect.map(Prefix, (prefix) => prefix + text))
      }))
      const Named = AmqpEnvelope.make({ headers: Schema.Struct({ tenant: Tenant }) })
      const value = { headers: { tenant: "acme" } }
      const message = yield* Effect.provideService(AmqpMessage.schema(Named)(value), Prefix, "tenant:")
      assert.deepStrictEqual(message.properties.headers, { tenant: "tenant:acme" })
      assert.deepStrictEqual(
        yield* Effect.provideService(AmqpMessage.decode(Named)(delivered(message)), Prefix, "tenant:"),
        value
      )
    }))

  it.effect("refuses to encode a value of another type", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(encode({ ...placed, body: { ...placed.body, id: 1.5 } }))
      assert.strictEqual(error._tag, "SchemaError")
      assert.include(error.message, "[\"body\"][\"id\"]")
    }))
})

describe("a decode error", () => {
  const good = Effect.map(encode(placed), delivered)

  for (
    const [name, part, problem, change] of [
      ["another type", "properties", "Schema", { properties: { type: "order.cancelled" } }],
      ["no id", "properties", "Schema", { properties: { messageId: undefined } }],
      ["a header of another type", "headers", "Schema", { properties: { headers: { tenant: 5 } } }],
      ["a missing header", "headers", "Schema", { properties: { headers: { attempt: 1 } } }],
      ["no headers", "headers", "Schema", { properties: { headers: undefined } }],
      ["another content type", "properties", "ContentType", { properties: { contentType: "text/csv" } }],
      ["a content encoding", "properties", "ContentEncoding", { properties: { contentEncoding: "gzip" } }],
      ["invalid UTF-8", "body", "Text", { body: Uint8Array.of(0xff) }],
      ["invalid JSON", "body", "Json", { body: new TextEncoder().encode("{") }],
      ["a value of another type", "body", "Schema", { body: new TextEncoder().encode("{\"id\":\"s3cret\"}") }]
    ] as const
  ) {
    it.effect(`for ${name} names the ${part}`, () =>
      Effect.gen(function*() {
        const { body, properties } = yield* good
        const error = yield* Effect.flip(
          decode({ body, ...change, properties: { ...properties, ...("properties" in change && change.properties) } })
        )
        assert.strictEqual(error._tag, "AmqpDecodeError")
        assert.strictEqual(error.part, part)
        assert.strictEqual(error.problem, problem)
        if (problem === "Schema") assert.include(error.description, `["${part}"]`)
        assert.notInclude(error.message, "s3cret")
      }))
  }

  it.effect("for malformed properties names the properties", () =>
    Effect.gen(function*() {
      const { part, problem } = yield* Effect.flip(decode({
        body: new Uint8Array(),
        get properties(): AmqpMessage.ReceivedProperties {
          return decodeProperties(Uint8Array.of(0, 1))
        }
      }))
      assert.deepStrictEqual({ part, problem }, { part: "properties", problem: "Properties" })
    }))

  it.effect("for a check across parts names the message", () =>
    Effect.gen(function*() {
      const Same = AmqpEnvelope.fromSchema(
        OrderPlaced.schema.check(
          Schema.makeFilter(({ body, headers }: typeof OrderPlaced.Type) =>
            body.id === headers.attempt || "another attempt"
          )
        )
      )
      const { part, problem } = yield* Effect.flip(AmqpMessage.decode(Same)(yield* good))
      assert.deepStrictEqual({ part, problem }, { part: "message", problem: "Schema" })
    }))

  it.effect("for a schema of the body names the body", () =>
    Effect.gen(function*() {
      const { part, problem } = yield* Effect.flip(AmqpMessage.decode(Schema.String)(AmqpMessage.json(1)))
      assert.deepStrictEqual({ part, problem }, { part: "body", problem: "Schema" })
    }))
})

describe("an envelope from a schema", () => {
  it.effect("may be a flat value of all parts", () =>
    Effect.gen(function*() {
      const Event = Schema.Struct({ id: Schema.Int, tenant: Schema.String })
      const Flat = AmqpEnvelope.fromSchema(
        AmqpEnvelope.make({
          headers: Schema.Struct({ tenant: Schema.String }),
          body: Schema.Struct({ id: Schema.Int })
        }).schema.pipe(
          Schema.decodeTo(Event, {
            decode: SchemaGetter.transform(({ body, headers }) => ({ id: body.id, tenant: headers.tenant })),
            encode: SchemaGetter.transform(({ id, tenant }) => ({ headers: { tenant }, body: { id } }))
          })
        )
      )
      const message = delivered(yield* AmqpMessage.schema(Flat)({ id: 1, tenant: "acme" }))
      assert.deepStrictEqual(message.properties.headers, { tenant: "acme" })
      assert.deepStrictEqual(yield* AmqpMessage.decode(Flat)(message), { id: 1, tenant: "acme" })
      const { body, properties } = message
      const headers = yield* Effect.flip(AmqpMessage.decode(Flat)({ body, properties: { ...properties, headers: {} } }))
      assert.strictEqual(headers.part, "headers")
    }))

  const Placed = AmqpEnvelope.make({ properties: Schema.Struct({ type: Schema.Literal("placed") }), body: Order })
  const Cancelled = AmqpEnvelope.make({
    properties: Schema.Struct({ type: Schema.Literal("cancelled") }),
    body: Schema.String
  })
  const Event = AmqpEnvelope.fromSchema(Schema.Union([Placed.schema, Cancelled.schema]))

  it.effect("may describe messages of several types", () =>
    Effect.gen(function*() {
      for (
        const event of [
          { properties: { type: "placed" }, body: placed.body },
          { properties: { type: "cancelled" }, body: "too late" }
        ] as const
      ) {
        const message = delivered(yield* AmqpMessage.schema(Event)(event))
        assert.strictEqual(message.properties.type, event.properties.type)
        assert.deepStrictEqual(yield* AmqpMessage.decode(Event)(message), event)
      }
      const error = yield* Effect.flip(AmqpMessage.decode(Event)(AmqpMessage.json("too late", { type: "other" })))
      assert.strictEqual(error.part, "properties")
    }))

  it.effect("starts from the body as JSON, and refuses to encode what JSON can't hold", () =>
    Effect.gen(function*() {
      const Plain = AmqpEnvelope.fromSchema(Schema.Struct({ body: Schema.Struct({ ratio: Schema.Number }) }))
      assert.deepStrictEqual(yield* AmqpMessage.decode(Plain)(AmqpMessage.json({ ratio: 0.5 })), {
        body: { ratio: 0.5 }
      })
      const error = yield* Effect.flip(AmqpMessage.schema(Plain)({ body: { ratio: NaN } }))
      assert.strictEqual(error._tag, "SchemaError")
    }))

  it("knows whether one of its members has a body", () => {
    const Headers = AmqpEnvelope.make({ headers: Schema.Struct({ tenant: Schema.String }) })
    assert.isFalse(Headers.hasBody)
    assert.isFalse(AmqpEnvelope.fromSchema(Headers.schema).hasBody)
    assert.isFalse(AmqpEnvelope.fromSchema(Schema.Union([Headers.schema, Headers.schema])).hasBody)
    assert.isTrue(Event.hasBody)
    assert.isTrue(AmqpEnvelope.fromSchema(Schema.Union([Headers.schema, Placed.schema])).hasBody)
  })

  it("is distinguished from a schema of a body", () => {
    assert.isTrue(AmqpEnvelope.isEnvelope(Event))
    assert.isFalse(AmqpEnvelope.isEnvelope(Event.schema))
    assert.isFalse(AmqpEnvelope.isEnvelope(undefined))
  })
})

describe("a handler of envelopes", () => {
  const handler = AmqpDelivery.handleDecoded(
    OrderPlaced,
    (value, { routingKey }) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.ack, { value, routingKey })),
    { decompress: true }
  )

  it.effect("receives the value and the delivery", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* handler(delivered(yield* encode(placed))), {
        _tag: "Ack",
        value: { value: placed, routingKey: "orders" }
      })
    }))

  it.effect("receives the value of a compressed body", () =>
    Effect.gen(function*() {
      const message = yield* Effect.flatMap(encode(placed), AmqpCompression.compress("deflate"))
      assert.deepStrictEqual((yield* handler(delivered(message))).value?.value, placed)
    }))

  it.effect("applies onDecodeError to a message that it can't decode", () =>
    Effect.gen(function*() {
      const { body, properties } = yield* encode(placed)
      const bad = delivered(AmqpMessage.make(body, { ...properties, headers: {} }))
      assert.strictEqual((yield* Effect.flip(handler(bad))).part, "headers")
      const rejecting = AmqpDelivery.handleDecoded(OrderPlaced, () => Effect.die("it was called"), {
        onDecodeError: "reject"
      })
      assert.strictEqual((yield* rejecting(bad))._tag, "Reject")
      const failing = AmqpDelivery.handleDecoded(OrderPlaced, () => Effect.die("it was called"), {
        onDecodeError: "fail"
      })
      assert.strictEqual((yield* Effect.flip(failing(bad))).part, "headers")
    }).pipe(Effect.provide(Logger.layer([]))))
})
