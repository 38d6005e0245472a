/**
 * The consumers of a channel, by their tags.
 */
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import type { BasicDeliver } from "../../protocol/methods.generated.ts"

/**
 * Where the deliveries of consumers go. One sink may have several consumers; `C` is what it has registered with each of them.
 */
export interface ConsumerSink<C = unknown> {
  readonly noAck: boolean
  /** Whether something waits for what is delivered. If so, the connection reads on even while another inbox is full. */
  readonly expectsReply: boolean
  /** How many deliveries it holds that no program has taken. */
  readonly buffered: number
  /** What it is, for logs. */
  readonly label?: string
  deliver(content: Content<BasicDeliver>, consumer: C): void
  /** The deliveries of a socket read are complete. */
  flush(): void
  /** The broker ended the consumer with this tag. */
  cancelled(consumerTag: string, consumer: C): void
  failed(error: AmqpChannelError): void
}

/** A consumer and its sink. */
export interface Registered {
  readonly sink: ConsumerSink
  readonly consumer: unknown
}

export class Consumers {
  private readonly channel: number
  private readonly byTag = new Map<string, Registered>()
  /** Each sink once. */
  private sinks: ReadonlyArray<ConsumerSink> = []
  private next = 1

  constructor(channel: number) {
    this.channel = channel
  }

  /** A consumer tag that no consumer of the channel has had. */
  newTag(): string {
    return `effect-amqp-${this.channel}-${this.next++}`
  }

  add<C>(consumerTag: string, sink: ConsumerSink<C>, consumer: C): void {
    this.byTag.set(consumerTag, { sink, consumer })
    this.listSinks()
  }

  find(consumerTag: string): Registered | undefined {
    return this.byTag.get(consumerTag)
  }

  remove(consumerTag: string): Registered | undefined {
    const registered = this.byTag.get(consumerTag)
    this.byTag.delete(consumerTag)
    this.listSinks()
    return registered
  }

  get expectsReply(): boolean {
    for (const sink of this.sinks) if (sink.expectsReply) return true
    return false
  }

  /** How many deliveries have arrived that no program has taken. */
  get buffered(): number {
    let count = 0
    for (const sink of this.sinks) count += sink.buffered
    return count
  }

  /** The deliveries of a socket read are complete. */
  flush(): void {
    for (const sink of this.sinks) sink.flush()
  }

  /** Removes all consumers. Returns their sinks. */
  clear(): ReadonlyArray<ConsumerSink> {
    const { sinks } = this
    this.byTag.clear()
    this.listSinks()
    return sinks
  }

  private listSinks(): void {
    this.sinks = [...new Set(Array.from(this.byTag.values(), ({ sink }) => sink))]
  }
}
