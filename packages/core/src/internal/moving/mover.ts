/**
 * The messages of a move, from their delivery to the confirm of their copy.
 *
 * A message is published in the synchronous step that handles its delivery, and acknowledged in the one that handles the confirm of its
 * copy. No message has a fiber.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as AmqpError from "../../AmqpError.ts"
import type { MoveProgress } from "../../AmqpQueue.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import type { BasicDeliver } from "../../protocol/methods.generated.ts"
import { EncodeError } from "../../protocol/ProtocolError.ts"
import type { Channel } from "../channel/channel.ts"
import { bodyTooLarge, channelError } from "../channel/channelErrors.ts"
import type { Channels } from "../channel/channels.ts"
import type { Outcome, PublishOwner } from "../channel/confirmLedger.ts"
import type { ConsumerSink } from "../channel/consumers.ts"
import { basicCancel, basicConsume, basicQos, passiveQueueDeclare } from "../channel/methods.ts"
import { Signal } from "../common/signal.ts"
import { Received } from "../consuming/delivery.ts"
import type { Route } from "../message/route.ts"
import { offsetKey } from "../message/streamOffset.ts"
import type { SessionOptions } from "../options/sessionOptions.ts"
import { invalid } from "../options/validation.ts"
import { notConfirmed } from "../publishing/publishErrors.ts"
import { hasHeader, movedProperties } from "./movedProperties.ts"

/** What a move needs of its session. */
export interface MoveHost {
  readonly channels: Pick<Channels, "close" | "scoped">
  readonly options: Pick<SessionOptions, "closeTimeout">
  readonly username: string
}

/** What to move, with all defaults. */
export interface Move {
  readonly from: string
  /** The queue or exchange that has to exist before anything is moved, if it is known. */
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

type Cause = AmqpError.AmqpMoveError["cause"]

/** How often progress is reported, and an idle queue is checked for more messages, in milliseconds. */
const tick = 100

/** How often a queue is checked for the messages that were requeued, in milliseconds. */
const returnedTick = 40

/** The highest prefetch of a consumer. */
export const maxPrefetch = 20_000

/** The prefetch is limited to about this many bytes of bodies. */
const maxPrefetchBytes = 64 * 1024 * 1024

/** A channel that holds this many messages may be replaced. */
const maxHeld = 1000

/** A channel on which messages are taken from the queue. */
class Source implements ConsumerSink, PublishOwner {
  readonly noAck = false
  readonly expectsReply = true
  readonly channel: Channel
  /** How many messages it holds, which are requeued at the end. */
  held = 0
  /** How many of these were delivered to the present consumer, and the prefetch of that. */
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

  /** Starts another consumer. Messages that are held for an earlier one do not count for its prefetch. */
  consume(prefetchCount: number): Effect.Effect<void, AmqpError.AmqpChannelError> {
    return Effect.gen({ self: this }, function*() {
      const { channel } = this
      yield* this.cancel
      this.heldByConsumer = 0
      this.prefetch = prefetchCount
      yield* channel.request(basicQos(prefetchCount))
      const consumerTag = channel.consumerTag()
      this.consumerTag = consumerTag
      channel.attach(consumerTag, this)
      yield* channel.request(basicConsume(this.mover.from, consumerTag))
    })
  }

  readonly cancel: Effect.Effect<void, AmqpError.AmqpChannelError> = Effect.suspend(() => {
    const { channel, consumerTag } = this
    if (consumerTag === undefined || channel.failure !== undefined) return Effect.void
    return Effect.map(channel.request(basicCancel(consumerTag)), () => {
      channel.detach(consumerTag)
      this.consumerTag = undefined
    })
  })
}

export class Mover {
  readonly counts = { moved: 0, skipped: 0, failed: 0 }
  /** How many messages were delivered, and the size of their bodies in bytes. */
  received = 0
  private receivedBytes = 0
  /** Set when the queue has no more messages. */
  isDrained = false
  /** Whether the first message has a stream offset, now or from an earlier queue. Nothing is taken while it is unknown which. */
  mayBeStream = false
  /** Why the first message that can't be moved stays in its queue. */
  firstFailure: Cause | undefined
  /** Why the move ends early. */
  failure: Cause | undefined
  /** What a function of the user threw. */
  defect: { readonly thrown: unknown } | undefined

  private readonly host: MoveHost
  private readonly scope: Scope.Scope
  private readonly target: Channel
  private readonly move: Move
  private readonly total: number
  /** The last one consumes the queue, the others hold messages. */
  private readonly sources: Array<Source> = []
  private readonly inbox: Array<{ readonly source: Source; readonly content: Content<BasicDeliver> }> = []
  /** How many messages were processed, and how many of their copies wait for the confirm. */
  private taken = 0
  private inFlight = 0
  private isStopping = false
  private cancelRoom: (() => void) | undefined
  private readonly changed = new Signal()

  constructor(host: MoveHost, scope: Scope.Scope, target: Channel, move: Move, total: number) {
    this.host = host
    this.scope = scope
    this.target = target
    this.move = move
    this.total = total
  }

  get from(): string {
    return this.move.from
  }

  get progress(): MoveProgress {
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
    // A name may be that of a stream, which would be copied and not emptied.
    if (this.received++ === 0) this.mayBeStream = hasHeader(content.properties, offsetKey)
    this.receivedBytes += content.bodySize
    // Messages that were published to the queue after the move began stay there.
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
      // It is not known for which of the messages in flight the broker closed the channel.
      if (this.target.failure !== undefined) this.fail(this.target.failure)
      source.hold()
      this.refuse(error)
    }
    this.pump()
    if (this.inFlight === 0) this.changed.notify()
  }

  readonly pump = (): void => {
    const { inbox, move, target } = this
    while (inbox.length > 0 && !this.isEnding && !this.mayBeStream) {
      if (target.failure !== undefined) return this.fail(target.failure)
      // The messages in flight may reach the limit, and some of them may fail.
      if (this.counts.moved + this.inFlight >= move.limit) break
      if (!target.maySend) {
        this.cancelRoom ??= target.onceRoom(() => {
          this.cancelRoom = undefined
          this.pump()
        })
        return
      }
      const next = inbox.shift()
      if (next !== undefined) this.take(next.source, next.content)
    }
    if (this.hasWork) this.changed.notify()
  }

  private take(source: Source, content: Content<BasicDeliver>): void {
    const { filter, from, isDry, routeOf } = this.move
    this.taken++
    if (content.oversized) {
      source.hold()
      return this.refuse(bodyTooLarge(content, "basic.deliver", "It stays in its queue"))
    }
    try {
      const message = new Received(content, { queue: from, consumerTag: content.method.consumerTag })
      const isSelected: unknown = filter === undefined || filter(message)
      // A promise or an Effect would be truthy.
      if (typeof isSelected !== "boolean") throw new TypeError("filter: must return true or false")
      if (isSelected && !isDry) return this.publish(source, content, routeOf(message))
      this.counts[isSelected ? "moved" : "skipped"]++
      source.hold()
    } catch (thrown) {
      source.hold()
      const reason = thrown instanceof EncodeError ? invalid(thrown.message) : thrown
      if (reason instanceof AmqpError.InvalidArgument) return this.refuse(channelError(reason))
      this.defect ??= { thrown }
      this.changed.notify()
    }
  }

  private publish(
    source: Source,
    { body, method, properties }: Content<BasicDeliver>,
    { exchange, routingKey }: Route
  ): void {
    if (exchange === "" && routingKey === this.from) throw sameQueue(routingKey)
    const encoded = movedProperties(properties, this.host.username, this.move.resetFailures)
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
    this.changed.notify()
  }

  // ---------------------------------------------------------------------------
  // for the fiber of the move
  // ---------------------------------------------------------------------------

  private get isEnding(): boolean {
    return this.failure !== undefined || this.defect !== undefined || this.isStopping
  }

  /** Whether no message is being moved: only the broker can deliver more. */
  get isIdle(): boolean {
    return this.inFlight === 0 && this.inbox.length === 0
  }

  /** Whether only the requeue of the held messages is left to do. */
  get isDone(): boolean {
    if (this.isEnding) return true
    if (this.inFlight > 0) return false
    if (this.counts.moved >= this.move.limit) return true
    return this.inbox.length === 0 && (this.isDrained || this.taken >= this.total)
  }

  /** Whether half of the consumer's prefetch is held, so that it should be replaced. */
  get isConsumerSpent(): boolean {
    const source = this.sources.at(-1)
    return source !== undefined && source.heldByConsumer * 2 >= source.prefetch &&
      this.taken + this.inbox.length < this.total
  }

  private get hasWork(): boolean {
    return this.isDone || this.isConsumerSpent || this.mayBeStream
  }

  /** Starts a consumer, which replaces the present one. */
  readonly consume: Effect.Effect<void, AmqpError.AmqpChannelError> = Effect.suspend(() =>
    Effect.gen({ self: this }, function*() {
      const { receivedBytes, received, host, sources } = this
      const held = sources.reduce((sum, source) => sum + source.held, 0)
      let source = sources.at(-1)
      // To acknowledge a message, RabbitMQ goes through the messages below it that the channel holds.
      if (source === undefined || source.held >= Math.max(maxHeld, held / 32)) {
        if (source !== undefined) yield* source.cancel
        source = new Source(yield* Scope.provide(host.channels.scoped, this.scope), this)
        sources.push(source)
      }
      // The prefetch grows with the number of held messages, so that few consumers are needed, within a limit for memory.
      const affordable = received === 0 ? 0 : Math.floor(maxPrefetchBytes / (receivedBytes / received + 1))
      yield* source.consume(Math.max(this.move.prefetch, Math.min(held, affordable, maxPrefetch)))
    })
  )

  /** How many messages of the queue are ready. Messages that were delivered before the reply have arrived. */
  readonly ready: Effect.Effect<number, AmqpError.AmqpChannelError> = Effect.suspend(() =>
    readyIn(this.sources.at(-1)?.channel ?? this.target, this.from)
  )

  /** Waits until there is something to do, at most for a tick. */
  readonly change: Effect.Effect<void> = Effect.asVoid(
    Effect.timeoutOption(this.changed.until(() => this.hasWork), tick)
  )

  /**
   * Ends in order: takes no more messages, waits for the messages in flight, at most for the close timeout, and requeues the others, in
   * the order of the queue.
   */
  readonly finish: Effect.Effect<void> = Effect.suspend(() => {
    const { host, sources } = this
    this.isStopping = true
    this.cancelRoom?.()
    this.inbox.length = 0
    const cancel = Effect.forEach(sources, (source) => Effect.ignore(source.cancel))
    const settled = Effect.andThen(cancel, this.changed.until(() => this.inFlight === 0))
    return Effect.andThen(
      Effect.timeoutOption(settled, host.options.closeTimeout),
      Effect.forEach(sources, ({ channel }) => {
        // Messages of a stream can't be requeued, and stay in it anyway.
        if (!this.mayBeStream) channel.acknowledgements.requeueAll()
        return host.channels.close(channel)
      }, { discard: true })
    )
  })

  /**
   * Waits until the requeued messages are ready: a queue requeues them after their channel was closed. Other consumers may take them, so
   * it is enough that the number of ready messages stops growing.
   */
  readonly awaitReturned: Effect.Effect<void, AmqpError.AmqpChannelError> = Effect.suspend(() => {
    const held = this.sources.reduce((sum, source) => sum + source.held, 0)
    const readyCount = readyIn(this.target, this.from)
    return Effect.gen(function*() {
      let ready = 0
      for (let unchanged = 0; ready < held && unchanged < 5; unchanged++) {
        const count = yield* readyCount
        if (count >= held) return
        if (count !== ready) unchanged = 0
        ready = count
        yield* Effect.sleep(returnedTick)
      }
    })
  })
}

export const sameQueue = (queue: string): AmqpError.InvalidArgument =>
  invalid(`to: must not be the queue that messages are moved from, ${JSON.stringify(queue)}`)

export const isStream = (queue: string): AmqpError.InvalidArgument =>
  invalid(`from: ${JSON.stringify(queue)} is a stream, which keeps its messages`)

/** How many messages of a queue are ready. */
export const readyIn = (channel: Channel, queue: string): Effect.Effect<number, AmqpError.AmqpChannelError> =>
  Effect.map(
    channel.request(passiveQueueDeclare(queue)),
    ({ messageCount }) => messageCount
  )
