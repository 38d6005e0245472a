/**
 * Request and reply: a client that waits for the reply to its message, and a server that answers.
 *
 * Replies go straight to the client's channel, without a queue of their own (RabbitMQ, "Direct Reply-to"). A request that
 * nobody can take, a lost connection or a lost channel fails the call; a server that never answers does not, so bound a call
 * with `Effect.timeout`.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
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
import { innocent } from "./internal/channel/closeCause.ts"
import type { Outcome, PublishOwner } from "./internal/channel/confirmLedger.ts"
import type { ConsumerSink } from "./internal/channel/consumers.ts"
import * as Program from "./internal/channel/program.ts"
import { OccasionalLog } from "./internal/common/occasionalLog.ts"
import { sessionOf } from "./internal/connection/sessionRegistry.ts"
import * as ConsumerOptions from "./internal/consuming/consumerOptions.ts"
import { Received } from "./internal/consuming/delivery.ts"
import { checked } from "./internal/consuming/handlerResult.ts"
import { routeIfValid, routeOf } from "./internal/message/route.ts"
import * as Validation from "./internal/options/validation.ts"
import { addDefaults } from "./internal/publishing/publisherDefaults.ts"
import { startPublishing } from "./internal/publishing/publisherFiber.ts"
import { failureOf, notSent, resolveLimits, targetOf, unencodable } from "./internal/publishing/publishQueue.ts"
import type { Progress, Publishing, PublishJob, PublishTarget } from "./internal/publishing/publishQueue.ts"
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
 * How a client limits itself. Each means what it means for an `AmqpPublisher`.
 *
 * @category models
 * @since 0.1.0
 */
export type ClientOptions = Omit<AmqpPublisher.Options, "stamp" | "retry">

const clientOptionKeys = Validation.keysOf<ClientOptions>({
  maxInFlight: true,
  maxInFlightBytes: true,
  sendTimeout: true,
  confirmTimeout: true,
  whenBlocked: true,
  defaults: true
})

/**
 * A client of servers that answer requests. Any number of fibers may use it at once.
 *
 * @category services
 * @since 0.1.0
 */
export class AmqpRpcClient extends Context.Service<AmqpRpcClient, {
  /**
   * Publishes a request and waits for the reply. The request's `replyTo` and `correlationId` are the client's.
   *
   * Requests are published as mandatory unless the option says otherwise. Fails with an `AmqpPublishError`: `Returned` when no
   * queue took the request, `Nacked` or `NotSent` when the broker does not have it, `OutcomeUnknown` when the channel or the
   * connection was lost before the reply came: the server may have handled it. An interruption drops the reply.
   */
  readonly call: (
    request: AmqpMessage.AmqpMessage,
    options: PublishOptions
  ) => Effect.Effect<AmqpDelivery.ReceivedMessage, AmqpPublishError>
}>()("@effect-amqp/core/AmqpRpcClient") {}

/**
 * Opens a client, for as long as the scope lives; see `AmqpPublisher.make` for the errors.
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
    return { limits: resolveLimits(known), defaults: addDefaults(known.defaults) }
  })
  const session = sessionOf(yield* AmqpConnection.AmqpConnection)
  const calls = new Calls(new OccasionalLog(yield* Clock.Clock))
  const publishing = yield* startPublishing(session, limits, (channel) => calls.listen(channel))
  const call: AmqpRpcClient["Service"]["call"] = (request, options) =>
    Effect.callback((resume) => {
      Program.warnOfOutsider("AmqpRpcClient.call")
      const call = new Call(calls, publishing, defaults.toMessage(request), defaults.toOptions(options), resume)
      publishing.submit(call)
      return Effect.sync(() => {
        publishing.withdraw(call)
        calls.forget(call)
      })
    })
  const telemetry = yield* AmqpTelemetry.Telemetry
  const instruments = yield* Validation.attempt(() => Instruments.make(telemetry, session.options))
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

type Reply = Effect.Effect<AmqpDelivery.ReceivedMessage, AmqpPublishError>

/** The calls that wait for their reply, by correlation id. The sink of the replies. */
class Calls implements ConsumerSink {
  readonly noAck = true
  readonly buffered = 0
  get expectsReply(): boolean {
    return this.waiting.size > 0
  }
  private readonly waiting = new Map<string, Call>()
  private readonly log: OccasionalLog
  private channel: Channel | undefined
  private next = 1

  constructor(log: OccasionalLog) {
    this.log = log
  }

  /** Replies come to the channel that published the request, and only while it consumes them. */
  listen(channel: Channel): Effect.Effect<unknown, AmqpChannelError> {
    const capability = "direct_reply_to"
    if (!channel.host.supports(capability)) {
      return Effect.fail(new AmqpChannelError({ reason: new NotSupported({ capability }) }))
    }
    const consumerTag = channel.consumerTag()
    this.channel = channel
    channel.attach(consumerTag, this)
    return channel.request({
      _tag: "basic.consume",
      queue: replyQueue,
      consumerTag,
      noLocal: false,
      noAck: true,
      exclusive: false,
      noWait: false,
      arguments: {}
    })
  }

  nextId(): string {
    return String(this.next++)
  }

  add(call: Call, id: string): void {
    this.waiting.set(id, call)
  }

  forget(call: Call): void {
    if (call.correlationId !== undefined) this.waiting.delete(call.correlationId)
  }

  deliver(content: Content<BasicDeliver>): void {
    const reply = new Received(content, { queue: replyQueue, consumerTag: content.method.consumerTag })
    const call = this.waiting.get(correlationIdOf(reply))
    if (call === undefined) return this.unmatched(reply)
    this.forget(call)
    call.resume(content.oversized ? Effect.fail(tooLarge(content, call.target)) : Effect.succeed(reply))
  }

  flush(): void {}

  cancelled(): void {}

  /** The channel is gone. Calls whose request caused that have failed before: these were waiting for their replies. */
  failed(error: AmqpChannelError): void {
    const cause = innocent(error, true)
    for (const [id, call] of this.waiting) {
      this.waiting.delete(id)
      call.resume(Effect.fail(failureOf(cause, call.target)))
    }
  }

  /** The reply to a call that has ended, or to none at all. Worth a log line, but not one for each. */
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

/** Empty, as no call's is, when the server sent none, or properties that can't be read. */
const correlationIdOf = (reply: AmqpDelivery.ReceivedMessage): string => {
  try {
    return reply.properties.correlationId ?? ""
  } catch {
    return ""
  }
}

/** A reply that is larger than the connection takes: the request was handled, and its result is lost. */
const tooLarge = ({ bodySize }: Content<BasicDeliver>, target: PublishTarget): AmqpPublishError => {
  const reason = new ContentTooLarge({
    replyCode: ReplyCode.contentTooLarge,
    replyText: `the reply of ${bodySize} bytes is larger than the connection's maxBodySize`,
    method: "basic.deliver"
  })
  return failureOf(new AmqpChannelError({ reason }), target)
}

const mandatoryUnlessTold = (options: PublishOptions): PublishOptions => ({
  ...options,
  mandatory: options.mandatory ?? true
})

class Call implements PublishJob, PublishOwner {
  waitingSince = 0
  correlationId: string | undefined
  readonly resume: (reply: Reply) => void
  private readonly calls: Calls
  private readonly publishing: Publishing
  private readonly request: AmqpMessage.AmqpMessage
  private readonly options: PublishOptions

  constructor(
    calls: Calls,
    publishing: Publishing,
    request: AmqpMessage.AmqpMessage,
    options: PublishOptions,
    resume: (reply: Reply) => void
  ) {
    this.calls = calls
    this.publishing = publishing
    this.request = request
    this.options = options
    this.resume = resume
  }

  send(channel: Channel): Progress {
    const correlationId = this.calls.nextId()
    try {
      const { body, properties } = this.request
      const route = routeOf(mandatoryUnlessTold(this.options))
      if (!this.publishing.admits(channel, route)) return "Waits"
      this.correlationId = correlationId
      this.calls.add(this, correlationId)
      channel.publish(
        route,
        { ...properties, replyTo: replyQueue, correlationId },
        body,
        this,
        0
      )
    } catch (thrown) {
      this.calls.forget(this)
      this.resume(Effect.suspend(() => Effect.fail(unencodable(thrown, this.target))))
    }
    return "Done"
  }

  get target(): PublishTarget {
    return targetOf(this.options, this.request.properties)
  }

  refuse(error: AmqpChannelError): void {
    this.resume(Effect.fail(notSent(error, this.target)))
  }

  settled(_index: number, outcome: Outcome): void {
    // Confirmed does not mean answered: a refused request never will be.
    if (outcome !== "Acked") {
      this.calls.forget(this)
      this.resume(Effect.fail(failureOf(outcome, this.target)))
    }
    this.publishing.settled()
  }
}

// -----------------------------------------------------------------------------
// servers
// -----------------------------------------------------------------------------

/**
 * Answers requests until the fiber is interrupted or the consumer fails; see `AmqpConsumer.serve` for the options and the errors.
 *
 * **Details**
 *
 * The handler returns the reply, which goes to the queue that the request's `replyTo` names, with its `correlationId`. The
 * request is acknowledged when the broker has confirmed the reply. A handler that fails sends no reply, so a refusal that the client
 * should hear of is best a reply too. A handler that fails, a reply that can't be published, and a request without `replyTo` (an
 * `AmqpDecodeError`) are what `onFailure` is for: by default a handler is called up to five times, and then the request is given up as
 * `AmqpFailurePolicy.deadLetter` says.
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
    // The reply is part of what the span of the request covers.
    const publisher = yield* Effect.provideService(AmqpPublisher.make(), AmqpTelemetry.Telemetry, undefined)
    const answer = (
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
      AmqpConsumer.serve(queues, answer, options),
      Instruments.ServedOperation,
      Instruments.serve
    )
  }))

const withoutReplyTo = new AmqpDecodeError({
  problem: "Properties",
  part: "properties",
  description: "the request has no replyTo, so nothing can be answered"
})
