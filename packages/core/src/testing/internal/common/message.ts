/** A message as the broker keeps it: never changed, and shared by all queues that it was routed to. */
import { decodeProperties, encodeProperties } from "../../../protocol/BasicProperties.ts"
import type { BasicProperties } from "../../../protocol/BasicProperties.ts"
import { ByteWriter } from "../../../protocol/ByteWriter.ts"
import { ReplyCode } from "../../../protocol/constants.ts"
import type { FieldTable, FieldValue } from "../../../protocol/fieldTable.ts"
import { ProtocolError } from "../../../protocol/ProtocolError.ts"

export interface Message {
  /** The exchange that it was published to, `""` for the default exchange. */
  readonly exchange: string
  readonly routingKey: string
  readonly properties: BasicProperties
  /** The properties as they were published, where the broker has changed them since: those of a dead letter. */
  readonly publishedProperties?: BasicProperties
  readonly body: Uint8Array
  /** More keys that it is routed by, from its headers `CC` and `BCC`, in this order. */
  readonly copies?: ReadonlyArray<string>
  /** Those of `BCC`, a header that nobody gets to see. */
  readonly blindCopies?: ReadonlyArray<string>
  /** How often it failed in queues that it was dead-lettered from, where those count that. */
  readonly failures?: number
  /** Of which queues it died, the last first, where that isn't known by its header `x-death` alone. */
  readonly deaths?: ReadonlyArray<FieldTable>
}

/**
 * The bytes that properties were read from, as long as nobody replaces them: decoding forgets how wide an integer of the
 * headers was, and a broker passes on what it got.
 */
const encodings = new WeakMap<BasicProperties, Uint8Array>()

/** Reads properties whose bytes nobody writes to. What RabbitMQ can't read, it answers with 541, and closes the connection. */
export const readProperties = (bytes: Uint8Array): BasicProperties => {
  const properties = decodeProperties(bytes)
  const { headers, unknown } = properties
  if ((unknown !== undefined && unknown.flags.length + unknown.values.length > 1) || isInfinite(headers)) {
    throw new ProtocolError({ replyCode: ReplyCode.internalError, message: "INTERNAL_ERROR" })
  }
  encodings.set(properties, bytes)
  return properties
}

/** The bytes of properties that came from `readProperties`. */
export const encodingOf = (properties: BasicProperties): Uint8Array | undefined => encodings.get(properties)

/** The bytes of properties. */
export const encodedProperties = (properties: BasicProperties): Uint8Array => {
  const known = encodingOf(properties)
  if (known !== undefined) return known
  const writer = new ByteWriter(256)
  encodeProperties(writer, properties)
  writer.commit()
  const [first = new Uint8Array(0), ...rest] = writer.take()
  return rest.length === 0 ? first : new Uint8Array([first, ...rest].flatMap((chunk) => [...chunk]))
}

/** Whether a value is, or holds, a number that is none: NaN or an infinity. */
const isInfinite = (value: FieldValue | undefined): boolean => {
  if (typeof value === "number") return !Number.isFinite(value)
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return false
  return Object.values(value).some(isInfinite)
}
