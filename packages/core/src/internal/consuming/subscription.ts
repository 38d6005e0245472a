/**
 * The consumers of one or more queues on one channel. Their messages go into one inbox.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { AmqpConsumerCancelled } from "../../AmqpError.ts"
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"
import { decodeProperties } from "../../protocol/BasicProperties.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"
import type { BasicDeliver } from "../../protocol/methods.generated.ts"
import type { Channel } from "../channel/channel.ts"
import { notSupported } from "../channel/channelErrors.ts"
import type { ConsumerSink } from "../channel/consumers.ts"
import { basicCancel, basicConsume, basicQos, passiveQueueDeclare } from "../channel/methods.ts"
import { offsetKey } from "../message/streamOffset.ts"
import * as Validation from "../options/validation.ts"
import { declareAll } from "../topology/declare.ts"
import type { ConsumerHost } from "./consumerHost.ts"
import { sizeOf } from "./delivery.ts"
import type { ConsumerSource } from "./delivery.ts"
import type { Inbox } from "./inbox.ts"
import { InboxLimit } from "./inboxLimit.ts"
import { OversizedMessages } from "./oversizedMessages.ts"
import type { OversizedPolicy } from "./oversizedMessages.ts"
import type { QueueKind } from "./queueKind.ts"
import { stopOrderOf } from "./stopOrder.ts"
import type { StopOrder } from "./stopOrder.ts"
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
  /** Whether further deliveries are requeued: the broker has cancelled this consumer, or another one of the subscription. */
  isCancelled: boolean
  /** Whether the broker has confirmed its start. */
  isStarted: boolean
  /** The encoded properties of the last message that was delivered to it. */
  lastProperties: Uint8Array | undefined
}

/** Makes an item of the inbox. `source` is the same object for all messages of a consumer. */
export type Decode<A> = (content: Content<BasicDeliver>, channel: Channel, source: ConsumerSource) => A

/** An item of the inbox. */
interface Item {
  readonly deliveryTag: number
}

export class Subscription<A extends Item> implements ConsumerSink<ConsumerState> {
  readonly noAck: boolean
  readonly expectsReply = false
  readonly channel: Channel
  readonly stopOrder: StopOrder
  readonly inboxLimit: InboxLimit
  /** The names of the queues, including those that the broker has named. */
  queues: ReadonlyArray<string> = []
  private readonly host: ConsumerHost
  private readonly options: SubscriptionOptions
  private readonly decode: Decode<A>
  private readonly inbox: Inbox<A>
  private readonly oversized: OversizedMessages
  /** The consumers that are registered with the channel. */
  private consumers: ReadonlyArray<ConsumerState> = []
  /** The kind of each queue. */
  private kinds: ReadonlyArray<QueueKind> = []
  /** Lets one fiber at a time start, replace and cancel consumers. */
  private readonly changes = Semaphore.makeUnsafe(1)
  /** Where the next consumer of each queue begins, if the queue is a stream and had a consumer before. */
  private offsets: Array<FieldValue | undefined> = []
  private isStopping = false
  /** How often the consumers were started. */
  private generation = 0
  /** Whether the broker sends messages without a limit. */
  private isUnlimited: boolean

  constructor(
    host: ConsumerHost,
    channel: Channel,
    options: SubscriptionOptions,
    decode: Decode<A>,
    inbox: Inbox<A>,
    oversized: OversizedMessages
  ) {
    this.host = host
    this.channel = channel
    this.options = options
    this.decode = decode
    this.inbox = inbox
    this.oversized = oversized
    this.noAck = options.noAck
    this.isUnlimited = options.noAck || options.prefetch === 0
    this.inboxLimit = new InboxLimit(channel.host.readGate, this)
    this.stopOrder = stopOrderOf(host.serverProperties, options)
  }

  get buffered(): number {
    return this.inbox.size
  }

  get label(): string {
    return `the consumer of ${this.queues.map((queue) => `queue ${JSON.stringify(queue)}`).join(", ")}`
  }

  /** Messages of this many bytes were taken from the inbox. */
  taken(bytes: number): void {
    this.inboxLimit.remove(bytes)
  }

  // ---------------------------------------------------------------------------
  // called by the channel fiber
  // ---------------------------------------------------------------------------

  deliver(content: Content<BasicDeliver>, consumer: ConsumerState): void {
    if (consumer.isCancelled) {
      // The broker has cancelled the consumer of another queue, and this one was cancelled for that reason.
      if (!this.noAck) this.channel.requeue(content)
      return
    }
    // The channel is about to close, which requeues the message. If it were requeued now, it would be delivered again at once.
    if (this.inbox.hasEnded) return
    consumer.lastProperties = content.properties
    if (consumer.kind.isStream === undefined) consumer.kind.note(content.properties)
    if (content.oversized) return this.oversized.handle(content, this.channel, consumer, this.noAck)
    this.inbox.offer(this.decode(content, this.channel, consumer))
    if (this.isUnlimited) this.inboxLimit.add(sizeOf(content.bodySize, content.properties))
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
    this.inbox.fail(new AmqpConsumerCancelled({ queue: consumer.queue, consumerTag }))
  }

  failed(error: AmqpChannelError): void {
    for (const consumer of this.consumers) consumer.hasEnded = true
    // The broker delivers unsettled messages again, but messages without acknowledgement exist only here.
    if (!this.noAck) this.inbox.clear()
    this.inbox.fail(error)
    this.inboxLimit.release()
  }

  // ---------------------------------------------------------------------------
  // called by the fiber of the program
  // ---------------------------------------------------------------------------

  /** Declares described queues and starts the consumers. */
  readonly start: Effect.Effect<void, AmqpChannelError> = Effect.gen({ self: this }, function*() {
    const { arguments: table, isTransactional, prefetch, queues } = this.options
    const names: Array<string> = []
    for (const queue of queues) {
      if (typeof queue === "string") {
        names.push(queue)
      } else {
        const [declared] = yield* declareAll(this.channel, [], [queue])
        names.push(declared.queue)
      }
    }
    this.queues = names
    this.kinds = names.map((name, index) => kindOf(this.host, queues[index], name, table))
    if (isTransactional) yield* this.channel.transactionSelect
    if (!this.noAck) yield* this.channel.request(basicQos(prefetch))
    yield* this.consume
  })

  /** Changes the prefetch. The broker applies a prefetch to consumers that are started later, so the consumers are replaced. */
  readonly setPrefetch = (prefetch: number): Effect.Effect<void, AmqpChannelError> =>
    Effect.gen({ self: this }, function*() {
      yield* Validation.attempt(() => check({ ...this.options, prefetch }))
      yield* this.restart(prefetch)
    }).pipe(this.changes.withPermits(1), Effect.uninterruptible)

  private restart(prefetch: number): Effect.Effect<void, AmqpChannelError> {
    return Effect.gen({ self: this }, function*() {
      // The inbox ends with the consumers, whether the broker, the program or an error has ended them.
      if (this.inbox.hasEnded || this.isStopping) return
      this.noteOffsets()
      yield* this.stopConsuming
      yield* this.channel.request(basicQos(prefetch))
      this.isUnlimited = this.noAck || prefetch === 0
      if (!this.inbox.hasEnded && !this.isStopping) yield* this.consume
    }).pipe(
      // Some or all of the consumers are missing, so the subscription must end: otherwise it would wait for messages in vain.
      Effect.tapError((error) =>
        Effect.sync(() => {
          this.failed(error)
          this.channel.beginClose()
        })
      )
    )
  }

  /** Cancels the consumers: the broker delivers nothing more. Messages in the inbox can still be taken. */
  readonly cancel: Effect.Effect<void> = Effect.suspend(() => {
    this.isStopping = true
    return this.changes.withPermits(1)(Effect.ignore(this.stopConsuming))
  }).pipe(Effect.ensuring(Effect.sync(() => this.inbox.fail(Cause.Done()))))

  /**
   * Requeues messages at once, by `basic.nack`. If the channel is in transaction mode or a queue may be a stream, they are requeued when the
   * channel closes.
   */
  requeue(tags: Iterable<number>): void {
    const { acknowledgements, failure } = this.channel
    if (this.noAck || failure !== undefined || this.options.isTransactional) return
    if (this.kinds.some(({ isStream }) => isStream !== false)) return
    for (const tag of tags) acknowledgements.nack(tag, true)
  }

  /**
   * Waits until the queues have handled the nacks of `requeue`. A channel of RabbitMQ passes a nack on to the queue. If the channel closes
   * before the queue has handled it, the queue counts an attempt. A request to the queue is handled after the nacks.
   */
  readonly awaitRequeued: Effect.Effect<void> = Effect.suspend(() =>
    Effect.ignore(
      Effect.forEach(this.queues, (queue) => this.channel.request(passiveQueueDeclare(queue)), { discard: true })
    )
  )

  /** Requeues what was not taken, before the scope of a consumer without a handler closes the channel. */
  readonly leave: Effect.Effect<void> = Effect.suspend(() => {
    const left = this.inbox.clear()
    this.taken(Infinity)
    if (left.length === 0 || this.noAck || !this.stopOrder.savesAttempts) return Effect.void
    const requeue = Effect.sync(() =>
      this.requeue([...left, ...this.inbox.clear()].map(({ deliveryTag }) => deliveryTag))
    )
    return this.cancel.pipe(
      Effect.andThen(requeue),
      Effect.andThen(this.awaitRequeued),
      Effect.interruptible,
      Effect.timeoutOption(this.host.options.closeTimeout),
      Effect.asVoid
    )
  })

  private readonly consume = Effect.suspend(() => {
    this.generation++
    return Effect.forEach(this.queues, (queue, index) => {
      const { arguments: table, exclusive, queues } = this.options
      const described = queues[index]
      const offset = this.offsets[index]
      const consumerTag = this.consumerTag(index)
      const consumer: ConsumerState = {
        index,
        queue,
        consumerTag,
        description: typeof described === "string" ? undefined : described,
        kind: this.kinds[index],
        hasEnded: false,
        isCancelled: false,
        isStarted: false,
        lastProperties: undefined
      }
      // Registered before the request, because deliveries may arrive in the same read as its reply.
      this.consumers = [...this.consumers, consumer]
      this.channel.attach(consumerTag, this, consumer)
      return Effect.map(
        this.channel.request(basicConsume(queue, consumerTag, {
          noAck: this.noAck,
          exclusive,
          arguments: offset === undefined ? table : { ...table, [offsetKey]: offset }
        })),
        () => {
          consumer.isStarted = true
        }
      )
    }, { discard: true })
  })

  private readonly stopConsuming = Effect.suspend(() =>
    Effect.forEach(
      this.consumers,
      (consumer) =>
        Effect.map(this.channel.request(basicCancel(consumer.consumerTag)), () => {
          this.consumers = this.consumers.filter((other) => other !== consumer)
          this.channel.detach(consumer.consumerTag)
        }),
      { discard: true }
    )
  )

  /**
   * The next consumer of a stream begins after the last message that was delivered. In other queues the header means nothing: they may hold
   * copies of a stream's messages.
   */
  private noteOffsets(): void {
    for (const { index, kind, lastProperties } of this.consumers) {
      if (kind.isStream === true && lastProperties !== undefined) {
        this.offsets[index] = offsetAfter(lastProperties) ?? this.offsets[index]
      }
    }
  }

  /** No tag is used twice: RabbitMQ would apply acks for deliveries of the old consumer to the new consumer of that tag. */
  private consumerTag(index: number): string {
    const { generation } = this
    const { consumerTag } = this.options
    if (consumerTag === undefined) return this.channel.consumerTag()
    const tag = this.queues.length === 1 ? consumerTag : `${consumerTag}-${index + 1}`
    return generation === 1 ? tag : `${tag}.${generation}`
  }
}

/** The offset after that of a stream's message. `undefined` if the properties have no offset or cannot be decoded. */
const offsetAfter = (properties: Uint8Array): FieldValue | undefined => {
  let offset: FieldValue | undefined
  try {
    offset = decodeProperties(properties).headers?.[offsetKey]
  } catch {
    return undefined
  }
  return typeof offset === "number" || typeof offset === "bigint" ? BigInt(offset) + 1n : undefined
}

const check = ({ consumerTag, noAck, prefetch, queues }: SubscriptionOptions): void => {
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

/** Starts consumers on a channel of their own, for as long as the scope lives. */
export const subscribe = <A extends Item>(
  host: ConsumerHost,
  options: SubscriptionOptions,
  decode: Decode<A>,
  inbox: Inbox<A>
): Effect.Effect<Subscription<A>, AmqpChannelError, Scope> =>
  Effect.gen(function*() {
    yield* Validation.attempt(() => check(options))
    const priorities = "consumer_priorities"
    if ("x-priority" in options.arguments && !host.supports(priorities)) {
      return yield* Effect.fail(notSupported(priorities))
    }
    const channel = yield* host.channels.scoped
    const oversized = yield* OversizedMessages.make(host, options.onOversized, (settle) => {
      if (inbox.settleBetween === undefined) settle()
      else inbox.settleBetween(settle)
    })
    const subscription = new Subscription(host, channel, options, decode, inbox, oversized)
    // The connection must not wait for an inbox that is no longer used.
    yield* Effect.addFinalizer(() => Effect.sync(() => subscription.inboxLimit.release()))
    yield* subscription.start
    return subscription
  })
