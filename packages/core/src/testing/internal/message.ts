/** A message as the broker keeps it: never changed, and shared by all queues that it was routed to. */
import type { BasicProperties } from "../../protocol/BasicProperties.ts"

export interface Message {
  /** The exchange that it was published to, `""` for the default exchange. */
  readonly exchange: string
  readonly routingKey: string
  readonly properties: BasicProperties
  readonly body: Uint8Array
}
