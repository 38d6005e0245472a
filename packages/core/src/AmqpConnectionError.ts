/**
 * The reasons for which a connection can't be made or is lost.
 *
 * `AmqpError` exports everything in this module; import it from there.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { replyReasons } from "./AmqpReplyError.ts"
import type { ReplyReason } from "./AmqpReplyError.ts"
import { nearestName } from "./internal/errors/nearestName.ts"
import { readable } from "./internal/errors/readableError.ts"
import { mayPass } from "./internal/errors/replyTexts.ts"
import { ReplyCode } from "./protocol/constants.ts"

/** How many characters of an unknown key are repeated in an error. */
const shownKeyLength = 40

/** ` at ADDRESS`, if it is known and not already part of the text. */
const at = (peer: string | undefined, text = ""): string =>
  peer === undefined || text.includes(peer) ? "" : ` at ${peer}`

/**
 * No transport to the broker could be opened: the connection was refused, the name does not resolve, or the TLS
 * handshake failed. `description` is the platform's text, and `peer` the address, if the transport provides it.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectFailed extends Schema.TaggedError<ConnectFailed>()("ConnectFailed", {
  description: Schema.String,
  peer: Schema.optionalKey(Schema.String),
  cause: Schema.Defect(),
  /** Whether the same operation may succeed if it is repeated unchanged: not if a TLS certificate is refused. */
  isRetryable: Schema.Boolean.pipe(Schema.withConstructorDefault(Effect.succeed(true)))
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `Cannot reach the broker${at(this.peer, this.description)}: ${this.description}`
  }
}

/**
 * The broker did not reply in time while the connection was made. `phase` is what the client waited for: `the socket`,
 * `the credentials`, or a method such as `connection.start`. `hint` suggests what to check, if anything.
 *
 * @category errors
 * @since 0.1.0
 */
export class HandshakeTimeout extends Schema.TaggedError<HandshakeTimeout>()("HandshakeTimeout", {
  phase: Schema.String,
  peer: Schema.optionalKey(Schema.String),
  hint: Schema.optionalKey(Schema.String)
}) {
  static {
    readable(this)
  }
  override get message(): string {
    const hint = this.hint === undefined ? "" : `. ${this.hint}`
    return `The broker${at(this.peer)} did not reply in time: waited for ${this.phase}${hint}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The broker refused the credentials. `username` is empty if the mechanism sends none.
 *
 * @category errors
 * @since 0.1.0
 */
export class AuthenticationFailed extends Schema.TaggedError<AuthenticationFailed>()("AuthenticationFailed", {
  username: Schema.String,
  replyText: Schema.String
}) {
  static {
    readable(this)
  }
  override get message(): string {
    const whose = this.username === "" ? "" : ` of user ${JSON.stringify(this.username)}`
    return `The broker refused the credentials${whose}: ${this.replyText}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The broker offers none of the SASL mechanisms that the client may use.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoCommonMechanism extends Schema.TaggedError<NoCommonMechanism>()("NoCommonMechanism", {
  offered: Schema.Array(Schema.String),
  supported: Schema.Array(Schema.String)
}) {
  static {
    readable(this)
  }
  override get message(): string {
    const offered = this.offered.length === 0 ? "no SASL mechanism" : `the SASL mechanisms ${this.offered.join(" ")}`
    return `The broker offers ${offered}; this client may use ${this.supported.join(" ")}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The client's side of a SASL mechanism failed: it can't send the credentials, or can't respond to the broker's
 * challenge.
 *
 * @category errors
 * @since 0.1.0
 */
export class MechanismFailed extends Schema.TaggedError<MechanismFailed>()("MechanismFailed", {
  mechanism: Schema.String,
  description: Schema.String
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `The SASL mechanism ${this.mechanism} failed: ${this.description}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The credentials are unavailable: the Effect that provides them failed or took too long. Its author sets `description`
 * to the cause, and `isRetryable` to whether another attempt may succeed (default: `true`). Neither `description` nor
 * `cause` should hold a secret, as both end up in logs.
 *
 * @category errors
 * @since 0.1.0
 */
export class CredentialsUnavailable extends Schema.TaggedError<CredentialsUnavailable>()("CredentialsUnavailable", {
  description: Schema.String,
  cause: Schema.optionalKey(Schema.Defect()),
  /** Whether the same operation may succeed if it is repeated unchanged. */
  isRetryable: Schema.Boolean.pipe(Schema.withConstructorDefault(Effect.succeed(true)))
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `The credentials for the broker are unavailable: ${this.description}`
  }
}

/**
 * The broker did not accept a new secret for the connection (`connection.update-secret`): it refused it, does not
 * support the method, or did not reply in time. The connection has ended.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpdateSecretFailed extends Schema.TaggedError<UpdateSecretFailed>()("UpdateSecretFailed", {
  description: Schema.String
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `The broker did not accept the new secret: ${this.description}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged: a new connection gets the credentials anew. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The virtual host does not exist, the user may not use it, or a connection limit of the virtual host or the user is
 * reached. `replyCode` and `replyText` are those of the broker. Retryable if a limit is reached, as other connections
 * may close.
 *
 * @category errors
 * @since 0.1.0
 */
export class VirtualHostRefused extends Schema.TaggedError<VirtualHostRefused>()("VirtualHostRefused", {
  virtualHost: Schema.String,
  /** 402, 403, 404 or 530. */
  replyCode: Schema.Int,
  replyText: Schema.String
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `The broker refused virtual host ${JSON.stringify(this.virtualHost)}: ${this.replyCode} ${this.replyText}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return mayPass(this.replyCode, this.replyText)
  }
}

/**
 * The peer does not speak AMQP 0-9-1, or violated the protocol. `replyCode` is the one that the connection was closed
 * with: 541 if the client failed, for example because a schedule of the program died.
 *
 * @category errors
 * @since 0.1.0
 */
export class ProtocolViolation extends Schema.TaggedError<ProtocolViolation>()("ProtocolViolation", {
  replyCode: Schema.Int,
  description: Schema.String
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return this.replyCode === ReplyCode.internalError
      ? this.description
      : `The peer violated the protocol: ${this.description}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * Nothing was received from the peer for two heartbeat intervals (section 4.2.7 of AMQP 0-9-1).
 *
 * @category errors
 * @since 0.1.0
 */
export class HeartbeatTimeout extends Schema.TaggedError<HeartbeatTimeout>()("HeartbeatTimeout", {
  intervalSeconds: Schema.Number
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `The peer was silent for more than twice the heartbeat interval of ${this.intervalSeconds} s`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The socket closed or failed without `connection.close`. `description` is the platform's text, and `peer` the address,
 * if the transport provides it. If the connection was still being made, `phase` is what the client waited for, and
 * `hint` suggests what to check, if anything.
 *
 * @category errors
 * @since 0.1.0
 */
export class SocketLost extends Schema.TaggedError<SocketLost>()("SocketLost", {
  description: Schema.String,
  peer: Schema.optionalKey(Schema.String),
  phase: Schema.optionalKey(Schema.String),
  hint: Schema.optionalKey(Schema.String),
  cause: Schema.Defect(),
  /** Whether the same operation may succeed if it is repeated unchanged: not if the broker refuses the TLS certificate. */
  isRetryable: Schema.Boolean.pipe(Schema.withConstructorDefault(Effect.succeed(true)))
}) {
  static {
    readable(this)
  }
  override get message(): string {
    const to = this.peer === undefined || this.description.includes(this.peer) ? "" : ` to ${this.peer}`
    const when = this.phase === undefined ? "" : ` while connecting, waiting for ${this.phase}`
    const hint = this.hint === undefined ? "" : `. ${this.hint}`
    return `The connection${to} was lost${when}: ${this.description}${hint}`
  }
}

/**
 * The client closed the connection, as its scope closed.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionClosed extends Schema.TaggedError<ConnectionClosed>()("ConnectionClosed", {}) {
  static {
    readable(this)
  }
  override get message(): string {
    return "The connection is closed"
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The connection was replaced by a new one with `AmqpConnection.reconnect`.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionReplaced extends Schema.TaggedError<ConnectionReplaced>()("ConnectionReplaced", {}) {
  static {
    readable(this)
  }
  override get message(): string {
    return "The connection was replaced by a new one"
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The broker confirmed no publish within a publisher's `confirmTimeout`, so the connection is taken for dead: the node may be
 * cut off from its cluster although it still sends heartbeats.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConfirmsOverdue extends Schema.TaggedError<ConfirmsOverdue>()("ConfirmsOverdue", {
  confirmTimeoutMillis: Schema.Number
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `The broker confirmed no publish for ${this.confirmTimeoutMillis / 1000} s, so the connection is replaced`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * An argument that AMQP can't express or the broker would not accept. Nothing was sent.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidArgument extends Schema.TaggedError<InvalidArgument>()("InvalidArgument", {
  description: Schema.String
}) {
  static {
    readable(this)
  }
  /**
   * The error for an unknown key of options: it names the key and the most similar known one, or all known ones. `what`
   * describes the options. For packages that extend the options of this one.
   *
   * @since 0.1.0
   */
  static unknownKey(what: string, key: string, known: ReadonlyArray<string>): InvalidArgument {
    const shown = key.slice(0, shownKeyLength)
    const nearest = nearestName(shown, known)
    const hint = nearest === undefined ? `there are ${known.join(", ")}` : `did you mean ${JSON.stringify(nearest)}?`
    return new InvalidArgument({ description: `${what}: there is no ${JSON.stringify(shown)}; ${hint}` })
  }
  override get message(): string {
    return this.description
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return false
  }
}

const endpointReasons = [
  ConnectFailed,
  HandshakeTimeout,
  AuthenticationFailed,
  NoCommonMechanism,
  MechanismFailed,
  CredentialsUnavailable,
  UpdateSecretFailed,
  VirtualHostRefused,
  ProtocolViolation,
  HeartbeatTimeout,
  SocketLost,
  ConnectionClosed,
  ConnectionReplaced,
  ConfirmsOverdue,
  InvalidArgument,
  ...replyReasons
] as const

/**
 * None of several endpoints could be connected to, or kept its connection for long. `failures` has the reason of each.
 *
 * @category errors
 * @since 0.1.0
 */
export class EndpointsFailed extends Schema.TaggedError<EndpointsFailed>()("EndpointsFailed", {
  failures: Schema.Array(Schema.Struct({ endpoint: Schema.String, reason: Schema.Union(endpointReasons) }))
}) {
  static {
    readable(this)
  }
  override get message(): string {
    // Some messages name the peer.
    const failures = this.failures.map(({ endpoint, reason }) =>
      "peer" in reason && reason.peer === endpoint ? reason.message : `${endpoint}: ${reason.message}`
    )
    // Replies of brokers may end with a full stop.
    const text = failures.map((failure) => failure.replace(/\.$/, "")).join(". ")
    return `None of the ${failures.length} endpoints could be used. ${text}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged: with one of the endpoints. */
  get isRetryable(): boolean {
    return this.failures.some(({ reason }) => reason.isRetryable)
  }
}

const connectionReasons = [...endpointReasons, EndpointsFailed] as const

/**
 * Why a connection could not be made, or was lost.
 *
 * @category models
 * @since 0.1.0
 */
export type ConnectionErrorReason =
  | ConnectFailed
  | HandshakeTimeout
  | AuthenticationFailed
  | NoCommonMechanism
  | MechanismFailed
  | CredentialsUnavailable
  | UpdateSecretFailed
  | VirtualHostRefused
  | ProtocolViolation
  | HeartbeatTimeout
  | SocketLost
  | ConnectionClosed
  | ConnectionReplaced
  | ConfirmsOverdue
  | EndpointsFailed
  | InvalidArgument
  | ReplyReason

/**
 * A connection could not be made, or was lost.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpConnectionError extends Schema.TaggedError<AmqpConnectionError>()("AmqpConnectionError", {
  reason: Schema.Union(connectionReasons)
}) {
  static {
    readable(this)
  }
  override readonly cause: ConnectionErrorReason = this.reason
  override get message(): string {
    return this.reason.message
  }
  /** Whether connecting again may succeed without any change. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}
