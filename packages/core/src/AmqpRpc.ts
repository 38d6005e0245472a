/**
 * Request and reply: a client that waits for the reply to its message, and a server that replies.
 *
 * Replies go directly to the client's channel, without a reply queue (RabbitMQ, "Direct Reply-to"). A call fails when no queue takes
 * its request, and when the connection or the channel is lost before the reply, unless the client sends it again (`retry`). It does not
 * fail when no server replies: bound it with `Effect.timeout`.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { PublishOptions } from "./AmqpChannel.ts"
import * as AmqpConnection from "./AmqpConnection.ts"
import * as AmqpConsumer from "./AmqpConsumer.ts"
import * as AmqpDelivery from "./AmqpDelivery.ts"
import { AmqpChannelError, AmqpDecodeError, ContentTooLarge, NotSupported } from "./AmqpError.ts"
import type { AmqpPublishError } from "./AmqpError.ts"
import * as AmqpMessage from "./AmqpMessage.ts"
import * as AmqpPublisher from "./AmqpPublisher.ts"
import type { AmqpQueue } from "./AmqpQueue.ts"
import * as AmqpTelemetry from "./AmqpTelemetry.ts"
import type { Channel } from "./internal/channel/channel.ts"
import { lostWithChannel } from "./internal/channel/closeCause.ts"
import type { ConsumerSink } from "./internal/channel/consumers.ts"
import { basicConsume } from "./internal/channel/methods.ts"
import * as Program from "./internal/channel/program.ts"
import { OccasionalLog } from "./internal/common/occasionalLog.ts"
import { Signal } from "./internal/common/signal.ts"
import { supervisorOf } from "./internal/connection/connectionRegistry.ts"
import * as ConsumerOptions from "./internal/consuming/consumerOptions.ts"
import { Received } from "./internal/consuming/delivery.ts"
import { checked } from "./internal/consuming/handlerResult.ts"
import { routeIfValid } from "./internal/message/route.ts"
import * as Validation from "./internal/options/validation.ts"
import { checkRetry, withPauses } from "./internal/publishing/attempts.ts"
import type { Retry } from "./internal/publishing/attempts.ts"
import { addDefaults } from "./internal/publishing/publisherDefaults.ts"
import { startPublisher } from "./internal/publishing/publisherFiber.ts"
import { notConfirmed } from "./internal/publishing/publishErrors.ts"
import { resolveLimits } from "./internal/publishing/publishLimits.ts"
import { RetriedMessage } from "./internal/publishing/publishOne.ts"
import * as Instruments from "./internal/telemetry/spans.ts"
import { ReplyCode } from "./protocol/constants.ts"
import type { Content } from "./protocol/ContentAssembler.ts"
import type { BasicDeliver } from "./protocol/methods.generated.ts"

/** The pseudo-queue of RabbitMQ's direct reply-to. */
const replyQueue = "amq.rabbitmq.reply-to"

// -----------------------------------------------------------------------------
// clients
// -----------------------------------------------------------------------------

/**
 * The options of a client. Each has the same meaning as for an `AmqpPublisher`, with the request as the message. With `retry`, calls whose
 * requests were sent and not answered when the connection or the channel was lost are sent again, with the same correlation id: a
 * server may handle them twice.
 *
 * @category models
 * @since 0.1.0
 */
export type ClientOptions = Omit<AmqpPublisher.Options, "stamp">

const clientOptionKeys = Validation.keysOf<ClientOptions>({
  maxInFlight: true,
  maxInFlightBytes: true,
  sendTimeout: true,
  confirmTimeout: true,
  maxWaiting: true,
  maxWaitingBytes: true,
  whenBlocked: true,
  whenDisconnected: true,
  retry: true,
  defaults: true
})

/**
 * A client of servers that reply to requests. Any number of fibers may use it at the same time.
 *
 * @category services
 * @since 0.1.0
 */
export class AmqpRpcClient extends Context.Service<AmqpRpcClient, {
  /**
   * Publishes a request and waits for the reply. The client sets the request's `replyTo` and `correlationId`.
   *
   * Requests are `mandatory` by default. The reason of the `AmqpPublishError` is `Returned` when no queue took the request, `Nacked` or
   * `NotSent` when the broker does not have it, and `OutcomeUnknown` when the channel or the connection was lost before the reply
   * arrived: a server may have handled the request. Calls whose requests are not sent yet wait for the next connection. After an
   * interruption the reply is dropped, and the request is not sent again.
   */
  readonly call: (
    request: AmqpMessage.AmqpMessage,
    options: PublishOptions
  ) => Effect.Effect<AmqpDelivery.ReceivedMessage, AmqpPublishError>
}>()("@effect-amqp/core/AmqpRpcClient") {}

/**
 * Opens a client, for as long as the scope lives. Fails like `AmqpPublisher.make`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeClient = Effect.fnUntraced(function*(
  options: ClientOptions = {}
): Effect.fn.Return<
  AmqpRpcClient["Service"],
  AmqpChannelError,
  AmqpConnection.AmqpConnection | Scope.Scope
> {
  const { defaults, limits } = yield* Validation.attempt(() => {
    const known = Validation.knownKeys(options, clientOptionKeys, "AmqpRpc client options")
    checkRetry(known.retry)
    return { limits: resolveLimits(known), defaults: addDefaults(known.defaults) }
  })
  const supervisor = supervisorOf(yield* AmqpConnection.AmqpConnection)
  const calls = new Calls(new OccasionalLog(yield* Clock.Clock))
  const queue = yield* startPublisher(supervisor, limits, {
    prepare: (channel) => calls.listen(channel),
    awaitReplies: calls.awaitReplies
  })
  const schedule = options.retry && withPauses(options.retry)
  const call: AmqpRpcClient["Service"]["call"] = (request, options) =>
    Effect.contextWith((services: Context.Context<never>) =>
      Effect.callback((resume) => {
        Program.warnOfOutsider("AmqpRpcClient.call")
        const retry = schedule && { queue, schedule, services }
        const call = new Call(calls, retry, defaults.toMessage(request), defaults.toOptions(options), resume)
        queue.submit(call)
        return Effect.sync(() => {
          queue.withdraw(call)
          call.stop()
        })
      })
    )
  const telemetry = yield* AmqpTelemetry.Telemetry
  const instruments = yield* Validation.attempt(() => Instruments.make(telemetry, supervisor))
  if (instruments === undefined) return { call }
  return {
    call: (request, options) =>
      Effect.suspend(() => {
        const route = routeIfValid(options)
        return route === undefined
          ? call(request, options)
          : instruments.send(Instruments.call, request, route, (request) => call(request, options))
      })
  }
})

/**
 * A client as a Layer; see {@link makeClient}.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerClient = (
  options: ClientOptions = {}
): Layer.Layer<AmqpRpcClient, AmqpChannelError, AmqpConnection.AmqpConnection> =>
  Layer.effect(AmqpRpcClient, makeClient(options))

type Reply = Exit.Exit<AmqpDelivery.ReceivedMessage, AmqpPublishError>

/** The calls that wait for a reply, by correlation id. Consumes the replies. */
class Calls implements ConsumerSink {
  readonly noAck = true
  readonly buffered = 0
  get expectsReply(): boolean {
    return this.waiting.size > 0
  }
  private readonly waiting = new Map<string, Call>()
  /** How many of them have sent their request on the channel. */
  private sent = 0
  private readonly answered = new Signal()
  private readonly log: OccasionalLog
  private channel: Channel | undefined
  private next = 1

  constructor(log: OccasionalLog) {
    this.log = log
  }

  /** Waits until no reply is expected. */
  readonly awaitReplies: Effect.Effect<void> = this.answered.until(() => this.sent === 0)

  /** Consumes the replies, which arrive on the channel that published the request. */
  listen(channel: Channel): Effect.Effect<unknown, AmqpChannelError> {
    const capability = "direct_reply_to"
    if (!channel.host.supports(capability)) {
      return Effect.fail(new AmqpChannelError({ reason: new NotSupported({ capability }) }))
    }
    const consumerTag = channel.consumerTag()
    this.channel = channel
    channel.attach(consumerTag, this)
    return channel.request(basicConsume(replyQueue, consumerTag, { noAck: true }))
  }

  nextId(): string {
    return String(this.next++)
  }

  /** Adds a call whose request is not sent yet. */
  add(call: Call): void {
    this.waiting.set(call.correlationId, call)
  }

  delete({ correlationId }: Call): void {
    this.waiting.delete(correlationId)
  }

  /** The request of a call is being sent. */
  callSent(): void {
    this.sent++
  }

  /** A call whose request was sent waits for no reply on this channel any longer. */
  callEnded(): void {
    if (--this.sent === 0) this.answered.notify()
  }

  deliver(content: Content<BasicDeliver>): void {
    const reply = new Received(content, { queue: replyQueue, consumerTag: content.method.consumerTag })
    const call = this.waiting.get(correlationIdOf(reply))
    if (call === undefined) return this.unmatched(reply)
    if (content.oversized) call.fail((target) => notConfirmed(tooLarge(content), target))
    else call.end(Exit.succeed(reply))
  }

  flush(): void {}

  cancelled(): void {}

  /**
   * The channel is closed. That has already failed the calls whose request was in flight; those that are confirmed wait for a reply,
   * which no longer arrives. The requests of the others are not sent yet.
   */
  failed(error: AmqpChannelError): void {
    const cause = lostWithChannel(error, true)
    for (const call of this.waiting.values()) {
      if (call.isConfirmed) call.fail((target) => notConfirmed(cause, target))
    }
  }

  /** A reply to a call that has ended, or to an unknown one. */
  private unmatched(reply: AmqpDelivery.ReceivedMessage): void {
    const count = this.log.note()
    if (count === undefined) return
    const others = count === 1 ? "" : ` (and ${count - 1} more since the last warning)`
    this.channel?.host.warn(
      `A reply with correlation id ${JSON.stringify(correlationIdOf(reply))} matches no call${others}: ` +
        "the call was interrupted or timed out, or was answered twice"
    )
  }
}

/** An empty string, which is no call's id, if the reply has no correlation id or malformed properties. */
const correlationIdOf = (reply: AmqpDelivery.ReceivedMessage): string => {
  try {
    return reply.properties.correlationId ?? ""
  } catch {
    return ""
  }
}

/** The error for a reply above the connection's `maxBodySize`: the request was handled, and its result is lost. */
const tooLarge = ({ bodySize }: Content<BasicDeliver>): AmqpChannelError => {
  const reason = new ContentTooLarge({
    replyCode: ReplyCode.contentTooLarge,
    replyText: `the reply of ${bodySize} bytes is larger than the connection's maxBodySize`,
    method: "basic.deliver"
  })
  return new AmqpChannelError({ reason })
}

/** Publishes a request; its caller waits for the reply. */
class Call extends RetriedMessage<AmqpDelivery.ReceivedMessage> {
  readonly correlationId: string
  private readonly calls: Calls
  /** Whether the request is not sent, was sent, or is confirmed by the broker. */
  private request: "Waiting" | "Sent" | "Confirmed" = "Waiting"

  constructor(
    calls: Calls,
    retry: Retry | undefined,
    { body, properties }: Pick<AmqpMessage.AmqpMessage, "body" | "properties">,
    options: PublishOptions,
    resume: (reply: Reply) => void
  ) {
    const correlationId = calls.nextId()
    super(
      retry,
      body,
      { ...properties, replyTo: replyQueue, correlationId },
      { ...options, mandatory: options.mandatory ?? true },
      resume
    )
    this.correlationId = correlationId
    this.calls = calls
    calls.add(this)
  }

  get isConfirmed(): boolean {
    return this.request === "Confirmed"
  }

  override next(): boolean {
    if (this.request === "Waiting") this.calls.callSent()
    this.request = "Sent"
    return super.next()
  }

  override hold(): void {
    this.notSent()
    super.hold()
  }

  /** A request that is confirmed is not answered yet. One that is refused never will be. */
  protected confirmed(): void {
    this.request = "Confirmed"
  }

  protected override attemptFailed(error: AmqpPublishError): void {
    const wasSent = this.request !== "Waiting"
    this.request = "Waiting"
    super.attemptFailed(error)
    // Last, as the client leaves its channel with the last one, and publishes again what has failed until then.
    if (wasSent) this.calls.callEnded()
  }

  private notSent(): void {
    if (this.request !== "Waiting") this.calls.callEnded()
    this.request = "Waiting"
  }

  /** Waits for no reply any longer. */
  override stop(): void {
    this.calls.delete(this)
    this.notSent()
    super.stop()
  }
}

// -----------------------------------------------------------------------------
// servers
// -----------------------------------------------------------------------------

/**
 * Replies to requests until the fiber is interrupted or the consumer ends for good; see `AmqpConsumer.serve` for the options and the errors.
 *
 * **Details**
 *
 * The handler returns the reply, which is published to the queue in the request's `replyTo`, with its `correlationId`. The request is
 * acknowledged when the broker has confirmed the reply.
 *
 * A handler that fails sends no reply, so tell the client about a refusal in a reply too. `onFailure` handles a handler that fails, a
 * reply that can't be published, and a request without `replyTo` (an `AmqpDecodeError`). By default, a handler is called up to five
 * times, and then `AmqpFailurePolicy.deadLetter` applies to the request.
 *
 * **Example** (A server that shouts)
 *
 * ```ts
 * import { AmqpMessage, AmqpQueue, AmqpRpc } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * const server = AmqpRpc.serve(
 *   AmqpQueue.classic("shout"),
 *   (request) => Effect.succeed(AmqpMessage.text(request.text.toUpperCase())),
 *   { concurrency: 10 }
 * )
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const serve = <E, R, R2 = never>(
  queues: AmqpConsumer.Queues<AmqpQueue<"classic" | "quorum">>,
  handler: (request: AmqpDelivery.ReceivedMessage) => Effect.Effect<AmqpMessage.AmqpMessage, E, R>,
  options: AmqpConsumer.ServeOptions<E | AmqpPublishError | AmqpDecodeError, R2> = {}
): Effect.Effect<
  never,
  AmqpConsumer.ServeError,
  AmqpConnection.AmqpConnection | Exclude<R, Scope.Scope> | R2
> =>
  Effect.scoped(Effect.gen(function*() {
    yield* Validation.attempt(() => ConsumerOptions.resolveServing(queues, options, ["onFailure"], false))
    // Without telemetry of its own: the span of the request covers the reply. Without a connection it fails at once, since the broker
    // delivers the request again.
    const publisher = yield* Effect.provideService(
      AmqpPublisher.make({ whenDisconnected: "fail" }),
      AmqpTelemetry.Telemetry,
      undefined
    )
    const reply = (
      request: AmqpDelivery.ReceivedMessage
    ): Effect.Effect<AmqpDelivery.Settlement<void, "Ack">, E | AmqpPublishError | AmqpDecodeError, R> => {
      const { correlationId, replyTo } = request.properties
      if (replyTo === undefined) return Effect.fail(withoutReplyTo)
      return checked(handler(request), "handler").pipe(
        Effect.flatMap(({ body, properties }) =>
          publisher.publish(AmqpMessage.make(body, { ...properties, correlationId }), {
            exchange: "",
            routingKey: replyTo
          })
        ),
        Effect.as(AmqpDelivery.ack)
      )
    }
    return yield* Effect.provideService(
      AmqpConsumer.serve(queues, reply, options),
      Instruments.ServedOperation,
      Instruments.serve
    )
  }))

const withoutReplyTo = new AmqpDecodeError({
  problem: "Properties",
  part: "properties",
  description: "the request has no replyTo, so it can't be answered"
})
