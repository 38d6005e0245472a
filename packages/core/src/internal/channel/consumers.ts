/**
 * The consumers of a channel, by their tags.
 */
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import type { BasicDeliver } from "../../protocol/methods.generated.ts"

/**
 * Where the deliveries of consumers go. A sink may have several consumers; `C` is the value that it registers with each of them.
 */
export interface ConsumerSink<C = unknown> {
  readonly noAck: boolean
  /** Whether a fiber waits for a delivery. If so, the connection reads even while the inbox of another consumer is full. */
  readonly expectsReply: boolean
  /** How many deliveries it has that the program has not taken. */
  readonly buffered: number
  /** Which consumer it is, for logs. */
  readonly label?: string
  deliver(content: Content<BasicDeliver>, consumer: C): void
  /** All deliveries of a socket read have been delivered. */
  flush(): void
  /** The broker has cancelled the consumer with this tag. */
  cancelled(consumerTag: string, consumer: C): void
  /** The channel has closed. */
  failed(error: AmqpChannelError): void
}

/** A registered consumer: its sink, and the value that the sink has registered. */
export interface Registered {
  readonly sink: ConsumerSink
  readonly consumer: unknown
}

export class Consumers {
  private readonly channel: number
  private readonly byTag = new Map<string, Registered>()
  /** The sinks of all consumers, each once. */
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
    if (this.byTag.delete(consumerTag)) this.listSinks()
    return registered
  }

  get expectsReply(): boolean {
    for (const sink of this.sinks) if (sink.expectsReply) return true
    return false
  }

  /** How many deliveries have arrived that the program has not taken. */
  get buffered(): number {
    let count = 0
    for (const sink of this.sinks) count += sink.buffered
    return count
  }

  /** All deliveries of a socket read have been delivered. */
  flush(): void {
    for (const sink of this.sinks) sink.flush()
  }

  /** Removes all consumers. Returns their sinks. */
  clear(): ReadonlyArray<ConsumerSink> {
    const { sinks } = this
    this.byTag.clear()
    this.sinks = []
    return sinks
  }

  private listSinks(): void {
    this.sinks = [...new Set(Array.from(this.byTag.values(), ({ sink }) => sink))]
  }
}
