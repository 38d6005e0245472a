/** Scripts that record what amqplib receives from a broker, so that two brokers can be compared. */
import * as amqplib from "amqplib"

/** A conversation of amqplib with a broker, which records what amqplib receives as lines. */
export class Script {
  readonly url: string
  private readonly prefix = `effect-amqp-test-${crypto.randomUUID()}-`
  private readonly connections: Array<amqplib.ChannelModel> = []
  private readonly exchanges: Array<string> = []
  private readonly queues: Array<string> = []
  private readonly lines: Array<unknown> = []

  constructor(url: string) {
    this.url = url
  }

  name(short: string): string {
    return this.prefix + short
  }

  async connect(): Promise<amqplib.ChannelModel> {
    const connection = await amqplib.connect(this.url)
    connection.on("error", () => {})
    this.connections.push(connection)
    return connection
  }

  /** A channel in confirm mode, by default on its own connection. */
  async channel(connection?: amqplib.ChannelModel): Promise<amqplib.ConfirmChannel> {
    const channel = await (connection ?? await this.connect()).createConfirmChannel()
    channel.on("error", (error: Error) => this.write("closed", /with message "(.*)"$/.exec(error.message)?.[1]))
    channel.on(
      "return",
      ({ content, fields, properties }: amqplib.Message) =>
        this.write("returned", content.toString(), fields, defined(properties))
    )
    return channel
  }

  async queue(
    channel: amqplib.Channel,
    short: string,
    table: Record<string, unknown> = {},
    options: amqplib.Options.AssertQueue = {}
  ): Promise<string> {
    const queue = this.name(short)
    this.queues.push(queue)
    await channel.assertQueue(queue, { durable: true, arguments: table, ...options })
    return queue
  }

  async exchange(channel: amqplib.Channel, short: string, type: string, alternate?: string): Promise<string> {
    const exchange = this.name(short)
    this.exchanges.push(exchange)
    await channel.assertExchange(exchange, type, alternate === undefined ? {} : { alternateExchange: alternate })
    return exchange
  }

  /** Publishes texts, and waits until the broker has confirmed or nacked them. */
  async publish(
    channel: amqplib.ConfirmChannel,
    queue: string,
    texts: ReadonlyArray<string>,
    options: amqplib.Options.Publish = {}
  ): Promise<void> {
    const answers = texts.map((text) =>
      new Promise<void>((resolve) => {
        channel.publish("", queue, Buffer.from(text), options, (error) => {
          if (error !== null) this.write("nacked", text)
          resolve()
        })
      })
    )
    await Promise.all(answers)
  }

  /** Consumes, records each delivery, and passes it to `handle`. */
  async consume(
    channel: amqplib.Channel,
    queue: string,
    handle: (message: amqplib.ConsumeMessage, count: number) => void = () => {},
    options: amqplib.Options.Consume = {},
    who = "consumer"
  ): Promise<string> {
    let count = 0
    const { consumerTag } = await channel.consume(queue, (message) => {
      if (message === null) return this.write(who, "cancelled")
      this.write(who, this.described(message))
      handle(message, ++count)
    }, options)
    return consumerTag
  }

  /** Fetches until the queue is empty. */
  async drain(channel: amqplib.Channel, queue: string, options: amqplib.Options.Get = { noAck: true }): Promise<void> {
    for (;;) {
      const message = await channel.get(queue, options)
      this.write("got", message === false ? "nothing" : this.described(message))
      if (message === false) return
    }
  }

  async counts(channel: amqplib.Channel, queue: string): Promise<void> {
    const { consumerCount, messageCount } = await channel.checkQueue(queue)
    this.write("counts", queue, messageCount, consumerCount)
  }

  write(...line: ReadonlyArray<unknown>): void {
    this.lines.push(line)
  }

  /** Waits for this number of lines. After 10 seconds the script goes on, and the comparison shows the difference. */
  async lineCount(count: number): Promise<void> {
    const deadline = Date.now() + 10_000
    while (this.lines.length < count && Date.now() < deadline) await sleep(5)
  }

  /** Waits until no more lines arrive. */
  async rest(): Promise<void> {
    for (let before = -1; before !== this.lines.length;) {
      before = this.lines.length
      await sleep(150)
    }
  }

  /** Deletes what was declared, and returns the lines without what differs from run to run. */
  async end(): Promise<ReadonlyArray<unknown>> {
    await this.rest()
    // Before the deletions, which would add lines.
    const lines = JSON.stringify(this.lines)
    const channel = await (await this.connect()).createChannel()
    for (const queue of this.queues) await channel.deleteQueue(queue)
    for (const exchange of this.exchanges) await channel.deleteExchange(exchange)
    await Promise.all(this.connections.map((connection) => connection.close().catch(() => {})))
    return JSON.parse(
      lines
        .replaceAll(this.prefix, "")
        .replaceAll(/amq\.ctag-[^"]+/g, "a tag")
        .replaceAll(/amq\.rabbitmq\.reply-to\.[^"]+/g, "a reply address")
        .replaceAll(/\{"!":"timestamp","value":\d+\}/g, "\"a time\"")
    )
  }

  private described({ content, fields, properties }: amqplib.GetMessage | amqplib.ConsumeMessage): unknown {
    return { content: content.toString(), ...fields, properties: defined(properties) }
  }
}

export const sleep = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds))

export const defined = (properties: object): object =>
  Object.fromEntries(Object.entries(properties).filter(([, value]) => value !== undefined))

/** Runs a script on a broker, and returns its lines. */
export const runScript = async (
  url: string,
  body: (script: Script) => Promise<void>
): Promise<ReadonlyArray<unknown>> => {
  const script = new Script(url)
  let failure: unknown
  await body(script).catch((error: unknown) => (failure = error))
  const lines = await script.end()
  if (failure !== undefined) throw failure
  return lines
}
