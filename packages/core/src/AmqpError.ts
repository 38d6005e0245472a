/**
 * The errors of this package.
 *
 * Each operation's type names its errors: {@link AmqpConnectionError} if there is no usable connection, {@link
 * AmqpChannelError} for operations on a channel, {@link AmqpPublishError} and {@link AmqpPublishAllError} for confirmed
 * publishes, {@link AmqpConsumerCancelled} for a consumer that the broker cancelled. Each of the first three has a
 * tagged `reason`, so that `Effect.catchReason("AmqpChannelError", "NotFound", …)` handles one of them. Errors and
 * reasons have `isRetryable`: whether the same operation may succeed if it is repeated unchanged. {@link ServerReply}
 * lists which reply codes are retryable.
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
 * The connection of the channel ended; `cause` has the reason. A pending operation may or may not have taken effect.
 *
 * With `since`, the operation was not begun: it waited for the connection to be established again for as long as the
 * connection's `recovery` allows. `since` is when the connection was lost, and `cause` is the error of the last attempt.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionLost extends Schema.TaggedError<ConnectionLost>()("ConnectionLost", {
  cause: AmqpConnectionError,
  since: Schema.optionalKey(Schema.Date)
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return this.since === undefined
      ? this.cause.message
      : `There has been no connection since ${this.since.toISOString()}. ${this.cause.message}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return this.since !== undefined || this.cause.isRetryable
  }
}

/**
 * All negotiated channel numbers were in use for as long as the connection's `channelTimeout`. `limit` is the
 * negotiated `channel-max`.
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
    return `All ${this.limit} channels of the connection are in use, and none became free within channelTimeout`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * Too many publishes of a publisher already wait to be sent (`maxWaiting`, `maxWaitingBytes`): there is no connection, or the
 * program publishes faster than the broker confirms. `waiting` of them wait or pause before they are published again, with
 * bodies of `waitingBytes` in total.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooManyPublishes extends Schema.TaggedError<TooManyPublishes>()("TooManyPublishes", {
  waiting: Schema.Int,
  waitingBytes: Schema.Int
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `${this.waiting} publishes of ${this.waitingBytes} bytes already wait to be sent, which is the limit of the publisher ` +
      "(maxWaiting, maxWaitingBytes)"
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The broker closed the channel because of another operation on it: a message to an exchange that does not exist fails
 * everything else that the publisher has in flight. `cause` is the broker's reply to the other operation.
 *
 * **Details**
 *
 * Retryable, as this operation was not at fault. If the broker's text does not identify the message at fault,
 * `isCertain` is `false` and all messages in flight get this error. The publisher then sends one message at a time,
 * until the one that causes the close again fails with the broker's reason.
 *
 * @category errors
 * @since 0.1.0
 */
export class ChannelLost extends Schema.TaggedError<ChannelLost>()("ChannelLost", {
  cause: Schema.Union(replyReasons),
  /** Whether this operation is known not to be the cause. */
  isCertain: Schema.Boolean
}) {
  static {
    readable(this)
  }
  override get message(): string {
    const whose = this.isCertain ? "another operation" : "this or another operation"
    return `The broker closed the channel because of ${whose}: ${this.cause.message}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The client closed the channel.
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
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The broker does not announce a capability that the operation needs, such as `publisher_confirms`. Nothing was sent.
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
    return `The broker lacks the capability ${this.capability}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return false
  }
}

const channelReasons = [
  ConnectionLost,
  ChannelLost,
  RequestTimeout,
  TooManyChannels,
  TooManyPublishes,
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
  | TooManyPublishes
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
  /** Whether the operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}

// -----------------------------------------------------------------------------
// publishing
// -----------------------------------------------------------------------------

/**
 * The message was handed to the transport, and the channel or connection ended before the broker confirmed it.
 * Publishing it again may duplicate it.
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
      return `The message was sent, but its outcome is unknown: ${this.cause.message}`
    }
    return reason.method === "basic.deliver"
      ? `The request was answered, but the reply is lost: ${this.cause.message}`
      : `The broker closed the channel before it confirmed the message: ${this.cause.message}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return this.cause.isRetryable
  }
}

/**
 * The message was not sent, or not completely. Publishing it again can't duplicate it.
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
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return this.cause.isRetryable
  }
}

/** Identifies the message, in brackets, with its route unless the reason contains it. */
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
 * A confirmed publish failed. `reason` shows whether the broker may have the message.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpPublishError extends Schema.TaggedError<AmqpPublishError>()("AmqpPublishError", {
  reason: Schema.Union([Nacked, Returned, OutcomeUnknown, NotSent]),
  /** Identifies the message, if it was published alone. In a batch its index does. */
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
  /** Whether the publish may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}

/** How many failures of a batch are listed in the message of its error. */
const shownFailures = 3

/**
 * Some messages of a batch failed. `failures` lists them by their index in the batch; the broker has confirmed the
 * other `confirmed` messages out of the first `taken`.
 *
 * If nothing more can be sent, only the first unsent message is listed and the rest of the batch is not read
 * (`isRestUnread`): the messages from index `taken` on, if there are any, were not sent either.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpPublishAllError extends Schema.TaggedError<AmqpPublishAllError>()("AmqpPublishAllError", {
  taken: Schema.Int,
  confirmed: Schema.Int,
  failures: Schema.NonEmptyArray(Schema.Struct({ index: Schema.Int, error: AmqpPublishError })),
  isRestUnread: Schema.optionalKey(Schema.Boolean)
}) {
  static {
    readable(this)
  }
  override readonly cause: AmqpPublishError = this.failures[0].error
  override get message(): string {
    const { confirmed, failures, isRestUnread, taken } = this
    const shown = failures.slice(0, shownFailures).map(({ error, index }) => `  ${index}: ${error.message}`)
    const rest = failures.length - shown.length
    return [
      isRestUnread === true
        ? `${failures.length} of the first ${taken} messages failed, ${confirmed} were confirmed, and the rest of the batch ` +
          "was not read or sent. The failures, by index:"
        : `${failures.length} of ${taken} messages failed, ${confirmed} were confirmed. The failures, by index:`,
      ...shown,
      ...(rest === 0 ? [] : [`  and ${rest} more`])
    ].join("\n")
  }
  /** Whether all failed messages may succeed if they are published again unchanged. */
  get isRetryable(): boolean {
    return this.failures.every(({ error }) => error.isRetryable)
  }
}

// -----------------------------------------------------------------------------
// consuming
// -----------------------------------------------------------------------------

/**
 * The broker cancelled the consumer (`basic.cancel`; RabbitMQ, "Consumer Cancel Notification"). It does not give a reason:
 * the queue may have been deleted, its node may be down, or, from RabbitMQ 4.3 on, a message may not have been settled
 * in time ("Delivery Acknowledgement Timeout"). The broker has requeued unsettled messages, so that settling them
 * succeeds with `false`.
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
    }. It gives no reason: the queue may ` +
      "have been deleted or be unavailable, or a message may not have been settled within the broker's consumer timeout"
  }
  /** Whether consuming again may succeed. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * A failure policy stopped the consumer (`AmqpFailurePolicy.stop`), because a handler failed with `cause`. The message
 * was requeued.
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

/** A handler's error may be anything, even one whose message can't be read. */
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
 * A move ended early, or some messages could not be moved. Of the `total` messages in the queue `from`, `moved` were
 * moved and all others are still in it; `failed` of them could not be moved, the first because of `cause`.
 *
 * If the connection or a channel was lost (`cause` is an `AmqpChannelError`), messages whose copies were not confirmed
 * may be in both places.
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
  /** Whether moving the rest may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return this.cause.isRetryable
  }
}

// -----------------------------------------------------------------------------
// decoding
// -----------------------------------------------------------------------------

/**
 * A message could not be decoded. `problem` is the reason:
 *
 * - `ContentType`, `ContentEncoding`: the properties describe something else.
 * - `Properties`: the properties are malformed.
 * - `Compression`: the body does not match its content encoding: it is corrupt, truncated, or followed by other bytes.
 * - `Size`: the decompressed body is larger than the limit.
 * - `Text`: the body is not valid UTF-8.
 * - `Json`: the body is not valid JSON.
 * - `Schema`: the value does not match the schema; `description` shows where.
 *
 * `part` is the affected part of the message: `message` if a schema covers several.
 *
 * **Details**
 *
 * `description` contains sizes, types and paths, but nothing of the body, unless a custom message of the schema does.
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
 * A message can't be compressed. `problem` is the reason:
 *
 * - `ContentEncoding`: the body already has a content encoding.
 * - `Platform`: the platform lacks the compression.
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
