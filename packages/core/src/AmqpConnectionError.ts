/**
 * Why there is no connection.
 *
 * Everything here is also exported by `AmqpError`, which is where to take it from.
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

/** At most so many letters of an unknown key are repeated. */
const shownKeyLength = 40

/** ` at ADDRESS`, where it is known and not part of the text already. */
const at = (peer: string | undefined, text = ""): string =>
  peer === undefined || text.includes(peer) ? "" : ` at ${peer}`

/**
 * There is no transport to the broker: the connection was refused, the name does not resolve, or the TLS handshake failed.
 * `description` is the platform's text. `peer` is the address, where the transport tells it.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectFailed extends Schema.TaggedError<ConnectFailed>()("ConnectFailed", {
  description: Schema.String,
  peer: Schema.optionalKey(Schema.String),
  cause: Schema.Defect()
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `Cannot reach the broker${at(this.peer, this.description)}: ${this.description}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The server was silent for too long while the connection was made. `phase` is what the client waited for: `the socket`,
 * `the credentials`, or a method such as `connection.start`. `hint` is what to look at, if there is something.
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
    return `The broker${at(this.peer)} did not answer in time: waited for ${this.phase}${hint}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The server refused the credentials. `username` is empty when the mechanism sends none.
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
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * Server and client have no SASL mechanism in common: what the server offers, and what the client was told to use.
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
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The client's side of a SASL mechanism gave up: the credentials are none that it can send, or the server's challenge is none
 * that it can answer.
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
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * There are no credentials: who was to give them failed or did not answer in time. Whoever makes one says in `description`
 * what is the matter, and in `isRetryable` whether asking again may help; by default it may. Neither `description` nor `cause`
 * should hold a secret, as both end up in logs.
 *
 * @category errors
 * @since 0.1.0
 */
export class CredentialsUnavailable extends Schema.TaggedError<CredentialsUnavailable>()("CredentialsUnavailable", {
  description: Schema.String,
  cause: Schema.optionalKey(Schema.Defect()),
  /** Whether the same operation may succeed when it is tried again. */
  isRetryable: Schema.Boolean.pipe(Schema.withConstructorDefault(Effect.succeed(true)))
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `There are no credentials for the broker: ${this.description}`
  }
}

/**
 * The broker did not take a new secret (`connection.update-secret`) for a connection: it refused it, has no such method, or did
 * not answer in time. The connection has ended.
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
    return `The broker did not take the new secret: ${this.description}`
  }
  /** Whether the same operation may succeed when it is tried again: a new connection asks for the credentials anew. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The virtual host does not exist, the user may not use it, or its limit of connections, or the user's, is reached. `replyCode`
 * and `replyText` are the broker's answer. Retryable when a limit is reached, since others leave.
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
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return mayPass(this.replyCode, this.replyText)
  }
}

/**
 * The peer does not speak this protocol, or broke it; `replyCode` is what the connection was closed with.
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
    return `The peer broke the protocol: ${this.description}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * Nothing came from the peer for two heartbeat intervals (section 4.2.7 of AMQP 0-9-1).
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
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The socket closed or failed without a close of the protocol. `description` is the platform's text, `peer` the address where the
 * transport tells it. `phase` is what the client waited for, when the connection was still being made, and `hint` what to look
 * at then, if there is something.
 *
 * @category errors
 * @since 0.1.0
 */
export class SocketLost extends Schema.TaggedError<SocketLost>()("SocketLost", {
  description: Schema.String,
  peer: Schema.optionalKey(Schema.String),
  phase: Schema.optionalKey(Schema.String),
  hint: Schema.optionalKey(Schema.String),
  cause: Schema.Defect()
}) {
  static {
    readable(this)
  }
  override get message(): string {
    const to = this.peer === undefined || this.description.includes(this.peer) ? "" : ` to ${this.peer}`
    const when = this.phase === undefined ? "" : ` while it was being made, waiting for ${this.phase}`
    const hint = this.hint === undefined ? "" : `. ${this.hint}`
    return `The connection${to} was lost${when}: ${this.description}${hint}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * This side closed the connection: its scope ended.
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
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * A name, number or value that AMQP cannot express or the broker would not take. Found before anything was sent.
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
   * For options that have a key which they can't have: names it, and the known one that is nearest. `what` is what the options are
   * of. For packages that have options of their own on top of those of this one.
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
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

const connectionReasons = [
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
  InvalidArgument,
  ...replyReasons
] as const

/**
 * Why there is no connection.
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
  /** Whether another attempt may succeed without any change. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}
