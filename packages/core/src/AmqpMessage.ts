/**
 * Messages: a body and its properties.
 *
 * {@link text}, {@link json} and {@link make} build one from a text, a value and bytes; {@link schema} from a value that a schema
 * describes, and {@link decode} gives the value back. {@link stamp} adds an id and the time, {@link pretty} shows a message to
 * people.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { NodeInspectSymbol } from "effect/Inspectable"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import { AmqpDecodeError } from "./AmqpError.ts"
import type { Properties, ReceivedProperties } from "./internal/properties.ts"
import * as Rendering from "./internal/rendering.ts"
import { uuidV7 } from "./internal/uuid.ts"
import { ProtocolError } from "./protocol/ProtocolError.ts"

export type { Properties, RawProperties, ReceivedProperties } from "./internal/properties.ts"
export { TypedField } from "./protocol/fieldTable.ts"
export type { FieldTable, FieldType, FieldValue } from "./protocol/fieldTable.ts"

/** @internal */
export { decodeProperties, encodeProperties } from "./internal/properties.ts"

/**
 * A message to publish. The constructors make one that `console.log` and Effect's loggers show as {@link pretty} and not byte by
 * byte; any object with these two properties is as good to publish.
 *
 * **Gotchas**
 *
 * The body is not copied when it is large: it must not change until the publish is confirmed, or, without confirms, until
 * the channel is closed.
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

class Message implements AmqpMessage {
  readonly body: Uint8Array
  readonly properties: Properties

  constructor(body: Uint8Array, properties: Properties) {
    this.body = body
    this.properties = properties
  }

  toString(): string {
    return Rendering.pretty("AmqpMessage", this)
  }

  toJSON(): unknown {
    return Rendering.toJson("AmqpMessage", this)
  }

  [NodeInspectSymbol](): unknown {
    return this.toString()
  }
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
 * Messages whose bodies are the JSON of values that a schema describes, as {@link decode} reads it.
 *
 * **Details**
 *
 * The properties given with the schema are those of every message; the ones given with a value add to them. The content type is
 * `application/json` unless one of them says otherwise. The JSON is that of `Schema.toCodecJson`: a `Date` is a string in it.
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
export const schema = <S extends Schema.Constraint>(
  schema: S,
  properties?: Properties
): (
  value: S["Type"],
  properties?: Properties
) => Effect.Effect<AmqpMessage, Schema.SchemaError, S["EncodingServices"]> => {
  const encode = Schema.encodeUnknownEffect(Schema.fromJsonString(Schema.toCodecJson(schema)))
  const defaults = Object.freeze(withDefaults(jsonProperties, properties))
  return (value, properties) =>
    Effect.map(encode(value), (body) => new Message(encoder.encode(body), withDefaults(defaults, properties)))
}

/** What is `undefined` in `properties` is so in the message, as it is without defaults. */
const withDefaults = (defaults: Properties, properties: Properties | undefined): Properties =>
  properties === undefined ? defaults : { ...defaults, ...properties }

// -----------------------------------------------------------------------------
// decoding
// -----------------------------------------------------------------------------

/**
 * What {@link decode} reads: the body and properties of a message, such as a delivery.
 *
 * @category models
 * @since 0.1.0
 */
export interface Encoded {
  readonly body: Uint8Array
  readonly properties: Properties | ReceivedProperties
}

/**
 * How {@link decode} decodes.
 *
 * @category models
 * @since 0.1.0
 */
export interface DecodeOptions {
  /**
   * Whether the properties have to say JSON: a content type of `application/json`, `text/json` or one that ends in `+json`, with
   * no other charset than UTF-8, and no content encoding but `identity` or `utf-8`. What is absent says JSON. Default: `true`.
   */
  readonly checkContentType?: boolean | undefined
}

/**
 * The value in the body of a message, read as JSON by a schema, which {@link schema} wrote.
 *
 * **Details**
 *
 * Fails with an `AmqpDecodeError` whose `problem` tells what is wrong, and never dies of what a publisher sent. For a handler of
 * deliveries see `AmqpDelivery.decoded`.
 *
 * **Example** (Reading an order)
 *
 * ```ts
 * import { AmqpConsumer, AmqpMessage } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 * import * as Stream from "effect/Stream"
 *
 * const decodeOrder = AmqpMessage.decode(Schema.Struct({ id: Schema.Int, placedAt: Schema.Date }))
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
export const decode = <S extends Schema.Constraint>(
  schema: S,
  { checkContentType = true }: DecodeOptions = {}
): (message: Encoded) => Effect.Effect<S["Type"], AmqpDecodeError, S["DecodingServices"]> => {
  const decodeValue = Schema.decodeUnknownEffect(Schema.toCodecJson(schema))
  return (message) =>
    Effect.suspend(() => {
      let value: unknown
      try {
        if (checkContentType) checkIsJson(message)
        value = parse(message.body)
      } catch (thrown) {
        if (thrown instanceof AmqpDecodeError) return Effect.fail(thrown)
        throw thrown
      }
      return Effect.mapError(decodeValue(value), ({ message }) => problem("Schema", message))
    })
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

const problem = (problem: AmqpDecodeError["problem"], description: string): AmqpDecodeError =>
  new AmqpDecodeError({ problem, description })

const jsonType = /^(?:(?:application|text)\/json|[^;\s/]+\/[^;\s/]+\+json)\s*(?:;|$)/i
const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i
/** Some publishers, as Python's kombu, name the charset as the encoding. */
const plainEncodings: ReadonlySet<string> = new Set(["", "identity", "utf-8", "utf8", "us-ascii", "ascii"])

const checkIsJson = (message: Encoded): void => {
  const { contentEncoding, contentType } = propertiesOf(message)
  if (contentType !== undefined && contentType !== "") {
    const encoding = charset.exec(contentType)?.[1] ?? ""
    if (!jsonType.test(contentType) || !plainEncodings.has(encoding.toLowerCase())) {
      throw problem("ContentType", `the content type is ${JSON.stringify(contentType)}, not JSON in UTF-8`)
    }
  }
  if (contentEncoding !== undefined && !plainEncodings.has(contentEncoding.toLowerCase())) {
    throw problem("ContentEncoding", `the body is encoded as ${JSON.stringify(contentEncoding)}`)
  }
}

const propertiesOf = (message: Encoded): Properties => {
  try {
    return message.properties
  } catch (thrown) {
    if (thrown instanceof ProtocolError) throw problem("Properties", thrown.message)
    throw thrown
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true })

const parse = (body: Uint8Array): unknown => {
  let text: string
  try {
    text = utf8.decode(body)
  } catch {
    throw problem("Text", `the body of ${body.length} bytes is no UTF-8`)
  }
  try {
    return JSON.parse(text)
  } catch {
    // The engine's own words quote the text.
    throw problem("Json", body.length === 0 ? "the body is empty" : `the body of ${body.length} bytes is no JSON`)
  }
}

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
 * are the same in each run. An id is no secret.
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
export const stamp = (options: StampOptions) => (message: AmqpMessage): Effect.Effect<AmqpMessage> =>
  Effect.flatMap(
    Effect.service(Random.Random),
    (random) => Effect.map(Effect.service(Clock.Clock), (clock) => stampUnsafe(message, options, clock, random))
  )

/**
 * What {@link stamp} does, for callers that have the services at hand.
 *
 * @internal
 */
export const stampUnsafe = (
  message: AmqpMessage,
  options: StampOptions,
  clock: Clock.Clock,
  random: Random.Random
): AmqpMessage => {
  const { properties } = message
  const needsId = options.messageId === true && properties.messageId === undefined
  const needsTime = options.timestamp === true && properties.timestamp === undefined &&
    properties.raw?.timestamp === undefined
  if (!needsId && !needsTime) return message
  const now = clock.currentTimeMillisUnsafe()
  return new Message(message.body, {
    ...properties,
    ...(needsId && { messageId: uuidV7(now, random) }),
    ...(needsTime && { timestamp: new Date(now) })
  })
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
 * log. The content of `Redacted` values is not shown; what the body holds is.
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
  options?: { readonly maxBodySize?: number | undefined }
): string => Rendering.pretty(message.deliveryTag === undefined ? "AmqpMessage" : "AmqpDelivery", message, options)
