/** Methods with their usual arguments, and the connection that sends them. */
import type { BasicProperties } from "@effect-amqp/core/protocol/BasicProperties"
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import type * as Methods from "@effect-amqp/core/protocol/methods.generated"
import type { Call } from "./rawConnection.ts"

/** A call on the first connection of a test, or on the other one. */
export interface Step extends Call {
  readonly byOther?: boolean
}

type Options<M> = Partial<Omit<M, "_tag">>

export const declareExchange = (exchange: string, options: Options<Methods.ExchangeDeclare> = {}): Step => ({
  method: {
    _tag: "exchange.declare",
    exchange,
    type: "direct",
    passive: false,
    durable: false,
    autoDelete: false,
    internal: false,
    noWait: false,
    arguments: {},
    ...options
  }
})

export const deleteExchange = (exchange: string, ifUnused = false): Step => ({
  method: { _tag: "exchange.delete", exchange, ifUnused, noWait: false }
})

export const bindExchange = (
  source: string,
  destination: string,
  routingKey = "",
  args: FieldTable = {}
): Step => ({
  method: { _tag: "exchange.bind", source, destination, routingKey, noWait: false, arguments: args }
})

export const unbindExchange = (
  source: string,
  destination: string,
  routingKey = "",
  args: FieldTable = {}
): Step => ({
  method: { _tag: "exchange.unbind", source, destination, routingKey, noWait: false, arguments: args }
})

export const declareQueue = (queue: string, options: Options<Methods.QueueDeclare> = {}): Step => ({
  method: {
    _tag: "queue.declare",
    queue,
    passive: false,
    durable: false,
    exclusive: false,
    autoDelete: false,
    noWait: false,
    arguments: {},
    ...options
  }
})

export const deleteQueue = (
  queue: string,
  options: Options<Methods.QueueDelete> = {}
): Step => ({ method: { _tag: "queue.delete", queue, ifUnused: false, ifEmpty: false, noWait: false, ...options } })

export const purgeQueue = (queue: string): Step => ({ method: { _tag: "queue.purge", queue, noWait: false } })

export const bindQueue = (exchange: string, queue: string, routingKey = "", args: FieldTable = {}): Step => ({
  method: { _tag: "queue.bind", queue, exchange, routingKey, noWait: false, arguments: args }
})

export const unbindQueue = (exchange: string, queue: string, routingKey = "", args: FieldTable = {}): Step => ({
  method: { _tag: "queue.unbind", queue, exchange, routingKey, arguments: args }
})

export const publish = (exchange: string, routingKey: string, properties: BasicProperties = {}): Step => ({
  method: { _tag: "basic.publish", exchange, routingKey, mandatory: true, immediate: false },
  properties
})

export const consume = (queue: string, options: Options<Methods.BasicConsume> = {}): Step => ({
  method: {
    _tag: "basic.consume",
    queue,
    consumerTag: "t",
    noLocal: false,
    noAck: true,
    exclusive: false,
    noWait: false,
    arguments: {},
    ...options
  }
})

/** The same call on the other connection. */
export const byOther = (step: Step): Step => ({ ...step, byOther: true })
