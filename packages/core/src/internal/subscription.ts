/**
 * A consumer's inbox: what the broker delivers from one or more queues on one channel, handed over in the batches in which
 * it was read.
 */
import type { NonEmptyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { AmqpChannelError, AmqpConsumerCancelled, NotSupported } from "../AmqpError.ts"
import { decodeProperties } from "../protocol/BasicProperties.ts"
import type { Content } from "../protocol/ContentAssembler.ts"
import type { FieldTable, FieldValue } from "../protocol/fieldTable.ts"
import type { BasicDeliver } from "../protocol/methods.generated.ts"
import type { Channel, ConsumerSink } from "./channel.ts"
import { Mailbox } from "./mailbox.ts"
import type { Session } from "./session.ts"
import * as Topology from "./topology.ts"
import * as Validation from "./validation.ts"

export type SubscriptionError = AmqpChannelError | AmqpConsumerCancelled

export interface SubscriptionOptions {
  /** Those that are described are declared first. */
  readonly queues: ReadonlyArray<string | Topology.QueueDescription>
  readonly prefetch: number
  readonly noAck: boolean
  readonly exclusive: boolean
  readonly consumerTag: string | undefined
  readonly arguments: FieldTable
}

/**
 * How many bytes may wait in the inbox of a consumer that the broker sends as much as it has. When they are more, the
 * connection reads nothing until they are taken.
 */
const maxInboxBytes = 16 * 1024 * 1024

/** The argument of a consumer of a stream, and the header of what it is sent (RabbitMQ, "Streams"). */
const offsetKey = "x-stream-offset"

/** A consumer, as its deliveries know it. */
export interface ConsumerSource {
  readonly queue: string
  readonly consumerTag: string
}

interface ConsumerState extends ConsumerSource {
  /** Which of the queues it consumes. */
  readonly index: number
  /** The encoded properties of the last message that it was sent. */
  lastProperties: Uint8Array | undefined
}

/** What a message takes besides its body, roughly. */
const messageOverhead = 256

/** Makes what is taken of what arrives. All messages of a consumer come with the same `source`. */
export type Decode<A> = (content: Content<BasicDeliver>, channel: Channel, source: ConsumerSource) => A

export class Subscription<A> implements ConsumerSink {
  readonly noAck: boolean
  readonly expectsReply = false
  /** The names of the queues, also of those that the broker named. */
  queues: ReadonlyArray<string> = []
  private readonly channel: Channel
  private readonly options: SubscriptionOptions
  private readonly decode: Decode<A>
  private readonly inbox = new Mailbox<A, SubscriptionError | Cause.Done>()
  /** By consumer tag. */
  private readonly consumers = new Map<string, ConsumerState>()
  /** Consumers are started, changed and ended by one fiber at a time. */
  private readonly changes = Semaphore.makeUnsafe(1)
  /** For each queue, where its consumer goes on when it is made anew, if it is one of a stream. */
  private offsets: Array<FieldValue | undefined> = []
  private isStopping = false
  /** How often the consumers were started. */
  private generation = 0
  private isUnlimited: boolean
  private inboxBytes = 0

  constructor(channel: Channel, options: SubscriptionOptions, decode: Decode<A>) {
    this.channel = channel
    this.options = options
    this.decode = decode
    this.noAck = options.noAck
    this.isUnlimited = options.noAck || options.prefetch === 0
  }

  get buffered(): number {
    return this.inbox.size
  }

  get label(): string {
    return `the consumer of ${this.queues.map((queue) => `queue ${JSON.stringify(queue)}`).join(", ")}`
  }

  /** Everything that was delivered since the last call, at least one message. Fails with `Done` after `cancel`. */
  readonly takeAll: Effect.Effect<NonEmptyArray<A>, SubscriptionError | Cause.Done> = Effect.suspend(() => {
    const { inbox, inboxBytes } = this
    if (inboxBytes === 0) return inbox.takeAll
    this.inboxBytes = 0
    if (inboxBytes > maxInboxBytes) this.channel.host.resumeReading(this)
    return inbox.takeAll
  })

  // ---------------------------------------------------------------------------
  // what the channel fiber calls
  // ---------------------------------------------------------------------------

  deliver(content: Content<BasicDeliver>): void {
    // Its body was dropped as it came, so nobody here can handle it. Where there is a dead-letter exchange it goes there.
    if (content.oversized) {
      const fate = this.noAck ? "lost" : "rejected"
      this.channel.host.warn(`A message of ${content.bodySize} bytes is larger than maxBodySize, and is ${fate}`)
      if (!this.noAck) this.channel.acknowledgements.reject(Number(content.method.deliveryTag), false)
      return
    }
    const consumer = this.consumers.get(content.method.consumerTag)
    // Without one the inbox is over, since the broker ended the consumer of another queue.
    if (consumer === undefined) return
    consumer.lastProperties = content.properties
    this.inbox.offer(this.decode(content, this.channel, consumer))
    if (this.isUnlimited) this.count(content.bodySize + messageOverhead)
  }

  private count(bytes: number): void {
    const before = this.inboxBytes
    this.inboxBytes += bytes
    if (before <= maxInboxBytes && this.inboxBytes > maxInboxBytes) this.channel.host.pauseReading(this)
  }

  flush(): void {
    this.inbox.flush()
  }

  cancelled(consumerTag: string): void {
    const queue = this.consumers.get(consumerTag)?.queue ?? this.queues[0]
    this.consumers.delete(consumerTag)
    // Those of the other queues would go on, and nobody takes what they are sent.
    for (const tag of this.consumers.keys()) this.channel.cancelConsumer(tag)
    this.consumers.clear()
    this.inbox.fail(new AmqpConsumerCancelled({ queue, consumerTag }))
  }

  failed(error: AmqpChannelError): void {
    // The broker gives unsettled messages to others, but what it regards as settled exists only here.
    if (!this.noAck) this.inbox.clear()
    this.inbox.fail(error)
    this.channel.host.resumeReading(this)
  }

  // ---------------------------------------------------------------------------
  // what the consumer's fiber calls
  // ---------------------------------------------------------------------------

  readonly start: Effect.Effect<void, AmqpChannelError> = Effect.gen({ self: this }, function*() {
    const { prefetch, queues } = this.options
    const names: Array<string> = []
    for (const queue of queues) {
      if (typeof queue === "string") {
        names.push(queue)
      } else {
        const [declared] = yield* Topology.declareAll(this.channel, [], [queue])
        names.push(declared.queue)
      }
    }
    this.queues = names
    if (!this.noAck) yield* this.qos(prefetch)
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
      yield* this.qos(prefetch)
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

  /** Ends the consumers. What has arrived is still taken, unless it is to be dropped; then the inbox is done. */
  readonly cancel = (dropArrived: boolean): Effect.Effect<void> =>
    Effect.suspend(() => {
      this.isStopping = true
      if (dropArrived) this.drop()
      return this.changes.withPermits(1)(Effect.ignore(this.stopConsuming))
    }).pipe(
      Effect.ensuring(Effect.sync(() => {
        if (dropArrived) this.drop()
        this.inbox.end(Cause.done())
      }))
    )

  /** Nobody takes what has arrived. */
  private drop(): void {
    this.inboxBytes = 0
    this.inbox.clear()
    this.channel.host.resumeReading(this)
  }

  private qos(prefetchCount: number) {
    return this.channel.request({ _tag: "basic.qos", prefetchSize: 0, prefetchCount, global: false })
  }

  private readonly consume = Effect.suspend(() => {
    this.generation++
    return Effect.forEach(this.queues, (queue, index) => {
      const { arguments: table, exclusive } = this.options
      const offset = this.offsets[index]
      const consumerTag = this.consumerTag(index)
      // Before the request, since deliveries may come in the same read as its reply.
      this.consumers.set(consumerTag, { index, queue, consumerTag, lastProperties: undefined })
      this.channel.attach(consumerTag, this)
      return this.channel.request({
        _tag: "basic.consume",
        queue,
        consumerTag,
        noLocal: false,
        noAck: this.noAck,
        exclusive,
        noWait: false,
        arguments: offset === undefined ? table : { ...table, [offsetKey]: offset }
      })
    }, { discard: true })
  })

  /** A stream goes on after what was delivered of it. The header is one of other queues' messages too, when they come from one. */
  private noteOffsets(): void {
    const { arguments: table, queues } = this.options
    for (const { index, lastProperties } of this.consumers.values()) {
      const queue = queues[index]
      const isStream = offsetKey in table || (typeof queue === "object" && queue.type === "stream")
      if (isStream && lastProperties !== undefined) {
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
      [...this.consumers.keys()],
      (consumerTag) =>
        Effect.map(this.channel.request({ _tag: "basic.cancel", consumerTag, noWait: false }), () => {
          this.consumers.delete(consumerTag)
          this.channel.detach(consumerTag)
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
export const subscribe = <A>(
  session: Session,
  options: SubscriptionOptions,
  decode: Decode<A>
): Effect.Effect<Subscription<A>, AmqpChannelError, Scope> =>
  Effect.gen(function*() {
    yield* Validation.attempt(() => check(options))
    if ("x-priority" in options.arguments && !session.supports("consumer_priorities")) {
      return yield* Effect.fail(
        new AmqpChannelError({ reason: new NotSupported({ capability: "consumer_priorities" }) })
      )
    }
    const channel = yield* session.channels.scoped
    const subscription = new Subscription(channel, options, decode)
    // The reader must not wait for a consumer that is gone.
    yield* Effect.addFinalizer(() => Effect.sync(() => channel.host.resumeReading(subscription)))
    yield* subscription.start
    return subscription
  })
