/**
 * Messages to publish: a body and its properties.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as BasicProperties from "./protocol/BasicProperties.ts"
import type { FieldTable } from "./protocol/fieldTable.ts"
import { EncodeError } from "./protocol/ProtocolError.ts"

/**
 * The properties of a message (section 1.8.1 of the AMQP 0-9-1 reference). Texts hold at most 255 bytes of UTF-8. What is
 * absent or `undefined` is not sent; `0` and `""` are.
 *
 * @category models
 * @since 0.1.0
 */
export interface Properties {
  /** MIME type of the body. */
  readonly contentType?: string | undefined
  /** MIME content encoding of the body, such as `gzip`. */
  readonly contentEncoding?: string | undefined
  /** Headers of the application, and what a headers exchange routes by. */
  readonly headers?: FieldTable | undefined
  /** Whether the broker writes the message to disk in a durable queue. Brokers treat absent as `transient`. */
  readonly deliveryMode?: "transient" | "persistent" | undefined
  /** 0 to 255; counts in queues declared with a maximum priority. */
  readonly priority?: number | undefined
  /** What a reply refers to. */
  readonly correlationId?: string | undefined
  /** The queue that replies go to. */
  readonly replyTo?: string | undefined
  /** How long the message may wait in a queue; whole milliseconds (RabbitMQ, "Per-Message TTL"). */
  readonly expiration?: Duration.Input | undefined
  /** The application's id of the message. */
  readonly messageId?: string | undefined
  /** When the message was made; AMQP keeps whole seconds. */
  readonly timestamp?: Date | undefined
  /** The application's name of the message's type. */
  readonly type?: string | undefined
  /** The publishing user; RabbitMQ refuses any but the connection's. */
  readonly userId?: string | undefined
  /** The publishing application. */
  readonly appId?: string | undefined
}

/**
 * A message to publish.
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
}

const encoder = new TextEncoder()
const noProperties: Properties = Object.freeze({})

/**
 * A message with these bytes as its body.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (body: Uint8Array, properties: Properties = noProperties): AmqpMessage => ({ body, properties })

const textProperties: Properties = Object.freeze({ contentType: "text/plain; charset=utf-8" })

/**
 * A message with a text as its body, in UTF-8. The content type is `text/plain; charset=utf-8` unless given.
 *
 * @category constructors
 * @since 0.1.0
 */
export const text = (body: string, properties?: Properties): AmqpMessage =>
  make(encoder.encode(body), properties === undefined ? textProperties : { ...textProperties, ...properties })

const jsonProperties: Properties = Object.freeze({ contentType: "application/json" })

/**
 * A message with a value as its body, as `JSON.stringify` writes it. The content type is `application/json` unless given.
 *
 * **Gotchas**
 *
 * Throws a `TypeError` for a value that JSON can't express: `undefined`, a function, a bigint or a cycle.
 *
 * @category constructors
 * @since 0.1.0
 */
export const json = (value: unknown, properties?: Properties): AmqpMessage => {
  const body: string | undefined = JSON.stringify(value)
  if (body === undefined) throw new TypeError("AmqpMessage.json: the value has no JSON")
  return make(encoder.encode(body), properties === undefined ? jsonProperties : { ...jsonProperties, ...properties })
}

const wireProperties = new WeakMap<Properties, BasicProperties.BasicProperties>()
const deliveryModes = { transient: 1, persistent: 2 } as const

/**
 * The properties as they go over the wire. Throws an `EncodeError` for an expiration without end.
 *
 * @internal
 */
export const encodeProperties = (properties: Properties): BasicProperties.BasicProperties => {
  const known = wireProperties.get(properties)
  if (known !== undefined) return known
  const { deliveryMode, expiration, timestamp, ...same } = properties
  const encoded: BasicProperties.BasicProperties = {
    ...same,
    deliveryMode: deliveryMode && deliveryModes[deliveryMode],
    expiration: expiration === undefined ? undefined : encodeExpiration(Duration.toMillis(expiration)),
    timestamp: timestamp === undefined ? undefined : Math.floor(timestamp.getTime() / 1000)
  }
  // Only objects that can't change may be remembered.
  if (Object.isFrozen(properties)) wireProperties.set(properties, encoded)
  return encoded
}

const encodeExpiration = (millis: number): string => {
  if (!Number.isFinite(millis)) {
    throw new EncodeError({ message: "expiration: must end; leave it out for no expiration" })
  }
  return String(Math.ceil(millis))
}

/**
 * Properties as they came over the wire.
 *
 * @internal
 */
export const decodeProperties = (bytes: Uint8Array): Properties => {
  const { clusterId: _, deliveryMode, expiration, timestamp, ...same } = BasicProperties.decodeProperties(bytes)
  const millis = expiration === undefined || !/^\d+$/.test(expiration) ? undefined : Number(expiration)
  return {
    ...same,
    deliveryMode: deliveryMode === 2 ? "persistent" : deliveryMode === undefined ? undefined : "transient",
    expiration: millis === undefined ? undefined : Duration.millis(millis),
    timestamp: timestamp === undefined ? undefined : new Date(Number(timestamp) * 1000)
  }
}
