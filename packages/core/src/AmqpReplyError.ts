/**
 * What a server sends instead of doing what it was asked: the reply codes of AMQP 0-9-1, returned messages, nacks, nothing.
 *
 * Everything here is also exported by `AmqpError`, which is where to take it from.
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
 * A close of a channel or connection by the server, with what it said. Each reply code (section 1.3 of the AMQP 0-9-1
 * reference) has a class of its own that extends this one; {@link UnknownReplyCode} stands for codes that the specification does not
 * know.
 *
 * **Details**
 *
 * `isRetryable` says whether the same operation may succeed without any change. By code:
 *
 * - `true`: 313 `NoConsumers`, 320 `ConnectionForced`, 405 `ResourceLocked`, 506 `ResourceError`. The cause lies with the broker
 *   or with other clients, and can pass.
 * - `false`: 311 `ContentTooLarge`, 312 `NoRoute`, 402 `InvalidPath`, 403 `AccessRefused`, 404 `NotFound`,
 *   406 `PreconditionFailed`, 530 `NotAllowed`, 540 `NotImplemented`. A right, an entity, a limit or the request has to change
 *   first.
 * - `false`: 501 `FrameError`, 502 `SyntaxError`, 503 `CommandInvalid`, 504 `ChannelError`, 505 `UnexpectedFrame`. The client
 *   broke the protocol, and would again.
 * - `false`: 541 `InternalError`. It "may require intervention by an operator" (section 1.3), and RabbitMQ 4.3 uses it for
 *   features that it no longer has.
 * - `false`: codes that the specification does not define.
 *
 * RabbitMQ uses some codes for passing conditions too, which only its text tells apart, and then the text decides: 403 for a
 * queue that another consumer has exclusively, 404 for a queue whose process or node is down, 406 for an acknowledgement that
 * came too late, 530 for a connection limit that is reached, 541 for a virtual host that is down and for timeouts within a
 * cluster. `docs/errors.md` lists the texts.
 *
 * @category models
 * @since 0.1.0
 */
export abstract class ServerReply extends Schema.Error<ServerReply>("ServerReply")({
  /** The reply code (section 1.3 of the AMQP 0-9-1 reference). */
  replyCode: Schema.Int,
  /** The server's own words. */
  replyText: Schema.String,
  /** The method that the server holds responsible, such as `queue.declare`; empty when it names none. */
  method: Schema.String
}) {
  static {
    readable(this)
  }
  override get message(): string {
    return `${this.method === "" ? "" : `${this.method}: `}${this.replyCode} ${this.replyText}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return mayPass(this.replyCode, this.replyText)
  }
}

/**
 * 311: the body is larger than the server or the queue takes. Closes the channel.
 *
 * @category errors
 * @since 0.1.0
 */
export class ContentTooLarge extends ServerReply.extend<ContentTooLarge>("ContentTooLarge")({
  _tag: Schema.tag("ContentTooLarge")
}) {}

/**
 * 312: a mandatory message can't be routed. RabbitMQ returns the message instead of closing the channel, see {@link Returned}.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoRoute extends ServerReply.extend<NoRoute>("NoRoute")({ _tag: Schema.tag("NoRoute") }) {}

/**
 * 313: an immediate message finds no consumer. This client sends none, as RabbitMQ knows no immediate messages.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoConsumers extends ServerReply.extend<NoConsumers>("NoConsumers")({ _tag: Schema.tag("NoConsumers") }) {}

/**
 * 320: an operator closed the connection, or the broker shuts down. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionForced extends ServerReply.extend<ConnectionForced>("ConnectionForced")({
  _tag: Schema.tag("ConnectionForced")
}) {}

/**
 * 402: the virtual host does not exist, in the words of the specification; RabbitMQ says 530. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidPath extends ServerReply.extend<InvalidPath>("InvalidPath")({ _tag: Schema.tag("InvalidPath") }) {}

/**
 * 403: the user lacks a permission, or another consumer has the queue exclusively. Closes the channel. Retryable in the latter
 * case, since the queue is free when that consumer ends.
 *
 * @category errors
 * @since 0.1.0
 */
export class AccessRefused extends ServerReply.extend<AccessRefused>("AccessRefused")({
  _tag: Schema.tag("AccessRefused")
}) {}

/**
 * 404: a queue, exchange or virtual host does not exist, or the process or node that holds a queue is down. Closes the channel.
 * Retryable in the latter case.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotFound extends ServerReply.extend<NotFound>("NotFound")({ _tag: Schema.tag("NotFound") }) {}

/**
 * 405: an exclusive queue belongs to another connection. Closes the channel. Retryable, as the queue goes with its connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class ResourceLocked extends ServerReply.extend<ResourceLocked>("ResourceLocked")({
  _tag: Schema.tag("ResourceLocked")
}) {}

/**
 * 406: an entity exists with other properties, a delivery tag is unknown, a message was not settled in time, or another
 * precondition does not hold. Closes the channel. Retryable when a message was not settled in time: it is requeued.
 *
 * @category errors
 * @since 0.1.0
 */
export class PreconditionFailed extends ServerReply.extend<PreconditionFailed>("PreconditionFailed")({
  _tag: Schema.tag("PreconditionFailed")
}) {}

/**
 * 501: the server could not take a frame apart. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class FrameError extends ServerReply.extend<FrameError>("FrameError")({ _tag: Schema.tag("FrameError") }) {}

/**
 * 502: a frame held values that the server does not take. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class SyntaxError extends ServerReply.extend<SyntaxError>("SyntaxError")({ _tag: Schema.tag("SyntaxError") }) {}

/**
 * 503: a method came at a time, or in a mode of the channel, in which it is not allowed. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class CommandInvalid extends ServerReply.extend<CommandInvalid>("CommandInvalid")({
  _tag: Schema.tag("CommandInvalid")
}) {}

/**
 * 504: a method came on a channel that is not open, or opened one that is. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class ChannelError extends ServerReply.extend<ChannelError>("ChannelError")({
  _tag: Schema.tag("ChannelError")
}) {}

/**
 * 505: a frame came that is not the next one of a message. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnexpectedFrame extends ServerReply.extend<UnexpectedFrame>("UnexpectedFrame")({
  _tag: Schema.tag("UnexpectedFrame")
}) {}

/**
 * 506: the server lacks memory, or a limit for entities of the kind is reached. Closes the connection. Retryable, after a while.
 *
 * @category errors
 * @since 0.1.0
 */
export class ResourceError extends ServerReply.extend<ResourceError>("ResourceError")({
  _tag: Schema.tag("ResourceError")
}) {}

/**
 * 530: the server does not allow it, for example a virtual host that does not exist. Closes the connection. Retryable when a limit
 * of connections or channels is reached.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotAllowed extends ServerReply.extend<NotAllowed>("NotAllowed")({ _tag: Schema.tag("NotAllowed") }) {}

/**
 * 540: the server can't do this, as RabbitMQ can't `basic.qos` with a prefetch size. Closes the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotImplemented extends ServerReply.extend<NotImplemented>("NotImplemented")({
  _tag: Schema.tag("NotImplemented")
}) {}

/**
 * 541: something broke within the server, or it refuses what a newer version no longer has. Closes the connection. Retryable when
 * a virtual host is down, or when something within a cluster timed out.
 *
 * @category errors
 * @since 0.1.0
 */
export class InternalError extends ServerReply.extend<InternalError>("InternalError")({
  _tag: Schema.tag("InternalError")
}) {}

/**
 * A reply code that the specification does not know, as it came.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownReplyCode
  extends ServerReply.extend<UnknownReplyCode>("UnknownReplyCode")({ _tag: Schema.tag("UnknownReplyCode") })
{}

/**
 * The classes of all {@link ReplyReason}s, one for each reply code, for a schema or a switch of your own.
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
 * A reason that a server gave when it closed a channel or the connection.
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
 * The reason for a reply: the class of its code, {@link UnknownReplyCode} for a code that the specification does not know.
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
// answers to publishes
// -----------------------------------------------------------------------------

/**
 * The broker gave a mandatory message back (`basic.return`): no queue took it. `replyCode` is 312 where nothing is bound to the
 * exchange for the routing key. Publishing it again makes sense when a queue was bound.
 *
 * @category errors
 * @since 0.1.0
 */
export class Returned extends Schema.TaggedError<Returned>()("Returned", {
  replyCode: Schema.Int,
  /** The server's own words. */
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
    return `The broker returned a message to ${
      exchange === "" ? "the default exchange" : `exchange ${JSON.stringify(exchange)}`
    } with routing key ${JSON.stringify(routingKey)}: ${replyCode} ${replyText}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return this.replyCode === ReplyCode.noConsumers
  }
}

/**
 * The broker took no responsibility for the message (`basic.nack`): a queue rejects publishes, or a queue process failed.
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
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The broker asks publishers to pause (`connection.blocked`), as it is short of memory or disk, and it went on for longer than
 * the publisher was to wait. `description` is the broker's reason, such as `low on memory`.
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
    return `The broker takes no publishes: ${this.description}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

// -----------------------------------------------------------------------------
// answers that do not come
// -----------------------------------------------------------------------------

/** What a broker that blocks the connection does to what was sent to it. */
const whileBlocked = (blocked: string | undefined): string =>
  blocked === undefined ? "" : `: it blocks the connection (${blocked}), and reads nothing from it until it unblocks it`

/**
 * The broker did not answer a request in time. The request may still take effect; its late answer is dropped. `blocked` is the
 * broker's reason when it blocked the connection meanwhile (`connection.blocked`): then it has not read the request.
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
    return `${this.method}: the broker did not answer in time${whileBlocked(this.blocked)}`
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * A message could not be sent in time: the publisher's limits were reached, or the socket took no more. It has not left.
 *
 * @category errors
 * @since 0.1.0
 */
export class SendTimeout extends Schema.TaggedError<SendTimeout>()("SendTimeout", {}) {
  static {
    readable(this)
  }
  override get message(): string {
    return "There was no room for the message in time"
  }
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The broker did not confirm a message in time. It may have the message: publishing it again may duplicate it. `blocked` is the
 * broker's reason when it blocks the connection (`connection.blocked`).
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
  /** Whether the same operation may succeed when it is tried again. */
  get isRetryable(): boolean {
    return true
  }
}
