/** A virtual host: its exchanges, queues and bindings, and the methods that change them. */
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
import { assertEqual, assertEqualArguments } from "../common/declarationEquivalence.ts"
import { checkExchangeArgument } from "../common/exchangeArgument.ts"
import type { Message } from "../common/message.ts"
import { Refusal } from "../common/refusal.ts"
import { resource } from "../common/resource.ts"
import type { Resource, ResourceKind } from "../common/resource.ts"
import type { Timers } from "../common/timers.ts"
import type { VersionRules } from "../common/versionRules.ts"
import { wireValues } from "../common/wireValues.ts"
import { makeQueue } from "../queues/makeQueue.ts"
import type { Owner, Queue, QueueHost } from "../queues/queue.ts"
import { assertEqualQueueArguments, checkDeclaration, checkServerNamed } from "../queues/queueDeclaration.ts"
import { Exchange } from "./exchange.ts"
import type { Binding, Destination } from "./exchange.ts"
import { exchangeTypes } from "./exchangeTypes.ts"
import { checkMatch } from "./headersMatch.ts"
import { MessageRouting } from "./messageRouting.ts"
import type { PublishOutcome } from "./messageRouting.ts"
import { refuseDefaultExchange, refuseReservedName, stripped } from "./names.ts"

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
  readonly rules: VersionRules
  private readonly exchangesByName = new Map<string, Exchange>()
  private readonly queuesByName = new Map<string, Queue>()
  private readonly routing = new MessageRouting(this.exchangesByName, this.queuesByName)
  private readonly queueHost: QueueHost
  private lastGenerated = 0

  /** `defer` runs an action at the end of the step. */
  constructor(name: string, timers: Timers, rules: VersionRules, defer: (action: () => void) => void) {
    this.name = name
    this.rules = rules
    this.queueHost = {
      virtualHost: name,
      timers,
      rules,
      defer,
      afterAllQueues: (action) => this.routing.afterAllQueues(action),
      deadLetter: (message, taken) => this.routing.deadLetter(message, taken),
      onUnused: (queue) => this.dropQueue(queue)
    }
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

  /** Does not include the implicit bindings of the default exchange to every queue by its name. */
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
      refuseDefaultExchange(name)
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
    refuseDefaultExchange(name)
    const declared = this.resource("exchange", name)
    const current = this.exchangesByName.get(name)
    if (current === undefined) {
      refuseReservedName("exchange", name)
      checkExchangeArgument(declared, "alternate-exchange", method.arguments)
      this.exchangesByName.set(name, new Exchange({ ...method, name, type: known }, this.rules))
      return
    }
    assertEqual(declared, "type", type, current.type)
    assertEqual(declared, "durable", durable, current.durable)
    assertEqual(declared, "auto_delete", autoDelete, current.autoDelete)
    assertEqual(declared, "internal", internal, current.internal)
    assertEqualArguments(
      declared,
      ["alternate-exchange"],
      wireValues(method.arguments),
      wireValues(current.arguments)
    )
  }

  deleteExchange(method: ExchangeDelete): void {
    const name = stripped(method.exchange)
    refuseDefaultExchange(name)
    const deleted = this.resource("exchange", name)
    if (name.startsWith("amq.")) throw new Refusal("accessRefused", `deletion of system ${deleted} not allowed`)
    const exchange = this.exchangesByName.get(name)
    if (exchange === undefined) return
    if (method.ifUnused && exchange.isBound) throw new Refusal("preconditionFailed", `${deleted} in use`)
    this.dropExchange(exchange)
  }

  bindExchange(method: ExchangeBind): void {
    refuseDefaultExchange(stripped(method.destination))
    refuseDefaultExchange(stripped(method.source))
    const source = this.exchange(stripped(method.source))
    const destination = this.exchange(stripped(method.destination))
    if (source.type === "headers") checkMatch(method.arguments)
    source.bind(destination, method.routingKey, method.arguments)
  }

  unbindExchange(method: ExchangeUnbind): void {
    refuseDefaultExchange(stripped(method.destination))
    refuseDefaultExchange(stripped(method.source))
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
    // RabbitMQ declares exclusive queues as not durable.
    const method = { ...declaration, durable: declaration.durable && !declaration.exclusive }
    if (given === "") checkServerNamed(method.arguments)
    else refuseReservedName("queue", given)
    const name = given === "" ? this.generateName() : given
    const declared = this.resource("queue", name)
    const current = this.queuesByName.get(name)
    if (current !== undefined) {
      this.assertAccess(current, owner, method.exclusive)
      assertEqual(declared, "durable", method.durable, current.durable)
      assertEqual(declared, "auto_delete", method.autoDelete, current.autoDelete)
      assertEqualQueueArguments(this.rules, declared, current.type, method.arguments, current.arguments)
      current.touch()
      return current
    }
    const queue = makeQueue({
      name,
      type: checkDeclaration(this.rules, declared, method),
      durable: method.durable,
      autoDelete: method.autoDelete,
      owner: method.exclusive ? owner : undefined,
      arguments: method.arguments
    }, this.queueHost)
    this.queuesByName.set(name, queue)
    return queue
  }

  deleteQueue(method: QueueDelete, owner: Owner): number {
    const name = stripped(method.queue)
    if (!this.queuesByName.has(name)) return 0
    const queue = this.queue(name, owner)
    const deleted = this.resource("queue", name)
    if (queue.type === "quorum" && (method.ifUnused || method.ifEmpty)) {
      const flag = method.ifUnused ? "if-unused" : "if-empty"
      throw new Refusal(
        "notImplemented",
        `cannot delete ${deleted}. queue.delete operations with ${flag} flag set are not supported by quorum queues`
      )
    }
    // RabbitMQ ignores the flags for streams.
    if (queue.type === "classic") {
      if (method.ifUnused && queue.consumerCount > 0) throw new Refusal("preconditionFailed", `${deleted} in use`)
      if (method.ifEmpty && queue.messageCount > 0) throw new Refusal("preconditionFailed", `${deleted} not empty`)
    }
    return this.dropQueue(queue)
  }

  purgeQueue({ queue: name }: QueuePurge, owner: Owner): number {
    return this.queue(name, owner).purge()
  }

  bindQueue(method: QueueBind, owner: Owner): void {
    const name = stripped(method.exchange)
    refuseDefaultExchange(name)
    const source = this.exchange(name)
    const queue = this.existingQueue(stripped(method.queue))
    if (source.type === "headers") checkMatch(method.arguments)
    this.assertAccess(queue, owner, queue.owner !== undefined)
    source.bind(queue, method.routingKey, method.arguments)
  }

  unbindQueue(method: QueueUnbind, owner: Owner): void {
    const name = stripped(method.exchange)
    refuseDefaultExchange(name)
    const source = this.exchangesByName.get(name)
    const queue = this.queuesByName.get(stripped(method.queue))
    if (source === undefined || queue === undefined) return
    // Unbinding what is not bound succeeds, also for a queue that is exclusive to another connection.
    if (!source.isBoundTo(queue, method.routingKey, method.arguments)) return
    this.assertAccess(queue, owner, queue.owner !== undefined)
    this.unbind(source, queue, method)
  }

  /** The queue with this name, if the connection may use it. */
  queue(name: string, owner: Owner): Queue {
    const queue = this.existingQueue(name)
    this.assertAccess(queue, owner, queue.owner !== undefined)
    return queue
  }

  /** Deletes the queues that are exclusive to a closed connection. */
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

  /** Throws a `Refusal` unless clients may publish to the exchange. */
  checkPublish(exchange: string): void {
    if (this.exchange(exchange).internal) {
      throw new Refusal("accessRefused", `cannot publish to internal ${this.resource("exchange", exchange)}`)
    }
  }

  publish(message: Message): PublishOutcome {
    return this.routing.publish(this.exchange(message.exchange), message)
  }

  /** Runs an action that concerns several queues, and routes the dead letters that it causes afterwards. */
  serveAllQueues(action: () => void): void {
    this.routing.serveAllQueues(action)
  }

  // ---------------------------------------------------------------------------
  // internals
  // ---------------------------------------------------------------------------

  private exchange(name: string): Exchange {
    const exchange = this.exchangesByName.get(name)
    if (exchange === undefined) throw new Refusal("notFound", `no ${this.resource("exchange", name)}`)
    return exchange
  }

  private existingQueue(name: string): Queue {
    const queue = this.queuesByName.get(name)
    if (queue === undefined) throw new Refusal("notFound", `no ${this.resource("queue", name)}`)
    return queue
  }

  private unbind(source: Exchange, destination: Destination, method: QueueUnbind | ExchangeUnbind): void {
    if (source.unbind(destination, method.routingKey, method.arguments)) this.dropIfUnused(source)
  }

  /** Returns the number of messages in it. */
  private dropQueue(queue: Queue): number {
    if (this.queuesByName.get(queue.name) !== queue) return 0
    this.queuesByName.delete(queue.name)
    this.unbindEverywhere(queue)
    return queue.delete()
  }

  private dropExchange(exchange: Exchange): void {
    this.exchangesByName.delete(exchange.name)
    // Its sources may be unused now and go with it, but not the destinations of its own bindings.
    this.unbindEverywhere(exchange)
  }

  private unbindEverywhere(destination: Destination): void {
    for (const source of this.exchanges) if (source.unbindAll(destination)) this.dropIfUnused(source)
  }

  private dropIfUnused(exchange: Exchange): void {
    if (exchange.autoDelete && !exchange.isBound) this.dropExchange(exchange)
  }

  private resource(kind: ResourceKind, name: string): Resource {
    return resource(kind, name, this.name)
  }

  private generateName(): string {
    return `amq.gen-${++this.lastGenerated}`
  }

  /** Throws a `Refusal` if the queue is exclusive to another connection, or if its exclusiveness is not as declared. */
  private assertAccess(queue: Queue, owner: Owner, exclusive: boolean): void {
    if (queue.owner === (exclusive ? owner : undefined)) return
    throw new Refusal(
      "resourceLocked",
      `cannot obtain exclusive access to locked ${
        this.resource("queue", queue.name)
      }. It could be originally declared on ` +
        "another connection or the exclusive property value does not match that of the original declaration."
    )
  }
}
