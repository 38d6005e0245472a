/**
 * The consumers of one or more queues on one channel. Their messages go into one inbox.
 *
 * A subscription ends with its channel, or when the broker cancels one of its consumers; `consumerFiber` replaces it.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import { AmqpConsumerCancelled } from "../../AmqpError.ts"
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import type { BasicDeliver } from "../../protocol/methods.generated.ts"
import type { Channel } from "../channel/channel.ts"
import type { ConsumerSink } from "../channel/consumers.ts"
import { basicCancel, basicConsume, basicQos, passiveQueueDeclare } from "../channel/methods.ts"
import { Signal } from "../common/signal.ts"
import { offsetKey } from "../message/streamOffset.ts"
import * as Validation from "../options/validation.ts"
import type { ConsumerHost } from "./consumerHost.ts"
import { Received, sizeOf } from "./delivery.ts"
import type { ConsumerSource } from "./delivery.ts"
import type { Inbox, SubscriptionError } from "./inbox.ts"
import type { InboxLimit } from "./inboxLimit.ts"
import type { OversizedMessages, OversizedPolicy } from "./oversizedMessages.ts"
import type { QueueKind } from "./queueKind.ts"
import { Requeues } from "./requeues.ts"
import { stopOrderOf } from "./stopOrder.ts"
import type { StopOrder } from "./stopOrder.ts"
import type { StreamPosition } from "./streamPosition.ts"
import { kindOf } from "./streamProbe.ts"

export type { SubscriptionError } from "./inbox.ts"

export interface SubscriptionOptions {
  /** Queues that are described are declared first. */
  readonly queues: ReadonlyArray<string | AmqpQueue>
  readonly prefetch: number
  readonly noAck: boolean
  readonly exclusive: boolean
  readonly consumerTag: string | undefined
  readonly arguments: FieldTable
  readonly onOversized: OversizedPolicy
  /** Whether the channel is in transaction mode, so that a settlement needs a commit. */
  readonly isTransactional: boolean
}

interface ConsumerState extends ConsumerSource {
  /** The index of its queue. */
  readonly index: number
  hasEnded: boolean
  /** Whether it was cancelled because the broker has cancelled another consumer of the subscription. Further deliveries are requeued. */
  isCancelled: boolean
  /** Whether the broker has confirmed its start. */
  isStarted: boolean
}

/** Makes an item of the inbox. `source` is the same object for all messages of a consumer. */
export type Decode = (content: Content<BasicDeliver>, source: ConsumerSource) => Received

/** What the subscriptions of a consumer have in common, one after the other. */
export interface SubscriptionOwner {
  readonly options: SubscriptionOptions
  readonly decode: Decode
  readonly inbox: Inbox
  readonly inboxLimit: InboxLimit
  /** Where the next consumer of each queue begins, if the queue is a stream. */
  readonly positions: ReadonlyArray<StreamPosition>
}

/**
 * - `Open`: deliveries go to the inbox.
 * - `Leaving`: the session is being replaced. Deliveries go back to their queues.
 * - `Ended`: the broker has cancelled a consumer, or the channel has closed.
 */
type State = "Open" | "Leaving" | "Ended"

export class Subscription implements ConsumerSink<ConsumerState> {
  readonly noAck: boolean
  readonly expectsReply = false
  readonly channel: Channel
  readonly stopOrder: StopOrder
  /** The names of the queues, including those that the broker has named. */
  readonly queues: ReadonlyArray<string>
  /** Notified when there is an `outcome`. */
  readonly ended = new Signal()
  /** While the subscription leaves its session: the tags of the deliveries that the program does not get. */
  readonly handedBack = new Set<number>()
  private state: State = "Open"
  private currentOutcome: { readonly error: SubscriptionError | undefined } | undefined
  private readonly host: ConsumerHost
  private readonly owner: SubscriptionOwner
  private readonly options: SubscriptionOptions
  private readonly inbox: Inbox
  private readonly oversized: OversizedMessages
  /** The consumers that are registered with the channel. */
  private consumers: ReadonlyArray<ConsumerState> = []
  /** The kind of each queue. */
  private readonly kinds: ReadonlyArray<QueueKind>
  /** Lets one fiber at a time start, replace and cancel consumers. */
  private readonly changes = Semaphore.makeUnsafe(1)
  /** Whether the program has cancelled the consumer. */
  private isStopping = false
  /** Whether messages are requeued, since the consumers were cancelled in order. */
  private isRequeuing = false
  private readonly requeues: Requeues
  /** How often the consumers were started. */
  private generation = 0
  private currentPrefetch: number

  constructor(
    host: ConsumerHost,
    channel: Channel,
    owner: SubscriptionOwner,
    queues: ReadonlyArray<string>,
    prefetch: number,
    oversized: OversizedMessages
  ) {
    const { inbox, options, positions } = owner
    this.host = host
    this.channel = channel
    this.owner = owner
    this.options = options
    this.inbox = inbox
    this.queues = queues
    this.oversized = oversized
    this.requeues = new Requeues(channel.acknowledgements)
    this.noAck = options.noAck
    this.currentPrefetch = prefetch
    this.kinds = queues.map((name, index) =>
      kindOf(host, options.queues[index], name, options.arguments, positions[index].isStream)
    )
    this.stopOrder = stopOrderOf(host.serverProperties, options)
  }

  /** Set when the subscription has ended: the reason, or no error if it has left its session in order. */
  get outcome(): { readonly error: SubscriptionError | undefined } | undefined {
    return this.currentOutcome
  }

  get buffered(): number {
    return this.inbox.size
  }

  get label(): string {
    return labelOf(this.queues)
  }

  get prefetch(): number {
    return this.currentPrefetch
  }

  /** Whether the broker sends messages without a limit. */
  private get isUnlimited(): boolean {
    return this.noAck || this.currentPrefetch === 0
  }

  /** Messages of this many bytes were taken from the inbox. */
  taken(bytes: number): void {
    this.owner.inboxLimit.remove(bytes)
  }

  // ---------------------------------------------------------------------------
  // called by the channel
  // ---------------------------------------------------------------------------

  deliver(content: Content<BasicDeliver>, consumer: ConsumerState): void {
    if (this.state !== "Open" && !this.noAck) return this.handBack(content, consumer)
    // The channel is about to close, which requeues the message. If it were requeued now, it would be delivered again at once.
    if (this.inbox.hasEnded) return
    if (consumer.kind.isStream !== false && !this.noAck) this.noteStream(content, consumer)
    if (content.oversized) return this.oversized.handle(content, this.channel, consumer, this.noAck)
    this.inbox.offer(this.owner.decode(content, consumer))
    if (this.isUnlimited) this.owner.inboxLimit.add(sizeOf(content.bodySize, content.properties))
  }

  /** A message arrived that the program does not get. */
  private handBack(content: Content<BasicDeliver>, consumer: ConsumerState): void {
    if (this.state === "Leaving") this.handedBack.add(Number(content.method.deliveryTag))
    else if (consumer.isCancelled) this.channel.requeue(content)
  }

  private noteStream({ method, properties }: Content<BasicDeliver>, { index, kind }: ConsumerState): void {
    kind.note(properties)
    if (kind.isStream !== false) {
      this.owner.positions[index].delivered(Number(method.deliveryTag), properties, this.channel.acknowledgements)
    }
  }

  flush(): void {
    this.inbox.flush()
  }

  cancelled(consumerTag: string, consumer: ConsumerState): void {
    consumer.hasEnded = true
    // The consumers of the other queues would continue, but no fiber takes their messages.
    for (const other of this.consumers) {
      other.isCancelled = true
      if (other !== consumer && other.isStarted) this.channel.cancelConsumer(other.consumerTag)
    }
    this.consumers = []
    this.end(new AmqpConsumerCancelled({ queue: consumer.queue, consumerTag }))
  }

  failed(error: AmqpChannelError): void {
    for (const consumer of this.consumers) consumer.hasEnded = true
    // The broker delivers unsettled messages again, but messages without acknowledgement exist only here.
    if (!this.noAck) this.clear()
    this.end(error)
  }

  private end(error: SubscriptionError): void {
    if (this.state === "Ended") return
    this.state = "Ended"
    this.inbox.interrupted()
    // What has arrived without acknowledgement is still for the program.
    if (this.noAck) this.inbox.flush()
    this.completed(error)
  }

  private completed(error: SubscriptionError | undefined): void {
    this.currentOutcome ??= { error }
    this.ended.notify()
  }

  private clear(): ReadonlyArray<Received> {
    const left = this.inbox.clear()
    this.owner.inboxLimit.remove(Infinity)
    return left
  }

  // ---------------------------------------------------------------------------
  // called by the fiber of the consumer
  // ---------------------------------------------------------------------------

  /** Starts the consumers. */
  readonly start: Effect.Effect<void, AmqpChannelError> = Effect.suspend(() => {
    const prepare = this.options.isTransactional ? this.channel.transactionSelect : Effect.void
    const qos = this.noAck ? Effect.void : this.channel.request(basicQos(this.currentPrefetch))
    return prepare.pipe(Effect.andThen(qos), Effect.andThen(this.consume((position) => position.afterHandled())))
  })

  /** The channel can no longer be used, although the broker has not closed it. */
  abandon(error: AmqpChannelError): void {
    this.failed(error)
    this.channel.beginClose()
  }

  /**
   * The broker has cancelled a consumer, and the subscription is replaced: requeues messages of the other queues that the program has not
   * taken, and waits until those that it has are settled.
   */
  readonly endOthers: Effect.Effect<void> = Effect.suspend(() => {
    if (this.noAck || this.channel.failure !== undefined) return Effect.void
    const left = this.clear().filter((message) => !Received.hasEnded(message))
    if (this.queues.length === 1) return Effect.void
    this.requeue(left.map(({ deliveryTag }) => deliveryTag))
    return this.withinCloseTimeout(
      Effect.all([this.requeues.rest, this.inbox.awaitHandled(this)], { concurrency: 2, discard: true })
    )
  })

  /**
   * The session is being replaced: begins no new message, and waits until those that the program has are settled. The consumers are not cancelled
   * yet, as that may delete their queues. Consumers without acknowledgements go on.
   */
  readonly stopHandling: Effect.Effect<void> = Effect.suspend(() => {
    if (this.state !== "Open" || this.noAck) return Effect.void
    this.state = "Leaving"
    this.inbox.interrupted()
    for (const { deliveryTag } of this.clear()) this.handedBack.add(deliveryTag)
    return this.withinCloseTimeout(this.inbox.awaitHandled(this))
  })

  /** Leaves the session after that: cancels the consumers, and requeues what they have. */
  readonly leave: Effect.Effect<void> = Effect.suspend(() => {
    const { kind } = this.stopOrder
    const steps = this.noAck
      ? this.stopInTurn
      : kind === "Drain"
      ? Effect.void
      : Effect.andThen(this.stopInTurn, this.requeueUnhandled)
    return Effect.andThen(this.withinCloseTimeout(steps), Effect.sync(() => this.completed(undefined)))
  })

  private readonly requeueUnhandled: Effect.Effect<void> = Effect.suspend(() => {
    this.requeueAll(this.inbox.unhandledTags(this))
    return this.stopOrder.savesAttempts
      ? Effect.andThen(this.requeues.rest, this.awaitRequeued)
      : this.requeues.rest
  })

  private withinCloseTimeout(effect: Effect.Effect<void>): Effect.Effect<void> {
    return Effect.asVoid(Effect.timeoutOption(Effect.interruptible(effect), this.host.options.closeTimeout))
  }

  /** After the channel has closed: notes where consumers of streams begin on the next one. */
  channelClosed(): void {
    const { lost } = this.channel.acknowledgements
    this.kinds.forEach(({ isStream }, index) => {
      const position = this.owner.positions[index]
      if (isStream === true) position.isStream = true
      position.channelClosed(lost)
    })
  }

  // ---------------------------------------------------------------------------
  // called by the fiber of the program
  // ---------------------------------------------------------------------------

  /** Changes the prefetch. The broker applies a prefetch to consumers that are started later, so the consumers are replaced. */
  setPrefetch(prefetch: number): Effect.Effect<void, AmqpChannelError> {
    return Effect.gen({ self: this }, function*() {
      if (!this.isConsuming) return
      const replaced = yield* this.stopConsuming
      yield* this.channel.request(basicQos(prefetch))
      this.currentPrefetch = prefetch
      if (!this.isConsuming) return
      yield* this.consume((position) => position.afterDelivered())
      for (const { consumerTag } of replaced) this.channel.detach(consumerTag)
    }).pipe(
      // Some or all of the consumers are missing, so the subscription must end: otherwise it would wait for messages in vain.
      Effect.tapError((error) => Effect.sync(() => this.abandon(error))),
      this.changes.withPermits(1),
      Effect.uninterruptible
    )
  }

  private get isConsuming(): boolean {
    return this.state === "Open" && !this.isStopping && !this.inbox.hasEnded
  }

  /** Cancels the consumers: the broker delivers nothing more. Messages in the inbox can still be taken. */
  readonly cancel: Effect.Effect<void> = Effect.suspend(() => {
    this.isStopping = true
    return this.stopInTurn
  }).pipe(Effect.ensuring(Effect.sync(() => this.inbox.fail(Cause.Done()))))

  /** The same, for as long as a broker that reads nothing may delay the stop of a consumer. */
  get cancelInTime(): Effect.Effect<void> {
    return this.withinCloseTimeout(this.cancel)
  }

  /** Takes the steps of a stop in the order that the queues require. `cancel` cancels the consumers and requeues what is not handled. */
  inOrder(cancel: Effect.Effect<void>, handled: Effect.Effect<void>): Effect.Effect<void> {
    const { kind, savesAttempts } = this.stopOrder
    const steps = kind === "Cancel"
      ? Effect.andThen(cancel, Effect.all([this.requeues.rest, handled], { concurrency: 2, discard: true }))
      : kind === "DrainThenCancel"
      ? handled.pipe(Effect.andThen(cancel), Effect.andThen(this.requeues.rest))
      : handled
    return savesAttempts ? Effect.andThen(steps, this.awaitRequeued) : steps
  }

  /**
   * The consumers were cancelled in order: requeues these messages, and from now on those that `requeueSingle` is called with. If there are many,
   * `inOrder` requeues the last of them.
   */
  requeueAll(tags: Iterable<number>): void {
    this.isRequeuing = true
    this.requeue(tags)
  }

  /** Requeues a message whose handler was not called again, unless closing the channel will requeue it with all others. */
  requeueSingle(delivery: Received): void {
    if (this.isRequeuing && Received.sourceOf(delivery).acknowledgements === this.channel.acknowledgements) {
      this.requeue([delivery.deliveryTag])
    }
  }

  /**
   * Requeues messages at once, by `basic.nack`. If the channel is in transaction mode or a queue may be a stream, they are requeued when the
   * channel closes.
   */
  private requeue(tags: Iterable<number>): void {
    if (this.noAck || this.channel.failure !== undefined || this.options.isTransactional) return
    if (this.kinds.every(({ isStream }) => isStream === false)) this.requeues.add(tags)
  }

  /**
   * Waits until the queues have handled the nacks of `requeue`. A channel of RabbitMQ passes a nack on to the queue. If the channel closes
   * before the queue has handled it, the queue counts an attempt. A request to the queue is handled after the nacks.
   */
  private readonly awaitRequeued: Effect.Effect<void> = Effect.suspend(() =>
    this.withinCloseTimeout(Effect.ignore(
      Effect.forEach(this.queues, (queue) => this.channel.request(passiveQueueDeclare(queue)), { discard: true })
    ))
  )

  /** Requeues what was not taken, before the scope of a consumer without a handler closes the channel. */
  readonly stop: Effect.Effect<void> = Effect.suspend(() => {
    const left = this.clear()
    if (left.length === 0 || this.noAck || !this.stopOrder.savesAttempts) return Effect.void
    const requeue = Effect.suspend(() => {
      this.requeue([...left, ...this.inbox.clear()].map(({ deliveryTag }) => deliveryTag))
      return this.requeues.rest
    })
    return this.withinCloseTimeout(
      this.cancel.pipe(Effect.andThen(requeue), Effect.andThen(this.awaitRequeued))
    )
  })

  private consume(beginning: (position: StreamPosition) => bigint | undefined) {
    this.generation++
    return Effect.forEach(this.queues, (queue, index) => this.consumeQueue(queue, index, beginning), { discard: true })
  }

  private consumeQueue(
    queue: string,
    index: number,
    beginning: (position: StreamPosition) => bigint | undefined
  ): Effect.Effect<void, AmqpChannelError> {
    return Effect.gen({ self: this }, function*() {
      const { arguments: table, exclusive, queues } = this.options
      const described = queues[index]
      const kind = this.kinds[index]
      const position = this.owner.positions[index]
      // Brokers refuse an offset for other queues. Those may hold copies of a stream's messages, with their header.
      if (position.isKnown && kind.isStream === undefined) yield* kind.ask
      const offset = kind.isStream === true ? beginning(position) : undefined
      const consumerTag = this.consumerTag(index)
      const consumer: ConsumerState = {
        index,
        queue,
        consumerTag,
        description: typeof described === "string" ? undefined : described,
        kind,
        acknowledgements: this.channel.acknowledgements,
        hasEnded: false,
        isCancelled: false,
        isStarted: false
      }
      // Registered before the request, because deliveries may arrive in the same read as its reply.
      this.consumers = [...this.consumers, consumer]
      this.channel.attach(consumerTag, this, consumer)
      yield* this.channel.request(basicConsume(queue, consumerTag, {
        noAck: this.noAck,
        exclusive,
        arguments: offset === undefined ? table : { ...table, [offsetKey]: offset }
      }))
      consumer.isStarted = true
    })
  }

  /** Cancels the consumers, and returns them. They stay registered with the channel, so that its end is noticed. */
  private readonly stopConsuming = Effect.suspend(() =>
    Effect.forEach(
      this.consumers,
      (consumer) =>
        Effect.map(this.channel.request(basicCancel(consumer.consumerTag)), () => {
          this.consumers = this.consumers.filter((other) => other !== consumer)
          return consumer
        })
    )
  )

  /** Cancels the consumers after a change that is under way. */
  private readonly stopInTurn: Effect.Effect<void> = Effect.suspend(() =>
    this.changes.withPermits(1)(Effect.ignore(this.stopConsuming))
  )

  /** No tag is used twice: RabbitMQ would apply acks for deliveries of the old consumer to the new consumer of that tag. */
  private consumerTag(index: number): string {
    const { generation } = this
    const { consumerTag } = this.options
    if (consumerTag === undefined) return this.channel.consumerTag()
    const tag = this.queues.length === 1 ? consumerTag : `${consumerTag}-${index + 1}`
    return generation === 1 ? tag : `${tag}.${generation}`
  }
}

/** How logs call a consumer. */
export const labelOf = (queues: ReadonlyArray<string>): string =>
  `the consumer of ${queues.map((queue) => `queue ${JSON.stringify(queue)}`).join(", ")}`

/** Throws an `InvalidArgument`. */
export const check = ({ consumerTag, noAck, prefetch, queues }: SubscriptionOptions): void => {
  if (queues.length === 0) throw Validation.invalid("queue: must not be an empty array")
  for (const queue of queues) {
    if (typeof queue === "string") Validation.nonEmptyName("queue", queue)
    else if (queue.type === "stream" && (noAck || prefetch === 0)) {
      throw Validation.invalid("prefetch: must be at least 1 for a stream, which also requires acknowledgements")
    }
  }
  Validation.wholeNumber("prefetch", prefetch, 0, 65535)
  if (consumerTag !== undefined) Validation.nonEmptyName("consumerTag", consumerTag)
}
