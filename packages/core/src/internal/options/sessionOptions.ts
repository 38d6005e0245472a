/** The options of a session, and the values that it negotiates with the broker. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { Endpoint, Options, TransportProtection } from "../../AmqpConnection.ts"
import type { CredentialsUnavailable } from "../../AmqpError.ts"
import type { Credentials, Mechanism } from "../../AmqpSasl.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import type { Recovery } from "./recoveryOptions.ts"

export interface SessionOptions {
  /** Run for each session, and again before the credentials expire. */
  readonly credentials: Effect.Effect<Credentials, CredentialsUnavailable>
  /** In order of preference. */
  readonly mechanisms: NonEmptyReadonlyArray<Mechanism>
  /** How long before their expiry credentials are renewed. */
  readonly refreshMargin: Duration.Duration
  readonly transport: TransportProtection | undefined
  readonly virtualHost: string
  readonly locale: string
  readonly clientProperties: FieldTable
  readonly heartbeatSeconds: number
  readonly frameMax: number
  /** The maximum size of frames before the negotiation. Default: depends on the server's version. */
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

/** The options of a connection: those of its sessions, and what differs between them. */
export interface ConnectionOptions extends Omit<SessionOptions, "credentials" | "transport"> {
  /** Takes precedence over the credentials of an endpoint. */
  readonly credentials: Options["credentials"]
  readonly endpoints: NonEmptyReadonlyArray<Endpoint>
  /** Whether the endpoints are tried in a random order. */
  readonly isShuffled: boolean
  readonly recovery: Recovery
}

/** The negotiated limits. `frameMax` in bytes, 0: no limit; `channelMax` 0: no limit; `heartbeatSeconds` 0: none. */
export interface Tuning {
  readonly frameMax: number
  readonly channelMax: number
  readonly heartbeatSeconds: number
}
