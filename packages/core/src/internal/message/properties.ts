/** Encodes and decodes the properties of messages. */
import type * as DateTime from "effect/DateTime"
import { isDateTime, toEpochMillis } from "effect/DateTime"
import * as Duration from "effect/Duration"
import type { Properties, ReceivedProperties } from "../../AmqpMessage.ts"
import * as BasicProperties from "../../protocol/BasicProperties.ts"
import { bytesOf } from "../../protocol/bytes.ts"
import type { ByteWriter } from "../../protocol/ByteWriter.ts"
import { draft } from "../../protocol/draft.ts"
import { EncodedTable, isTable } from "../../protocol/fieldTable.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import { EncodeError } from "../../protocol/ProtocolError.ts"

// -----------------------------------------------------------------------------
// encoding
// -----------------------------------------------------------------------------

/** The encodings of immutable properties, such as those that all messages of a schema share. */
const encodings = new WeakMap<Properties, Uint8Array>()

/** The encoding of immutable properties that were encoded before. */
export const knownEncoding = (properties: Properties): Uint8Array | undefined => encodings.get(properties)

/**
 * Encodes properties. The writer is a draft, as reading properties may run the user's code. Throws an `EncodeError` for
 * values that can't be sent, and whatever that code throws.
 */
export const writeProperties = (writer: ByteWriter, properties: Properties): void => {
  const known = encodings.get(properties)
  if (known !== undefined) return writer.bytes(known)
  const start = writer.provisionalBytes
  BasicProperties.encodeProperties(writer, toWire(properties), properties.raw?.headers)
  if (isConstant(properties)) encodings.set(properties, writer.bytesSince(start))
}

/** The encoded properties, for comparisons. */
export const encodedProperties = (properties: Properties): Uint8Array => {
  const start = draft.provisionalBytes
  try {
    writeProperties(draft, properties)
    return draft.bytesSince(start)
  } finally {
    draft.truncate(start)
  }
}

/** Whether the properties are immutable. */
const isConstant = (properties: Properties): boolean =>
  Object.isFrozen(properties) &&
  Object.values(Object.getOwnPropertyDescriptors(properties)).every((property) =>
    "value" in property && (typeof property.value !== "object" || property.value === null)
  )

const toWire = (properties: Properties): BasicProperties.BasicProperties => {
  if (typeof properties !== "object" || properties === null) {
    throw new EncodeError({ message: "The properties: must be an object" })
  }
  const { raw } = properties
  for (const name in properties) {
    if (!names.has(name)) throw new EncodeError({ message: `${name}: no property has this name` })
  }
  return {
    contentType: text("contentType", properties.contentType),
    contentEncoding: text("contentEncoding", properties.contentEncoding),
    headers: table(properties.headers),
    deliveryMode: properties.deliveryMode === undefined ? raw?.deliveryMode : mode(properties.deliveryMode),
    priority: properties.priority,
    correlationId: text("correlationId", properties.correlationId),
    replyTo: text("replyTo", properties.replyTo),
    expiration: properties.expiration === undefined
      ? text("raw.expiration", raw?.expiration)
      : encodeExpiration(properties.expiration),
    messageId: text("messageId", properties.messageId),
    timestamp: properties.timestamp === undefined ? raw?.timestamp : encodeTimestamp(properties.timestamp),
    type: text("type", properties.type),
    userId: text("userId", properties.userId),
    appId: text("appId", properties.appId),
    clusterId: text("raw.clusterId", raw?.clusterId),
    unknown: raw?.unknown && unknown(raw.unknown)
  }
}

const names: ReadonlySet<string> = new Set(
  Object.keys(
    {
      contentType: true,
      contentEncoding: true,
      headers: true,
      deliveryMode: true,
      priority: true,
      correlationId: true,
      replyTo: true,
      expiration: true,
      messageId: true,
      timestamp: true,
      type: true,
      userId: true,
      appId: true,
      raw: true
    } satisfies Record<keyof Properties, true>
  )
)

// JavaScript and `any` bypass the types, and a number would be sent as an empty string.
const text = (name: string, value: string | undefined): string | undefined => {
  if (value === undefined || typeof value === "string") return value
  throw new EncodeError({ message: `${name}: must be a string` })
}

const table = (headers: FieldTable | undefined): FieldTable | undefined => {
  if (headers === undefined || isTable(headers)) return headers
  throw new EncodeError({ message: "headers: must be a plain object" })
}

const unknown = ({ flags, values }: BasicProperties.UnknownProperties): BasicProperties.UnknownProperties => {
  if (!Array.isArray(flags)) throw new EncodeError({ message: "raw.unknown.flags: must be an array" })
  return { flags, values: bytesOf("raw.unknown.values", values) }
}

const mode = (value: NonNullable<Properties["deliveryMode"]>): number => {
  switch (value) {
    case "transient":
      return 1
    case "persistent":
      return 2
    default:
      throw new EncodeError({ message: "deliveryMode: must be \"transient\" or \"persistent\"" })
  }
}

/** RabbitMQ accepts 32 bits. */
const maxExpiration = 0xffffffff

/** The original digits of received durations that are written differently, such as `"007"`. */
const digitsOf = new WeakMap<Duration.Duration, string>()

const encodeExpiration = (input: Duration.Input): string => {
  const digits = Duration.isDuration(input) ? digitsOf.get(input) : undefined
  if (digits !== undefined) return digits
  const millis = Math.ceil(toMillis(input))
  if (millis === Infinity) {
    throw new EncodeError({ message: "expiration: must be finite; leave it out for no expiration" })
  }
  if (!(millis >= 0 && millis <= maxExpiration)) {
    throw new EncodeError({ message: `expiration: must be from 0 to ${maxExpiration} milliseconds` })
  }
  return String(millis)
}

/** NaN for anything but a duration. */
const toMillis = (input: Duration.Input): number => {
  // `Duration` takes NaN for 0.
  if (typeof input === "number") return input
  try {
    return Duration.toMillis(input)
  } catch {
    return NaN
  }
}

const encodeTimestamp = (value: Date | DateTime.DateTime): number => {
  const millis = value instanceof Date ? value.getTime() : isDateTime(value) ? toEpochMillis(value) : NaN
  const seconds = Math.floor(millis / 1000)
  if (!(seconds >= 0)) {
    throw new EncodeError({ message: "timestamp: must be a valid Date or DateTime, from 1970 on" })
  }
  return seconds
}

// -----------------------------------------------------------------------------
// decoding
// -----------------------------------------------------------------------------

/** The last second that a `Date` can represent. */
const maxDateSeconds = 8_640_000_000_000

/** Decodes properties. Throws a `ProtocolError` for malformed bytes. */
export const decodeProperties = (bytes: Uint8Array): ReceivedProperties => {
  const wire = BasicProperties.decodeProperties(bytes)
  const { clusterId, deliveryMode, expiration, timestamp } = wire
  const duration = expiration === undefined ? undefined : decodeExpiration(expiration)
  const date = typeof timestamp === "number" && timestamp <= maxDateSeconds ? new Date(timestamp * 1000) : undefined
  const isOtherMode = deliveryMode !== undefined && deliveryMode !== 1 && deliveryMode !== 2
  const isOtherExpiration = expiration !== undefined && duration === undefined
  const isOtherTimestamp = timestamp !== undefined && date === undefined
  const headers = wire.headers && EncodedTable.of(wire.headers)
  return {
    contentType: wire.contentType,
    contentEncoding: wire.contentEncoding,
    headers: wire.headers,
    deliveryMode: deliveryMode === 2 ? "persistent" : deliveryMode === 1 ? "transient" : undefined,
    priority: wire.priority,
    correlationId: wire.correlationId,
    replyTo: wire.replyTo,
    expiration: duration,
    messageId: wire.messageId,
    timestamp: date,
    type: wire.type,
    userId: wire.userId,
    appId: wire.appId,
    raw: clusterId !== undefined || isOtherMode || isOtherExpiration || isOtherTimestamp || headers !== undefined ||
        wire.unknown !== undefined
      ? {
        deliveryMode: isOtherMode ? deliveryMode : undefined,
        expiration: isOtherExpiration ? expiration : undefined,
        timestamp: isOtherTimestamp ? timestamp : undefined,
        clusterId,
        ...(headers && { headers }),
        ...(wire.unknown && { unknown: wire.unknown })
      }
      : undefined
  }
}

const decodeExpiration = (digits: string): Duration.Duration | undefined => {
  if (!/^\d+$/.test(digits)) return undefined
  const millis = Number(digits)
  // A longer duration than RabbitMQ accepts could not be sent again.
  if (millis > maxExpiration) return undefined
  const duration = Duration.millis(millis)
  if (String(millis) !== digits) digitsOf.set(duration, digits)
  return duration
}
