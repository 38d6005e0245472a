/**
 * One AMQP channel of a session.
 *
 * What the broker sends is collected while a socket read is decoded, and handled after that, in order: `handleReceived` advances the state
 * and resumes the fibers that wait. No fiber of its own runs here. Callers send in single synchronous steps, which encode into the outbound
 * buffer and note what the broker will reply, so their frames cannot interleave. The end of the channel resumes every waiting fiber.
 *
 * States: `Open` → `Closing` (channel.close was sent) → `Closed`, or directly to `Closed` if the broker closes the channel or the session
 * ends. `failure` is set once, on leaving `Open`. Only a close of the broker that crosses ours replaces it.
 */
import * as Effect from "effect/Effect"
import * as AmqpError from "../../AmqpError.ts"
import type { Properties } from "../../AmqpMessage.ts"
import { ContentAssembler } from "../../protocol/ContentAssembler.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import { draft } from "../../protocol/draft.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import type {
  BasicDeliver,
  BasicReturn,
  ChannelClose,
  Method,
  MethodTag,
  ReplyOf,
  SynchronousMethod
} from "../../protocol/methods.generated.ts"
import { Signal } from "../common/signal.ts"
import { responsibleMethod } from "../errors/replyTexts.ts"
import { knownEncoding, writeProperties } from "../message/properties.ts"
import type { Route } from "../message/route.ts"
import { mayBeOfStream } from "../message/streamOffset.ts"
import type { Counts } from "../telemetry/counters.ts"
import { Acknowledgements } from "./acknowledgements.ts"
import { channelError, closedHere, notSupported } from "./channelErrors.ts"
import { ConfirmLedger, returnedOf } from "./confirmLedger.ts"
import type { MandatoryMessage, PublishOwner } from "./confirmLedger.ts"
import { Consumers } from "./consumers.ts"
import type { ConsumerSink } from "./consumers.ts"
import { Lease } from "./lease.ts"
import { encodeBody, MessageEncoder } from "./messageEncoder.ts"
import { basicCancel, channelClose } from "./methods.ts"
import { RequestQueue, tagOf, unexpected } from "./requestQueue.ts"
import type { ChannelEvent, RequestHost } from "./requestQueue.ts"

/** What the broker does with publishes: accepts them, confirms them, or waits for a commit. The mode of a channel does not change. */
export type ChannelMode = "plain" | "confirm" | "transaction"

/** How a channel program publishes. */
export interface ProgramPublisher {
  /** Whether the program may publish now. */
  readonly hasRoom: boolean
  /** Waits until `hasRoom`. */
  readonly awaitRoom: Effect.Effect<void>
  /** Sends a message. Throws an `EncodeError`. */
  publish(channel: Channel, route: Route, properties: Properties, body: Uint8Array): void
}

/** What a channel needs from its session. */
export interface ChannelHost extends RequestHost {
  readonly counts: Counts
  readonly maxBodySize: number
  /** The largest body that is published, in bytes. */
  readonly maxPublishSize: number
  /** How the broker describes itself. */
  readonly serverProperties: FieldTable
  /** Whether the broker supports an extension of AMQP 0-9-1, for example `consumer_priorities`. */
  supports(capability: string): boolean
  /** The broker has confirmed a publish on one of the channels. */
  confirmed(): void
  /** The close is complete on both sides, so the number is free again. */
  release(channel: Channel): void
}

const isDelivery = (content: Content): content is Content<BasicDeliver> => content.method._tag === "basic.deliver"

const isReturn = (content: Content): content is Content<BasicReturn> => content.method._tag === "basic.return"

export class Channel {
  readonly number: number
  readonly assembler: ContentAssembler
  readonly acknowledgements: Acknowledgements
  readonly consumers: Consumers
  /** What programs have done on the channel. */
  readonly lease = new Lease()
  /** Publishes for the program that runs on the channel, if the program's runner needs more than `publish`. */
  programPublisher: ProgramPublisher | undefined
  /** The steps that the generators of programs have run since other fibers had a turn. */
  immediateSteps = 0
  readonly host: ChannelHost
  /** Notified when the channel has closed and `hasClosed` is true. */
  readonly closed = new Signal()

  private readonly requests: RequestQueue
  private readonly encoder: MessageEncoder
  /** What has arrived and is not handled yet. */
  private received: Array<ChannelEvent> = []
  private currentState: "Open" | "Closing" | "Closed" = "Open"
  private currentFailure: AmqpError.AmqpChannelError | undefined
  private isEnded = false
  /** Whether the last message was not sent to its end when the channel closed. */
  private isLastUnsent = false
  private currentMode: ChannelMode = "plain"
  private ledger: ConfirmLedger | undefined
  /** Whether the broker has asked the channel to pause publishing (`channel.flow`), which RabbitMQ never does. */
  private isPaused = false
  /** Notified when the pause has ended, and when the channel has closed. */
  private readonly roomChanged = new Signal()

  constructor(number: number, host: ChannelHost) {
    this.number = number
    this.host = host
    this.assembler = new ContentAssembler(host.maxBodySize)
    this.acknowledgements = new Acknowledgements(host.outbound, number, host.supports("basic.nack"), host.counts)
    this.consumers = new Consumers(number)
    this.requests = new RequestQueue(number, host, this.acknowledgements, () => this.currentFailure)
    this.encoder = new MessageEncoder(number)
    this.request = this.requests.request
  }

  get state(): "Open" | "Closing" | "Closed" {
    return this.currentState
  }

  /** Why the channel is not open. */
  get failure(): AmqpError.AmqpChannelError | undefined {
    return this.currentFailure
  }

  /** Whether the channel has closed, and every fiber that waited on it was resumed. */
  get hasClosed(): boolean {
    return this.isEnded
  }

  get mode(): ChannelMode {
    return this.currentMode
  }

  /** The publishes that are not yet confirmed, if the channel is in confirm mode. */
  get confirms(): ConfirmLedger | undefined {
    return this.ledger
  }

  // ---------------------------------------------------------------------------
  // requests
  // ---------------------------------------------------------------------------

  /** Sends a request after the replies to earlier ones, and waits for its own reply. */
  readonly request: <M extends SynchronousMethod>(
    method: M
  ) => Effect.Effect<ReplyOf<M>, AmqpError.AmqpChannelError>

  /** Like `request`, for a method that the broker supports only with this capability. */
  requestWith<M extends SynchronousMethod>(
    capability: string,
    method: M
  ): Effect.Effect<ReplyOf<M>, AmqpError.AmqpChannelError> {
    return this.host.supports(capability)
      ? this.request(method)
      : Effect.fail(notSupported(capability))
  }

  /** Fetches a message (`basic.get`). */
  get(queue: string, noAck: boolean): ReturnType<RequestQueue["get"]> {
    return this.requests.get(queue, noAck)
  }

  /** Puts the channel into confirm mode. */
  readonly confirmSelect: Effect.Effect<ConfirmLedger, AmqpError.AmqpChannelError> = Effect.suspend(() =>
    Effect.map(this.requestWith("publisher_confirms", { _tag: "confirm.select", noWait: false }), () => {
      this.currentMode = "confirm"
      return this.ledger = new ConfirmLedger(this.host)
    })
  )

  /** Puts the channel into transaction mode. */
  readonly transactionSelect: Effect.Effect<void, AmqpError.AmqpChannelError> = Effect.suspend(() =>
    Effect.map(this.request({ _tag: "tx.select" }), () => {
      this.currentMode = "transaction"
    })
  )

  /** Commits the transaction. Uninterruptible. */
  readonly commit: Effect.Effect<void, AmqpError.AmqpChannelError> = Effect.suspend(() =>
    Effect.map(Effect.uninterruptible(this.request({ _tag: "tx.commit" })), () => this.lease.committed())
  )

  // ---------------------------------------------------------------------------
  // sending
  // ---------------------------------------------------------------------------

  /** Sends a method without waiting for a reply. Throws an `EncodeError`. */
  send(method: Method): void {
    this.acknowledgements.flush()
    this.host.outbound.sendMethod(this.number, method)
  }

  /**
   * Sends a message in one synchronous step, so that its frames stay together. To be called only while `maySend`. In confirm mode, `owner`
   * gets the outcome. The properties may be encoded already.
   *
   * All user values are read before the first byte is written, because reading them may run user code (getters, proxies, iterators), which
   * may do anything with this channel. Throws an `EncodeError`, the failure of the channel if that code has closed it, or what the code
   * throws. Then nothing was sent, and no publish number was used.
   */
  publish(
    route: Route,
    properties: Properties | Uint8Array,
    body: Uint8Array,
    owner?: PublishOwner,
    index = 0
  ): void {
    const encoded = properties instanceof Uint8Array ? properties : knownEncoding(properties)
    if (encoded !== undefined) return this.publishEncoded(route, encoded, 0, body, owner, index)
    const start = draft.provisionalBytes
    try {
      // Encoded properties were handled above.
      writeProperties(draft, properties as Properties)
      this.publishEncoded(route, undefined, start, body, owner, index)
    } finally {
      draft.truncate(start)
    }
  }

  /** Publishes a message whose properties are encoded, or are in the draft from `draftStart` on. */
  private publishEncoded(
    route: Route,
    properties: Uint8Array | undefined,
    draftStart: number,
    body: unknown,
    owner: PublishOwner | undefined,
    index: number
  ): void {
    const { counts, maxPublishSize, outbound, readGate } = this.host
    const bytes = encodeBody(body, maxPublishSize)
    if (this.currentFailure !== undefined) throw this.currentFailure
    const writer = outbound.writerOf(this.number)
    const { frameMax } = outbound
    const size = this.encoder.encode(writer, route, properties, draftStart, bytes.length, frameMax)
    counts.sent++
    if (owner === undefined) {
      this.lease.published()
    } else {
      const message: MandatoryMessage | undefined = route.mandatory === true
        ? {
          exchange: route.exchange,
          routingKey: route.routingKey,
          properties: properties ?? draft.bytesSince(draftStart),
          body: bytes
        }
        : undefined
      this.ledger?.add(owner, index, bytes.length, size, route, message)
      readGate.replyExpected()
    }
    outbound.commitBody(writer, this.number, bytes, this.ledger)
  }

  // ---------------------------------------------------------------------------
  // room
  // ---------------------------------------------------------------------------

  /** Whether a message may be sent now: the socket has room, and the broker has not asked this channel to pause. */
  get maySend(): boolean {
    return !this.isPaused && this.host.outbound.hasRoom(this.number)
  }

  /** Calls `listener` once, when a message may be sent or the channel has closed. Returns a function that cancels this. */
  onceRoom(listener: () => void): () => void {
    const go = (): void => {
      cancel()
      listener()
    }
    const cancelOutbound = this.isPaused ? () => {} : this.host.outbound.onceRoom(this.number, go)
    const cancelChanged = this.roomChanged.once(go)
    const cancel = (): void => {
      cancelOutbound()
      cancelChanged()
    }
    this.host.readGate.replyExpected()
    return cancel
  }

  /** Whether a program should publish now. Also true if the channel has closed, so that the publish fails. */
  get hasRoom(): boolean {
    return this.currentFailure !== undefined || this.maySend
  }

  /** Waits until `hasRoom`. */
  readonly awaitRoom: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.hasRoom) return resume(Effect.void)
    return Effect.sync(this.onceRoom(() => resume(Effect.void)))
  })

  // ---------------------------------------------------------------------------
  // consumers and leases
  // ---------------------------------------------------------------------------

  /** A consumer tag that no consumer of this channel has had. */
  consumerTag(): string {
    return this.consumers.newTag()
  }

  /** Registers a consumer: its deliveries go to `sink`, together with `consumer`. */
  attach(consumerTag: string, sink: ConsumerSink<undefined>): void
  attach<C>(consumerTag: string, sink: ConsumerSink<C>, consumer: C): void
  attach(consumerTag: string, sink: ConsumerSink, consumer?: unknown): void {
    this.consumers.add(consumerTag, sink, consumer)
  }

  detach(consumerTag: string): void {
    this.consumers.remove(consumerTag)
  }

  /**
   * Cancels a consumer without waiting for the reply. Deliveries that are on their way still go to its sink. The broker must have started the
   * consumer: RabbitMQ 3.10 and 4.0 crash the channel if a consumer is cancelled before its consume-ok and the channel is closed then.
   */
  cancelConsumer(consumerTag: string): void {
    if (this.currentState === "Open") this.send(basicCancel(consumerTag, true))
  }

  /** Requeues a delivery that no consumer takes, unless it may be from a stream: that would end the connection. */
  requeue({ method, properties }: Content<BasicDeliver>): void {
    if (!mayBeOfStream(properties)) this.acknowledgements.nack(Number(method.deliveryTag), true)
  }

  /** Whether a fiber waits for something that the broker has to send. */
  get expectsReply(): boolean {
    return !this.requests.isEmpty || (this.ledger?.count ?? 0) > 0 || this.currentState === "Closing" ||
      this.consumers.expectsReply || this.roomChanged.isAwaited
  }

  /** Whether another program may use the channel: nothing of the previous program is left on it. */
  get isClean(): boolean {
    // A channel that has nacked may go on doing so, when another one would not (`publishing/channelReplacement`).
    return this.currentFailure === undefined && this.lease.isClean && !this.expectsReply &&
      !this.acknowledgements.open &&
      this.ledger?.hasNacked !== true
  }

  // ---------------------------------------------------------------------------
  // receiving
  // ---------------------------------------------------------------------------

  /** Adds what the broker has sent. Returns whether it is the first since `handleReceived`, which has to follow. */
  receive(event: ChannelEvent): boolean {
    return this.received.push(event) === 1
  }

  /** Handles what has arrived, in order, after a socket read is decoded. Throws a `ProtocolError` if the broker violates the protocol. */
  handleReceived(): void {
    const { received } = this
    this.received = []
    for (const event of received) this.handle(event)
    this.consumers.flush()
  }

  private handle(event: ChannelEvent): void {
    const tag = tagOf(event)
    if (this.currentState === "Closed") {
      // The reply to a close of ours that crossed the broker's.
      if (tag === "channel.close-ok") this.host.release(this)
      return
    }
    // Until the reply to our close arrives, only a close of the broker and returned messages matter.
    if (
      this.currentState === "Closing" && tag !== "channel.close" && tag !== "channel.close-ok" && tag !== "basic.return"
    ) {
      return
    }
    if (!("_tag" in event)) {
      if (isDelivery(event)) return this.handleDelivery(event)
      if (isReturn(event)) return this.handleReturn(event)
      return this.handleReply(event, tag)
    }
    switch (event._tag) {
      case "basic.ack":
        return this.ledger?.settle(event.deliveryTag, event.multiple, "Acked")
      case "basic.nack":
        return this.ledger?.settle(event.deliveryTag, event.multiple, "Nacked")
      case "basic.cancel": {
        const { consumerTag } = event
        const registered = this.consumers.remove(consumerTag)
        if (!event.noWait) this.send({ _tag: "basic.cancel-ok", consumerTag })
        return registered?.sink.cancelled(consumerTag, registered.consumer)
      }
      case "channel.flow":
        this.send({ _tag: "channel.flow-ok", active: event.active })
        this.isPaused = !event.active
        return this.roomChanged.notify()
      case "channel.close":
        return this.closedByServer(event)
      case "channel.close-ok":
        if (this.currentState !== "Closing") throw unexpected("channel.close-ok arrived without a close")
        this.host.release(this)
        return this.end(closedHere)
      default:
        return this.handleReply(event, tag)
    }
  }

  private handleDelivery(content: Content<BasicDeliver>): void {
    const registered = this.consumers.find(content.method.consumerTag)
    // Deliveries without acknowledgement are not recorded: RabbitMQ gives every direct reply the tag 1.
    if (registered?.sink.noAck !== true) this.acknowledgements.delivered(content.method.deliveryTag)
    this.host.counts.consumed++
    if (registered !== undefined) return registered.sink.deliver(content, registered.consumer)
    const consumer = JSON.stringify(content.method.consumerTag)
    this.host.warn(
      `A message arrived for the unknown consumer ${consumer} on channel ${this.number}, and is requeued`
    )
    this.requeue(content)
  }

  private handleReturn(content: Content<BasicReturn>): void {
    this.host.counts.returned++
    if (this.ledger === undefined) this.lease.returned(returnedOf(content.method))
    else this.ledger.handleReturn(content)
  }

  private handleReply(event: ChannelEvent, tag: MethodTag): void {
    const isAwaited = this.requests.reply(event, tag, (method, isAwaited) => {
      if ("_tag" in event || event.method._tag !== "basic.get-ok" || method._tag !== "basic.get") return
      const { deliveryTag } = event.method
      this.host.counts.consumed++
      if (method.noAck) return
      this.acknowledgements.delivered(deliveryTag)
      // The fiber that asked for this message was interrupted, so it is requeued.
      if (!isAwaited) this.acknowledgements.nack(Number(deliveryTag), true)
    })
    // The fiber that started this consumer was interrupted, so it must not hold messages.
    if (!isAwaited && "_tag" in event && event._tag === "basic.consume-ok") {
      this.send(basicCancel(event.consumerTag, true))
    }
  }

  // ---------------------------------------------------------------------------
  // closing
  // ---------------------------------------------------------------------------

  private closedByServer(close: ChannelClose): void {
    const { outbound } = this.host
    // This is sent after a large message that is on its way: brokers do not accept a method in the middle of a message.
    outbound.sendMethod(this.number, { _tag: "channel.close-ok" })
    const method = responsibleMethod(close.classId, close.methodId)
    const error = channelError(AmqpError.replyReason({ ...close, method }))
    const isCrossed = this.currentState === "Closing"
    // Before fibers are resumed, which may close the channel: nothing may follow the close-ok.
    this.lose(error)
    // If a close of ours crossed this one, the number is free after the reply to ours. Otherwise it is free when the close-ok is written,
    // which a large message may delay.
    if (!isCrossed) outbound.whenInOrder(this.number, () => this.host.release(this))
    this.end(error)
  }

  /** Sends channel.close, if the channel is open. The broker's reply ends the channel. */
  beginClose(): void {
    if (this.currentState !== "Open") return
    if (!this.requests.hasSent) {
      this.host.release(this)
      return this.end(closedHere)
    }
    // Consumers are not cancelled first: they end with the channel, and their messages are requeued together, in their original order.
    this.acknowledgements.flush()
    // Before the close is sent: the write may resume fibers, and nothing may follow it on the channel.
    this.currentState = "Closing"
    this.currentFailure = closedHere
    this.acknowledgements.close()
    this.host.outbound.sendMethod(this.number, channelClose)
    this.failAll(closedHere)
    this.host.readGate.replyExpected()
  }

  /** Closes the channel and waits for the broker's reply. Several callers share one close. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.beginClose()
    return this.closed.until(() => this.isEnded)
  })

  /** The channel can no longer be used. Fibers that wait are resumed by `end`, which follows. */
  lose(error: AmqpError.AmqpChannelError): void {
    if (this.currentState === "Closed") return
    this.currentState = "Closed"
    // The broker's reason replaces our own close that crossed it.
    if (error.reason._tag !== "ChannelClosed") this.currentFailure = error
    // The broker does not have a message that was not sent to its end, and ignores the rest.
    this.isLastUnsent = this.host.outbound.isSending(this.number)
    // The owner of a message may run any code, which must not settle deliveries on a closed channel.
    this.acknowledgements.close()
  }

  /** The channel has closed: by the broker, by a reply to our close, or with its session. */
  end(error: AmqpError.AmqpChannelError): void {
    if (this.isEnded) return
    this.isEnded = true
    this.lose(error)
    if (this.isLastUnsent) this.ledger?.failLast(new AmqpError.NotSent({ cause: error }))
    this.failAll(error)
    this.closed.notify()
  }

  /** Fails every fiber that waits. */
  private failAll(error: AmqpError.AmqpChannelError): void {
    this.currentFailure ??= error
    // Before fibers are resumed, which must find no consumers.
    const sinks = this.consumers.clear()
    this.acknowledgements.close()
    this.requests.fail(error)
    this.ledger?.fail(error)
    for (const sink of sinks) sink.failed(error)
    this.roomChanged.notify()
  }
}
