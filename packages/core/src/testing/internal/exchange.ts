/** An exchange and the bindings from it: where a message goes next. */
import type { FieldTable } from "../../protocol/fieldTable.ts"
import { keyOf } from "./fields.ts"
import { matchesHeaders } from "./headersMatch.ts"
import type { Message } from "./message.ts"
import type { Queue } from "./queue.ts"
import { matchesTopic } from "./topicPattern.ts"

export const exchangeTypes = ["direct", "fanout", "topic", "headers"] as const

export type ExchangeType = typeof exchangeTypes[number]

export type Destination = Exchange | Queue

/** A binding is one and the same as long as all of this is. */
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
  /** By what makes each one and the same, in the order in which they were made. */
  private readonly all = new Map<string, Binding>()
  /** By routing key, for direct exchanges. */
  private readonly byKey = new Map<string, Set<Binding>>()

  constructor(definition: ExchangeDefinition) {
    this.name = definition.name
    this.type = definition.type
    this.durable = definition.durable
    this.autoDelete = definition.autoDelete
    this.internal = definition.internal
    this.arguments = definition.arguments
  }

  /** The exchange that gets what this one has no binding for. */
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
    const same = this.byKey.get(routingKey)
    if (same === undefined) this.byKey.set(routingKey, new Set([binding]))
    else same.add(binding)
  }

  /** Says whether there was such a binding. */
  unbind(destination: Destination, routingKey: string, table: FieldTable): boolean {
    return this.remove(bindingKey(destination, routingKey, table))
  }

  /** Removes all bindings to a destination, and says whether there were some. */
  unbindAll(destination: Destination): boolean {
    let found = false
    for (const [key, binding] of this.all) {
      if (binding.destination === destination) found = this.remove(key) || found
    }
    return found
  }

  /** The destinations of a message with this routing key, some maybe several times. */
  *route(message: Message, routingKey: string): Iterable<Destination> {
    const candidates = this.type === "direct" ? this.byKey.get(routingKey) ?? [] : this.all.values()
    for (const binding of candidates) if (this.matches(binding, message, routingKey)) yield binding.destination
  }

  private matches(binding: Binding, { properties }: Message, routingKey: string): boolean {
    switch (this.type) {
      case "direct":
      case "fanout":
        return true
      case "topic":
        return matchesTopic(binding.routingKey, routingKey)
      case "headers":
        return matchesHeaders(binding.arguments, properties.headers ?? {})
    }
  }

  private remove(key: string): boolean {
    const binding = this.all.get(key)
    if (binding === undefined) return false
    this.all.delete(key)
    const same = this.byKey.get(binding.routingKey)
    same?.delete(binding)
    if (same?.size === 0) this.byKey.delete(binding.routingKey)
    return true
  }
}

const bindingKey = (destination: Destination, routingKey: string, table: FieldTable): string =>
  `${destination instanceof Exchange ? "exchange" : "queue"} ${JSON.stringify([destination.name, routingKey])} ${
    keyOf(table)
  }`
