/** What tests see of a broker: snapshots of its state. */
import type * as Effect from "effect/Effect"
import type * as AmqpDelivery from "../../AmqpDelivery.ts"
import { Received } from "../../internal/consuming/delivery.ts"
import * as Validation from "../../internal/options/validation.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import { encodedProperties } from "./common/message.ts"
import type { MemoryLink } from "./network/memoryLink.ts"
import type { Direction } from "./network/pipe.ts"
import type { Entry } from "./queues/queue.ts"
import { Exchange } from "./routing/exchange.ts"
import type { VirtualHost } from "./routing/virtualHost.ts"
import type { ServerConnection } from "./server/connection.ts"

/**
 * A queue and its message counts.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueueInfo {
  readonly name: string
  readonly type: "classic" | "quorum" | "stream"
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly exclusive: boolean
  readonly arguments: FieldTable
  /** Messages that were not delivered, or were put back. */
  readonly messagesReady: number
  /** Messages that were delivered and are not settled. */
  readonly messagesUnacknowledged: number
  readonly consumers: number
}

/**
 * An exchange.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExchangeInfo {
  /** `""` is the default exchange. */
  readonly name: string
  readonly type: string
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly internal: boolean
  readonly arguments: FieldTable
}

/**
 * A binding of a queue or an exchange to an exchange.
 *
 * @category models
 * @since 0.1.0
 */
export interface BindingInfo {
  readonly source: string
  readonly destination: string
  readonly destinationType: "queue" | "exchange"
  readonly routingKey: string
  readonly arguments: FieldTable
}

/**
 * A channel of a connection, as the broker sees it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ChannelInfo {
  readonly number: number
  readonly mode: "Plain" | "Confirm" | "Transaction"
  readonly consumers: number
  readonly messagesUnacknowledged: number
}

/**
 * A snapshot of a client's connection, and what can be done to it.
 *
 * **Details**
 *
 * `cutAfter`, `stall` and `resume` act on the network, and only on a connection in memory (`connect`, `makeSocket`): they do nothing to one
 * that is served over another socket. Nothing here has an effect on a connection that has ended. A number out of its range is a defect.
 *
 * @category models
 * @since 0.1.0
 */
export interface BrokerConnection {
  /** Its number among all connections of the broker, from 1. */
  readonly id: number
  /** The `connection_name` of its client properties. */
  readonly name: string | undefined
  readonly username: string
  /** `undefined` until the client has opened one. */
  readonly virtualHost: string | undefined
  readonly clientProperties: FieldTable
  readonly channels: ReadonlyArray<ChannelInfo>
  /** Whether nothing is read from it, because it published while the broker was blocked. */
  readonly blocked: boolean
  /** Closes it with `connection.close`: with a reply code up to 65535, such as 320, and a text, of which at most 255 bytes are sent. */
  readonly close: (replyCode: number, replyText: string) => Effect.Effect<void>
  /** Closes one of its channels in the same way. */
  readonly closeChannel: (number: number, replyCode: number, replyText: string) => Effect.Effect<void>
  /** Resets it without a close. */
  readonly cut: Effect.Effect<void>
  /** Resets it after this many more bytes, from 0. */
  readonly cutAfter: (direction: Direction, bytes: number) => Effect.Effect<void>
  /** Holds back the bytes of this direction until `resume`. */
  readonly stall: (direction: Direction) => Effect.Effect<void>
  /** Ends a stall. */
  readonly resume: (direction: Direction) => Effect.Effect<void>
  /** Has the broker send these bytes, which may be invalid. */
  readonly sendBytes: (bytes: Uint8Array) => Effect.Effect<void>
}

export const exchangesOf = (virtualHost: VirtualHost | undefined): ReadonlyArray<ExchangeInfo> =>
  [...virtualHost?.exchanges ?? []].map((exchange) => ({
    name: exchange.name,
    type: exchange.type,
    durable: exchange.durable,
    autoDelete: exchange.autoDelete,
    internal: exchange.internal,
    arguments: exchange.arguments
  }))

export const queuesOf = (virtualHost: VirtualHost | undefined): ReadonlyArray<QueueInfo> =>
  [...virtualHost?.queues ?? []].map((queue) => ({
    name: queue.name,
    type: queue.type,
    durable: queue.durable,
    autoDelete: queue.autoDelete,
    exclusive: queue.owner !== undefined,
    arguments: queue.arguments,
    messagesReady: queue.messageCount,
    messagesUnacknowledged: queue.unacknowledgedCount,
    consumers: queue.consumerCount
  }))

export const bindingsOf = (virtualHost: VirtualHost | undefined): ReadonlyArray<BindingInfo> =>
  (virtualHost?.bindings ?? []).map((binding) => ({
    source: binding.source.name,
    destination: binding.destination.name,
    destinationType: binding.destination instanceof Exchange ? "exchange" : "queue",
    routingKey: binding.routingKey,
    arguments: binding.arguments
  }))

export const messagesOf = (
  virtualHost: VirtualHost | undefined,
  name: string
): ReadonlyArray<AmqpDelivery.ReceivedMessage> => {
  for (const queue of virtualHost?.queues ?? []) {
    if (queue.name === name) return queue.messages.map((entry) => received(entry, name))
  }
  return []
}

/** A message as a client receives it. */
export const received = (
  { message, redelivered }: Entry,
  queue: string
): AmqpDelivery.ReceivedMessage => {
  const { body, exchange, properties, routingKey } = message
  return new Received({
    method: { _tag: "basic.get-ok", deliveryTag: 1, redelivered, exchange, routingKey, messageCount: 0 },
    properties: encodedProperties(properties),
    body,
    bodySize: body.length,
    oversized: false
  }, { queue, consumerTag: undefined })
}

export const connectionOf = (
  connection: ServerConnection,
  link: MemoryLink | undefined,
  step: (action: () => void) => Effect.Effect<void>
): BrokerConnection => {
  const { clientProperties } = connection
  const { connection_name: name } = clientProperties
  return {
    id: connection.id,
    name: typeof name === "string" ? name : undefined,
    username: connection.username,
    virtualHost: connection.virtualHostName,
    clientProperties,
    channels: [...connection.channels.values()].map((channel) => ({
      number: channel.number,
      mode: channel.modeName,
      consumers: channel.consumerCount,
      messagesUnacknowledged: channel.unacknowledgedCount
    })),
    blocked: connection.isBlocked,
    close: (replyCode, replyText) => step(() => connection.close(reasonOf(replyCode, replyText))),
    closeChannel: (number, replyCode, replyText) =>
      step(() => connection.closeChannel(number, reasonOf(replyCode, replyText))),
    cut: step(() => connection.transport.cut()),
    cutAfter: (direction, bytes) => step(() => link?.cutAfter(direction, Validation.wholeNumber("bytes", bytes, 0))),
    stall: (direction) => step(() => link?.stall(direction)),
    resume: (direction) => step(() => link?.resume(direction)),
    sendBytes: (bytes) => step(() => connection.sendBytes(bytes))
  }
}

const reasonOf = (
  replyCode: number,
  replyText: string
): { readonly replyCode: number; readonly replyText: string } => ({
  replyCode: Validation.wholeNumber("replyCode", replyCode, 0, 65535),
  replyText
})
