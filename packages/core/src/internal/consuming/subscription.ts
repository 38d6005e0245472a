/**
 * The consumers of one or more queues on one channel, and where what they are sent goes: into an inbox, in the batches in which it
 * was read.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { AmqpChannelError, AmqpConsumerCancelled, NotSupported } from "../../AmqpError.ts"
import { decodeProperties } from "../../protocol/BasicProperties.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"
import type { BasicDeliver } from "../../protocol/methods.generated.ts"
import type { Channel } from "../channel/channel.ts"
import type { ConsumerSink } from "../channel/consumers.ts"
import { basicCancel, basicConsume, basicQos, passiveQueueDeclare } from "../channel/methods.ts"
import type { Session } from "../connection/session.ts"
import { offsetKey } from "../message/streamOffset.ts"
import * as Validation from "../options/validation.ts"
import { declareAll } from "../topology/declare.ts"
import type * as Descriptions from "../topology/descriptions.ts"
import type { ReadGate } from "../wire/readGate.ts"
import { sizeOf } from "./delivery.ts"
import type { ConsumerSource } from "./delivery.ts"
import { OversizedMessages } from "./oversizedMessages.ts"
import type { OversizedPolicy } from "./oversizedMessages.ts"
import type { QueueKind } from "./queueKind.ts"
import { stopOrderOf } from "./stopOrder.ts"
import type { StopOrder } from "./stopOrder.ts"
import { kindOf } from "./streamProbe.ts"

export type SubscriptionError = AmqpChannelError | AmqpConsumerCancelled

export interface SubscriptionOptions {
  /** Those that are described are declared first. */
  readonly queues: ReadonlyArray<string | Descriptions.QueueDescription>
  readonly prefetch: number
  readonly noAck: boolean
  readonly exclusive: boolean
  readonly consumerTag: string | undefined
  readonly arguments: FieldTable
  readonly onOversized: OversizedPolicy
  /** Whether what is settled on the channel waits for a commit. */
  readonly isTransactional: boolean
}

/**
 * How many bytes may wait in the inbox of a consumer that the broker sends as much as it has. When they are more, the
 * connection reads nothing until they are taken.
 */
const maxInboxBytes = 16 * 1024 * 1024

interface ConsumerState extends ConsumerSource {
  /** Which of the queues it consumes. */
  readonly index: number
  isOver: boolean
  /** Whether nothing that it is sent is taken any more: it was cancelled, or another consumer of the subscription was. */
  isCancelled: boolean
  /** Whether the broker knows it. */
  isStarted: boolean
  /** The encoded properties of the last message that it was sent. */
  lastProperties: Uint8Array | undefined
}

/** Makes what is taken of what arrives. All messages of a consumer come with the same `source`. */
export type Decode<A> = (content: Content<BasicDeliver>, channel: Channel, source: ConsumerSource) => A

/** Where what has arrived waits to be taken. */
export interface Inbox<A> {
  readonly size: number
  /** Whether nothing more can be offered. */
  readonly isOver: boolean
  offer(item: A): void
  /** The deliveries of a socket read are over. */
  flush(): void
  /** Forgets what was offered and not taken, and returns it. */
  clear(): ReadonlyArray<A>
  /** Nothing more comes, and why. */
  fail(error: SubscriptionError | Cause.Done): void
  /** Settles a message that was not offered, when nothing else is being settled. Absent: at once. */
  settleBetween?(settle: () => boolean): void
}

/** An item of an inbox. */
interface Item {
  readonly deliveryTag: number
}

export class Subscription<A extends Item> implements ConsumerSink<ConsumerState> {
  readonly noAck: boolean
  readonly expectsReply = false
  readonly channel: Channel
  /** How it is to stop. */
  readonly stopOrder: StopOrder
  /** The names of the queues, also of those that the broker named. */
  queues: ReadonlyArray<string> = []
  private readonly session: Session
  private readonly options: SubscriptionOptions
  private readonly decode: Decode<A>
  private readonly inbox: Inbox<A>
  private readonly oversized: OversizedMessages
  /** Those that the channel knows by their tags. */
  private consumers: ReadonlyArray<ConsumerState> = []
  private kinds: ReadonlyArray<QueueKind> = []
  /** Consumers are started, changed and ended by one fiber at a time. */
  private readonly changes = Semaphore.makeUnsafe(1)
  /** For each queue, where its consumer goes on when it is made anew, if it is one of a stream. */
  private offsets: Array<FieldValue | undefined> = []
  private isStopping = false
  /** How often the consumers were started. */
  private generation = 0
  private isUnlimited: boolean
  private inboxBytes = 0

  constructor(
    session: Session,
    channel: Channel,
    options: SubscriptionOptions,
    decode: Decode<A>,
    inbox: Inbox<A>,
    oversized: OversizedMessages
  ) {
    this.session = session
    this.channel = channel
    this.options = options
    this.decode = decode
    this.inbox = inbox
    this.oversized = oversized
    this.noAck = options.noAck
    this.isUnlimited = options.noAck || options.prefetch === 0
    this.stopOrder = stopOrderOf(session, options)
  }

  get readGate(): ReadGate {
    return this.channel.host.readGate
  }

  get buffered(): number {
    return this.inbox.size
  }

  get label(): string {
    return `the consumer of ${this.queues.map((queue) => `queue ${JSON.stringify(queue)}`).join(", ")}`
  }

  /** Whether the inbox takes nothing more. */
  get isOver(): boolean {
    return this.inbox.isOver
  }

  /** So many bytes of the inbox were taken. */
  taken(bytes: number): void {
    if (this.inboxBytes === 0) return
    const before = this.inboxBytes
    this.inboxBytes = Math.max(0, before - bytes)
    if (before > maxInboxBytes && this.inboxBytes <= maxInboxBytes) this.readGate.release(this)
  }

  // ---------------------------------------------------------------------------
  // what the channel fiber calls
  // ---------------------------------------------------------------------------

  deliver(content: Content<BasicDeliver>, consumer: ConsumerState): void {
    if (consumer.isCancelled) {
      // No handler takes it: the broker ended the consumer of another queue, and this one was cancelled with it.
      if (!this.noAck) this.channel.handBack(content)
      return
    }
    // The channel is about to be closed, which gives it back. Otherwise it would come again at once.
    if (this.inbox.isOver) return
    consumer.lastProperties = content.properties
    if (consumer.kind.isStream === undefined) consumer.kind.note(content.properties)
    if (content.oversized) return this.oversized.handle(content, this.channel, consumer, this.noAck)
    this.inbox.offer(this.decode(content, this.channel, consumer))
    if (this.isUnlimited) this.count(sizeOf(content.bodySize, content.properties))
  }

  private count(bytes: number): void {
    const before = this.inboxBytes
    this.inboxBytes += bytes
    if (before <= maxInboxBytes && this.inboxBytes > maxInboxBytes) this.readGate.close(this)
  }

  flush(): void {
    this.inbox.flush()
  }

  cancelled(consumerTag: string, consumer: ConsumerState): void {
    consumer.isOver = true
    // Those of the other queues would go on, and nothing takes what they are sent.
    for (const other of this.consumers) {
      other.isCancelled = true
      if (other !== consumer && other.isStarted) this.channel.cancelConsumer(other.consumerTag)
    }
    this.consumers = []
    this.inbox.fail(new AmqpConsumerCancelled({ queue: consumer.queue, consumerTag }))
  }

  failed(error: AmqpChannelError): void {
    for (const consumer of this.consumers) consumer.isOver = true
    // The broker gives unsettled messages to others, but what it regards as settled exists only here.
    if (!this.noAck) this.inbox.clear()
    this.inbox.fail(error)
    this.readGate.release(this)
  }

  // ---------------------------------------------------------------------------
  // what the consumer's fiber calls
  // ---------------------------------------------------------------------------

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
    this.kinds = names.map((name, index) => kindOf(this.session, queues[index], name, table))
    if (isTransactional) yield* this.channel.transactionSelect
    if (!this.noAck) yield* this.channel.request(basicQos(prefetch))
    yield* this.consume
  })

  /** Changes the prefetch. It holds for consumers that are made later, so the consumers are made anew. */
  readonly setPrefetch = (prefetch: number): Effect.Effect<void, AmqpChannelError> =>
    Effect.gen({ self: this }, function*() {
      yield* Validation.attempt(() => check({ ...this.options, prefetch }))
      yield* this.restart(prefetch)
    }).pipe(this.changes.withPermits(1), Effect.uninterruptible)

  private restart(prefetch: number): Effect.Effect<void, AmqpChannelError> {
    return Effect.gen({ self: this }, function*() {
      // Whoever ended the consumers meanwhile, whether the broker, a cancel or a failure, also ended the inbox.
      if (this.inbox.isOver || this.isStopping) return
      this.noteOffsets()
      yield* this.stopConsuming
      yield* this.channel.request(basicQos(prefetch))
      this.isUnlimited = this.noAck || prefetch === 0
      if (!this.inbox.isOver && !this.isStopping) yield* this.consume
    }).pipe(
      // With some of the consumers or none nothing would come any more, and nobody say so.
      Effect.tapError((error) =>
        Effect.sync(() => {
          this.failed(error)
          this.channel.beginClose()
        })
      )
    )
  }

  /** Ends the consumers: the broker delivers nothing more. What has arrived is still taken. */
  readonly cancel: Effect.Effect<void> = Effect.suspend(() => {
    this.isStopping = true
    return this.changes.withPermits(1)(Effect.ignore(this.stopConsuming))
  }).pipe(Effect.ensuring(Effect.sync(() => this.inbox.fail(Cause.Done()))))

  /**
   * Gives back what no handler works on: at once, where the broker gives it to others that way without counting it as an attempt. Closing
   * the channel gives back everything else.
   */
  handBack(tags: Iterable<number>): void {
    const { acknowledgements, failure } = this.channel
    if (this.noAck || failure !== undefined || this.options.isTransactional) return
    if (this.kinds.some(({ isStream }) => isStream !== false)) return
    for (const tag of tags) acknowledgements.nack(tag, true)
  }

  /**
   * Waits until the broker has done what was handed back. RabbitMQ passes it on to the queue, and a channel that is closed behind it
   * takes it along: then it is counted as an attempt after all. So the queues are asked for something first.
   */
  readonly awaitHandedBack: Effect.Effect<void> = Effect.suspend(() =>
    Effect.ignore(
      Effect.forEach(this.queues, (queue) => this.channel.request(passiveQueueDeclare(queue)), { discard: true })
    )
  )

  /** What the scope of a consumer without handlers does before it closes the channel. */
  readonly leave: Effect.Effect<void> = Effect.suspend(() => {
    const left = this.inbox.clear()
    this.taken(this.inboxBytes)
    if (left.length === 0 || this.noAck || !this.stopOrder.savesAttempts) return Effect.void
    const handBack = Effect.sync(() =>
      this.handBack([...left, ...this.inbox.clear()].map(({ deliveryTag }) => deliveryTag))
    )
    return this.cancel.pipe(
      Effect.andThen(handBack),
      Effect.andThen(this.awaitHandedBack),
      Effect.interruptible,
      Effect.timeoutOption(this.session.options.closeTimeout),
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
        isOver: false,
        isCancelled: false,
        isStarted: false,
        lastProperties: undefined
      }
      // Before the request, since deliveries may come in the same read as its reply.
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

  /** A stream goes on after what was delivered of it. The header is one of other queues' messages too, when they come from one. */
  private noteOffsets(): void {
    for (const { index, kind, lastProperties } of this.consumers) {
      if (kind.isStream === true && lastProperties !== undefined) {
        this.offsets[index] = offsetAfter(lastProperties) ?? this.offsets[index]
      }
    }
  }

  /** No tag is used twice: RabbitMQ takes acks of a former consumer's deliveries for those of a later one with its tag. */
  private consumerTag(index: number): string {
    const { generation } = this
    const { consumerTag } = this.options
    if (consumerTag === undefined) return this.channel.consumerTag()
    const tag = this.queues.length === 1 ? consumerTag : `${consumerTag}-${index + 1}`
    return generation === 1 ? tag : `${tag}.${generation}`
  }

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
}

/** The offset after that of a message of a stream, unless its properties say none or can't be read. */
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
  if (queues.length === 0) throw Validation.invalid("queue: there is none")
  for (const queue of queues) {
    if (typeof queue === "string") Validation.nonEmptyName("queue", queue)
    else if (queue.type === "stream" && (noAck || prefetch === 0)) {
      throw Validation.invalid("prefetch: a stream is consumed with acknowledgements and a prefetch from 1")
    }
  }
  Validation.wholeNumber("prefetch", prefetch, 0, 65535)
  if (consumerTag !== undefined) Validation.nonEmptyName("consumerTag", consumerTag)
}

/** Starts a consumer on a channel of its own, for as long as the scope lives. */
export const subscribe = <A extends Item>(
  session: Session,
  options: SubscriptionOptions,
  decode: Decode<A>,
  inbox: Inbox<A>
): Effect.Effect<Subscription<A>, AmqpChannelError, Scope> =>
  Effect.gen(function*() {
    yield* Validation.attempt(() => check(options))
    if ("x-priority" in options.arguments && !session.supports("consumer_priorities")) {
      return yield* Effect.fail(
        new AmqpChannelError({ reason: new NotSupported({ capability: "consumer_priorities" }) })
      )
    }
    const channel = yield* session.channels.scoped
    const oversized = yield* OversizedMessages.make(session, options.onOversized, (settle) => {
      if (inbox.settleBetween === undefined) settle()
      else inbox.settleBetween(settle)
    })
    const subscription = new Subscription(session, channel, options, decode, inbox, oversized)
    // The reader must not wait for a consumer that is gone.
    yield* Effect.addFinalizer(() => Effect.sync(() => subscription.readGate.release(subscription)))
    yield* subscription.start
    return subscription
  })
