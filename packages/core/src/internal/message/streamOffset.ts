/**
 * The header by which a stream tells where in it a message stands (RabbitMQ, "Streams").
 */
import { decodeProperties } from "../../protocol/BasicProperties.ts"
import { fieldOf } from "../../protocol/fieldTable.ts"

/** The argument of a consumer of a stream, and the header of what it is sent (RabbitMQ, "Streams"). */
export const offsetKey = "x-stream-offset"

/** Whether a message has the header that streams set. Properties that can't be read are not a stream's, which writes them anew. */
export const mayBeOfStream = (properties: Uint8Array): boolean => {
  try {
    const { headers } = decodeProperties(properties)
    return headers !== undefined && fieldOf(headers, offsetKey) !== undefined
  } catch {
    return false
  }
}
