/** Support for the tests of the embedded broker's queues: a host with manual time, and consumers that record deliveries. */
import type { BasicProperties } from "@effect-amqp/core/protocol/BasicProperties"
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import type { Version } from "@effect-amqp/core/testing/AmqpBroker"
import type { Message } from "@effect-amqp/core/testing/internal/common/message"
import { Refusal } from "@effect-amqp/core/testing/internal/common/refusal"
import type { Timers } from "@effect-amqp/core/testing/internal/common/timers"
import { rulesOf } from "@effect-amqp/core/testing/internal/common/versionRules"
import type { VersionRules } from "@effect-amqp/core/testing/internal/common/versionRules"
import { makeQueue } from "@effect-amqp/core/testing/internal/queues/makeQueue"
import type {
  Consumer,
  DeadLetterOutcome,
  Entry,
  Queue,
  QueueDefinition,
  QueueHost,
  QueueType
} from "@effect-amqp/core/testing/internal/queues/queue"
import { assert } from "@effect/vitest"

/** Time that only `advance` moves on. */
export class ManualTimers implements Timers {
  private time = 1_700_000_000_500
  private readonly pending = new Set<{ readonly at: number; readonly action: () => void }>()

  readonly now = (): number => this.time

  readonly schedule = (milliseconds: number, action: () => void): () => void => {
    const timer = { at: this.time + milliseconds, action }
    this.pending.add(timer)
    return () => void this.pending.delete(timer)
  }

  get pendingCount(): number {
    return this.pending.size
  }

  /** Runs the actions that become due, in order. */
  advance(milliseconds: number): void {
    const end = this.time + milliseconds
    for (;;) {
      const [next] = [...this.pending].filter(({ at }) => at <= end).toSorted((left, right) => left.at - right.at)
      if (next === undefined) break
      this.pending.delete(next)
      this.time = next.at
      next.action()
    }
    this.time = end
  }
}

/** A virtual host that records dead letters and unused queues. */
export class TestHost implements QueueHost {
  readonly virtualHost = "/"
  readonly timers = new ManualTimers()
  readonly deadLetters: Array<Message> = []
  readonly unused: Array<string> = []

  readonly rules: VersionRules
  /** The actions for the end of the step; `undefined` if actions are not deferred. */
  readonly deferred: Array<() => void> | undefined

  constructor(version: Version = "3.10", { steps = false }: { readonly steps?: boolean } = {}) {
    this.rules = rulesOf(version)
    this.deferred = steps ? [] : undefined
  }

  deadLetter(message: Message): DeadLetterOutcome {
    this.deadLetters.push(message)
    return "arrived"
  }

  afterAllQueues(action: () => void): void {
    action()
  }

  defer(action: () => void): void {
    if (this.deferred === undefined) action()
    else this.deferred.push(action)
  }

  endStep(): void {
    for (let action = this.deferred?.shift(); action !== undefined; action = this.deferred?.shift()) action()
  }

  onUnused(queue: Queue): void {
    this.unused.push(queue.name)
    queue.delete()
  }

  queue(type: QueueType, args: FieldTable = {}, options: Partial<QueueDefinition> = {}): Queue {
    const definition = { name: "q", type, durable: true, autoDelete: false, owner: undefined, arguments: args }
    return makeQueue({ ...definition, ...options }, this)
  }
}

export const message = (text: string, properties: BasicProperties = {}): Message => ({
  exchange: "x",
  routingKey: "k",
  properties,
  body: new TextEncoder().encode(text)
})

export const publish = (queue: Queue, ...texts: ReadonlyArray<string>): void => {
  for (const text of texts) assert.isTrue(queue.publish(message(text)))
}

export const textOf = ({ body }: Message): string => new TextDecoder().decode(body)

export const texts = (entries: ReadonlyArray<Entry>): ReadonlyArray<string> =>
  entries.map((entry) => textOf(entry.message) + (entry.redelivered ? "'" : ""))

/** Gets all ready messages without settling them. */
export const getAll = (queue: Queue): ReadonlyArray<Entry> => {
  const all: Array<Entry> = []
  for (let entry = queue.get(false); entry !== undefined; entry = queue.get(false)) all.push(entry)
  return all
}

/** Gets the next message. */
export const getOne = (queue: Queue): Entry => queue.get(false) ?? assert.fail("the queue is empty")

interface ConsumerOptions extends Partial<Pick<Consumer, "tag" | "noAck" | "exclusive" | "priority" | "arguments">> {
  /** The limit of unsettled messages. Default: none. */
  readonly prefetch?: number
  readonly globalPrefetch?: boolean
  /** Called during each delivery. */
  readonly onDelivery?: (entry: Entry, consumer: TestConsumer) => void
  /** Collects the tag and the text of each delivery. */
  readonly log?: Array<string>
}

/** A consumer with a prefetch, which settles at the request of the test. */
export class TestConsumer implements Consumer {
  readonly tag: string
  readonly noAck: boolean
  readonly exclusive: boolean
  readonly priority: number
  readonly arguments: FieldTable
  readonly prefetch: number
  readonly globalPrefetch: boolean
  readonly received: Array<Entry> = []
  unsettled: Array<Entry> = []
  isCancelled = false
  private readonly queue: Queue
  private readonly options: ConsumerOptions

  constructor(queue: Queue, options: ConsumerOptions = {}) {
    this.queue = queue
    this.options = options
    this.tag = options.tag ?? "t"
    this.noAck = options.noAck ?? false
    this.exclusive = options.exclusive ?? false
    this.priority = options.priority ?? 0
    this.arguments = options.arguments ?? {}
    this.prefetch = options.prefetch ?? 0
    this.globalPrefetch = options.globalPrefetch ?? false
  }

  get isReady(): boolean {
    return this.prefetch === 0 || this.unsettled.length < this.prefetch
  }

  deliver(queue: Queue, entry: Entry): void {
    assert.strictEqual(queue, this.queue)
    assert.isTrue(this.isReady, "delivered to a consumer that is not ready")
    this.received.push(entry)
    if (!this.noAck) this.unsettled.push(entry)
    this.options.log?.push(this.tag + textOf(entry.message))
    this.options.onDelivery?.(entry, this)
  }

  cancelled(): void {
    this.isCancelled = true
  }

  acknowledge(...entries: ReadonlyArray<Entry>): void {
    this.settle(entries, () => this.queue.acknowledge(entries))
  }

  requeue(...entries: ReadonlyArray<Entry>): void {
    this.settle(entries, () => this.queue.requeue(entries))
  }

  reject(...entries: ReadonlyArray<Entry>): void {
    this.settle(entries, () => this.queue.reject(entries))
  }

  private settle(entries: ReadonlyArray<Entry>, settlement: () => void): void {
    this.unsettled = this.unsettled.filter((entry) => !entries.includes(entry))
    settlement()
    this.queue.deliver()
  }
}

/** Adds a consumer to a queue. */
export const consume = (queue: Queue, options?: ConsumerOptions): TestConsumer => {
  const consumer = new TestConsumer(queue, options)
  queue.consume(consumer)
  return consumer
}

/** The reply code and text of the refusal that an action throws. */
export const refusal = (action: () => unknown): string => {
  try {
    action()
  } catch (thrown) {
    assert.instanceOf(thrown, Refusal)
    return `${thrown.replyCode} ${thrown.replyText}`
  }
  return assert.fail("it was not refused")
}
