/** What tests see of a broker: snapshots of its state. */
import type * as Effect from "effect/Effect"
import type * as AmqpDelivery from "../../AmqpDelivery.ts"
import { Received } from "../../internal/consuming/delivery.ts"
import * as Validation from "../../internal/options/validation.ts"
import type { BindingInfo, BrokerConnection, ExchangeInfo, QueueInfo } from "../AmqpBroker.ts"
import { encodedProperties } from "./common/message.ts"
import type { MemoryLink } from "./network/memoryLink.ts"
import type { Entry } from "./queues/queue.ts"
import { Exchange } from "./routing/exchange.ts"
import type { VirtualHost } from "./routing/virtualHost.ts"
import type { ServerConnection } from "./server/connection.ts"

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
