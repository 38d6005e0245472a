/**
 * What a session is made with, and what it agrees on with the broker.
 */
import type * as Duration from "effect/Duration"
import type * as Redacted from "effect/Redacted"
import type { FieldTable } from "../protocol/fieldTable.ts"

export interface SessionOptions {
  readonly username: string
  readonly password: Redacted.Redacted<string>
  readonly virtualHost: string
  readonly locale: string
  readonly clientProperties: FieldTable
  readonly heartbeatSeconds: number
  readonly frameMax: number
  readonly channelMax: number
  readonly maxBodySize: number
  readonly maxPublishSize: number
  readonly maxIdleChannels: number
  readonly connectTimeout: Duration.Duration
  readonly handshakeTimeout: Duration.Duration
  readonly requestTimeout: Duration.Duration
  readonly closeTimeout: Duration.Duration
}

/** What both sides agreed on. `frameMax` in bytes, 0: no limit; `channelMax` 0: no limit; `heartbeatSeconds` 0: none. */
export interface Tuning {
  readonly frameMax: number
  readonly channelMax: number
  readonly heartbeatSeconds: number
}
