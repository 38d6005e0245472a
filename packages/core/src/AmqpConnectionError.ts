/**
 * Why there is no connection.
 *
 * Everything here is also exported by `AmqpError`, which is where to take it from.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { replyReasons } from "./AmqpReply.ts"
import type { ReplyReason } from "./AmqpReply.ts"

/**
 * No transport to the broker: refused, not resolvable, no TLS handshake, or not open in time. `description` says what the
 * platform said.
 *
 * @category errors
 * @since 0.1.0
 */
export class DialFailed extends Schema.TaggedError<DialFailed>()("DialFailed", {
  description: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `Cannot reach the broker: ${this.description}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The server was silent for too long while the connection was made. `phase` is what the client waited for.
 *
 * @category errors
 * @since 0.1.0
 */
export class HandshakeTimeout extends Schema.TaggedError<HandshakeTimeout>()("HandshakeTimeout", {
  phase: Schema.String
}) {
  override get message(): string {
    return `The broker did not answer in time: waited for ${this.phase}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The server refused the credentials.
 *
 * @category errors
 * @since 0.1.0
 */
export class AuthenticationFailed extends Schema.TaggedError<AuthenticationFailed>()("AuthenticationFailed", {
  username: Schema.String,
  replyText: Schema.String
}) {
  override get message(): string {
    return `The broker refused the credentials of user ${JSON.stringify(this.username)}: ${this.replyText}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The virtual host does not exist, or the user may not use it. `reply` is the broker's answer.
 *
 * @category errors
 * @since 0.1.0
 */
export class VirtualHostRefused extends Schema.TaggedError<VirtualHostRefused>()("VirtualHostRefused", {
  virtualHost: Schema.String,
  replyText: Schema.String
}) {
  override get message(): string {
    return `The broker refused virtual host ${JSON.stringify(this.virtualHost)}: ${this.replyText}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
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
  override get message(): string {
    return `The peer was silent for more than twice the heartbeat interval of ${this.intervalSeconds} s`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The socket closed or failed without a close of the protocol.
 *
 * @category errors
 * @since 0.1.0
 */
export class SocketLost extends Schema.TaggedError<SocketLost>()("SocketLost", {
  description: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `The connection was lost: ${this.description}`
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
  override get message(): string {
    return this.description
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

const connectionReasons = [
  DialFailed,
  HandshakeTimeout,
  AuthenticationFailed,
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
  | DialFailed
  | HandshakeTimeout
  | AuthenticationFailed
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
  override readonly cause: ConnectionErrorReason = this.reason
  override get message(): string {
    return this.reason.message
  }
  /** Whether another attempt may succeed without any change. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}
