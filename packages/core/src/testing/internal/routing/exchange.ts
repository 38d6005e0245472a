/** An exchange and the bindings whose source it is. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { VersionRules } from "../common/versionRules.ts"
import { identityOf } from "../common/wireValueComparison.ts"
import type { Queue } from "../queues/queue.ts"
import { makeRouter } from "./exchangeTypes.ts"
import type { ExchangeType, Router } from "./exchangeTypes.ts"

export type Destination = Exchange | Queue

/** A binding, which is identified by all of its properties. */
export interface Binding {
  readonly source: Exchange
  readonly destination: Destination
  readonly routingKey: string
  readonly arguments: FieldTable
}

export interface ExchangeDefinition {
  readonly name: string
  readonly type: ExchangeType
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly internal: boolean
  readonly arguments: FieldTable
}

export class Exchange implements ExchangeDefinition {
  readonly name: string
  readonly type: ExchangeType
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly internal: boolean
  readonly arguments: FieldTable
  /** By identity, in the order in which they were made. */
  private readonly all = new Map<string, Binding>()
  private readonly router: Router<Destination>

  constructor(definition: ExchangeDefinition, rules: VersionRules) {
    this.name = definition.name
    this.type = definition.type
    this.durable = definition.durable
    this.autoDelete = definition.autoDelete
    this.internal = definition.internal
    this.arguments = definition.arguments
    this.router = makeRouter(definition.type, rules)
  }

  /** The exchange that gets the messages that match no binding. */
  get alternate(): string | undefined {
    const alternate = this.arguments["alternate-exchange"]
    return typeof alternate === "string" ? alternate : undefined
  }

  get bindings(): ReadonlyArray<Binding> {
    return [...this.all.values()]
  }

  get isBound(): boolean {
    return this.all.size > 0
  }

  bind(destination: Destination, routingKey: string, table: FieldTable): void {
    const key = bindingKey(destination, routingKey, table)
    if (this.all.has(key)) return
    const binding: Binding = { source: this, destination, routingKey, arguments: table }
    this.all.set(key, binding)
    this.router.add(binding)
  }

  isBoundTo(destination: Destination, routingKey: string, table: FieldTable): boolean {
    return this.all.has(bindingKey(destination, routingKey, table))
  }

  /** Returns whether there was such a binding. */
  unbind(destination: Destination, routingKey: string, table: FieldTable): boolean {
    return this.remove(bindingKey(destination, routingKey, table))
  }

  /** Removes all bindings to a destination, and returns whether there were any. */
  unbindAll(destination: Destination): boolean {
    let found = false
    for (const [key, binding] of this.all) {
      if (binding.destination === destination) found = this.remove(key) || found
    }
    return found
  }

  /** The destinations of a message with these routing keys and headers. */
  route(routingKeys: ReadonlyArray<string>, headers: FieldTable): ReadonlySet<Destination> {
    const found = new Set<Destination>()
    this.router.find(routingKeys, headers, found)
    return found
  }

  private remove(key: string): boolean {
    const binding = this.all.get(key)
    if (binding === undefined) return false
    this.all.delete(key)
    this.router.remove(binding)
    return true
  }
}

const bindingKey = (destination: Destination, routingKey: string, table: FieldTable): string =>
  `${destination instanceof Exchange ? "exchange" : "queue"} ${JSON.stringify([destination.name, routingKey])} ${
    identityOf(table)
  }`
