/** The types of exchanges: how each finds the bindings that match a message. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { VersionRules } from "../common/versionRules.ts"
import { Headers, headersMatcher } from "./headersMatch.ts"
import { matchesTopic, wordsOf } from "./topicPattern.ts"

export const exchangeTypes = ["direct", "fanout", "topic", "headers"] as const

export type ExchangeType = typeof exchangeTypes[number]

/** The parts of a binding that a router reads. */
interface Route<Destination> {
  readonly destination: Destination
  readonly routingKey: string
  readonly arguments: FieldTable
}

/** The bindings of an exchange. Each is added once. */
export interface Router<Destination> {
  add(binding: Route<Destination>): void
  remove(binding: Route<Destination>): void
  /** Adds the destinations of a message with these routing keys and headers to `found`. */
  find(routingKeys: ReadonlyArray<string>, headers: FieldTable, found: Set<Destination>): void
}

class DirectRouter<Destination> implements Router<Destination> {
  private readonly byKey = new Map<string, Set<Route<Destination>>>()

  add(binding: Route<Destination>): void {
    const same = this.byKey.get(binding.routingKey)
    if (same === undefined) this.byKey.set(binding.routingKey, new Set([binding]))
    else same.add(binding)
  }

  remove(binding: Route<Destination>): void {
    const same = this.byKey.get(binding.routingKey)
    same?.delete(binding)
    if (same?.size === 0) this.byKey.delete(binding.routingKey)
  }

  find(routingKeys: ReadonlyArray<string>, _: FieldTable, found: Set<Destination>): void {
    for (const key of routingKeys) {
      for (const { destination } of this.byKey.get(key) ?? []) found.add(destination)
    }
  }
}

class FanoutRouter<Destination> implements Router<Destination> {
  private readonly bindings = new Set<Route<Destination>>()

  add(binding: Route<Destination>): void {
    this.bindings.add(binding)
  }

  remove(binding: Route<Destination>): void {
    this.bindings.delete(binding)
  }

  find(_: ReadonlyArray<string>, __: FieldTable, found: Set<Destination>): void {
    for (const { destination } of this.bindings) found.add(destination)
  }
}

class TopicRouter<Destination> implements Router<Destination> {
  private readonly patterns = new Map<Route<Destination>, ReadonlyArray<string>>()

  add(binding: Route<Destination>): void {
    this.patterns.set(binding, wordsOf(binding.routingKey))
  }

  remove(binding: Route<Destination>): void {
    this.patterns.delete(binding)
  }

  find(routingKeys: ReadonlyArray<string>, _: FieldTable, found: Set<Destination>): void {
    for (const key of routingKeys) {
      const words = wordsOf(key)
      for (const [{ destination }, pattern] of this.patterns) {
        if (matchesTopic(pattern, words)) found.add(destination)
      }
    }
  }
}

class HeadersRouter<Destination> implements Router<Destination> {
  private readonly matchers = new Map<Route<Destination>, (headers: Headers) => boolean>()
  private readonly rules: VersionRules

  constructor(rules: VersionRules) {
    this.rules = rules
  }

  add(binding: Route<Destination>): void {
    this.matchers.set(binding, headersMatcher(binding.arguments, this.rules))
  }

  remove(binding: Route<Destination>): void {
    this.matchers.delete(binding)
  }

  find(_: ReadonlyArray<string>, table: FieldTable, found: Set<Destination>): void {
    const headers = new Headers(table)
    for (const [{ destination }, matches] of this.matchers) if (matches(headers)) found.add(destination)
  }
}

export const makeRouter = <Destination>(type: ExchangeType, rules: VersionRules): Router<Destination> => {
  switch (type) {
    case "direct":
      return new DirectRouter()
    case "fanout":
      return new FanoutRouter()
    case "topic":
      return new TopicRouter()
    case "headers":
      return new HeadersRouter(rules)
  }
}
