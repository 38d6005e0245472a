/**
 * What a consumer needs from its connection.
 */
import type { FieldTable } from "../../protocol/fieldTable.ts"
import type { Channels } from "../channel/channels.ts"
import type { SessionOptions } from "../options/sessionOptions.ts"

export interface ConsumerHost {
  readonly channels: Pick<Channels, "scoped">
  readonly options: Pick<SessionOptions, "closeTimeout">
  /** The largest body that is received, in bytes. */
  readonly maxBodySize: number
  /** How the broker describes itself. */
  readonly serverProperties: FieldTable
  /** Whether the broker supports an extension of AMQP 0-9-1. */
  supports(capability: string): boolean
}
