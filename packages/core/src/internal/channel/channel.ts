/**
 * One AMQP channel of a session.
 *
 * The channel fiber owns the mailbox and handles what the broker sends, in order. Callers send in single synchronous steps
 * (encode into the outbound buffer, note what is awaited), so their messages can't interleave; whatever waits is resumed by
 * the channel fiber, or by the end of the channel.
 *
 * States: `Open` → `Closing` (we sent channel.close) → `Closed`, or straight to `Closed` when the broker or the end of the
 * session closes it. `failure` is set once, on leaving `Open`.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as AmqpError from "../../AmqpError.ts"
import type { Properties } from "../../AmqpMessage.ts"
import { bytesOf, isUnstable } from "../../protocol/bytes.ts"
import { frameOverhead, ReplyCode } from "../../protocol/constants.ts"
import { ContentAssembler } from "../../protocol/ContentAssembler.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import { draft } from "../../protocol/draft.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import {
  encodeDraftedHeaderFrame,
  encodeMethodFrame,
  encodeRawHeaderFrame,
  referenceSize
} from "../../protocol/frames.ts"
import type {
  BasicCancel,
  BasicCancelOk,
  BasicDeliver,
  BasicGetEmpty,
  BasicGetOk,
  BasicReturn,
  Method,
  MethodTag,
  ReplyOf,
  SynchronousMethod
} from "../../protocol/methods.generated.ts"
import { EncodeError, ProtocolError } from "../../protocol/ProtocolError.ts"
import { responsibleMethod } from "../errors/replyTexts.ts"
import { knownEncoding, writeProperties } from "../message/properties.ts"
import type { Route } from "../message/route.ts"
import { mayBeOfStream } from "../message/streamOffset.ts"
import type { Counts } from "../telemetry/counters.ts"
import { Mailbox } from "../wire/mailbox.ts"
import type { Outbound } from "../wire/outbound.ts"
import type { Deadlines } from "../wire/requestTimeouts.ts"
import { Acknowledgements } from "./acknowledgements.ts"
import { ConfirmLedger, returnedOf } from "./confirmLedger.ts"
import type { MandatoryMessage, PublishOwner } from "./confirmLedger.ts"
import { RequestQueue, tagOf, unexpected } from "./requestQueue.ts"
import type { ChannelEvent, Request } from "./requestQueue.ts"

/** What the broker does with publishes: takes them, confirms them, or waits for a commit. A channel keeps its mode. */
export type ChannelMode = "plain" | "confirm" | "transaction"

/** The publishes of one channel program. */
export interface ProgramPublisher {
  /** Whether the program may publish now; `awaitRoom` waits for it. */
  readonly hasRoom: boolean
  readonly awaitRoom: Effect.Effect<void>
  /** Sends a message. Throws an `EncodeError`. */
  publish(channel: Channel, route: Route, properties: Properties, body: Uint8Array): void
}

/** Where the deliveries of one consumer go. */
export interface ConsumerSink {
  readonly noAck: boolean
  /** Whether somebody waits for what it is sent, who may be needed to empty another sink. */
  readonly expectsReply: boolean
  /** How many deliveries it holds that were not taken. */
  readonly buffered: number
  /** What it is, for logs. */
  readonly label?: string
  deliver(content: Content<BasicDeliver>): void
  /** The deliveries of a socket read are over. */
  flush(): void
  /** The broker ended the consumer with this tag. */
  cancelled(consumerTag: string): void
  failed(error: AmqpError.AmqpChannelError): void
}

/** What a channel needs from its session. */
export interface ChannelHost {
  readonly outbound: Outbound
  readonly counts: Counts
  readonly deadlines: Deadlines
  readonly frameMax: number
  readonly maxBodySize: number
  /** The largest body that is sent, in bytes. */
  readonly maxPublishSize: number
  /** What the broker says of itself. */
  readonly serverProperties: FieldTable
  /** Whether the broker says that it has an extension, such as `consumer_priorities`. */
  supports(capability: string): boolean
  /** Logs something that nobody waits to hear. */
  warn(message: string): void
  /** Something was sent that the broker answers. */
  expectReply(): void
  /** Nothing more is read, whatever channel it is for, until the sink calls `resumeReading` or someone waits for a reply. */
  pauseReading(sink: ConsumerSink): void
  resumeReading(sink: ConsumerSink): void
  /** The number is free again: the close is complete on both sides. */
  release(channel: Channel): void
}

const isDelivery = (content: Content): content is Content<BasicDeliver> => content.method._tag === "basic.deliver"

const isReturn = (content: Content): content is Content<BasicReturn> => content.method._tag === "basic.return"

/** A header frame without properties, in bytes: class, weight, body size and flags. */
const emptyHeaderSize = frameOverhead + 14

const channelError = (reason: AmqpError.ChannelErrorReason) => new AmqpError.AmqpChannelError({ reason })

// One for all, since the stack that making an error captures costs more than the rest of a close.
const closedHere = channelError(new AmqpError.ChannelClosed())

export class Channel {
  readonly number: number
  readonly mailbox = new Mailbox<ChannelEvent, "Ended">()
  readonly assembler: ContentAssembler
  readonly acknowledgements: Acknowledgements
  mode: ChannelMode = "plain"
  /** Set while the channel is in confirm mode. */
  confirms: ConfirmLedger | undefined
  /** How the program that runs on the channel publishes, if its runner has a say in that. */
  programPublisher: ProgramPublisher | undefined
  state: "Open" | "Closing" | "Closed" = "Open"
  /** Whether the broker was told of it, and has to be told of its end. */
  private isKnown = false
  /** Why the channel is not open. */
  failure: AmqpError.AmqpChannelError | undefined
  /** Set when a message was published that the broker does not confirm, so that only a close tells whether it took it. */
  unconfirmed = false
  /** Whether another program would notice that one ran on the channel before. */
  isAltered = false
  /** The queues that messages were fetched from, and whether the channel deleted them since. */
  readonly queuesRead = new Map<string, "there" | "deleted">()
  /** The first message that came back, on a channel that is not in confirm mode. */
  returned: AmqpError.Returned | undefined
  /** Done when the channel is `Closed`. */
  readonly ended = Deferred.makeUnsafe<void>()

  readonly host: ChannelHost
  private readonly sinks = new Map<string, ConsumerSink>()
  private readonly requests: RequestQueue
  /** Whether the broker asked for no more messages (`channel.flow`). RabbitMQ never does. */
  private isPaused = false
  /** Who hears when a message may be sent, or nothing can be done on the channel any more. */
  private readonly roomListeners = new Set<() => void>()
  private nextConsumer = 1

  constructor(number: number, host: ChannelHost) {
    this.number = number
    this.host = host
    this.assembler = new ContentAssembler(host.maxBodySize)
    this.acknowledgements = new Acknowledgements(
      host.outbound,
      number,
      host.supports("basic.nack"),
      host.counts
    )
    this.requests = new RequestQueue(
      host.deadlines,
      (method) => this.sendRequest(method),
      (method) => this.timedOut(method)
    )
  }

  // ---------------------------------------------------------------------------
  // sending
  // ---------------------------------------------------------------------------

  /** Sends a request when the earlier ones are answered, and waits for its reply. */
  request<M extends SynchronousMethod>(method: M): Effect.Effect<ReplyOf<M>, AmqpError.AmqpChannelError> {
    // `handleReply` lets only events with a tag of `replyTags[method._tag]` through, and those are what `ReplyOf` names.
    return this.exchange(method) as Effect.Effect<ReplyOf<M>, AmqpError.AmqpChannelError>
  }

  /** A request that a broker without the capability does not know. */
  requestWith<M extends SynchronousMethod>(
    capability: string,
    method: M
  ): Effect.Effect<ReplyOf<M>, AmqpError.AmqpChannelError> {
    return this.host.supports(capability)
      ? this.request(method)
      : Effect.fail(channelError(new AmqpError.NotSupported({ capability })))
  }

  /** `basic.get`: a message with its content, or word that there is none. */
  get(queue: string, noAck: boolean): Effect.Effect<Content<BasicGetOk> | BasicGetEmpty, AmqpError.AmqpChannelError> {
    // As in `request`; of the two replies the one with content arrives as a content.
    return this.exchange({ _tag: "basic.get", queue, noAck }) as Effect.Effect<
      Content<BasicGetOk> | BasicGetEmpty,
      AmqpError.AmqpChannelError
    >
  }

  private exchange(method: SynchronousMethod): Effect.Effect<ChannelEvent, AmqpError.AmqpChannelError> {
    return Effect.callback((resume) => {
      if (this.failure !== undefined) return resume(Effect.fail(this.failure))
      return this.requests.add(method, resume)
    })
  }

  private sendRequest(method: SynchronousMethod): AmqpError.AmqpChannelError | undefined {
    try {
      this.send(method)
    } catch (error) {
      return this.localError(error)
    }
    this.isKnown = true
    this.host.expectReply()
    return undefined
  }

  private timedOut({ _tag: method }: SynchronousMethod): AmqpError.AmqpChannelError {
    const { blocked } = this.host.outbound
    if (blocked === undefined) return channelError(new AmqpError.RequestTimeout({ method }))
    const message = this.host.outbound.noteTimeout(method)
    if (message !== undefined) this.host.warn(message)
    return channelError(new AmqpError.RequestTimeout({ method, blocked }))
  }

  /** Sends a method that has no reply. Throws an `EncodeError`. */
  send(method: Method): void {
    this.acknowledgements.flush()
    this.encodeMethod(method)
  }

  /**
   * Sends a message as one step, so that nothing of this channel can come between its frames. To be called only while
   * `maySend`. In confirm mode `owner` is told what became of it. Properties may be encoded already.
   *
   * All that is a user's is read before the first byte is written: reading may run their code (getters, proxies, iterators), which may
   * do anything with this channel. Throws an `EncodeError`, why the channel is closed by then, or what that code throws; and then
   * nothing was sent and no publish number was used.
   */
  publish(
    route: Route,
    properties: Properties | Uint8Array,
    body: Uint8Array,
    owner?: PublishOwner,
    index = 0
  ): void {
    if (properties instanceof Uint8Array) {
      return this.publishEncoded(route, properties, 0, this.checkedBody(body), owner, index)
    }
    const encoded = knownEncoding(properties)
    if (encoded !== undefined) return this.publishEncoded(route, encoded, 0, this.checkedBody(body), owner, index)
    const start = draft.provisionalBytes
    try {
      writeProperties(draft, properties)
      this.publishEncoded(route, undefined, start, this.checkedBody(body), owner, index)
    } finally {
      draft.truncate(start)
    }
  }

  /** Sends a message whose properties are encoded, or drafted since `start`. No code of the user's runs here. */
  private publishEncoded(
    route: Route,
    encoded: Uint8Array | undefined,
    start: number,
    body: Uint8Array,
    owner: PublishOwner | undefined,
    index: number
  ): void {
    if (this.failure !== undefined) throw this.failure
    const { exchange, mandatory = false, routingKey } = route
    const { frameMax, outbound } = this.host
    const writer = outbound.writerOf(this.number)
    let headerSize = 0
    try {
      encodeMethodFrame(writer, this.number, {
        _tag: "basic.publish",
        exchange,
        routingKey,
        mandatory,
        immediate: false
      })
      const methodSize = writer.provisionalBytes
      if (encoded === undefined) encodeDraftedHeaderFrame(writer, this.number, body.length, draft, start)
      else encodeRawHeaderFrame(writer, this.number, body.length, encoded)
      headerSize = writer.provisionalBytes - methodSize
      this.checkFrameSize(headerSize, "The properties")
    } catch (error) {
      writer.rollback()
      throw error
    }
    this.host.counts.sent++
    if (owner === undefined) {
      this.unconfirmed = true
    } else {
      const message: MandatoryMessage | undefined = mandatory
        ? { exchange, routingKey, properties: encoded ?? draft.bytesSince(start), body }
        : undefined
      this.confirms?.add(owner, index, body.length, headerSize - emptyHeaderSize, route, message)
      this.host.expectReply()
    }
    outbound.commitBody(writer, this.number, body, frameMax, this.confirms)
  }

  /** The bytes of a body, as they are sent. Bytes that may become fewer while they are sent are copied. */
  private checkedBody(body: unknown): Uint8Array {
    const bytes = bytesOf("The body", body)
    const { maxPublishSize } = this.host
    if (bytes.length > maxPublishSize) {
      throw new EncodeError({ message: `The body: ${bytes.length} bytes are more than the limit of ${maxPublishSize}` })
    }
    return bytes.length >= referenceSize && isUnstable(bytes) ? bytes.slice() : bytes
  }

  /** Whether the broker owes an answer. */
  get expectsReply(): boolean {
    if (!this.requests.isEmpty || (this.confirms?.count ?? 0) > 0 || this.state === "Closing") return true
    for (const sink of this.sinks.values()) if (sink.expectsReply) return true
    return this.roomListeners.size > 0
  }

  /** How many deliveries have arrived for consumers that have not taken them. */
  get buffered(): number {
    let count = 0
    for (const sink of this.sinks.values()) count += sink.buffered
    return count
  }

  /** Whether a message may be sent now: the socket has room, and the broker has not asked this channel to pause. */
  get maySend(): boolean {
    return !this.isPaused && this.host.outbound.hasRoom(this.number)
  }

  /** Calls `listener` once, when a message may be sent or nothing can be any more. Answers how to take that back. */
  onceRoom(listener: () => void): () => void {
    const go = (): void => {
      forget()
      listener()
    }
    const forgetOutbound = this.isPaused ? () => {} : this.host.outbound.onceRoom(this.number, go)
    const forget = (): void => {
      forgetOutbound()
      this.roomListeners.delete(go)
    }
    this.roomListeners.add(go)
    this.host.expectReply()
    return forget
  }

  /** Whether a program should publish now, or hear that it can't; `awaitRoom` waits for it. */
  get hasRoom(): boolean {
    return this.failure !== undefined || this.maySend
  }

  readonly awaitRoom: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.hasRoom) return resume(Effect.void)
    return Effect.sync(this.onceRoom(() => resume(Effect.void)))
  })

  private tellRoom(): void {
    for (const listener of Array.from(this.roomListeners)) listener()
  }

  private encodeMethod(method: Method): void {
    const writer = this.host.outbound.writerOf(this.number)
    try {
      encodeMethodFrame(writer, this.number, method)
      this.checkFrameSize(writer.provisionalBytes, method._tag)
    } catch (error) {
      writer.rollback()
      throw error
    }
    this.host.outbound.commit(writer)
  }

  private checkFrameSize(size: number, what: string): void {
    const { frameMax } = this.host
    if (frameMax === 0 || size <= frameMax) return
    throw new EncodeError({
      message: `${what}: ${
        size - frameOverhead
      } bytes do not fit a frame of ${frameMax} bytes, the negotiated frame-max`
    })
  }

  private localError(error: unknown): AmqpError.AmqpChannelError {
    // What a user's code did while it was read closed the channel.
    if (error instanceof AmqpError.AmqpChannelError) return error
    if (error instanceof EncodeError) {
      return channelError(new AmqpError.InvalidArgument({ description: error.message }))
    }
    throw error
  }

  /** Fails as `body` throws: bad input becomes an `InvalidArgument`. */
  step<A>(body: () => A): Effect.Effect<A, AmqpError.AmqpChannelError> {
    return Effect.suspend(() => {
      if (this.failure !== undefined) return Effect.fail(this.failure)
      try {
        return Effect.succeed(body())
      } catch (error) {
        return Effect.fail(this.localError(error))
      }
    })
  }

  // ---------------------------------------------------------------------------
  // modes and consumers
  // ---------------------------------------------------------------------------

  /** Puts the channel into confirm mode. */
  readonly confirmSelect: Effect.Effect<ConfirmLedger, AmqpError.AmqpChannelError> = Effect.suspend(() =>
    Effect.map(this.requestWith("publisher_confirms", { _tag: "confirm.select", noWait: false }), () => {
      this.mode = "confirm"
      return this.confirms = new ConfirmLedger(this.host.counts)
    })
  )

  /** Puts the channel into transaction mode. */
  readonly transactionSelect: Effect.Effect<void, AmqpError.AmqpChannelError> = Effect.suspend(() =>
    Effect.map(this.request({ _tag: "tx.select" }), () => {
      this.mode = "transaction"
    })
  )

  /** Whether another program may use the channel: nothing of the last one is left on it. */
  get isClean(): boolean {
    return this.failure === undefined && !this.isAltered && !this.unconfirmed && !this.expectsReply &&
      !this.acknowledgements.open && this.returned === undefined
  }

  /** A consumer tag that no consumer of this channel has. */
  consumerTag(): string {
    return `effect-amqp-${this.number}-${this.nextConsumer++}`
  }

  /** From now on the deliveries with this tag go to `sink`. */
  attach(consumerTag: string, sink: ConsumerSink): void {
    this.sinks.set(consumerTag, sink)
  }

  /**
   * Ends a consumer that the broker has started, without waiting for its answer. What is on its way still goes to its sink. RabbitMQ 3.10
   * and 4.0 crash the channel of a client that cancels a consumer before its consume-ok and then closes the channel.
   */
  cancelConsumer(consumerTag: string): void {
    if (this.state === "Open") this.send({ _tag: "basic.cancel", consumerTag, noWait: true })
  }

  detach(consumerTag: string): void {
    this.sinks.delete(consumerTag)
  }

  // ---------------------------------------------------------------------------
  // receiving: the channel fiber
  // ---------------------------------------------------------------------------

  /** The loop of the channel fiber, until the mailbox ends. Fails with what the peer did wrong. */
  readonly run: Effect.Effect<void, ProtocolError> = Effect.gen({ self: this }, function*() {
    while (true) {
      const events = yield* this.mailbox.takeAll
      try {
        for (const event of events) this.handle(event)
      } catch (error) {
        if (error instanceof ProtocolError) return yield* Effect.fail(error)
        throw error
      }
      for (const sink of this.sinks.values()) sink.flush()
    }
  }).pipe(Effect.catch((error) => error === "Ended" ? Effect.void : Effect.fail(error)))

  private handle(event: ChannelEvent): void {
    const tag = tagOf(event)
    if (this.state === "Closed") {
      // The answer to a close of ours that crossed the broker's, or that nobody waited for any more.
      if (tag === "channel.close-ok") this.host.release(this)
      return
    }
    // What comes before the answer to our close matters to nobody, but for a message that comes back.
    if (this.state === "Closing" && tag !== "channel.close" && tag !== "channel.close-ok" && tag !== "basic.return") {
      return
    }
    if (!("_tag" in event)) {
      if (isDelivery(event)) return this.handleDelivery(event)
      if (isReturn(event)) return this.handleReturn(event)
      return this.handleReply(event, tag)
    }
    switch (event._tag) {
      case "basic.ack":
        return this.confirms?.settle(event.deliveryTag, event.multiple, "Acked")
      case "basic.nack":
        return this.confirms?.settle(event.deliveryTag, event.multiple, "Nacked")
      case "basic.cancel": {
        const sink = this.sinks.get(event.consumerTag)
        this.sinks.delete(event.consumerTag)
        if (!event.noWait) this.sendBack({ _tag: "basic.cancel-ok", consumerTag: event.consumerTag })
        return sink?.cancelled(event.consumerTag)
      }
      case "channel.flow":
        this.send({ _tag: "channel.flow-ok", active: event.active })
        this.isPaused = !event.active
        return this.tellRoom()
      case "channel.close": {
        // Behind a large message that is on its way: no broker reads a method in the middle of one, whatever it makes of it.
        this.encodeMethod({ _tag: "channel.close-ok" })
        const method = responsibleMethod(event.classId, event.methodId)
        // Our own close, if it crossed this one, is answered before the number is free. And behind a large message nobody else may
        // use the number before the close-ok is written.
        if (this.state === "Open") this.host.outbound.whenInOrder(this.number, () => this.host.release(this))
        return this.end(channelError(AmqpError.replyReason({ ...event, method })))
      }
      case "channel.close-ok":
        if (this.state !== "Closing") throw unexpected("channel.close-ok without a close")
        this.host.release(this)
        return this.end(closedHere)
      default:
        return this.handleReply(event, tag)
    }
  }

  /** Sends a consumer tag that the broker sent. */
  private sendBack(method: BasicCancel | BasicCancelOk): void {
    this.send(method)
  }

  private handleDelivery(content: Content<BasicDeliver>): void {
    const sink = this.sinks.get(content.method.consumerTag)
    // What needs no acknowledgement is not noted. RabbitMQ gives all direct replies the tag 1, whatever came before.
    if (sink?.noAck !== true) this.acknowledgements.delivered(content.method.deliveryTag)
    this.host.counts.consumed++
    if (sink !== undefined) return sink.deliver(content)
    const consumer = JSON.stringify(content.method.consumerTag)
    this.host.warn(
      `A message was delivered to the unknown consumer ${consumer} on channel ${this.number}, and is requeued`
    )
    this.handBack(content)
  }

  /** Has the queue take a delivery back that no consumer here takes. Not one of a stream, which would end the connection. */
  handBack({ method, properties }: Content<BasicDeliver>): void {
    if (!mayBeOfStream(properties)) this.acknowledgements.nack(Number(method.deliveryTag), true)
  }

  private handleReturn(content: Content<BasicReturn>): void {
    this.host.counts.returned++
    if (this.confirms === undefined) this.returned ??= returnedOf(content.method)
    else this.confirms.handleReturn(content)
  }

  private handleReply(event: ChannelEvent, tag: MethodTag): void {
    const request = this.requests.answeredBy(tag)
    this.handleGet(event, request)
    this.requests.finishFirst()
    if (request.resume !== undefined) request.resume(Effect.succeed(event))
    // Nobody waits for this consumer any more, so it must not hold messages.
    else if ("_tag" in event && event._tag === "basic.consume-ok") {
      this.sendBack({ _tag: "basic.cancel", consumerTag: event.consumerTag, noWait: true })
    }
  }

  private handleGet(event: ChannelEvent, { method, resume }: Request): void {
    if ("_tag" in event || event.method._tag !== "basic.get-ok" || method._tag !== "basic.get") return
    const { deliveryTag } = event.method
    this.host.counts.consumed++
    if (method.noAck) return
    this.acknowledgements.delivered(deliveryTag)
    // Nobody waits for this message any more, so others shall have it.
    if (resume === undefined) this.acknowledgements.nack(Number(deliveryTag), true)
  }

  // ---------------------------------------------------------------------------
  // closing
  // ---------------------------------------------------------------------------

  /** Sends the close, unless the channel is closed or about to be. The broker's answer ends the channel. */
  beginClose(): void {
    if (this.state !== "Open") return
    if (!this.isKnown) {
      this.host.release(this)
      return this.end(closedHere)
    }
    // Its consumers are not cancelled first: they end with the channel, and what they hold goes back at once, in its old order.
    this.acknowledgements.flush()
    this.state = "Closing"
    this.encodeMethod({
      _tag: "channel.close",
      replyCode: ReplyCode.success,
      replyText: "Goodbye",
      classId: 0,
      methodId: 0
    })
    this.settleAll(closedHere)
    this.host.expectReply()
  }

  /** Closes the channel and waits for the broker's word; several callers share one close. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.beginClose()
    return Deferred.await(this.ended)
  })

  /** Ends the channel at once: the broker closed it, or the session is over. */
  end(error: AmqpError.AmqpChannelError): void {
    if (this.state === "Closed") return
    this.state = "Closed"
    // The broker's reason is worth more than our own close that crossed it.
    if (error.reason._tag !== "ChannelClosed") this.failure = error
    // A broker that has not read the end of a message does not have it, and reads no more of the channel.
    if (this.host.outbound.isSending(this.number)) this.confirms?.failLast(new AmqpError.NotSent({ cause: error }))
    this.settleAll(error)
    Deferred.doneUnsafe(this.ended, Effect.void)
  }

  /** Everyone who waits hears why nothing more comes. */
  private settleAll(error: AmqpError.AmqpChannelError): void {
    this.failure ??= error
    const sinks = [...this.sinks.values()]
    this.sinks.clear()
    this.acknowledgements.close()
    this.requests.fail(error)
    this.confirms?.fail(error)
    for (const sink of sinks) sink.failed(error)
    this.tellRoom()
  }
}
