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
import { AmqpConnectionError, InvalidArgument } from "./AmqpConnectionError.ts"
import {
  ConfirmTimeout,
  ConnectionBlocked,
  Nacked,
  replyReasons,
  RequestTimeout,
  Returned,
  SendTimeout,
  ServerReply
} from "./AmqpReplyError.ts"
import type { ReplyReason } from "./AmqpReplyError.ts"
import { readable } from "./internal/errors/readableError.ts"

export * from "./AmqpConnectionError.ts"
export * from "./AmqpReplyError.ts"

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
  static {
    readable(this)
  }
  override get message(): string {
    return this.cause.message
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return this.cause.isRetryable
  }
}

/**
 * Every channel number that was negotiated was in use for as long as the connection's `channelTimeout`. `limit` is the negotiated
 * `channel-max`.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooManyChannels extends Schema.TaggedError<TooManyChannels>()("TooManyChannels", {
  limit: Schema.Int
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `All ${this.limit} channels of the connection are in use, and none was free in time (channelTimeout)`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The broker closed the channel that this operation shared with others, because of another one: a message to an exchange that does
 * not exist takes down what else the publisher has in flight. `cause` is what the broker said about the other one.
 *
 * **Details**
 *
 * Retryable, as the operation itself did nothing wrong. Where the broker's text does not tell which message it was,
 * `isCertain` is `false`, and each that was in flight gets this error: the publisher then sends one message at a time until it
 * knows, so that the one that causes the close again fails with the broker's reason.
 *
 * @category errors
 * @since 0.1.0
 */
export class ChannelLost extends Schema.TaggedError<ChannelLost>()("ChannelLost", {
  cause: Schema.Union(replyReasons),
  /** Whether it is known that this operation did not cause it. */
  isCertain: Schema.Boolean
}) {
  static {
    readable(this)
  }
  override get message(): string {
    const whose = this.isCertain ? "another operation" : "this or another operation"
    return `The broker closed the channel because of ${whose}: ${this.cause.message}`
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
  static {
    readable(this)
  }
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
  static {
    readable(this)
  }
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
  ChannelLost,
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
  | ChannelLost
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
  static {
    readable(this)
  }
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
  static {
    readable(this)
  }
  override get message(): string {
    const { reason } = this.cause
    if (!(reason instanceof ServerReply)) {
      return `The message was sent, and its outcome is unknown: ${this.cause.message}`
    }
    return reason.method === "basic.deliver"
      ? `The request was answered, and the reply is lost: ${this.cause.message}`
      : `The broker closed the channel before it confirmed the message: ${this.cause.message}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return this.cause.isRetryable
  }
}

/**
 * The message never left, or not to its end: publishing it again cannot duplicate it.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotSent extends Schema.TaggedError<NotSent>()("NotSent", {
  cause: AmqpChannelError
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `The message was not sent: ${this.cause.message}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return this.cause.isRetryable
  }
}

/** Which message, in brackets; where it went is part of some reasons already. */
const described = (
  { exchange, messageId, routingKey }: {
    readonly exchange: string
    readonly routingKey: string
    readonly messageId?: string
  },
  reason: PublishErrorReason
): string => {
  const parts = reason._tag === "Returned" ? [] : [
    exchange === "" ? "default exchange" : `exchange ${JSON.stringify(exchange)}`,
    `routing key ${JSON.stringify(routingKey)}`
  ]
  if (messageId !== undefined) parts.push(`message id ${JSON.stringify(messageId)}`)
  return parts.length === 0 ? "" : ` (${parts.join(", ")})`
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
  reason: Schema.Union([Nacked, Returned, OutcomeUnknown, NotSent]),
  /** Which message it was, where it was published alone. In a batch its index tells. */
  target: Schema.optionalKey(Schema.Struct({
    exchange: Schema.String,
    routingKey: Schema.String,
    messageId: Schema.optionalKey(Schema.String)
  }))
}) {
  static {
    readable(this)
  }
  override readonly cause: PublishErrorReason = this.reason
  override get message(): string {
    return `${this.reason.message}${this.target === undefined ? "" : described(this.target, this.reason)}`
  }
  /** Whether another attempt may succeed without any change. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}

/** How many failures of a batch the message of its error shows. */
const shownFailures = 3

/**
 * Some messages of a batch failed. `failures` names each of them by its index in the batch. `taken` messages were taken from the batch,
 * and the broker has confirmed `confirmed` of them: all that did not fail.
 *
 * When nothing more can be sent, `failures` has the first message that was not sent, and the messages after it are not taken: from
 * index `taken` on, none was sent.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpPublishAllError extends Schema.TaggedError<AmqpPublishAllError>()("AmqpPublishAllError", {
  taken: Schema.Int,
  confirmed: Schema.Int,
  failures: Schema.NonEmptyArray(Schema.Struct({ index: Schema.Int, error: AmqpPublishError }))
}) {
  static {
    readable(this)
  }
  override readonly cause: AmqpPublishError = this.failures[0].error
  override get message(): string {
    const { confirmed, failures, taken } = this
    const shown = failures.slice(0, shownFailures).map(({ error, index }) => `  ${index}: ${error.message}`)
    const rest = failures.length - shown.length
    return [
      `${failures.length} of ${taken} messages failed, ${confirmed} were confirmed. Failures by index:`,
      ...shown,
      ...(rest === 0 ? [] : [`  and ${rest} more`])
    ].join("\n")
  }
  /** Whether all failed messages may succeed without any change. */
  get isRetryable(): boolean {
    return this.failures.every(({ error }) => error.isRetryable)
  }
}

// -----------------------------------------------------------------------------
// consuming
// -----------------------------------------------------------------------------

/**
 * The broker ended the consumer (`basic.cancel`; RabbitMQ, "Consumer Cancel Notification"). It does not say why: the queue may have been
 * deleted, the node that holds it may be down, or a message may have waited too long for its settlement (from RabbitMQ 4.3 on, "Delivery
 * Acknowledgement Timeout"). It has taken back what was delivered and not settled, so settling that answers `false`.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpConsumerCancelled extends Schema.TaggedError<AmqpConsumerCancelled>()("AmqpConsumerCancelled", {
  queue: Schema.String,
  consumerTag: Schema.String
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `The broker cancelled the consumer of the queue ${
      JSON.stringify(this.queue)
    }. It does not say why: the queue may ` +
      "have been deleted or be unavailable, or a message may not have been settled within the broker's consumer timeout"
  }
  /** Whether consuming again may succeed. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * A failure policy ended the consumer (`AmqpFailurePolicy.stop`), because a handler failed with `cause`. The message is back in its queue.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpConsumerStopped extends Schema.TaggedError<AmqpConsumerStopped>()("AmqpConsumerStopped", {
  queue: Schema.String,
  cause: Schema.Defect()
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `The consumer of the queue ${
      JSON.stringify(this.queue)
    } was stopped by its failure policy, after a handler failed: ${describe(this.cause)}`
  }
  /** Whether consuming again may succeed. */
  get isRetryable(): boolean {
    return false
  }
}

/** The error of a handler may be anything, also one whose message can't be read. */
const describe = (cause: unknown): string => {
  try {
    return cause instanceof Error ? `${cause.name}: ${cause.message}` : "a failure that is not an Error"
  } catch {
    return "an error whose message can't be read"
  }
}

// -----------------------------------------------------------------------------
// moving
// -----------------------------------------------------------------------------

/**
 * A move ended before its time, or some messages could not be moved: `failed` of them, for the first of which `cause` says why. Of the
 * `total` messages that were in the queue `from`, `moved` are at their target and gone from it, and all others are in it.
 *
 * When the connection or a channel was lost (`cause` is an `AmqpChannelError`), messages that were on their way may be in both places.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpMoveError extends Schema.TaggedError<AmqpMoveError>()("AmqpMoveError", {
  from: Schema.String,
  total: Schema.Int,
  moved: Schema.Int,
  skipped: Schema.Int,
  failed: Schema.Int,
  cause: Schema.Union([AmqpPublishError, AmqpChannelError, AmqpConsumerCancelled])
}) {
  static {
    readable(this)
  }
  override get message(): string {
    const { cause, failed, from, moved, skipped, total } = this
    const counts = `${moved} were moved, ${skipped} were skipped and ${failed} failed`
    return `Of ${total} messages in queue ${
      JSON.stringify(from)
    }, ${counts}; those not moved stay in it. ${cause.message}`
  }
  /** Whether moving the rest may succeed without any change. */
  get isRetryable(): boolean {
    return this.cause.isRetryable
  }
}

// -----------------------------------------------------------------------------
// decoding
// -----------------------------------------------------------------------------

/**
 * A message is not what the program reads it as. `problem` tells why:
 *
 * - `ContentType`, `ContentEncoding`: its properties say that it is something else.
 * - `Properties`: they are malformed.
 * - `Compression`: the body is not what its content encoding says: it is corrupt or cut, or something follows it.
 * - `Size`: decompressed, the body is larger than the limit.
 * - `Text`: it is no UTF-8.
 * - `Json`: it is no JSON.
 * - `Schema`: it is not what the schema describes; `description` says where.
 *
 * `part` tells which part of the message that is about. It is `message` where a schema is about more than one.
 *
 * **Details**
 *
 * `description` names sizes, types and paths, and quotes nothing of the body unless a message of the schema does.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpDecodeError extends Schema.TaggedError<AmqpDecodeError>()("AmqpDecodeError", {
  problem: Schema.Literals([
    "ContentType",
    "ContentEncoding",
    "Properties",
    "Compression",
    "Size",
    "Text",
    "Json",
    "Schema"
  ]),
  part: Schema.Literals(["properties", "headers", "body", "message"]),
  description: Schema.String
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `The message can't be decoded: ${this.description}`
  }
  /** Whether decoding the same message again may succeed. */
  get isRetryable(): boolean {
    return false
  }
}

// -----------------------------------------------------------------------------
// compressing
// -----------------------------------------------------------------------------

/**
 * A message can't be compressed. `problem` tells why:
 *
 * - `ContentEncoding`: its properties say that its body is encoded already.
 * - `Platform`: the platform has no such compression.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpCompressionError extends Schema.TaggedError<AmqpCompressionError>()("AmqpCompressionError", {
  problem: Schema.Literals(["ContentEncoding", "Platform"]),
  description: Schema.String
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `The message can't be compressed: ${this.description}`
  }
  /** Whether compressing the same message again may succeed. */
  get isRetryable(): boolean {
    return false
  }
}
