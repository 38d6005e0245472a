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
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as AmqpEnvelope from "./AmqpEnvelope.ts"
import type { AmqpDecodeError } from "./AmqpError.ts"
import * as Decoding from "./internal/message/contentChecks.ts"
import type { Encoded } from "./internal/message/contentChecks.ts"
import { Message } from "./internal/message/message.ts"
import * as Rendering from "./internal/message/pretty.ts"
import type { Properties } from "./internal/message/properties.ts"
import * as Decoders from "./internal/message/schemaDecoders.ts"
import * as Stamp from "./internal/message/stamp.ts"
import * as Validation from "./internal/options/validation.ts"

export type { DecompressOptions, Encoded } from "./internal/message/contentChecks.ts"
export type { Properties, RawProperties, ReceivedProperties } from "./internal/message/properties.ts"
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
export type Content = Schema.Constraint | AmqpEnvelope.AmqpEnvelope<Schema.Constraint>

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
export const schema = <S extends Content>(
  schema: S,
  properties?: Properties
): (
  value: S["Type"],
  properties?: Properties
) => Effect.Effect<AmqpMessage, Schema.SchemaError, S["EncodingServices"]> =>
  AmqpEnvelope.isAmqpEnvelope(schema) ? ofParts(schema, properties) : ofBodies(schema, properties)

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
  delivery: Encoded,
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
 * How {@link decode} decodes.
 *
 * @category models
 * @since 0.1.0
 */
export interface DecodeOptions extends Decoding.DecompressOptions {
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
 * handler of deliveries see `AmqpDelivery.decoded`.
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
export const decode = <S extends Content>(
  schema: S,
  options: DecodeOptions = {}
): (message: Encoded) => Effect.Effect<S["Type"], AmqpDecodeError, S["DecodingServices"]> =>
  AmqpEnvelope.isAmqpEnvelope(schema)
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
export const decodeJson: (message: Encoded) => Effect.Effect<Schema.Json, AmqpDecodeError> = (message) =>
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
export interface Renderable extends Rendering.Renderable {}

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
  options: { readonly maxBodySize?: number | undefined } = {}
): string => {
  Validation.limit("maxBodySize", Validation.knownKeys(options, ["maxBodySize"], "options of pretty").maxBodySize)
  return Rendering.pretty(message.deliveryTag === undefined ? "AmqpMessage" : "AmqpDelivery", message, options)
}
