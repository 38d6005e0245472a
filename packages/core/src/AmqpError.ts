/**
 * The errors of this package.
 *
 * Each operation names the errors it can fail with: {@link AmqpConnectionError} when there is no usable connection,
 * {@link AmqpChannelError} for a conversation on a channel, {@link AmqpPublishError} and {@link AmqpPublishAllError} for
 * confirmed publishes, {@link AmqpConsumerCancelled} for a consumer that the server ended. Each of the first three wraps a
 * tagged `reason`, so that `Effect.catchReason("AmqpChannelError", "NotFound", …)` handles one of them.
 *
 * No error holds a password, a token or the payload of a message.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

// -----------------------------------------------------------------------------
// what a server replied
// -----------------------------------------------------------------------------

const ReplyFields = {
  /** The reply code (section 1.3 of the AMQP 0-9-1 reference). */
  replyCode: Schema.Int,
  /** The server's own words. */
  replyText: Schema.String,
  /** The method that the server holds responsible, such as `queue.declare`; empty when it names none. */
  method: Schema.String
}

const replyMessage = (reply: { readonly method: string; readonly replyCode: number; readonly replyText: string }) =>
  `${reply.method === "" ? "" : `${reply.method}: `}${reply.replyCode} ${reply.replyText}`

/**
 * 311: the body is larger than the server or the queue takes. Closes the channel.
 *
 * @category errors
 * @since 0.1.0
 */
export class ContentTooLarge extends Schema.TaggedError<ContentTooLarge>()("ContentTooLarge", ReplyFields) {
  override get message(): string {
    return replyMessage(this)
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * 320: an operator closed the connection, or the broker shuts down. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionForced extends Schema.TaggedError<ConnectionForced>()("ConnectionForced", ReplyFields) {
  override get message(): string {
    return replyMessage(this)
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * 403: the user lacks a permission, or someone else uses a resource exclusively. Closes the channel.
 *
 * @category errors
 * @since 0.1.0
 */
export class AccessRefused extends Schema.TaggedError<AccessRefused>()("AccessRefused", ReplyFields) {
  override get message(): string {
    return replyMessage(this)
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * 404: a queue, exchange or virtual host does not exist. Closes the channel.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotFound extends Schema.TaggedError<NotFound>()("NotFound", ReplyFields) {
  override get message(): string {
    return replyMessage(this)
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * 405: an exclusive queue belongs to another connection. Closes the channel.
 *
 * @category errors
 * @since 0.1.0
 */
export class ResourceLocked extends Schema.TaggedError<ResourceLocked>()("ResourceLocked", ReplyFields) {
  override get message(): string {
    return replyMessage(this)
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * 406: an entity exists with other properties, a delivery tag is unknown, or another precondition does not hold. Closes the
 * channel.
 *
 * @category errors
 * @since 0.1.0
 */
export class PreconditionFailed extends Schema.TaggedError<PreconditionFailed>()("PreconditionFailed", ReplyFields) {
  override get message(): string {
    return replyMessage(this)
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * 530: the server does not allow it, for example a virtual host that does not exist. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotAllowed extends Schema.TaggedError<NotAllowed>()("NotAllowed", ReplyFields) {
  override get message(): string {
    return replyMessage(this)
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * Any other reply code with which a server closes a channel or a connection, as it came.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServerError extends Schema.TaggedError<ServerError>()("ServerError", ReplyFields) {
  override get message(): string {
    return replyMessage(this)
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return false
  }
}

const replyReasons = [
  ContentTooLarge,
  ConnectionForced,
  AccessRefused,
  NotFound,
  ResourceLocked,
  PreconditionFailed,
  NotAllowed,
  ServerError
] as const

/**
 * A reason that a server gave when it closed a channel or the connection.
 *
 * @category models
 * @since 0.1.0
 */
export type ReplyReason = InstanceType<typeof replyReasons[number]>

const replyReasonByCode: Readonly<Record<number, typeof replyReasons[number]>> = {
  311: ContentTooLarge,
  320: ConnectionForced,
  403: AccessRefused,
  404: NotFound,
  405: ResourceLocked,
  406: PreconditionFailed,
  530: NotAllowed
}

/**
 * The reason for a reply: a class of its own for the codes that programs act on, {@link ServerError} for the others.
 *
 * @category constructors
 * @since 0.1.0
 */
export const replyReason = (reply: {
  readonly replyCode: number
  readonly replyText: string
  readonly method: string
}): ReplyReason => {
  const Reason = replyReasonByCode[reply.replyCode] ?? ServerError
  return new Reason({ replyCode: reply.replyCode, replyText: reply.replyText, method: reply.method })
}

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
export type ConnectionErrorReason = InstanceType<typeof connectionReasons[number]>

/**
 * A connection could not be made, or was lost.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpConnectionError extends Schema.TaggedError<AmqpConnectionError>()("AmqpConnectionError", {
  reason: Schema.Union(connectionReasons)
}) {
  override readonly cause = this.reason
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
 * The broker did not answer a request in time. The request may still take effect; its late answer is dropped.
 *
 * @category errors
 * @since 0.1.0
 */
export class RequestTimeout extends Schema.TaggedError<RequestTimeout>()("RequestTimeout", {
  method: Schema.String
}) {
  override get message(): string {
    return `${this.method}: the broker did not answer in time`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
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

const channelReasons = [
  ConnectionLost,
  RequestTimeout,
  TooManyChannels,
  ChannelClosed,
  InvalidArgument,
  ...replyReasons
] as const

/**
 * Why an operation on a channel failed.
 *
 * @category models
 * @since 0.1.0
 */
export type ChannelErrorReason = InstanceType<typeof channelReasons[number]>

/**
 * An operation on a channel failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpChannelError extends Schema.TaggedError<AmqpChannelError>()("AmqpChannelError", {
  reason: Schema.Union(channelReasons)
}) {
  override readonly cause = this.reason
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
 * The broker took no responsibility for the message (`basic.nack`): a queue rejects publishes, or a queue process failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class Nacked extends Schema.TaggedError<Nacked>()("Nacked", {}) {
  override get message(): string {
    return "The broker did not accept the message (basic.nack)"
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

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
 * A confirmed publish failed. `reason` tells whether the broker can have the message.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpPublishError extends Schema.TaggedError<AmqpPublishError>()("AmqpPublishError", {
  reason: Schema.Union([Nacked, OutcomeUnknown, NotSent])
}) {
  override readonly cause = this.reason
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
