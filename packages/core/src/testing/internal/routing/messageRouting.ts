/** The way of a message from its exchange, along bindings and alternate exchanges, to queues. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { Message } from "../common/message.ts"
import { closesCycle } from "../queues/deadLetters.ts"
import type { DeadLetterOutcome, Queue } from "../queues/queue.ts"
import { Exchange } from "./exchange.ts"

/** The outcome of a publish. */
export interface PublishOutcome {
  /** Whether it was routed to a queue. */
  readonly routed: boolean
  /** Whether no queue refused it. */
  readonly accepted: boolean
  /**
   * Whether the commit of a transaction with this publish fails. RabbitMQ forgets the refusals of quorum queues, which a channel knows before
   * it begins to wait for the queues.
   */
  readonly failsCommit: boolean
}

export class MessageRouting {
  private readonly exchanges: ReadonlyMap<string, Exchange>
  private readonly queues: ReadonlyMap<string, Queue>
  /** Actions that wait until all queues of a publish or a settlement were served; `undefined` outside of one. */
  private waiting: Array<() => void> | undefined

  constructor(exchanges: ReadonlyMap<string, Exchange>, queues: ReadonlyMap<string, Queue>) {
    this.exchanges = exchanges
    this.queues = queues
  }

  publish(exchange: Exchange, message: Message): PublishOutcome {
    const queues = this.route(exchange, message)
    const refusing: Array<Queue> = []
    this.serveAllQueues(() => {
      for (const queue of queues) if (!queue.publish(message)) refusing.push(queue)
    })
    return {
      routed: queues.length > 0,
      accepted: refusing.length === 0,
      failsCommit: refusing.some(({ type }) => type !== "quorum")
    }
  }

  /** Publishes a dead letter, see `QueueHost.deadLetter`. */
  deadLetter(message: Message, taken: Set<Queue> = new Set()): DeadLetterOutcome {
    const exchange = this.exchanges.get(message.exchange)
    const queues = exchange === undefined
      ? []
      : this.route(exchange, message).filter((queue) => !closesCycle(message, queue.name))
    if (queues.length === 0) return "no queue"
    let arrived = true
    this.serveAllQueues(() => {
      for (const queue of queues) {
        if (taken.has(queue)) continue
        if (queue.publish(message)) taken.add(queue)
        else arrived = false
      }
    })
    return arrived ? "arrived" : "refused"
  }

  /**
   * Runs an action that concerns several queues, and routes the dead letters that it causes afterwards. In RabbitMQ each queue is a process,
   * and a dead letter from the first queue reaches the second one after the publish that caused it.
   */
  serveAllQueues(action: () => void): void {
    if (this.waiting !== undefined) return action()
    const waiting: Array<() => void> = []
    this.waiting = waiting
    try {
      action()
    } finally {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) next()
      this.waiting = undefined
    }
  }

  /** Runs an action now or, within `serveAllQueues`, when that is done. */
  afterAllQueues(action: () => void): void {
    if (this.waiting === undefined) action()
    else this.waiting.push(action)
  }

  /** The queues that get a message, each once, however many ways lead to it. */
  private route(exchange: Exchange, message: Message): ReadonlyArray<Queue> {
    const keys = routingKeysOf(message)
    if (exchange.name !== "") return this.follow(exchange, keys, message.properties.headers ?? {})
    const [only] = keys
    if (only !== undefined && keys.length === 1) {
      const queue = this.queues.get(only)
      return queue === undefined ? [] : [queue]
    }
    return [...new Set(keys)].flatMap((key) => this.queues.get(key) ?? [])
  }

  /** The queues that bindings and alternate exchanges lead to. */
  private follow(from: Exchange, keys: ReadonlyArray<string>, headers: FieldTable): ReadonlyArray<Queue> {
    const queues = new Set<Queue>()
    // Iterating a set includes what is added meanwhile. Each exchange has its turn once, even if exchanges form a circle.
    const exchanges = new Set([from])
    for (const exchange of exchanges) {
      const destinations = exchange.route(keys, headers)
      for (const destination of destinations) {
        if (destination instanceof Exchange) exchanges.add(destination)
        else queues.add(destination)
      }
      if (destinations.size > 0 || exchange.alternate === undefined) continue
      // As in RabbitMQ, the default exchange routes nothing as an alternate exchange, because it has no bindings.
      const alternate = this.exchanges.get(exchange.alternate)
      if (alternate !== undefined) exchanges.add(alternate)
    }
    return [...queues]
  }
}

const routingKeysOf = ({ copies, routingKey }: Message): ReadonlyArray<string> =>
  copies === undefined ? [routingKey] : [routingKey, ...copies]
