/** A virtual host: its exchanges, queues and bindings, and the way of a message through them. */
import type { FieldValue } from "../../protocol/fieldTable.ts"
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
} from "../../protocol/methods.generated.ts"
import { closesCycle } from "./deadLetters.ts"
import { assertEqual, assertEqualArguments } from "./equivalence.ts"
import type { Named } from "./equivalence.ts"
import { Exchange, exchangeTypes } from "./exchange.ts"
import type { Binding, Destination } from "./exchange.ts"
import { typeName } from "./fields.ts"
import { checkMatch } from "./headersMatch.ts"
import type { Message } from "./message.ts"
import type { Owner, Queue } from "./queue.ts"
import { checkDeclaration, comparedArguments, queueTypeOf } from "./queueDeclaration.ts"
import { makeQueue } from "./queues.ts"
import { Refusal } from "./refusal.ts"
import type { Timers } from "./timers.ts"

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
  private readonly timers: Timers
  private readonly exchangesByName = new Map<string, Exchange>()
  private readonly queuesByName = new Map<string, Queue>()
  private lastGenerated = 0

  constructor(name: string, timers: Timers) {
    this.name = name
    this.timers = timers
    for (const [exchange, type] of predeclared) {
      const internal = exchange === "amq.rabbitmq.trace"
      this.exchangesByName.set(
        exchange,
        new Exchange({ name: exchange, type, durable: true, autoDelete: false, internal, arguments: {} })
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
    const { autoDelete, durable, exchange: name, internal, passive, type } = method
    if (passive) return void this.exchange(name)
    this.refuseDefault(name)
    const known = exchangeTypes.find((known) => known === type)
    if (known === undefined) throw new Refusal("commandInvalid", `unknown exchange type '${type}'`)
    const what = this.named("exchange", name)
    const alternate = method.arguments["alternate-exchange"]
    if (alternate !== undefined && typeof alternate !== "string") {
      throw new Refusal(
        "preconditionFailed",
        `invalid type '${typeName(alternate)}' for arg 'alternate-exchange' in ${what}`
      )
    }
    const current = this.exchangesByName.get(name)
    if (current === undefined) {
      this.refuseReserved("exchange", name)
      this.exchangesByName.set(name, new Exchange({ ...method, name, type: known }))
      return
    }
    assertEqual(what, "type", type, current.type)
    assertEqual(what, "durable", durable, current.durable)
    assertEqual(what, "auto_delete", autoDelete, current.autoDelete)
    assertEqual(what, "internal", internal, current.internal)
    assertEqualArguments(what, ["alternate-exchange"], method.arguments, current.arguments)
  }

  deleteExchange({ exchange: name, ifUnused }: ExchangeDelete): void {
    this.refuseDefault(name)
    const what = this.named("exchange", name)
    if (name.startsWith("amq.")) throw new Refusal("accessRefused", `deletion of system ${what} not allowed`)
    const exchange = this.exchangesByName.get(name)
    if (exchange === undefined) return
    if (ifUnused && exchange.isBound) throw new Refusal("preconditionFailed", `${what} in use`)
    this.dropExchange(exchange)
  }

  bindExchange(method: ExchangeBind): void {
    this.refuseDefault(method.destination)
    this.refuseDefault(method.source)
    const source = this.exchange(method.source)
    this.bind(source, this.exchange(method.destination), method)
  }

  unbindExchange(method: ExchangeUnbind): void {
    this.refuseDefault(method.destination)
    this.refuseDefault(method.source)
    this.unbind(this.exchangesByName.get(method.source), this.exchangesByName.get(method.destination), method)
  }

  // ---------------------------------------------------------------------------
  // queues
  // ---------------------------------------------------------------------------

  declareQueue(declaration: QueueDeclare, owner: Owner): Queue {
    // To RabbitMQ a queue that goes with its connection is not durable, whatever is said.
    const method = { ...declaration, durable: declaration.durable && !declaration.exclusive }
    if (method.passive) {
      const queue = this.queue(method.queue, owner)
      queue.touch()
      return queue
    }
    // RabbitMQ drops line ends from the names of queues.
    const name = method.queue === "" ? this.generateName() : method.queue.replaceAll(/[\r\n]/g, "")
    const what = this.named("queue", name)
    const type = queueTypeOf(what, method.arguments)
    const current = this.queuesByName.get(name)
    if (current !== undefined) {
      this.refuseOthers(current, owner, method.exclusive)
      assertEqual(what, "durable", method.durable, current.durable)
      assertEqual(what, "auto_delete", method.autoDelete, current.autoDelete)
      assertEqualArguments(what, comparedArguments, method.arguments, current.arguments)
      current.touch()
      return current
    }
    if (method.queue !== "") this.refuseReserved("queue", name)
    checkDeclaration(what, type, method)
    const queue = makeQueue({
      name,
      type,
      durable: method.durable,
      autoDelete: method.autoDelete,
      owner: method.exclusive ? owner : undefined,
      arguments: method.arguments
    }, {
      virtualHost: this.name,
      timers: this.timers,
      deadLetter: (message) => this.deadLetter(message),
      onUnused: (queue) => this.dropQueue(queue)
    })
    this.queuesByName.set(name, queue)
    return queue
  }

  deleteQueue({ ifEmpty, ifUnused, queue: name }: QueueDelete, owner: Owner): number {
    if (!this.queuesByName.has(name)) return 0
    const queue = this.queue(name, owner)
    const what = this.named("queue", name)
    if (ifEmpty && queue.type === "quorum") {
      throw new Refusal(
        "notImplemented",
        `cannot delete ${what}. queue.delete operations with if-empty flag set are not supported by quorum queues`
      )
    }
    if (ifUnused && queue.consumerCount > 0) throw new Refusal("preconditionFailed", `${what} in use`)
    if (ifEmpty && queue.messageCount > 0) throw new Refusal("preconditionFailed", `${what} not empty`)
    const { messageCount } = queue
    this.dropQueue(queue)
    return messageCount
  }

  purgeQueue({ queue: name }: QueuePurge, owner: Owner): number {
    return this.queue(name, owner).purge()
  }

  bindQueue(method: QueueBind, owner: Owner): void {
    this.refuseDefault(method.exchange)
    const source = this.exchange(method.exchange)
    this.bind(source, this.queue(method.queue, owner), method)
  }

  unbindQueue(method: QueueUnbind, owner: Owner): void {
    this.refuseDefault(method.exchange)
    const queue = this.queuesByName.get(method.queue)
    if (queue !== undefined) this.refuseOthers(queue, owner, queue.owner !== undefined)
    this.unbind(this.exchangesByName.get(method.exchange), queue, method)
  }

  /** The queue of that name, for this connection. */
  queue(name: string, owner: Owner): Queue {
    const queue = this.queuesByName.get(name)
    if (queue === undefined) throw new Refusal("notFound", `no ${this.named("queue", name)}`)
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

  /** What RabbitMQ refuses of a message before it looks for queues. */
  checkPublish({ exchange: name, properties: { expiration, headers = {} } }: Message): void {
    const exchange = this.exchange(name)
    if (exchange.internal) {
      throw new Refusal("accessRefused", `cannot publish to internal ${this.named("exchange", name)}`)
    }
    if (expiration !== undefined) checkExpiration(expiration)
    for (const header of ["CC", "BCC"]) {
      const value = headers[header]
      if (value !== undefined && !Array.isArray(value)) {
        throw new Refusal(
          "preconditionFailed",
          `invalid message: {unacceptable_type_in_header,"${header}",${typeName(value)}}`
        )
      }
    }
  }

  /** Gives a message to the queues that its exchange knows. */
  publish(message: Message): Routing {
    const exchange = this.exchange(message.exchange)
    const queues = this.route(exchange, message)
    const stored = withoutBlindCopies(message)
    let accepted = true
    for (const queue of queues) accepted = queue.publish(stored) && accepted
    return { routed: queues.size > 0, accepted }
  }

  private deadLetter(message: Message): void {
    const exchange = this.exchangesByName.get(message.exchange)
    if (exchange === undefined) return
    const stored = withoutBlindCopies(message)
    for (const queue of this.route(exchange, message)) if (!closesCycle(message, queue.name)) queue.publish(stored)
  }

  /** The queues that get a message, each once, whatever ways lead to it. */
  private route(from: Exchange, message: Message): ReadonlySet<Queue> {
    const queues = new Set<Queue>()
    const seen = new Set<Exchange>([from])
    const open = [from]
    const keys = routingKeysOf(message)
    for (let exchange = open.pop(); exchange !== undefined; exchange = open.pop()) {
      let found = false
      for (const key of keys) {
        for (const destination of this.destinations(exchange, message, key)) {
          found = true
          if (!(destination instanceof Exchange)) queues.add(destination)
          else if (!seen.has(destination)) {
            seen.add(destination)
            open.push(destination)
          }
        }
      }
      const alternate = found || exchange.alternate === undefined
        ? undefined
        : this.exchangesByName.get(exchange.alternate)
      if (alternate !== undefined && !seen.has(alternate)) {
        seen.add(alternate)
        open.push(alternate)
      }
    }
    return queues
  }

  private destinations(exchange: Exchange, message: Message, routingKey: string): Iterable<Destination> {
    if (exchange.name !== "") return exchange.route(message, routingKey)
    const queue = this.queuesByName.get(routingKey)
    return queue === undefined ? [] : [queue]
  }

  // ---------------------------------------------------------------------------
  // bindings
  // ---------------------------------------------------------------------------

  private exchange(name: string): Exchange {
    const exchange = this.exchangesByName.get(name)
    if (exchange === undefined) throw new Refusal("notFound", `no ${this.named("exchange", name)}`)
    return exchange
  }

  private bind(source: Exchange, destination: Destination, method: QueueBind | ExchangeBind): void {
    if (source.type === "headers") checkMatch(method.arguments)
    source.bind(destination, method.routingKey, method.arguments)
  }

  private unbind(
    source: Exchange | undefined,
    destination: Destination | undefined,
    method: QueueUnbind | ExchangeUnbind
  ): void {
    if (source === undefined || destination === undefined) return
    if (source.unbind(destination, method.routingKey, method.arguments)) this.dropIfUnused(source)
  }

  private dropQueue(queue: Queue): void {
    if (this.queuesByName.get(queue.name) !== queue) return
    this.queuesByName.delete(queue.name)
    this.unbindEverywhere(queue)
    queue.delete()
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

const maxExpiration = 0xffffffff

const checkExpiration = (text: string): void => {
  const fail = (problem: string): never => {
    throw new Refusal("preconditionFailed", `invalid expiration '${text}': ${problem}`)
  }
  const [digits = ""] = /^[+-]?\d+/.exec(text) ?? []
  if (digits === "") fail("no_integer")
  if (digits.length < text.length) fail(`{leftover_string,"${text.slice(digits.length)}"}`)
  const value = Number(digits)
  if (value < 0) fail(`{value_negative,${value}}`)
  if (value > maxExpiration) fail(`{value_too_large,${value}}`)
}

const texts = (value: FieldValue | undefined): ReadonlyArray<string> =>
  Array.isArray(value) ? value.filter((each): each is string => typeof each === "string") : []

/** All keys that a message is routed by: RabbitMQ, "Sender-selected Distribution". */
const routingKeysOf = ({ properties: { headers }, routingKey }: Message): ReadonlyArray<string> =>
  headers === undefined ? [routingKey] : [routingKey, ...texts(headers["CC"]), ...texts(headers["BCC"])]

const withoutBlindCopies = (message: Message): Message => {
  const { headers } = message.properties
  if (headers?.["BCC"] === undefined) return message
  const { BCC: _, ...others } = headers
  return { ...message, properties: { ...message.properties, headers: others } }
}
