/**
 * The properties of a message that is moved: the same bytes, without what belongs to the queue that it comes from.
 */
import type { ReceivedProperties } from "../../AmqpMessage.ts"
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"
import { ProtocolError } from "../../protocol/ProtocolError.ts"
import { decodeProperties, encodedProperties } from "../message/properties.ts"

/** The bits of the property flags (section 4.2.6.1 of the AMQP 0-9-1 specification). */
const hasHeaders = 0x2000
const hasUserId = 0x0010

/** Headers that make a broker send copies elsewhere, which a move must not do, or that it sets for the queue that a message is in. */
const isOfQueue = (name: string): boolean => /^(?:B?CC|x-delivery-count|x-acquired-count)$/.test(name)

/** Headers that count failures: those of `AmqpFailurePolicy`, and those that brokers write for dead letters. */
const isOfFailures = (name: string): boolean => /^x-(?:failure-.*|death|(?:first|last)-death-.*)$/.test(name)

const flagsOf = (encoded: Uint8Array): number => (encoded[0] << 8) | encoded[1]

/** `undefined` for properties that were published malformed. */
const decode = (encoded: Uint8Array): ReceivedProperties | undefined => {
  try {
    return decodeProperties(encoded)
  } catch (thrown) {
    if (thrown instanceof ProtocolError) return undefined
    throw thrown
  }
}

/** Whether encoded properties have a header. */
export const hasHeader = (encoded: Uint8Array, name: string): boolean =>
  (flagsOf(encoded) & hasHeaders) !== 0 && Object.hasOwn(decode(encoded)?.headers ?? {}, name)

/**
 * The encoded properties of the copy. A `userId` of another user is left out, as brokers refuse it. Throws an `EncodeError`.
 */
export const movedProperties = (encoded: Uint8Array, username: string, resetFailures: boolean): Uint8Array => {
  if ((flagsOf(encoded) & (hasHeaders | hasUserId)) === 0) return encoded
  const properties = decode(encoded)
  if (properties === undefined) return encoded
  const { headers = {}, userId } = properties
  const isLeftOut = (name: string): boolean => isOfQueue(name) || (resetFailures && isOfFailures(name))
  const keepsUserId = userId === undefined || userId === username
  const keepsHeaders = !Object.keys(headers).some(isLeftOut)
  if (keepsUserId && keepsHeaders) return encoded
  return encodedProperties({
    ...properties,
    headers: keepsHeaders ? properties.headers : without(headers, isLeftOut),
    userId: keepsUserId ? userId : undefined
  })
}

const without = (headers: FieldTable, isLeftOut: (name: string) => boolean): FieldTable | undefined => {
  const kept: Record<string, FieldValue | undefined> = {}
  for (const [name, value] of Object.entries(headers)) if (!isLeftOut(name)) kept[name] = value
  return Object.keys(kept).length === 0 ? undefined : kept
}
