/**
 * The errors for what a broker replies instead of the expected: the reply codes of AMQP 0-9-1, returned messages,
 * nacks, or nothing in time.
 *
 * `AmqpError` exports everything in this module; import it from there.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { readable } from "./internal/errors/readableError.ts"
import { mayPass } from "./internal/errors/replyTexts.ts"
import { ReplyCode } from "./protocol/constants.ts"

// -----------------------------------------------------------------------------
// closes
// -----------------------------------------------------------------------------

/**
 * The broker's reason for closing a channel or connection. Each reply code (section 1.3 of the AMQP 0-9-1 reference)
 * has its own subclass; {@link UnknownReplyCode} is for codes that the specification does not define.
 *
 * **Details**
 *
 * `isRetryable` shows whether the same operation may succeed if it is repeated unchanged. By code:
 *
 * - `true`: 313 `NoConsumers`, 320 `ConnectionForced`, 405 `ResourceLocked`, 506 `ResourceError`. The cause lies with
 *   the broker or with other clients, and can pass.
 * - `false`: 311 `ContentTooLarge`, 312 `NoRoute`, 402 `InvalidPath`, 403 `AccessRefused`, 404 `NotFound`, 406
 *   `PreconditionFailed`, 530 `NotAllowed`, 540 `NotImplemented`. A permission, an entity, a limit or the request has
 *   to change first.
 * - `false`: 501 `FrameError`, 502 `SyntaxError`, 503 `CommandInvalid`, 504 `ChannelError`, 505 `UnexpectedFrame`. The
 *   client violated the protocol, and would again.
 * - `false`: 541 `InternalError`. It "may require intervention by an operator" (section 1.3), and RabbitMQ 4.3 uses it
 *   for removed features.
 * - `false`: codes that the specification does not define.
 *
 * RabbitMQ also uses some codes for temporary conditions. Then its text decides: 403 for a queue that another consumer
 * has exclusively, 404 for a queue whose process or node is down, 406 for a late acknowledgement, 530 for a connection
 * limit, 541 for a virtual host that is down and for timeouts within a cluster. `docs/errors.md` lists the texts.
 *
 * @category models
 * @since 0.1.0
 */
export abstract class ServerReply extends Schema.Error<ServerReply>("ServerReply")({
  /** The reply code (section 1.3 of the AMQP 0-9-1 reference). */
  replyCode: Schema.Int,
  /** The broker's text. */
  replyText: Schema.String,
  /** The method that caused the close, such as `queue.declare`; empty if the broker names none. */
  method: Schema.String
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `${this.method === "" ? "" : `${this.method}: `}${this.replyCode} ${this.replyText}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return mayPass(this.replyCode, this.replyText)
  }
}

/**
 * 311: the body is larger than the broker or the queue accepts. Closes the channel.
 *
 * @category errors
 * @since 0.1.0
 */
export class ContentTooLarge extends ServerReply.extend<ContentTooLarge>("ContentTooLarge")({
  _tag: Schema.tag("ContentTooLarge")
}) {}

/**
 * 312: a mandatory message can't be routed. RabbitMQ returns the message instead of closing the channel, see {@link
 * Returned}.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoRoute extends ServerReply.extend<NoRoute>("NoRoute")({ _tag: Schema.tag("NoRoute") }) {}

/**
 * 313: an immediate message has no consumer. This client sends no immediate messages, which RabbitMQ does not support.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoConsumers extends ServerReply.extend<NoConsumers>("NoConsumers")({ _tag: Schema.tag("NoConsumers") }) {}

/**
 * 320: an operator closed the connection, or the broker is shutting down. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionForced extends ServerReply.extend<ConnectionForced>("ConnectionForced")({
  _tag: Schema.tag("ConnectionForced")
}) {}

/**
 * 402: the virtual host does not exist, according to the specification; RabbitMQ uses 530. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidPath extends ServerReply.extend<InvalidPath>("InvalidPath")({ _tag: Schema.tag("InvalidPath") }) {}

/**
 * 403: the user lacks a permission, or another consumer has the queue exclusively. Closes the channel. Retryable in the
 * latter case, as the queue becomes free when that consumer ends.
 *
 * @category errors
 * @since 0.1.0
 */
export class AccessRefused extends ServerReply.extend<AccessRefused>("AccessRefused")({
  _tag: Schema.tag("AccessRefused")
}) {}

/**
 * 404: a queue, exchange or virtual host does not exist, or the process or node of a queue is down. Closes the channel.
 * Retryable in the latter case.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotFound extends ServerReply.extend<NotFound>("NotFound")({ _tag: Schema.tag("NotFound") }) {}

/**
 * 405: an exclusive queue belongs to another connection. Closes the channel. Retryable, as the queue is deleted with
 * that connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class ResourceLocked extends ServerReply.extend<ResourceLocked>("ResourceLocked")({
  _tag: Schema.tag("ResourceLocked")
}) {}

/**
 * 406: an entity exists with other properties, a delivery tag is unknown, a message was not settled in time, or another
 * precondition does not hold. Closes the channel. Retryable if a message was not settled in time, as it was requeued.
 *
 * @category errors
 * @since 0.1.0
 */
export class PreconditionFailed extends ServerReply.extend<PreconditionFailed>("PreconditionFailed")({
  _tag: Schema.tag("PreconditionFailed")
}) {}

/**
 * 501: the broker could not parse a frame. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class FrameError extends ServerReply.extend<FrameError>("FrameError")({ _tag: Schema.tag("FrameError") }) {}

/**
 * 502: a frame contained values that the broker does not accept. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class SyntaxError extends ServerReply.extend<SyntaxError>("SyntaxError")({ _tag: Schema.tag("SyntaxError") }) {}

/**
 * 503: a method is not allowed at this time, or in this mode of the channel. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class CommandInvalid extends ServerReply.extend<CommandInvalid>("CommandInvalid")({
  _tag: Schema.tag("CommandInvalid")
}) {}

/**
 * 504: a method was sent on a channel that is not open, or opened an open channel. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class ChannelError extends ServerReply.extend<ChannelError>("ChannelError")({
  _tag: Schema.tag("ChannelError")
}) {}

/**
 * 505: a frame is not the next one of its message. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnexpectedFrame extends ServerReply.extend<UnexpectedFrame>("UnexpectedFrame")({
  _tag: Schema.tag("UnexpectedFrame")
}) {}

/**
 * 506: the broker lacks memory, or a limit on the number of entities is reached. Closes the connection. Retryable after
 * a while.
 *
 * @category errors
 * @since 0.1.0
 */
export class ResourceError extends ServerReply.extend<ResourceError>("ResourceError")({
  _tag: Schema.tag("ResourceError")
}) {}

/**
 * 530: the broker does not allow the operation, for example because the virtual host does not exist. Closes the
 * connection. Retryable if a limit of connections or channels is reached.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotAllowed extends ServerReply.extend<NotAllowed>("NotAllowed")({ _tag: Schema.tag("NotAllowed") }) {}

/**
 * 540: the broker does not implement the operation, such as `basic.qos` with a prefetch size in RabbitMQ. Closes the
 * connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotImplemented extends ServerReply.extend<NotImplemented>("NotImplemented")({
  _tag: Schema.tag("NotImplemented")
}) {}

/**
 * 541: an error within the broker, or a feature that a newer version has removed. Closes the connection. Retryable if a
 * virtual host is down, or something within a cluster timed out.
 *
 * @category errors
 * @since 0.1.0
 */
export class InternalError extends ServerReply.extend<InternalError>("InternalError")({
  _tag: Schema.tag("InternalError")
}) {}

/**
 * A reply code that the specification does not define.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownReplyCode
  extends ServerReply.extend<UnknownReplyCode>("UnknownReplyCode")({ _tag: Schema.tag("UnknownReplyCode") })
{}

/**
 * The classes of all {@link ReplyReason}s, one for each reply code, for a schema or a lookup.
 *
 * @category schemas
 * @since 0.1.0
 */
export const replyReasons = [
  ContentTooLarge,
  NoRoute,
  NoConsumers,
  ConnectionForced,
  InvalidPath,
  AccessRefused,
  NotFound,
  ResourceLocked,
  PreconditionFailed,
  FrameError,
  SyntaxError,
  CommandInvalid,
  ChannelError,
  UnexpectedFrame,
  ResourceError,
  NotAllowed,
  NotImplemented,
  InternalError,
  UnknownReplyCode
] as const

/**
 * The broker's reason for closing a channel or the connection.
 *
 * @category models
 * @since 0.1.0
 */
export type ReplyReason =
  | ContentTooLarge
  | NoRoute
  | NoConsumers
  | ConnectionForced
  | InvalidPath
  | AccessRefused
  | NotFound
  | ResourceLocked
  | PreconditionFailed
  | FrameError
  | SyntaxError
  | CommandInvalid
  | ChannelError
  | UnexpectedFrame
  | ResourceError
  | NotAllowed
  | NotImplemented
  | InternalError
  | UnknownReplyCode

const replyReasonByCode: Readonly<Record<number, typeof replyReasons[number]>> = {
  [ReplyCode.contentTooLarge]: ContentTooLarge,
  [ReplyCode.noRoute]: NoRoute,
  [ReplyCode.noConsumers]: NoConsumers,
  [ReplyCode.connectionForced]: ConnectionForced,
  [ReplyCode.invalidPath]: InvalidPath,
  [ReplyCode.accessRefused]: AccessRefused,
  [ReplyCode.notFound]: NotFound,
  [ReplyCode.resourceLocked]: ResourceLocked,
  [ReplyCode.preconditionFailed]: PreconditionFailed,
  [ReplyCode.frameError]: FrameError,
  [ReplyCode.syntaxError]: SyntaxError,
  [ReplyCode.commandInvalid]: CommandInvalid,
  [ReplyCode.channelError]: ChannelError,
  [ReplyCode.unexpectedFrame]: UnexpectedFrame,
  [ReplyCode.resourceError]: ResourceError,
  [ReplyCode.notAllowed]: NotAllowed,
  [ReplyCode.notImplemented]: NotImplemented,
  [ReplyCode.internalError]: InternalError
}

/**
 * Makes the reason for a reply: an instance of the class of its code, {@link UnknownReplyCode} for an undefined code.
 *
 * @category constructors
 * @since 0.1.0
 */
export const replyReason = (reply: {
  readonly replyCode: number
  readonly replyText: string
  readonly method: string
}): ReplyReason => {
  const Reason = replyReasonByCode[reply.replyCode] ?? UnknownReplyCode
  return new Reason({ replyCode: reply.replyCode, replyText: reply.replyText, method: reply.method })
}

// -----------------------------------------------------------------------------
// replies to publishes
// -----------------------------------------------------------------------------

/**
 * The broker returned a mandatory message (`basic.return`), as no queue took it. `replyCode` is 312 if nothing is bound
 * to the exchange for the routing key. Publish it again after binding a queue.
 *
 * @category errors
 * @since 0.1.0
 */
export class Returned extends Schema.TaggedError<Returned>()("Returned", {
  replyCode: Schema.Int,
  /** The broker's text. */
  replyText: Schema.String,
  /** The exchange that the message was published to; `""` is the default exchange. */
  exchange: Schema.String,
  routingKey: Schema.String
}) {
  static {
    readable(this)
  }
  override get message(): string {
    const { exchange, replyCode, replyText, routingKey } = this
    return `The broker returned a message that was published to ${
      exchange === "" ? "the default exchange" : `exchange ${JSON.stringify(exchange)}`
    } with routing key ${JSON.stringify(routingKey)}: ${replyCode} ${replyText}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return this.replyCode === ReplyCode.noConsumers
  }
}

/**
 * The broker did not accept the message (`basic.nack`): a queue rejects publishes, or a queue process failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class Nacked extends Schema.TaggedError<Nacked>()("Nacked", {}) {
  static {
    readable(this)
  }
  override get message(): string {
    return "The broker did not accept the message (basic.nack)"
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The broker asks publishers to pause (`connection.blocked`), as it is short of memory or disk, and did so for longer
 * than the publisher may wait. `description` is the broker's reason, such as `low on memory`.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionBlocked extends Schema.TaggedError<ConnectionBlocked>()("ConnectionBlocked", {
  description: Schema.String
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `The broker blocks publishers: ${this.description}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return true
  }
}

// -----------------------------------------------------------------------------
// timeouts
// -----------------------------------------------------------------------------

/** What a blocked connection means for what was sent on it. */
const whileBlocked = (blocked: string | undefined): string =>
  blocked === undefined ? "" : `: it blocks the connection (${blocked}), and meanwhile reads nothing from it`

/**
 * The broker did not reply to a request in time. The request may still take effect; its late reply is dropped. If the
 * broker blocked the connection meanwhile (`connection.blocked`), `blocked` is its reason: it has not read the request
 * yet.
 *
 * @category errors
 * @since 0.1.0
 */
export class RequestTimeout extends Schema.TaggedError<RequestTimeout>()("RequestTimeout", {
  method: Schema.String,
  blocked: Schema.optionalKey(Schema.String)
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `${this.method}: the broker did not reply in time${whileBlocked(this.blocked)}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * A message could not be sent in time: the publisher's limits were reached, or the socket was full. It was not sent.
 *
 * @category errors
 * @since 0.1.0
 */
export class SendTimeout extends Schema.TaggedError<SendTimeout>()("SendTimeout", {}) {
  static {
    readable(this)
  }
  override get message(): string {
    return "The message could not be sent in time: the publisher's limits were reached, or the socket was full"
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The broker did not confirm a message in time. It may have the message, so that publishing it again may duplicate it.
 * `blocked` is the broker's reason if it blocks the connection (`connection.blocked`).
 *
 * @category errors
 * @since 0.1.0
 */
export class ConfirmTimeout extends Schema.TaggedError<ConfirmTimeout>()("ConfirmTimeout", {
  blocked: Schema.optionalKey(Schema.String)
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `The broker did not confirm the message in time${whileBlocked(this.blocked)}`
  }
  /** Whether the same operation may succeed if it is repeated unchanged. */
  get isRetryable(): boolean {
    return true
  }
}
