/**
 * What a session is made with, and what it agrees on with the broker.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { TransportProtection } from "../../AmqpConnection.ts"
import type { CredentialsUnavailable } from "../../AmqpError.ts"
import type { Credentials, Mechanism } from "../../AmqpSasl.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"

export interface SessionOptions {
  /** Asked for each session, and again before what it answers expires. */
  readonly credentials: Effect.Effect<Credentials, CredentialsUnavailable>
  /** In the order of preference. */
  readonly mechanisms: NonEmptyReadonlyArray<Mechanism>
  /** How long before the expiry new credentials are asked for. */
  readonly refreshMargin: Duration.Duration
  readonly transport: TransportProtection | undefined
  readonly virtualHost: string
  readonly locale: string
  readonly clientProperties: FieldTable
  readonly heartbeatSeconds: number
  readonly frameMax: number
  /** The largest frame that is sent before the tuning; absent: as the server's version says. */
  readonly initialFrameMax: number | undefined
  readonly channelMax: number
  readonly maxHeaderSize: number
  readonly maxBodySize: number
  readonly maxPublishSize: number
  readonly maxIdleChannels: number
  readonly connectTimeout: Duration.Duration
  readonly handshakeTimeout: Duration.Duration
  readonly requestTimeout: Duration.Duration
  readonly closeTimeout: Duration.Duration
  /** How long to wait for a channel while all are in use. */
  readonly channelTimeout: Duration.Duration
}

/** What both sides agreed on. `frameMax` in bytes, 0: no limit; `channelMax` 0: no limit; `heartbeatSeconds` 0: none. */
export interface Tuning {
  readonly frameMax: number
  readonly channelMax: number
  readonly heartbeatSeconds: number
}
