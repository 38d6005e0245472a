/** A message as the broker keeps it: immutable, and shared by all queues that it was routed to. */
import { decodeProperties, encodeProperties } from "../../../protocol/BasicProperties.ts"
import type { BasicProperties } from "../../../protocol/BasicProperties.ts"
import { ByteWriter } from "../../../protocol/ByteWriter.ts"
import { ReplyCode } from "../../../protocol/constants.ts"
import type { FieldTable, FieldValue } from "../../../protocol/fieldTable.ts"
import { ProtocolError } from "../../../protocol/ProtocolError.ts"
import { joined } from "./bytes.ts"

export interface Message {
  /** The exchange that it was published to, `""` for the default exchange. */
  readonly exchange: string
  readonly routingKey: string
  readonly properties: BasicProperties
  /** The properties as they were published, if the broker has changed them since: in a dead letter. */
  readonly publishedProperties?: BasicProperties
  readonly body: Uint8Array
  /** Additional routing keys from the headers `CC` and `BCC`, in this order. */
  readonly copies?: ReadonlyArray<string>
  /** Those from `BCC`, a header that is never delivered. */
  readonly blindCopies?: ReadonlyArray<string>
  /** How often it failed in the queues that dead-lettered it, where they count that. */
  readonly failures?: number
  /** Its deaths, the last one first, if they are recorded outside of its `x-death` header. */
  readonly deaths?: ReadonlyArray<FieldTable>
}

/**
 * The bytes that properties were decoded from. Decoding forgets how wide an integer in the headers was, and a broker passes
 * on what it received.
 */
const encodings = new WeakMap<BasicProperties, Uint8Array>()

/**
 * Reads properties from bytes that nothing writes to afterwards. Throws the error with which RabbitMQ closes the connection if it
 * can't read them: 541.
 */
export const readProperties = (bytes: Uint8Array): BasicProperties => {
  const properties = decodeProperties(bytes)
  const { headers, unknown } = properties
  if ((unknown !== undefined && unknown.flags.length + unknown.values.length > 1) || hasInfiniteNumber(headers)) {
    throw new ProtocolError({ replyCode: ReplyCode.internalError, message: "INTERNAL_ERROR" })
  }
  encodings.set(properties, bytes)
  return properties
}

/** The bytes that properties were read from by `readProperties`; `undefined` for other properties. */
export const encodingOf = (properties: BasicProperties): Uint8Array | undefined => encodings.get(properties)

/** The bytes of properties. */
export const encodedProperties = (properties: BasicProperties): Uint8Array => {
  const known = encodingOf(properties)
  if (known !== undefined) return known
  const writer = new ByteWriter(256)
  encodeProperties(writer, properties)
  writer.commit()
  return joined(writer.take())
}

/** Whether a value is or contains NaN or an infinity. */
const hasInfiniteNumber = (value: FieldValue | undefined): boolean => {
  if (typeof value === "number") return !Number.isFinite(value)
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return false
  return Object.values(value).some(hasInfiniteNumber)
}
