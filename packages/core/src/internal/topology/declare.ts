/**
 * Declares exchanges, queues and bindings on a channel. What a description refers to is declared before it, each once.
 */
import * as Effect from "effect/Effect"
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { AmqpExchange, BindingDescription } from "../../AmqpExchange.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"
import type { QueueDeclareOk } from "../../protocol/methods.generated.ts"
import type { Channel } from "../channel/channel.ts"
import { attempt, invalid, nonEmptyName } from "../options/validation.ts"
import { collect, exchangeName } from "./descriptions.ts"

export const declareExchange = (channel: Channel, exchange: AmqpExchange) =>
  channel.request({
    _tag: "exchange.declare",
    exchange: exchange.name,
    type: exchange.type,
    passive: false,
    durable: exchange.durable,
    autoDelete: exchange.autoDelete,
    internal: exchange.internal,
    noWait: false,
    arguments: exchange.arguments
  })

export const bindExchange = (channel: Channel, exchange: string, binding: BindingDescription) =>
  channel.requestWith("exchange_exchange_bindings", {
    _tag: "exchange.bind",
    destination: exchange,
    source: exchangeName(binding.exchange),
    routingKey: binding.routingKey,
    noWait: false,
    arguments: binding.arguments
  })

export const declareQueue = (channel: Channel, queue: AmqpQueue) =>
  Effect.andThen(
    attempt(() => checkForServer(channel, queue)),
    channel.request({
      _tag: "queue.declare",
      queue: queue.name,
      passive: false,
      durable: queue.durable,
      exclusive: queue.exclusive,
      autoDelete: queue.autoDelete,
      noWait: false,
      arguments: queue.arguments
    })
  )

/** Declares a durable queue of the virtual host's default type, as a name alone does not show the type. */
export const declareNamed = (channel: Channel, name: string): Effect.Effect<QueueDeclareOk, AmqpChannelError> =>
  Effect.andThen(
    attempt(() => checkDeclaredName(nonEmptyName("queue", name))),
    channel.request({
      _tag: "queue.declare",
      queue: name,
      passive: false,
      durable: true,
      exclusive: false,
      autoDelete: false,
      noWait: false,
      arguments: {}
    })
  )

/** Refuses arguments that this version of the broker would misunderstand, or close the connection for. */
const checkForServer = ({ host }: Channel, { arguments: table, name }: AmqpQueue): void => {
  checkDeclaredName(name)
  const argument = (name: string) => table instanceof Map ? table.get(name) : table[name]
  const { product, version } = host.serverProperties
  if (typeof product !== "string" || typeof version !== "string") return
  if (!/^(?:RabbitMQ|effect-amqp)/.test(product)) return
  const isOld = /^[0-3]\./.test(version)
  // On older versions a queue without the argument has no limit.
  if (isOld && Number(argument("x-delivery-limit")) < 0) {
    throw invalid(
      `deliveryLimit: RabbitMQ ${version} would take "unlimited" for 0; leave the option out for no limit`
    )
  }
  if (!isOld && argument("x-queue-master-locator") !== undefined) {
    throw invalid(`arguments: RabbitMQ ${version} has no x-queue-master-locator; use x-queue-leader-locator`)
  }
}

/** Refuses the names of RabbitMQ's reply queues: from 4.0 on, declaring one closes the connection (541). */
export const checkDeclaredName = (name: string): void => {
  if (name.startsWith("amq.rabbitmq.reply-to.")) {
    throw invalid(`queue: ${JSON.stringify(name)} is for direct replies: it can be published to, but not declared`)
  }
}

export const bindQueue = (channel: Channel, queue: string, binding: BindingDescription) =>
  channel.request({
    _tag: "queue.bind",
    queue,
    exchange: exchangeName(binding.exchange),
    routingKey: binding.routingKey,
    noWait: false,
    arguments: binding.arguments
  })

/**
 * Declares exchanges, then their bindings, then queues with theirs, including everything that they refer to. Yields the
 * broker's replies for `queues`, in their order.
 */
export const declareAll = (
  channel: Channel,
  exchanges: Iterable<AmqpExchange>,
  queues: ReadonlyArray<AmqpQueue>
): Effect.Effect<ReadonlyArray<QueueDeclareOk>, AmqpChannelError> =>
  Effect.gen(function*() {
    const all = yield* attempt(() => collect(exchanges, queues))
    for (const exchange of all.exchanges) yield* declareExchange(channel, exchange)
    for (const exchange of all.exchanges) {
      for (const binding of exchange.bindings) yield* bindExchange(channel, exchange.name, binding)
    }
    const answers = new Map<string, QueueDeclareOk>()
    const nameless: Array<QueueDeclareOk> = []
    for (const queue of all.queues) {
      const answer = yield* declareQueue(channel, queue)
      for (const binding of queue.bindings) yield* bindQueue(channel, answer.queue, binding)
      if (queue.name === "") nameless.push(answer)
      else answers.set(queue.name, answer)
    }
    return queues.flatMap(({ name }) => (name === "" ? nameless.shift() : answers.get(name)) ?? [])
  })
