/** The header with the offset of a message in its stream (RabbitMQ, "Streams"). */
import { decodeProperties } from "../../protocol/BasicProperties.ts"
import { fieldOf } from "../../protocol/fieldTable.ts"

/** The argument of consumers of a stream, and the header of its messages. */
export const offsetKey = "x-stream-offset"

/**
 * Whether a message has the header that streams set. Malformed properties are not from a stream, which encodes
 * them again.
 */
export const mayBeOfStream = (properties: Uint8Array): boolean => {
  try {
    const { headers } = decodeProperties(properties)
    return headers !== undefined && fieldOf(headers, offsetKey) !== undefined
  } catch {
    return false
  }
}
