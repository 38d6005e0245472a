/**
 * A consumer's inbox: what the broker delivers to one consumer tag, handed over in the batches in which it was read.
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import { AmqpChannelError, AmqpConsumerCancelled, InvalidArgument } from "../AmqpError.ts"
import type { Content } from "../protocol/ContentAssembler.ts"
import type { BasicDeliver } from "../protocol/methods.generated.ts"
import type { Channel, ConsumerSink } from "./channel.ts"
import { Mailbox } from "./mailbox.ts"
import type { Session } from "./session.ts"

export type SubscriptionError = AmqpChannelError | AmqpConsumerCancelled

export interface SubscriptionOptions {
  readonly queue: string
  readonly prefetch: number
  readonly noAck: boolean
}

export class Subscription<A> implements ConsumerSink {
  readonly noAck: boolean
  readonly consumerTag: string
  private readonly channel: Channel
  private readonly queue: string
  private readonly decode: (content: Content<BasicDeliver>, channel: Channel) => A
  private readonly inbox = new Mailbox<A, SubscriptionError>()

  constructor(
    channel: Channel,
    { noAck, queue }: SubscriptionOptions,
    decode: (content: Content<BasicDeliver>, channel: Channel) => A
  ) {
    this.channel = channel
    this.queue = queue
    this.noAck = noAck
    this.decode = decode
    this.consumerTag = channel.consumerTag()
  }

  /** Everything that was delivered since the last call, at least one message. */
  get takeAll(): Effect.Effect<Array<A>, SubscriptionError> {
    return this.inbox.takeAll
  }

  deliver(content: Content<BasicDeliver>): void {
    // Its body was dropped as it came, so nobody here can handle it. Where there is a dead-letter exchange it goes there.
    if (content.oversized) {
      if (!this.noAck) this.channel.acknowledgements.reject(Number(content.method.deliveryTag), false)
      return
    }
    this.inbox.offer(this.decode(content, this.channel))
  }

  flush(): void {
    this.inbox.flush()
  }

  cancelled(): void {
    const { consumerTag, queue } = this
    this.inbox.fail(new AmqpConsumerCancelled({ queue, consumerTag }))
  }

  failed(error: AmqpChannelError): void {
    // The broker gives unsettled messages to others, but what it regards as settled exists only here.
    if (!this.noAck) this.inbox.clear()
    this.inbox.fail(error)
  }
}

const invalid = (description: string) =>
  Effect.fail(new AmqpChannelError({ reason: new InvalidArgument({ description }) }))

/** Starts a consumer on a channel of its own, for as long as the scope lives. */
export const subscribe = <A>(
  session: Session,
  options: SubscriptionOptions,
  decode: (content: Content<BasicDeliver>, channel: Channel) => A
): Effect.Effect<Subscription<A>, AmqpChannelError, Scope> =>
  Effect.gen(function*() {
    const { noAck, prefetch, queue } = options
    if (queue === "") return yield* invalid("queue: must not be empty")
    if (!Number.isInteger(prefetch) || prefetch < 0 || prefetch > 65535) {
      return yield* invalid("prefetch: must be a whole number from 0 (no limit) to 65535")
    }
    const channel = yield* session.scopedChannel
    const subscription = new Subscription(channel, options, decode)
    if (!noAck && prefetch > 0) {
      yield* channel.request({ _tag: "basic.qos", prefetchSize: 0, prefetchCount: prefetch, global: false })
    }
    // Before the request, since deliveries may come in the same read as its reply.
    channel.attach(subscription.consumerTag, subscription)
    yield* channel.request({
      _tag: "basic.consume",
      queue,
      consumerTag: subscription.consumerTag,
      noLocal: false,
      noAck,
      exclusive: false,
      noWait: false,
      arguments: {}
    })
    return subscription
  })
