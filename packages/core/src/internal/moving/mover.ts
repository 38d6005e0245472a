/**
 * The messages that a move takes from a queue: where each is on its way, and what becomes of it.
 *
 * A delivery is looked at, published and acknowledged in the synchronous steps of the channels that bring it and its confirm, without a
 * fiber for any of them.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as AmqpError from "../../AmqpError.ts"
import { ReplyCode } from "../../protocol/constants.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import type { BasicDeliver } from "../../protocol/methods.generated.ts"
import { EncodeError } from "../../protocol/ProtocolError.ts"
import type { Channel, ConsumerSink } from "../channel/channel.ts"
import type { Outcome, PublishOwner } from "../channel/confirmLedger.ts"
import type { Session } from "../connection/session.ts"
import { Received } from "../consuming/delivery.ts"
import type { Route } from "../message/route.ts"
import { invalid } from "../options/validation.ts"
import { notConfirmed } from "../publishing/publishErrors.ts"
import { hasHeader, movedProperties } from "./movedProperties.ts"

/** What is to be moved, with all defaults. */
export interface Move {
  readonly from: string
  /** What has to be there before anything is moved, where that is known. */
  readonly target: { readonly queue: string } | { readonly exchange: string } | undefined
  /** Throws an `InvalidArgument`. */
  readonly routeOf: (message: Received) => Route
  readonly filter: ((message: Received) => boolean) | undefined
  readonly limit: number
  readonly isDry: boolean
  readonly prefetch: number
  readonly maxFailures: number
  readonly resetFailures: boolean
}

/** How far a move has come. */
export interface Progress {
  readonly total: number
  readonly moved: number
  readonly skipped: number
  readonly failed: number
}

type Cause = AmqpError.AmqpMoveError["cause"]

/** How often progress is reported, and an idle queue is asked whether it has more. In milliseconds. */
const tick = 100

/** How often a queue is asked whether it has taken messages back. In milliseconds. */
const returnedTick = 40

/** The most messages that a consumer is sent ahead. */
export const maxPrefetch = 20_000

/** How much of messages may be sent ahead. In bytes of bodies. */
const maxBytesAhead = 64 * 1024 * 1024

/** How many messages one channel holds. */
const maxHeld = 1000

export const offsetHeader = "x-stream-offset"

/** A channel on which messages are taken from the queue. */
class Source implements ConsumerSink, PublishOwner {
  readonly noAck = false
  readonly expectsReply = true
  readonly channel: Channel
  /** How many of its messages go back at the end. */
  held = 0
  /** How many of those the present consumer was sent, and how many it may be sent ahead. */
  heldByConsumer = 0
  prefetch = 0
  private consumerTag: string | undefined
  private readonly mover: Mover

  constructor(channel: Channel, mover: Mover) {
    this.channel = channel
    this.mover = mover
  }

  get buffered(): number {
    return this.mover.isCurrent(this) ? this.mover.buffered : 0
  }

  deliver(content: Content<BasicDeliver>): void {
    this.mover.deliver(this, content)
  }

  flush(): void {
    this.mover.pump()
  }

  cancelled(consumerTag: string): void {
    this.consumerTag = undefined
    this.mover.fail(new AmqpError.AmqpConsumerCancelled({ queue: this.mover.from, consumerTag }))
  }

  failed(error: AmqpError.AmqpChannelError): void {
    if (error.reason._tag !== "ChannelClosed") this.mover.fail(error)
  }

  settled(deliveryTag: number, outcome: Outcome): void {
    this.mover.settled(this, deliveryTag, outcome)
  }

  hold(): void {
    this.held++
    this.heldByConsumer++
  }

  /** Consumes the queue anew: what a former consumer was sent does not count for the limit of the next one. */
  consume(prefetchCount: number): Effect.Effect<void, AmqpError.AmqpChannelError> {
    return Effect.gen({ self: this }, function*() {
      const { channel } = this
      yield* this.cancel
      this.heldByConsumer = 0
      this.prefetch = prefetchCount
      yield* channel.request({ _tag: "basic.qos", prefetchSize: 0, prefetchCount, global: false })
      const consumerTag = channel.consumerTag()
      this.consumerTag = consumerTag
      channel.attach(consumerTag, this)
      yield* channel.request(consumeOf(this.mover.from, consumerTag))
    })
  }

  readonly cancel: Effect.Effect<void, AmqpError.AmqpChannelError> = Effect.suspend(() => {
    const { channel, consumerTag } = this
    if (consumerTag === undefined || channel.failure !== undefined) return Effect.void
    return Effect.map(channel.request({ _tag: "basic.cancel", consumerTag, noWait: false }), () => {
      channel.detach(consumerTag)
      this.consumerTag = undefined
    })
  })
}

export class Mover {
  readonly counts = { moved: 0, skipped: 0, failed: 0 }
  /** How many messages have arrived, and the bytes of their bodies. */
  received = 0
  private receivedBytes = 0
  /** Set when the queue has no more. */
  isDrained = false
  /** Whether the first message is one of a stream, or was of one before. Nothing is taken until that is known. */
  mayBeStream = false
  /** Why the first message that can't be moved stays in its queue. */
  firstFailure: Cause | undefined
  /** Why the move ends before its time. */
  failure: Cause | undefined
  /** What a function of the user's threw. */
  defect: { readonly thrown: unknown } | undefined

  private readonly session: Session
  private readonly scope: Scope.Scope
  private readonly target: Channel
  private readonly move: Move
  private readonly total: number
  /** The last one consumes, the others hold messages. */
  private readonly sources: Array<Source> = []
  private readonly inbox: Array<{ readonly source: Source; readonly content: Content<BasicDeliver> }> = []
  /** How many messages were looked at, and how many of them are published and not confirmed. */
  private taken = 0
  private inFlight = 0
  private isStopping = false
  private forgetRoom: (() => void) | undefined
  private onChange: () => void = () => {}

  constructor(session: Session, scope: Scope.Scope, target: Channel, move: Move, total: number) {
    this.session = session
    this.scope = scope
    this.target = target
    this.move = move
    this.total = total
  }

  get from(): string {
    return this.move.from
  }

  get progress(): Progress {
    return { total: this.total, ...this.counts }
  }

  get buffered(): number {
    return this.inbox.length
  }

  isCurrent(source: Source): boolean {
    return this.sources.at(-1) === source
  }

  // ---------------------------------------------------------------------------
  // deliveries and confirms
  // ---------------------------------------------------------------------------

  deliver(source: Source, content: Content<BasicDeliver>): void {
    // A stream, which a name does not tell, would be copied and stay as it is.
    if (this.received++ === 0) this.mayBeStream = hasHeader(content.properties, offsetHeader)
    this.receivedBytes += content.bodySize
    // What came into the queue after the move began is left there.
    if (this.isStopping || this.taken + this.inbox.length >= this.total) source.hold()
    else this.inbox.push({ source, content })
  }

  settled(source: Source, deliveryTag: number, outcome: Outcome): void {
    this.inFlight--
    const error = outcome === "Acked" ? undefined : notConfirmed(outcome)
    if (error === undefined) {
      source.channel.acknowledgements.ack(deliveryTag)
      this.counts.moved++
    } else {
      // Of all messages that were on their way, the one that the broker closed the channel for is not known.
      if (this.target.failure !== undefined) this.fail(this.target.failure)
      source.hold()
      this.refuse(error)
    }
    this.pump()
    if (this.inFlight === 0) this.onChange()
  }

  readonly pump = (): void => {
    const { inbox, move, target } = this
    while (inbox.length > 0 && !this.isEnding && !this.mayBeStream) {
      if (target.failure !== undefined) return this.fail(target.failure)
      // The limit may be reached by those that are on their way, of which some may fail.
      if (this.counts.moved + this.inFlight >= move.limit) break
      if (!target.maySend) {
        this.forgetRoom ??= target.onceRoom(() => {
          this.forgetRoom = undefined
          this.pump()
        })
        return
      }
      const next = inbox.shift()
      if (next !== undefined) this.take(next.source, next.content)
    }
    if (this.hasWork) this.onChange()
  }

  private take(source: Source, content: Content<BasicDeliver>): void {
    const { filter, from, isDry, routeOf } = this.move
    this.taken++
    if (content.oversized) {
      source.hold()
      return this.refuse(tooLarge(content))
    }
    try {
      const message = new Received(content, { queue: from, consumerTag: content.method.consumerTag })
      const isSelected: unknown = filter === undefined || filter(message)
      // A promise or an Effect would count as true.
      if (typeof isSelected !== "boolean") throw new TypeError("filter: must return true or false")
      if (isSelected && !isDry) return this.publish(source, content, routeOf(message))
      this.counts[isSelected ? "moved" : "skipped"]++
      source.hold()
    } catch (thrown) {
      source.hold()
      const reason = thrown instanceof EncodeError ? invalid(thrown.message) : thrown
      if (reason instanceof AmqpError.InvalidArgument) return this.refuse(channelError(reason))
      this.defect ??= { thrown }
      this.onChange()
    }
  }

  private publish(
    source: Source,
    { body, method, properties }: Content<BasicDeliver>,
    { exchange, routingKey }: Route
  ): void {
    if (exchange === "" && routingKey === this.from) throw sameQueue(routingKey)
    const encoded = movedProperties(properties, this.session.username, this.move.resetFailures)
    const deliveryTag = Number(method.deliveryTag)
    this.target.publish({ exchange, routingKey, mandatory: true }, encoded, body, source, deliveryTag)
    this.inFlight++
  }

  private refuse(error: Cause): void {
    this.firstFailure ??= error
    if (++this.counts.failed > this.move.maxFailures) this.fail(error)
  }

  fail(error: Cause): void {
    this.failure ??= error
    this.onChange()
  }

  // ---------------------------------------------------------------------------
  // what the fiber of the move calls
  // ---------------------------------------------------------------------------

  private get isEnding(): boolean {
    return this.failure !== undefined || this.defect !== undefined || this.isStopping
  }

  /** Whether nothing is under way, so that only the broker can bring more. */
  get isIdle(): boolean {
    return this.inFlight === 0 && this.inbox.length === 0
  }

  /** Whether there is nothing left to do but to give back what is held. */
  get isDone(): boolean {
    if (this.isEnding) return true
    if (this.inFlight > 0) return false
    if (this.counts.moved >= this.move.limit) return true
    return this.inbox.length === 0 && (this.isDrained || this.taken >= this.total)
  }

  /** Whether half of what the consumer may be sent ahead is held, so that it should be replaced. */
  get isConsumerSpent(): boolean {
    const source = this.sources.at(-1)
    return source !== undefined && source.heldByConsumer * 2 >= source.prefetch &&
      this.taken + this.inbox.length < this.total
  }

  private get hasWork(): boolean {
    return this.isDone || this.isConsumerSpent || this.mayBeStream
  }

  /** Consumes the queue, or goes on with another consumer. */
  readonly consume: Effect.Effect<void, AmqpError.AmqpChannelError> = Effect.suspend(() =>
    Effect.gen({ self: this }, function*() {
      const { receivedBytes, received, session, sources } = this
      const held = sources.reduce((sum, source) => sum + source.held, 0)
      let source = sources.at(-1)
      // For the acknowledgement of a message above those that it holds, a channel of RabbitMQ looks at each of these.
      if (source === undefined || source.held >= Math.max(maxHeld, held / 32)) {
        if (source !== undefined) yield* source.cancel
        source = new Source(yield* Scope.provide(session.channels.scoped, this.scope), this)
        sources.push(source)
      }
      // More and more, so that few consumers look at many messages, but not more than memory should hold.
      const affordable = received === 0 ? 0 : Math.floor(maxBytesAhead / (receivedBytes / received + 1))
      yield* source.consume(Math.max(this.move.prefetch, Math.min(held, affordable, maxPrefetch)))
    })
  )

  /** How many messages of the queue are ready. What was sent before that is answered has arrived. */
  readonly ready: Effect.Effect<number, AmqpError.AmqpChannelError> = Effect.suspend(() =>
    readyIn(this.sources.at(-1)?.channel ?? this.target, this.from)
  )

  /** Waits until there is something to do, at most for a tick. */
  readonly change: Effect.Effect<void> = Effect.suspend(() =>
    Effect.asVoid(Effect.timeoutOption(this.until(() => this.hasWork), tick))
  )

  private until(condition: () => boolean): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (condition()) return resume(Effect.void)
      this.onChange = () => {
        if (condition()) resume(Effect.void)
      }
      return Effect.sync(() => {
        this.onChange = () => {}
      })
    })
  }

  /**
   * Ends in order: takes no further message, waits for what is on its way, at most for the close timeout, and gives the rest back, in the
   * order of the queue.
   */
  readonly finish: Effect.Effect<void> = Effect.suspend(() => {
    const { session, sources } = this
    this.isStopping = true
    this.forgetRoom?.()
    this.inbox.length = 0
    const cancel = Effect.forEach(sources, (source) => Effect.ignore(source.cancel))
    const settled = Effect.andThen(cancel, this.until(() => this.inFlight === 0))
    return Effect.andThen(
      Effect.timeoutOption(settled, session.options.closeTimeout),
      Effect.forEach(sources, ({ channel }) => {
        // Of a stream nothing can go back, nor has to.
        if (!this.mayBeStream) channel.acknowledgements.requeueAll()
        return session.channels.close(channel)
      }, { discard: true })
    )
  })

  /**
   * Waits until the messages that went back are ready again, as a queue takes them back after its channel is closed. Others may take them,
   * so it is enough that their number does not grow any more.
   */
  readonly awaitReturned: Effect.Effect<void, AmqpError.AmqpChannelError> = Effect.suspend(() => {
    const held = this.sources.reduce((sum, source) => sum + source.held, 0)
    const ask = readyIn(this.target, this.from)
    return Effect.gen(function*() {
      let ready = 0
      for (let unchanged = 0; ready < held && unchanged < 5; unchanged++) {
        const count = yield* ask
        if (count >= held) return
        if (count !== ready) unchanged = 0
        ready = count
        yield* Effect.sleep(returnedTick)
      }
    })
  })
}

export const consumeOf = (queue: string, consumerTag: string) => ({
  _tag: "basic.consume" as const,
  queue,
  consumerTag,
  noLocal: false,
  noAck: false,
  exclusive: false,
  noWait: false,
  arguments: {}
})

export const channelError = (reason: AmqpError.ChannelErrorReason) => new AmqpError.AmqpChannelError({ reason })

const tooLarge = ({ bodySize }: { readonly bodySize: number }): AmqpError.AmqpChannelError =>
  channelError(
    new AmqpError.ContentTooLarge({
      replyCode: ReplyCode.contentTooLarge,
      replyText: `a message of ${bodySize} bytes is larger than the connection's maxBodySize, and stays in its queue`,
      method: "basic.deliver"
    })
  )

export const sameQueue = (queue: string): AmqpError.InvalidArgument =>
  invalid(`to: must not be the queue that messages are moved from, ${JSON.stringify(queue)}`)

export const isStream = (queue: string): AmqpError.InvalidArgument =>
  invalid(`from: ${JSON.stringify(queue)} is a stream, which keeps its messages`)

/** How many messages of a queue are ready. */
export const readyIn = (channel: Channel, queue: string): Effect.Effect<number, AmqpError.AmqpChannelError> =>
  Effect.map(
    channel.request({
      _tag: "queue.declare",
      queue,
      passive: true,
      durable: false,
      exclusive: false,
      autoDelete: false,
      noWait: false,
      arguments: {}
    }),
    ({ messageCount }) => messageCount
  )
