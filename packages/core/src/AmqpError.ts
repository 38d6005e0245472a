/**
 * The errors of this package.
 *
 * Each operation names the errors it can fail with: {@link AmqpConnectionError} when there is no usable connection,
 * {@link AmqpChannelError} for a conversation on a channel, {@link AmqpPublishError} and {@link AmqpPublishAllError} for
 * confirmed publishes, {@link AmqpConsumerCancelled} for a consumer that the server ended. Each of the first three wraps a
 * tagged `reason`, so that `Effect.catchReason("AmqpChannelError", "NotFound", …)` handles one of them. Errors and reasons have
 * an `isRetryable`: whether the same operation may succeed when it is tried again, without any change. {@link ServerReply} says
 * how the reply codes of servers are judged.
 *
 * No error holds a password, a token or the payload of a message.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import {
  ConfirmTimeout,
  ConnectionBlocked,
  Nacked,
  replyReasons,
  RequestTimeout,
  Returned,
  SendTimeout
} from "./AmqpReply.ts"
import type { ReplyReason } from "./AmqpReply.ts"

export * from "./AmqpReply.ts"

// -----------------------------------------------------------------------------
// connections
// -----------------------------------------------------------------------------

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

// -----------------------------------------------------------------------------
// channels
// -----------------------------------------------------------------------------

/**
 * The connection that the channel belongs to ended; `cause` says why. What was under way may or may not have happened.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionLost extends Schema.TaggedError<ConnectionLost>()("ConnectionLost", {
  cause: AmqpConnectionError
}) {
  override get message(): string {
    return this.cause.message
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return this.cause.isRetryable
  }
}

/**
 * Every channel number that was negotiated is in use. `limit` is the negotiated `channel-max`.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooManyChannels extends Schema.TaggedError<TooManyChannels>()("TooManyChannels", {
  limit: Schema.Int
}) {
  override get message(): string {
    return `All ${this.limit} channels of the connection are in use`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The channel was closed by this side.
 *
 * @category errors
 * @since 0.1.0
 */
export class ChannelClosed extends Schema.TaggedError<ChannelClosed>()("ChannelClosed", {}) {
  override get message(): string {
    return "The channel is closed"
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The broker did not announce what the operation needs. `capability` is its name in the server's properties, such as
 * `publisher_confirms`. Found before anything was sent.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotSupported extends Schema.TaggedError<NotSupported>()("NotSupported", {
  capability: Schema.String
}) {
  override get message(): string {
    return `The broker has no capability ${this.capability}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

const channelReasons = [
  ConnectionLost,
  RequestTimeout,
  TooManyChannels,
  ChannelClosed,
  InvalidArgument,
  NotSupported,
  Returned,
  ConnectionBlocked,
  SendTimeout,
  ConfirmTimeout,
  ...replyReasons
] as const

/**
 * Why an operation on a channel failed.
 *
 * @category models
 * @since 0.1.0
 */
export type ChannelErrorReason =
  | ConnectionLost
  | RequestTimeout
  | TooManyChannels
  | ChannelClosed
  | InvalidArgument
  | NotSupported
  | Returned
  | ConnectionBlocked
  | SendTimeout
  | ConfirmTimeout
  | ReplyReason

/**
 * An operation on a channel failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpChannelError extends Schema.TaggedError<AmqpChannelError>()("AmqpChannelError", {
  reason: Schema.Union(channelReasons)
}) {
  override readonly cause: ChannelErrorReason = this.reason
  override get message(): string {
    return this.reason.message
  }
  /** Whether another attempt may succeed without any change. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}

// -----------------------------------------------------------------------------
// publishing
// -----------------------------------------------------------------------------

/**
 * The message was handed to the transport, and the channel or connection ended before the broker confirmed it. Publishing
 * it again may duplicate it.
 *
 * @category errors
 * @since 0.1.0
 */
export class OutcomeUnknown extends Schema.TaggedError<OutcomeUnknown>()("OutcomeUnknown", {
  cause: AmqpChannelError
}) {
  override get message(): string {
    return `Whether the broker has the message is unknown: ${this.cause.message}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return this.cause.isRetryable
  }
}

/**
 * The message never left: publishing it again cannot duplicate it.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotSent extends Schema.TaggedError<NotSent>()("NotSent", {
  cause: AmqpChannelError
}) {
  override get message(): string {
    return `The message was not sent: ${this.cause.message}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return this.cause.isRetryable
  }
}

/**
 * Why a confirmed publish failed.
 *
 * @category models
 * @since 0.1.0
 */
export type PublishErrorReason = Nacked | Returned | OutcomeUnknown | NotSent

/**
 * A confirmed publish failed. `reason` tells whether the broker can have the message.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpPublishError extends Schema.TaggedError<AmqpPublishError>()("AmqpPublishError", {
  reason: Schema.Union([Nacked, Returned, OutcomeUnknown, NotSent])
}) {
  override readonly cause: PublishErrorReason = this.reason
  override get message(): string {
    return this.reason.message
  }
  /** Whether another attempt may succeed without any change. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}

/**
 * Some messages of a batch failed. `failures` names each by its index in the batch; all others, `confirmed` many, are with
 * the broker.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpPublishAllError extends Schema.TaggedError<AmqpPublishAllError>()("AmqpPublishAllError", {
  confirmed: Schema.Int,
  failures: Schema.NonEmptyArray(Schema.Struct({ index: Schema.Int, error: AmqpPublishError }))
}) {
  override get message(): string {
    const { length } = this.failures
    return `${length} of ${length + this.confirmed} messages failed, the first of them: ${
      this.failures[0].error.message
    }`
  }
  /** Whether all that failed may succeed without any change. */
  get isRetryable(): boolean {
    return this.failures.every(({ error }) => error.isRetryable)
  }
}

// -----------------------------------------------------------------------------
// consuming
// -----------------------------------------------------------------------------

/**
 * The broker ended the consumer (`basic.cancel`): its queue was deleted, or the node that holds it is gone (RabbitMQ,
 * "Consumer Cancel Notification").
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpConsumerCancelled extends Schema.TaggedError<AmqpConsumerCancelled>()("AmqpConsumerCancelled", {
  queue: Schema.String,
  consumerTag: Schema.String
}) {
  override get message(): string {
    return `The broker cancelled the consumer of queue ${
      JSON.stringify(this.queue)
    }: the queue was deleted or is unavailable`
  }
  /** Whether consuming again may succeed. */
  get isRetryable(): boolean {
    return true
  }
}
