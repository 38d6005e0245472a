/** A virtual host: its exchanges, queues and bindings, and the way of a message through them. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type {
  ExchangeBind,
  ExchangeDeclare,
  ExchangeDelete,
  ExchangeUnbind,
  QueueBind,
  QueueDeclare,
  QueueDelete,
  QueuePurge,
  QueueUnbind
} from "../../../protocol/methods.generated.ts"
import { assertEqual, assertEqualArguments, checkExchangeArgument } from "../common/equivalence.ts"
import type { Named } from "../common/equivalence.ts"
import { termsOf } from "../common/fieldTerms.ts"
import type { Message } from "../common/message.ts"
import { Refusal } from "../common/refusal.ts"
import type { Rules } from "../common/rules.ts"
import type { Timers } from "../common/timers.ts"
import { closesCycle } from "../queues/deadLetters.ts"
import type { Owner, Posting, Queue } from "../queues/queue.ts"
import { assertEqualQueueArguments, checkDeclaration, checkServerNamed } from "../queues/queueDeclaration.ts"
import { makeQueue } from "../queues/queues.ts"
import { Exchange } from "./exchange.ts"
import type { Binding, Destination } from "./exchange.ts"
import { checkMatch } from "./headersMatch.ts"
import { exchangeTypes } from "./routers.ts"

/** What came of a publish. */
export interface Routing {
  /** Whether some queue was to have it. */
  readonly routed: boolean
  /** Whether all of them took it. */
  readonly accepted: boolean
}

const predeclared = [
  ["", "direct"],
  ["amq.direct", "direct"],
  ["amq.fanout", "fanout"],
  ["amq.topic", "topic"],
  ["amq.headers", "headers"],
  ["amq.match", "headers"],
  ["amq.rabbitmq.trace", "topic"]
] as const

export class VirtualHost {
  readonly name: string
  readonly rules: Rules
  private readonly timers: Timers
  private readonly defer: (action: () => void) => void
  private readonly exchangesByName = new Map<string, Exchange>()
  private readonly queuesByName = new Map<string, Queue>()
  private lastGenerated = 0
  /** What waits until all queues of a publish or a settlement have been served; `undefined` if there is none. */
  private waiting: Array<() => void> | undefined

  /** `defer` does something at the end of the step. */
  constructor(name: string, timers: Timers, rules: Rules, defer: (action: () => void) => void) {
    this.name = name
    this.timers = timers
    this.rules = rules
    this.defer = defer
    for (const [exchange, type] of predeclared) {
      const internal = exchange === "amq.rabbitmq.trace"
      this.exchangesByName.set(
        exchange,
        new Exchange({ name: exchange, type, durable: true, autoDelete: false, internal, arguments: {} }, rules)
      )
    }
  }

  get exchanges(): ReadonlyArray<Exchange> {
    return [...this.exchangesByName.values()]
  }

  get queues(): ReadonlyArray<Queue> {
    return [...this.queuesByName.values()]
  }

  /** Those to the default exchange, which every queue has by its name, are not among them. */
  get bindings(): ReadonlyArray<Binding> {
    return this.exchanges.flatMap(({ bindings }) => bindings)
  }

  // ---------------------------------------------------------------------------
  // exchanges
  // ---------------------------------------------------------------------------

  declareExchange(method: ExchangeDeclare): void {
    const { autoDelete, durable, internal, passive, type } = method
    const name = stripped(method.exchange)
    if (passive) {
      this.refuseDefault(name)
      return void this.exchange(name)
    }
    const known = exchangeTypes.find((known) => known === type)
    if (known === undefined) {
      const { unknownExchangeTypeClosesConnection } = this.rules
      throw new Refusal(
        unknownExchangeTypeClosesConnection ? "commandInvalid" : "preconditionFailed",
        `unknown exchange type '${type}'`
      )
    }
    this.refuseDefault(name)
    const what = this.named("exchange", name)
    const current = this.exchangesByName.get(name)
    if (current === undefined) {
      this.refuseReserved("exchange", name)
      checkExchangeArgument(what, "alternate-exchange", method.arguments)
      this.exchangesByName.set(name, new Exchange({ ...method, name, type: known }, this.rules))
      return
    }
    assertEqual(what, "type", type, current.type)
    assertEqual(what, "durable", durable, current.durable)
    assertEqual(what, "auto_delete", autoDelete, current.autoDelete)
    assertEqual(what, "internal", internal, current.internal)
    assertEqualArguments(what, ["alternate-exchange"], termsOf(method.arguments), termsOf(current.arguments))
  }

  deleteExchange(method: ExchangeDelete): void {
    const name = stripped(method.exchange)
    this.refuseDefault(name)
    const what = this.named("exchange", name)
    if (name.startsWith("amq.")) throw new Refusal("accessRefused", `deletion of system ${what} not allowed`)
    const exchange = this.exchangesByName.get(name)
    if (exchange === undefined) return
    if (method.ifUnused && exchange.isBound) throw new Refusal("preconditionFailed", `${what} in use`)
    this.dropExchange(exchange)
  }

  bindExchange(method: ExchangeBind): void {
    this.refuseDefault(stripped(method.destination))
    this.refuseDefault(stripped(method.source))
    const source = this.exchange(stripped(method.source))
    const destination = this.exchange(stripped(method.destination))
    if (source.type === "headers") checkMatch(method.arguments)
    source.bind(destination, method.routingKey, method.arguments)
  }

  unbindExchange(method: ExchangeUnbind): void {
    this.refuseDefault(stripped(method.destination))
    this.refuseDefault(stripped(method.source))
    const source = this.exchangesByName.get(stripped(method.source))
    const destination = this.exchangesByName.get(stripped(method.destination))
    if (source !== undefined && destination !== undefined) this.unbind(source, destination, method)
  }

  // ---------------------------------------------------------------------------
  // queues
  // ---------------------------------------------------------------------------

  declareQueue(declaration: QueueDeclare, owner: Owner): Queue {
    const given = stripped(declaration.queue)
    if (declaration.passive) {
      const queue = this.queue(given, owner)
      queue.touch()
      return queue
    }
    // To RabbitMQ a queue that goes with its connection is not durable, whatever is said.
    const method = { ...declaration, durable: declaration.durable && !declaration.exclusive }
    if (given === "") checkServerNamed(method.arguments)
    else this.refuseReserved("queue", given)
    const name = given === "" ? this.generateName() : given
    const what = this.named("queue", name)
    const current = this.queuesByName.get(name)
    if (current !== undefined) {
      this.refuseOthers(current, owner, method.exclusive)
      assertEqual(what, "durable", method.durable, current.durable)
      assertEqual(what, "auto_delete", method.autoDelete, current.autoDelete)
      assertEqualQueueArguments(this.rules, what, current.type, method.arguments, current.arguments)
      current.touch()
      return current
    }
    const queue = makeQueue({
      name,
      type: checkDeclaration(this.rules, what, method),
      durable: method.durable,
      autoDelete: method.autoDelete,
      owner: method.exclusive ? owner : undefined,
      arguments: method.arguments
    }, {
      virtualHost: this.name,
      timers: this.timers,
      rules: this.rules,
      defer: this.defer,
      afterAllQueues: (action) => this.waiting === undefined ? action() : void this.waiting.push(action),
      deadLetter: (message, taken) => this.deadLetter(message, taken),
      onUnused: (queue) => this.dropQueue(queue)
    })
    this.queuesByName.set(name, queue)
    return queue
  }

  deleteQueue(method: QueueDelete, owner: Owner): number {
    const name = stripped(method.queue)
    if (!this.queuesByName.has(name)) return 0
    const queue = this.queue(name, owner)
    const what = this.named("queue", name)
    if (queue.type === "quorum" && (method.ifUnused || method.ifEmpty)) {
      const flag = method.ifUnused ? "if-unused" : "if-empty"
      throw new Refusal(
        "notImplemented",
        `cannot delete ${what}. queue.delete operations with ${flag} flag set are not supported by quorum queues`
      )
    }
    // RabbitMQ deletes a stream whatever the flags are.
    if (queue.type === "classic") {
      if (method.ifUnused && queue.consumerCount > 0) throw new Refusal("preconditionFailed", `${what} in use`)
      if (method.ifEmpty && queue.messageCount > 0) throw new Refusal("preconditionFailed", `${what} not empty`)
    }
    return this.dropQueue(queue)
  }

  purgeQueue({ queue: name }: QueuePurge, owner: Owner): number {
    return this.queue(name, owner).purge()
  }

  bindQueue(method: QueueBind, owner: Owner): void {
    const name = stripped(method.exchange)
    this.refuseDefault(name)
    const source = this.exchange(name)
    const queue = this.knownQueue(stripped(method.queue))
    if (source.type === "headers") checkMatch(method.arguments)
    this.refuseOthers(queue, owner, queue.owner !== undefined)
    source.bind(queue, method.routingKey, method.arguments)
  }

  unbindQueue(method: QueueUnbind, owner: Owner): void {
    const name = stripped(method.exchange)
    this.refuseDefault(name)
    const source = this.exchangesByName.get(name)
    const queue = this.queuesByName.get(stripped(method.queue))
    if (source === undefined || queue === undefined) return
    // What is not bound is not missed, whoever asks.
    if (!source.isBoundTo(queue, method.routingKey, method.arguments)) return
    this.refuseOthers(queue, owner, queue.owner !== undefined)
    this.unbind(source, queue, method)
  }

  /** The queue of that name, for this connection. */
  queue(name: string, owner: Owner): Queue {
    const queue = this.knownQueue(name)
    this.refuseOthers(queue, owner, queue.owner !== undefined)
    return queue
  }

  /** Deletes the queues that are exclusive to a connection. */
  ownerClosed(owner: Owner): void {
    for (const queue of this.queues) if (queue.owner === owner) this.dropQueue(queue)
  }

  /** Deletes everything. */
  delete(): void {
    for (const queue of this.queues) this.dropQueue(queue)
    this.exchangesByName.clear()
  }

  // ---------------------------------------------------------------------------
  // messages
  // ---------------------------------------------------------------------------

  /** Throws unless clients may publish to the exchange. */
  checkPublish(exchange: string): void {
    if (this.exchange(exchange).internal) {
      throw new Refusal("accessRefused", `cannot publish to internal ${this.named("exchange", exchange)}`)
    }
  }

  /** Gives a message to the queues that its exchange knows. */
  publish(message: Message): Routing {
    const queues = this.route(this.exchange(message.exchange), message)
    let accepted = true
    this.serveAllQueues(() => {
      for (const queue of queues) accepted = queue.publish(message) && accepted
    })
    return { routed: queues.length > 0, accepted }
  }

  /**
   * Runs an action that concerns several queues, and routes the dead letters of it afterwards. In RabbitMQ each queue is a process, and a
   * dead letter of the first queue reaches the second one after the publish that caused it.
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

  private deadLetter(message: Message, taken: Set<Queue> = new Set()): Posting {
    const exchange = this.exchangesByName.get(message.exchange)
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

  /** The queues that get a message, each once, whatever ways lead to it. */
  private route(exchange: Exchange, message: Message): ReadonlyArray<Queue> {
    const keys = routingKeysOf(message)
    if (exchange.name !== "") return this.follow(exchange, keys, message.properties.headers ?? {})
    const [only] = keys
    if (only !== undefined && keys.length === 1) {
      const queue = this.queuesByName.get(only)
      return queue === undefined ? [] : [queue]
    }
    return [...new Set(keys)].flatMap((key) => this.queuesByName.get(key) ?? [])
  }

  /** The queues that bindings and alternate exchanges lead to. */
  private follow(from: Exchange, keys: ReadonlyArray<string>, headers: FieldTable): ReadonlyArray<Queue> {
    const queues = new Set<Queue>()
    // Iterating goes on to what is added meanwhile, so each exchange has its turn once, also in a circle of them.
    const exchanges = new Set([from])
    for (const exchange of exchanges) {
      const destinations = exchange.route(keys, headers)
      for (const destination of destinations) {
        if (destination instanceof Exchange) exchanges.add(destination)
        else queues.add(destination)
      }
      if (destinations.size > 0 || exchange.alternate === undefined) continue
      // The default exchange has no bindings and leads nowhere from here, as in RabbitMQ.
      const alternate = this.exchangesByName.get(exchange.alternate)
      if (alternate !== undefined) exchanges.add(alternate)
    }
    return [...queues]
  }

  // ---------------------------------------------------------------------------
  // bindings
  // ---------------------------------------------------------------------------

  private exchange(name: string): Exchange {
    const exchange = this.exchangesByName.get(name)
    if (exchange === undefined) throw new Refusal("notFound", `no ${this.named("exchange", name)}`)
    return exchange
  }

  private knownQueue(name: string): Queue {
    const queue = this.queuesByName.get(name)
    if (queue === undefined) throw new Refusal("notFound", `no ${this.named("queue", name)}`)
    return queue
  }

  private unbind(source: Exchange, destination: Destination, method: QueueUnbind | ExchangeUnbind): void {
    if (source.unbind(destination, method.routingKey, method.arguments)) this.dropIfUnused(source)
  }

  /** Answers how many messages it had. */
  private dropQueue(queue: Queue): number {
    if (this.queuesByName.get(queue.name) !== queue) return 0
    this.queuesByName.delete(queue.name)
    this.unbindEverywhere(queue)
    return queue.delete()
  }

  private dropExchange(exchange: Exchange): void {
    this.exchangesByName.delete(exchange.name)
    // The exchanges that it was bound to are those that may be unused now, and not the other ends of its own bindings.
    this.unbindEverywhere(exchange)
  }

  private unbindEverywhere(destination: Destination): void {
    for (const source of this.exchanges) if (source.unbindAll(destination)) this.dropIfUnused(source)
  }

  private dropIfUnused(exchange: Exchange): void {
    if (exchange.autoDelete && !exchange.isBound) this.dropExchange(exchange)
  }

  // ---------------------------------------------------------------------------
  // names
  // ---------------------------------------------------------------------------

  private named(kind: "exchange" | "queue", name: string): Named {
    return `${kind} '${name}' in vhost '${this.name}'`
  }

  private generateName(): string {
    return `amq.gen-${++this.lastGenerated}`
  }

  private refuseDefault(exchange: string): void {
    if (exchange === "") throw new Refusal("accessRefused", "operation not permitted on the default exchange")
  }

  private refuseReserved(kind: "exchange" | "queue", name: string): void {
    if (name.startsWith("amq.")) {
      throw new Refusal("accessRefused", `${kind} name '${name}' contains reserved prefix 'amq.*'`)
    }
  }

  /** An exclusive queue is for its own connection, and what is declared as exclusive must be that. */
  private refuseOthers(queue: Queue, owner: Owner, exclusive: boolean): void {
    if (queue.owner === (exclusive ? owner : undefined)) return
    throw new Refusal(
      "resourceLocked",
      `cannot obtain exclusive access to locked ${
        this.named("queue", queue.name)
      }. It could be originally declared on ` +
        "another connection or the exclusive property value does not match that of the original declaration."
    )
  }
}

/** RabbitMQ drops line ends from the names in methods that change something. */
const stripped = (name: string): string => name.replaceAll(/[\r\n]/g, "")

/** All keys that a message is routed by. */
const routingKeysOf = ({ copies, routingKey }: Message): ReadonlyArray<string> =>
  copies === undefined ? [routingKey] : [routingKey, ...copies]
