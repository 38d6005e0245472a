/**
 * Messages: a body and its properties.
 *
 * {@link text}, {@link json} and {@link make} make a message from a string, a JSON value or bytes; {@link schema}
 * encodes a value with a schema, which {@link decode} decodes again; {@link fromDelivery} makes a message from a
 * received one. {@link stamp} adds an id and the time, {@link pretty} formats a message for people.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as AmqpEnvelope from "./AmqpEnvelope.ts"
import type { AmqpDecodeError } from "./AmqpError.ts"
import * as Decoding from "./internal/message/contentChecks.ts"
import { Message } from "./internal/message/message.ts"
import * as Rendering from "./internal/message/pretty.ts"
import * as Decoders from "./internal/message/schemaDecoders.ts"
import * as Stamp from "./internal/message/stamp.ts"
import * as Validation from "./internal/options/validation.ts"
import type { UnknownProperties } from "./protocol/BasicProperties.ts"
import type { EncodedTable, FieldTable } from "./protocol/fieldTable.ts"

export type { UnknownProperties } from "./protocol/BasicProperties.ts"
export { TypedField } from "./protocol/fieldTable.ts"
export type { EncodedTable, FieldTable, FieldType, FieldValue } from "./protocol/fieldTable.ts"

/**
 * A message to publish. `console.log` and Effect's loggers print messages of these constructors as {@link pretty} does,
 * and not byte by byte; any object with the two properties can be published too.
 *
 * **Gotchas**
 *
 * A body of 16 KiB or more is not copied. Do not change it until the publish is confirmed, or, without confirms, until
 * the channel is closed. If its buffer is transferred meanwhile, the publish fails and its channel is closed. A body
 * that is not a `Uint8Array` (a string, an array, an `ArrayBuffer`), or whose buffer is detached, is an
 * `InvalidArgument`.
 *
 * The message is read when it is sent. Getters may run then, even more than once; if one throws, nothing of the message
 * is sent.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpMessage {
  readonly body: Uint8Array
  readonly properties: Properties
  /** The text that {@link pretty} returns, if a constructor of this module made the message. */
  toString(): string
}

// -----------------------------------------------------------------------------
// properties
// -----------------------------------------------------------------------------

/**
 * The properties of a message (section 1.8.1 of the AMQP 0-9-1 reference). Strings hold at most 255 bytes of UTF-8.
 * Properties that are absent or `undefined` are not sent; `0`, `""` and `{}` are.
 *
 * **Details**
 *
 * Strings of a received message may have arrived as bytes that are not UTF-8, such as the bytes of a hash. Each such
 * byte is a lone surrogate in the string, from U+DC80 to U+DCFF, and is sent as that byte again: a correlation id is
 * returned as it arrived. Any other lone surrogate is sent as U+FFFD.
 *
 * **Gotchas**
 *
 * A property that is out of range, of another type or unknown makes the publish fail with an `InvalidArgument`, with
 * nothing sent.
 *
 * @category models
 * @since 0.1.0
 */
export interface Properties {
  /** MIME type of the body. */
  readonly contentType?: string | undefined
  /**
   * MIME content encoding of the body, such as `gzip`. It only describes the body; `AmqpCompression.compress` encodes
   * it.
   */
  readonly contentEncoding?: string | undefined
  /** The application's headers, by which a headers exchange routes. A `TypedField` sets the AMQP type of a number. */
  readonly headers?: FieldTable | undefined
  /** Whether a durable queue stores the message on disk. Brokers treat an absent value as `transient`. */
  readonly deliveryMode?: "transient" | "persistent" | undefined
  /** 0 to 255. Has an effect in queues that are declared with a maximum priority. */
  readonly priority?: number | undefined
  /** Identifies the request that a reply belongs to. */
  readonly correlationId?: string | undefined
  /** The queue for replies. */
  readonly replyTo?: string | undefined
  /**
   * How long the message may wait in a queue (RabbitMQ, "Per-Message TTL"): whole milliseconds, rounded up, from 0 to
   * 4,294,967,295 (49 days), RabbitMQ's maximum. With 0, the message is dropped or dead-lettered unless it can be
   * delivered at once.
   */
  readonly expiration?: Duration.Input | undefined
  /** The application's id of the message; see `AmqpMessage.stamp`. */
  readonly messageId?: string | undefined
  /** When the message was created, from 1970 on. AMQP stores whole seconds: fractions are cut off. */
  readonly timestamp?: Date | DateTime.DateTime | undefined
  /** The application's name for the message's type. */
  readonly type?: string | undefined
  /** The publishing user. RabbitMQ refuses any other than the connection's. */
  readonly userId?: string | undefined
  /** The publishing application. */
  readonly appId?: string | undefined
  /** Values that the properties above can't express. */
  readonly raw?: RawProperties | undefined
}

/**
 * Values on the wire that {@link Properties} can't express.
 *
 * **Details**
 *
 * A received message has them only if its publisher sent such values. Publishing the message again with its received
 * properties therefore loses nothing, even if some properties or headers are changed: `{ ...properties, headers: {
 * ...properties.headers, attempt: 2 } }`.
 *
 * @category models
 * @since 0.1.0
 */
export interface RawProperties {
  /** 0 to 255. Received if it is neither 1 (transient) nor 2 (persistent). Sent if `deliveryMode` is absent. */
  readonly deliveryMode?: number | undefined
  /**
   * Received if it is not a whole number of milliseconds up to 4,294,967,295; RabbitMQ refuses anything but digits
   * (406). Sent if `expiration` is absent.
   */
  readonly expiration?: string | undefined
  /**
   * Seconds since 1970, 0 to 2^64 - 1. Received if it is beyond the last second of a `Date`, 8,640,000,000,000. Sent if
   * `timestamp` is absent.
   */
  readonly timestamp?: number | bigint | undefined
  /** The fourteenth property, deprecated since 0-9-1. */
  readonly clusterId?: string | undefined
  /**
   * How the headers were encoded, as an opaque value. Received if the values of `headers` do not determine their AMQP
   * types, for example a 5 that was sent with 64 bits. Unchanged entries of `headers` are sent byte for byte as they
   * arrived.
   */
  readonly headers?: EncodedTable | undefined
  /** Properties beyond those of AMQP 0-9-1. Sent as they arrived. */
  readonly unknown?: UnknownProperties | undefined
}

/**
 * The properties of a received message. A property that the publisher did not set is `undefined`.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReceivedProperties extends Properties {
  /** The original value, as RabbitMQ passes it on; the remaining time is not known. */
  readonly expiration?: Duration.Duration | undefined
  /** In whole seconds. */
  readonly timestamp?: Date | undefined
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

const encoder = new TextEncoder()
const noProperties: Properties = Object.freeze({})

/**
 * A message with these bytes as its body.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (body: Uint8Array, properties: Properties = noProperties): AmqpMessage =>
  new Message(body, properties)

const textProperties: Properties = Object.freeze({ contentType: "text/plain; charset=utf-8" })

/**
 * A message with a string as its body, in UTF-8. The default content type is `text/plain; charset=utf-8`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const text = (body: string, properties?: Properties): AmqpMessage =>
  new Message(encoder.encode(body), withDefaults(textProperties, properties))

const jsonProperties: Properties = Object.freeze({ contentType: "application/json" })

/**
 * A message with a value as its body, in the JSON of `JSON.stringify`. The default content type is `application/json`.
 *
 * **Gotchas**
 *
 * Throws a `TypeError` for a value that has no JSON: `undefined`, a function, a bigint or a cyclic object. For values
 * from outside use {@link schema}, which fails with a typed error: `AmqpMessage.schema(Schema.Json)`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const json = (value: unknown, properties?: Properties): AmqpMessage => {
  const body: string | undefined = JSON.stringify(value)
  if (body === undefined) throw new TypeError("AmqpMessage.json: the value has no JSON")
  return new Message(encoder.encode(body), withDefaults(jsonProperties, properties))
}

/**
 * A schema of the body, or an envelope of the whole message (`AmqpEnvelope`).
 *
 * @category models
 * @since 0.1.0
 */
export type MessageSchema = Schema.Constraint | AmqpEnvelope.AmqpEnvelope<Schema.Constraint>

/**
 * Makes messages whose bodies are JSON, encoded by a schema; {@link decode} decodes them.
 *
 * **Details**
 *
 * The properties given with the schema apply to every message, those given with a value are added. The default content
 * type is `application/json`. The JSON is that of `Schema.toCodecJson`, in which a `Date` is a string.
 *
 * With an envelope, the value also holds properties and headers, which take precedence over the given ones.
 *
 * **Example** (Publishing an order)
 *
 * ```ts
 * import { AmqpMessage, AmqpPublisher } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * const Order = Schema.Struct({ id: Schema.Int, placedAt: Schema.Date })
 *
 * const orderMessage = AmqpMessage.schema(Order, { type: "order", deliveryMode: "persistent" })
 *
 * const program = Effect.gen(function*() {
 *   const publisher = yield* AmqpPublisher.AmqpPublisher
 *   const message = yield* orderMessage({ id: 1, placedAt: new Date() }, { correlationId: "a" })
 *   yield* publisher.publish(message, { exchange: "", routingKey: "orders" })
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const schema = <S extends MessageSchema>(
  schema: S,
  properties?: Properties
): (
  value: S["Type"],
  properties?: Properties
) => Effect.Effect<AmqpMessage, Schema.SchemaError, S["EncodingServices"]> =>
  AmqpEnvelope.isEnvelope(schema) ? ofParts(schema, properties) : ofBodies(schema, properties)

const ofBodies = <S extends Schema.Constraint>(schema: S, properties?: Properties) => {
  const encode = Schema.encodeUnknownEffect(Schema.fromJsonString(Schema.toCodecJson(schema)))
  const defaults = Object.freeze(withDefaults(jsonProperties, properties))
  return (value: S["Type"], properties?: Properties) =>
    Effect.map(encode(value), (body) => new Message(encoder.encode(body), withDefaults(defaults, properties)))
}

const ofParts = <S extends Schema.Constraint>(
  { hasBody, schema }: AmqpEnvelope.AmqpEnvelope<S>,
  properties?: Properties
) => {
  const encode = Schema.encodeUnknownEffect(schema)
  const defaults = withDefaults(hasBody ? jsonProperties : noProperties, properties)
  return Effect.fnUntraced(function*(value: S["Type"], properties?: Properties) {
    // An envelope only accepts schemas with this encoded side.
    const parts = (yield* encode(value)) as AmqpEnvelope.Parts
    const json = parts.body === undefined ? "" : yield* encodeJson(parts.body)
    const given = withDefaults(defaults, properties)
    const headers = given.headers && parts.headers
      ? { ...given.headers, ...parts.headers }
      : parts.headers ?? given.headers
    return new Message(encoder.encode(json), { ...given, ...parts.properties, headers })
  })
}

const encodeJson = Schema.encodeUnknownEffect(Schema.fromJsonString(Schema.Json))

/** A property that is `undefined` in `properties` overrides the default. */
const withDefaults = (defaults: Properties, properties: Properties | undefined): Properties =>
  properties === undefined ? defaults : { ...defaults, ...properties }

/**
 * Makes a message to publish from a received one: the same body and properties, plus the given properties.
 *
 * **Details**
 *
 * Properties that are not replaced are sent byte for byte as they arrived, including the types and the order of
 * headers, strings that are not UTF-8, and properties that AMQP 0-9-1 does not define. To add a header, spread the
 * received ones: `{ headers: { ...delivery.properties.headers, attempt: 2 } }`.
 *
 * `userId` is left out, as in RabbitMQ's federation (RabbitMQ, "Validated User-ID"): the broker closes the channel with
 * 406 if a message names another user than that of the connection. To keep it, pass it.
 *
 * Fails with an `AmqpDecodeError` with the problem `Properties` if the publisher sent malformed properties.
 *
 * **Gotchas**
 *
 * The properties take effect again: a header `CC` routes the message to the queues that it names, an `expiration`
 * starts anew, and replies still go to `replyTo`. Headers that brokers add, such as `x-death`, are kept.
 *
 * **Example** (Forwarding to another exchange)
 *
 * ```ts
 * import { AmqpConsumer, AmqpDelivery, AmqpMessage, AmqpPublisher } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * const forwarder = Effect.gen(function*() {
 *   const publisher = yield* AmqpPublisher.AmqpPublisher
 *   return yield* AmqpConsumer.serve("orders", (delivery) =>
 *     AmqpMessage.fromDelivery(delivery, { appId: "forwarder" }).pipe(
 *       Effect.flatMap((message) =>
 *         publisher.publish(message, { exchange: "archive", routingKey: delivery.routingKey })
 *       ),
 *       Effect.as(AmqpDelivery.ack)
 *     ))
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromDelivery = (
  delivery: Content,
  properties?: Properties
): Effect.Effect<AmqpMessage, AmqpDecodeError> =>
  Decoding.attempt(() =>
    Effect.succeed(
      new Message(delivery.body, { ...Decoding.propertiesOf(delivery), userId: undefined, ...properties })
    )
  )

// -----------------------------------------------------------------------------
// decoding
// -----------------------------------------------------------------------------

/**
 * The content of a message, in AMQP's sense: its body and its properties. Every message and delivery has them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Content {
  readonly body: Uint8Array
  readonly properties: Properties | ReceivedProperties
}

/**
 * Limits decompression.
 *
 * @category models
 * @since 0.1.0
 */
export interface DecompressOptions {
  /**
   * The maximum size of the decompressed body, in bytes, from 0; `Infinity` is no limit. A body that decompresses to
   * more fails, and is not decompressed any further. Default: 16,777,216 (16 MiB). The compressed body is limited by
   * the connection's `maxBodySize`.
   */
  readonly maxDecompressedSize?: number | undefined
}

/**
 * Options of {@link decode}.
 *
 * @category models
 * @since 0.1.0
 */
export interface DecodeOptions extends DecompressOptions {
  /**
   * Whether the properties must describe JSON: a content type of `application/json`, `text/json` or one that ends in
   * `+json`, a charset of UTF-8, if any, and a content encoding of `identity` or `utf-8`, if any. Absent properties are
   * accepted. Default: `true`.
   */
  readonly checkContentType?: boolean | undefined
  /**
   * Whether a body with the content encoding `gzip` or `deflate` is decompressed. Any other encoding, or several, then
   * fails even if the content type is not checked. A body without an encoding is read unchanged. Default: `false`.
   */
  readonly decompress?: boolean | undefined
}

/**
 * Decodes the JSON in a message's body with a schema, or the whole message with an envelope. The inverse of {@link
 * schema}.
 *
 * **Details**
 *
 * Throws an `InvalidArgument` for unknown options and values out of range. The Effect fails with an `AmqpDecodeError`,
 * whose `problem` and `part` show what is wrong; it never dies because of what a publisher sent. For a handler of
 * deliveries see `AmqpDelivery.handleDecoded`.
 *
 * **Example** (Reading an order)
 *
 * ```ts
 * import { AmqpConsumer, AmqpMessage } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 * import * as Stream from "effect/Stream"
 *
 * const decodeOrder = AmqpMessage.decode(Schema.Struct({ id: Schema.Int, placedAt: Schema.Date }), { decompress: true })
 *
 * const program = AmqpConsumer.stream("orders").pipe(
 *   Stream.runForEach((delivery) =>
 *     decodeOrder(delivery).pipe(
 *       Effect.flatMap((order) => Effect.log(order.placedAt)),
 *       Effect.andThen(delivery.ack),
 *       Effect.catchTag("AmqpDecodeError", () => delivery.reject())
 *     )
 *   )
 * )
 * ```
 *
 * @category decoding
 * @since 0.1.0
 */
export const decode = <S extends MessageSchema>(
  schema: S,
  options: DecodeOptions = {}
): (message: Content) => Effect.Effect<S["Type"], AmqpDecodeError, S["DecodingServices"]> =>
  AmqpEnvelope.isEnvelope(schema)
    ? Decoders.ofParts(schema, checkedOptions(options))
    : Decoders.ofBody(schema, checkedOptions(options))

const checkedOptions = (options: DecodeOptions): DecodeOptions => {
  const { checkContentType, decompress, maxDecompressedSize } = Validation.knownKeys(
    options,
    ["checkContentType", "decompress", "maxDecompressedSize"],
    "options of decode"
  )
  Validation.flag("checkContentType", checkContentType)
  Validation.flag("decompress", decompress)
  Validation.limit("maxDecompressedSize", maxDecompressedSize)
  return options
}

/**
 * Decodes the body of a message as any JSON value; see {@link decode} for the errors.
 *
 * @category decoding
 * @since 0.1.0
 */
export const decodeJson: (message: Content) => Effect.Effect<Schema.Json, AmqpDecodeError> = (message) =>
  decodeAnyJson(message)

const decodeAnyJson = decode(Schema.Json)

// -----------------------------------------------------------------------------
// id and time
// -----------------------------------------------------------------------------

/**
 * Options of {@link stamp}.
 *
 * @category models
 * @since 0.1.0
 */
export interface StampOptions {
  /**
   * Whether to set `messageId` to a UUID of version 7: unique, and ordered by time in milliseconds. Default: `false`.
   */
  readonly messageId?: boolean | undefined
  /** Whether to set `timestamp` to the current time, of which AMQP stores whole seconds. Default: `false`. */
  readonly timestamp?: boolean | undefined
}

/**
 * Adds an id and the current time to messages that have none.
 *
 * **Details**
 *
 * The time comes from Effect's `Clock` and the id from Effect's `Random`, so both are reproducible with `TestClock` and
 * `Random.withSeed`. Ids are not secret. Throws an `InvalidArgument` for unknown options and for values other than true
 * and false.
 *
 * **Gotchas**
 *
 * Each run of the effect makes another id. To publish the same message again, stamp it once and publish the result.
 *
 * **Example** (Publishing with an id)
 *
 * ```ts
 * import { AmqpMessage, AmqpPublisher } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * const stamp = AmqpMessage.stamp({ messageId: true, timestamp: true })
 *
 * const program = Effect.gen(function*() {
 *   const publisher = yield* AmqpPublisher.AmqpPublisher
 *   const message = yield* stamp(AmqpMessage.text("hello"))
 *   yield* publisher.publish(message, { exchange: "", routingKey: "greetings" })
 * })
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const stamp = (options: StampOptions): (message: AmqpMessage) => Effect.Effect<AmqpMessage> => {
  Stamp.check(options)
  return (message) =>
    Effect.flatMap(
      Effect.service(Random.Random),
      (random) => Effect.map(Effect.service(Clock.Clock), (clock) => Stamp.stamp(message, options, clock, random))
    )
}

// -----------------------------------------------------------------------------
// rendering
// -----------------------------------------------------------------------------

/**
 * What {@link pretty} formats: a message, with its route if it was delivered.
 *
 * @category models
 * @since 0.1.0
 */
export interface Renderable {
  readonly body: Uint8Array
  readonly properties: Properties
  readonly exchange?: string | undefined
  readonly routingKey?: string | undefined
  readonly redelivered?: boolean | undefined
  readonly deliveryTag?: number | undefined
}

/**
 * Options of {@link pretty}.
 *
 * @category models
 * @since 0.1.0
 */
export interface PrettyOptions {
  /** How many bytes of a text body are shown, from 0; of a binary body, an eighth of that. Default: 1024. */
  readonly maxBodySize?: number | undefined
}

/**
 * Formats a message or delivery for people, in several lines: its exchange and routing key, the properties that are
 * set, the headers, the body.
 *
 * **Details**
 *
 * A body of printable UTF-8 is shown as text, others as hexadecimal digits. Of strings in properties and headers 512
 * characters are shown, of tables and arrays 64 entries. Where something is cut, its full size is shown. Control
 * characters are escaped, so that a message can't imitate a line of the log. The content of `Redacted` values is not
 * shown, but the body is. Throws an `InvalidArgument` for unknown options and for a size that is not a number from 0.
 *
 * `console.log` and Effect's loggers print deliveries, and messages of these constructors, in this form.
 *
 * **Example** (Showing a message)
 *
 * ```ts
 * import { AmqpMessage } from "@effect-amqp/core"
 *
 * console.log(AmqpMessage.pretty(AmqpMessage.json({ id: 1 }, { priority: 0, headers: { attempt: 2 } })))
 * // AmqpMessage
 * //   contentType: "application/json"
 * //   priority: 0
 * //   headers:
 * //     attempt: 2
 * //   body of 8 bytes:
 * //     {"id":1}
 * ```
 *
 * @category rendering
 * @since 0.1.0
 */
export const pretty = (
  message: Renderable,
  options: PrettyOptions = {}
): string => {
  Validation.limit("maxBodySize", Validation.knownKeys(options, ["maxBodySize"], "options of pretty").maxBodySize)
  return Rendering.pretty(message.deliveryTag === undefined ? "AmqpMessage" : "AmqpDelivery", message, options)
}
