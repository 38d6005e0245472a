/** A message as the broker keeps it: never changed, and shared by all queues that it was routed to. */
import { decodeProperties } from "../../protocol/BasicProperties.ts"
import type { BasicProperties } from "../../protocol/BasicProperties.ts"

export interface Message {
  /** The exchange that it was published to, `""` for the default exchange. */
  readonly exchange: string
  readonly routingKey: string
  readonly properties: BasicProperties
  readonly body: Uint8Array
}

/**
 * The bytes that properties were read from, as long as nobody replaces them: decoding forgets how wide an integer of the
 * headers was, and a broker passes on what it got.
 */
const encodings = new WeakMap<BasicProperties, Uint8Array>()

/** Reads properties whose bytes nobody writes to. */
export const readProperties = (bytes: Uint8Array): BasicProperties => {
  const properties = decodeProperties(bytes)
  encodings.set(properties, bytes)
  return properties
}

/** The bytes of properties that came from `readProperties`. */
export const encodingOf = (properties: BasicProperties): Uint8Array | undefined => encodings.get(properties)
