/**
 * Messages: a body and its properties.
 *
 * {@link text}, {@link json} and {@link make} build one from a text, a value and bytes; {@link schema} from a value that a schema
 * describes, and {@link decode} gives the value back; {@link fromDelivery} from one that was received. {@link stamp} adds an id
 * and the time, {@link pretty} shows a message to people.
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
 * A message to publish. The constructors make one that `console.log` and Effect's loggers show as {@link pretty} and not byte by
 * byte; any object with these two properties is as good to publish.
 *
 * **Gotchas**
 *
 * A body of 16 KiB or more is not copied: it must not change until the publish is confirmed, or, without confirms, until the channel
 * is closed. If its buffer is transferred meanwhile, the publish fails and its channel ends. A body that is not a `Uint8Array` (a text, an
 * array, an `ArrayBuffer`), or whose buffer is detached, is an `InvalidArgument`.
 *
 * The message is read when it is sent. Getters and the like in it may run then, also more than once; nothing of it is sent if one throws.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpMessage {
  readonly body: Uint8Array
  readonly properties: Properties
  /** What {@link pretty} answers, if a constructor of this module made the message. */
  toString(): string
}

// -----------------------------------------------------------------------------
// properties
// -----------------------------------------------------------------------------

/**
 * The properties of a message (section 1.8.1 of the AMQP 0-9-1 reference). Texts hold at most 255 bytes of UTF-8. What is
 * absent or `undefined` is not sent; `0`, `""` and `{}` are.
 *
 * **Details**
 *
 * The texts of a received message may have come as bytes that are not UTF-8, such as the bytes of a hash. Each such byte is a lone
 * surrogate in the text, from U+DC80 to U+DCFF, and is sent as that byte again: a correlation id is returned as it came. Any
 * other lone surrogate is sent as U+FFFD.
 *
 * **Gotchas**
 *
 * What is out of its range, of another type or under another name is an `InvalidArgument` of the publish, and then nothing was
 * sent.
 *
 * @category models
 * @since 0.1.0
 */
export interface Properties {
  /** MIME type of the body. */
  readonly contentType?: string | undefined
  /** MIME content encoding of the body, such as `gzip`. It says what the body is; `AmqpCompression.compress` makes it so. */
  readonly contentEncoding?: string | undefined
  /** Headers of the application, and what a headers exchange routes by. A `TypedField` forces the type of a number. */
  readonly headers?: FieldTable | undefined
  /** Whether the broker writes the message to disk in a durable queue. Brokers treat absent as `transient`. */
  readonly deliveryMode?: "transient" | "persistent" | undefined
  /** 0 to 255; counts in queues declared with a maximum priority. */
  readonly priority?: number | undefined
  /** What a reply refers to. */
  readonly correlationId?: string | undefined
  /** The queue that replies go to. */
  readonly replyTo?: string | undefined
  /**
   * How long the message may wait in a queue (RabbitMQ, "Per-Message TTL"): whole milliseconds, rounded up, from 0 to
   * 4,294,967,295 (49 days), which is what RabbitMQ takes. 0: dropped or dead-lettered unless a consumer can have it at once.
   */
  readonly expiration?: Duration.Input | undefined
  /** The application's id of the message; see `AmqpMessage.stamp`. */
  readonly messageId?: string | undefined
  /** When the message was made, from 1970 on. AMQP keeps whole seconds: the rest is cut off. */
  readonly timestamp?: Date | DateTime.DateTime | undefined
  /** The application's name of the message's type. */
  readonly type?: string | undefined
  /** The publishing user; RabbitMQ refuses any but the connection's. */
  readonly userId?: string | undefined
  /** The publishing application. */
  readonly appId?: string | undefined
  /** Values that the properties above can't express. */
  readonly raw?: RawProperties | undefined
}

/**
 * Properties as they are on the wire, where that is more than {@link Properties} can say.
 *
 * **Details**
 *
 * A received message has them only where the publisher sent such values. So nothing is lost when the message is published again with
 * the properties that it came with, also if some of them or some of the headers were changed:
 * `{ ...properties, headers: { ...properties.headers, attempt: 2 } }`.
 *
 * @category models
 * @since 0.1.0
 */
export interface RawProperties {
  /** 0 to 255. Received when it is neither 1 (transient) nor 2 (persistent). Counts when `deliveryMode` is absent. */
  readonly deliveryMode?: number | undefined
  /**
   * Received when it is not a whole number of milliseconds up to 4,294,967,295; RabbitMQ refuses what is not a number (406). Counts
   * when `expiration` is absent.
   */
  readonly expiration?: string | undefined
  /**
   * Seconds since 1970, 0 to 2^64 - 1. Received beyond the last that a `Date` holds, 8,640,000,000,000. Counts when `timestamp` is
   * absent.
   */
  readonly timestamp?: number | bigint | undefined
  /** The fourteenth property, deprecated since 0-9-1. */
  readonly clusterId?: string | undefined
  /**
   * How the headers were encoded, as an opaque value. Received when their values don't tell: when a number is not of the type that it
   * would be sent as, for example a 64-bit 5. Entries of `headers` that are still the same are sent byte for byte as they came.
   */
  readonly headers?: EncodedTable | undefined
  /** What came beyond the properties of AMQP 0-9-1. It is sent again as it came. */
  readonly unknown?: UnknownProperties | undefined
}

/**
 * The properties of a message that was received. A property that the publisher did not set is `undefined`.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReceivedProperties extends Properties {
  /** What is left of it is not known: RabbitMQ passes on what the publisher set. */
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
 * A message with a text as its body, in UTF-8. The content type is `text/plain; charset=utf-8` unless given.
 *
 * @category constructors
 * @since 0.1.0
 */
export const text = (body: string, properties?: Properties): AmqpMessage =>
  new Message(encoder.encode(body), withDefaults(textProperties, properties))

const jsonProperties: Properties = Object.freeze({ contentType: "application/json" })

/**
 * A message with a value as its body, as `JSON.stringify` writes it. The content type is `application/json` unless given.
 *
 * **Gotchas**
 *
 * Throws a `TypeError` for a value that JSON can't express: `undefined`, a function, a bigint or a cycle. Where values come from
 * outside, {@link schema} has a typed error for them: `AmqpMessage.schema(Schema.Json)`.
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
 * What is written and read: a schema of the body, or an envelope of the whole message; see `AmqpEnvelope`.
 *
 * @category models
 * @since 0.1.0
 */
export type MessageSchema = Schema.Constraint | AmqpEnvelope.AmqpEnvelope<Schema.Constraint>

/**
 * Messages whose bodies are the JSON of values that a schema describes, as {@link decode} reads it.
 *
 * **Details**
 *
 * The properties given with the schema are those of every message; the ones given with a value add to them. The content type is
 * `application/json` unless one of them says otherwise. The JSON is that of `Schema.toCodecJson`: a `Date` is a string in it.
 *
 * With an envelope the value has properties and headers too, and they come before those that are given.
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
    // An envelope is only made of a schema whose encoded side this is.
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

/** What is `undefined` in `properties` is so in the message, as it is without defaults. */
const withDefaults = (defaults: Properties, properties: Properties | undefined): Properties =>
  properties === undefined ? defaults : { ...defaults, ...properties }

/**
 * A message to publish, made of one that was received: the same body and the same properties, to which the ones given add.
 *
 * **Details**
 *
 * What is not replaced is sent byte for byte as it came: the types and the order of headers, texts that are not UTF-8, and properties that
 * AMQP 0-9-1 does not have. To add a header, spread those that came: `{ headers: { ...delivery.properties.headers, attempt: 2 } }`.
 *
 * The property `userId` is left out, as RabbitMQ's federation leaves it out (RabbitMQ, "Validated User-ID"): the broker answers a
 * message that names another user than that of the connection with 406, and closes the channel. To keep it, give it.
 *
 * Fails with an `AmqpDecodeError` whose problem is `Properties` when the publisher sent malformed ones.
 *
 * **Gotchas**
 *
 * What the properties ask for, they ask for again: a header `CC` has the message go to the queues that it names, an `expiration`
 * counts from the start, and replies still go to `replyTo`. `x-death` and other headers of brokers are kept.
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
 * What is decoded: the body and properties of a message, such as a delivery.
 *
 * @category models
 * @since 0.1.0
 */
export interface Content {
  readonly body: Uint8Array
  readonly properties: Properties | ReceivedProperties
}

/**
 * How large a body may become.
 *
 * @category models
 * @since 0.1.0
 */
export interface DecompressOptions {
  /**
   * The size of the decompressed body, in bytes, from 0; `Infinity` is no limit. What decompresses to more is a failure, and not
   * decompressed any further. Default: 16,777,216 (16 MiB). The compressed body is bounded by the connection's `maxBodySize`.
   */
  readonly maxDecompressedSize?: number | undefined
}

/**
 * How {@link decode} decodes.
 *
 * @category models
 * @since 0.1.0
 */
export interface DecodeOptions extends DecompressOptions {
  /**
   * Whether the properties have to say JSON: a content type of `application/json`, `text/json` or one that ends in `+json`, with
   * no other charset than UTF-8, and no content encoding but `identity` or `utf-8`. What is absent says JSON. Default: `true`.
   */
  readonly checkContentType?: boolean | undefined
  /**
   * Whether a body is decompressed whose content encoding is `gzip` or `deflate`. Any other encoding, and several, are then a
   * problem also when the content type is not checked. Bodies without an encoding are read as they are without this option.
   * Default: `false`.
   */
  readonly decompress?: boolean | undefined
}

/**
 * The value in the body of a message, read as JSON by a schema, which {@link schema} wrote; or that of the whole message, by an
 * envelope.
 *
 * **Details**
 *
 * Throws an `InvalidArgument` for unknown options and values out of their range. The Effect fails with an `AmqpDecodeError` whose
 * `problem` and `part` tell what is wrong, and never dies of what a publisher sent. For a
 * handler of deliveries see `AmqpDelivery.handleDecoded`.
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
 * The JSON in the body of a message, whatever it is; see {@link decode} for the errors.
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
 * What {@link stamp} adds.
 *
 * @category models
 * @since 0.1.0
 */
export interface StampOptions {
  /** A UUID of version 7 as `messageId`: unique, and in the order of time by the millisecond. Default: `false`. */
  readonly messageId?: boolean | undefined
  /** The time as `timestamp`, of which AMQP keeps whole seconds. Default: `false`. */
  readonly timestamp?: boolean | undefined
}

/**
 * Gives messages an id and the time, where they have none.
 *
 * **Details**
 *
 * The time is that of Effect's `Clock`, and the id is drawn from Effect's `Random`: under `TestClock` and `Random.withSeed` both
 * are the same in each run. An id is no secret. Throws an `InvalidArgument` for unknown options, and for values other than true and
 * false.
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
 * What {@link pretty} shows: a message, with where it was published to when that is known.
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
 * How {@link pretty} shows a message.
 *
 * @category models
 * @since 0.1.0
 */
export interface PrettyOptions {
  /** How much of a body that is text is shown, in bytes; of other bytes an eighth of that. Default: 1024. */
  readonly maxBodySize?: number | undefined
}

/**
 * A message or delivery as lines for people: where it was published to, the properties that are set, the headers, the body.
 *
 * **Details**
 *
 * A body that is printable UTF-8 is shown as text, others as hexadecimal digits. Shown are the first `maxBodySize` bytes of text
 * (default: 1024) and an eighth of that of other bytes; of texts in properties and headers 512 characters, of tables and arrays
 * 64 entries. What is cut is named with its full size. Controls are escaped, so that a message can't pretend to be a line of the
 * log. The content of `Redacted` values is not shown; what the body holds is. Throws an `InvalidArgument` for unknown options and a
 * size that is not a number from 0.
 *
 * The messages of the constructors here and deliveries show themselves like this in `console.log` and in Effect's loggers.
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
