/** Exchanges and queues as RabbitMQ's reply texts name them. */

export type ResourceKind = "exchange" | "queue"

export type Resource = `${ResourceKind} '${string}' in vhost '${string}'`

export const resource = (kind: ResourceKind, name: string, virtualHost: string): Resource =>
  `${kind} '${name}' in vhost '${virtualHost}'`
