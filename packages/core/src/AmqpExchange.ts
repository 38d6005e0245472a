/**
 * Operations on exchanges, as steps of channel programs.
 *
 * Names hold at most 255 bytes of UTF-8; longer ones, and arguments that AMQP can't express, fail with the reason
 * `InvalidArgument` before anything is sent. What the broker refuses closes the channel: the operation fails with its
 * reason, and so does everything after it in the same program.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { AmqpChannel } from "./AmqpChannel.ts"
import type { AmqpChannelError } from "./AmqpError.ts"
import * as Program from "./internal/program.ts"
import type { FieldTable } from "./protocol/fieldTable.ts"

/**
 * How an exchange routes: by the routing key (`direct`), to all (`fanout`), by a pattern of words (`topic`), by the headers of
 * the message (`headers`), or as a plugin of the broker does (`x-…`).
 *
 * @category models
 * @since 0.1.0
 */
export type ExchangeType = "direct" | "fanout" | "topic" | "headers" | `x-${string}`

/**
 * What an exchange is like.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeclareOptions {
  /** Default: `direct`. */
  readonly type?: ExchangeType | undefined
  /** Whether it survives a restart of the broker. Default: `true`. */
  readonly durable?: boolean | undefined
  /** Whether it goes with its last binding. Default: `false`. */
  readonly autoDelete?: boolean | undefined
  /** Whether only exchanges that are bound to it may publish to it (RabbitMQ). Default: `false`. */
  readonly internal?: boolean | undefined
  /** The broker's extensions, such as `alternate-exchange` (RabbitMQ, "Alternate Exchanges"). */
  readonly arguments?: FieldTable | undefined
}

const declareExchange = (
  exchange: string,
  passive: boolean,
  options: DeclareOptions
): AmqpChannel<void, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.asVoid(channel.request({
      _tag: "exchange.declare",
      exchange,
      type: options.type ?? "direct",
      passive,
      durable: options.durable ?? true,
      autoDelete: options.autoDelete ?? false,
      internal: options.internal ?? false,
      noWait: false,
      arguments: options.arguments ?? {}
    }))
  )

/**
 * Makes an exchange unless it is there (`exchange.declare`). Fails with `PreconditionFailed` when it is there and is
 * different, with `AccessRefused` when the user may not, or when the name is one of the broker's own (`amq.…`).
 *
 * @category operations
 * @since 0.1.0
 */
export const declare = (exchange: string, options: DeclareOptions = {}): AmqpChannel<void, AmqpChannelError> =>
  declareExchange(exchange, false, options)

/**
 * Asks whether an exchange is there, without making one (`exchange.declare` with `passive`). Fails with `NotFound` when it
 * is not.
 *
 * @category operations
 * @since 0.1.0
 */
export const declarePassive = (exchange: string): AmqpChannel<void, AmqpChannelError> =>
  declareExchange(exchange, true, {})

/**
 * A rule by which one exchange routes to another.
 *
 * @category models
 * @since 0.1.0
 */
export interface Binding {
  /** The exchange that messages come from. */
  readonly source: string
  /** What it means is up to the type of the source. Default: `""`. */
  readonly routingKey?: string | undefined
  /** What a headers exchange compares with. Default: none. */
  readonly arguments?: FieldTable | undefined
}

const wireBinding = (destination: string, { arguments: table = {}, routingKey = "", source }: Binding) => ({
  destination,
  source,
  routingKey,
  noWait: false,
  arguments: table
})

/**
 * Has another exchange, the source, route to this one (`exchange.bind`; RabbitMQ, "Exchange to Exchange Bindings"). Fails with
 * `NotFound` when one of the two is not there.
 *
 * @category operations
 * @since 0.1.0
 */
export const bind = (exchange: string, binding: Binding): AmqpChannel<void, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.asVoid(channel.request({ _tag: "exchange.bind", ...wireBinding(exchange, binding) }))
  )

/**
 * Takes a binding back (`exchange.unbind`). Succeeds when there was none.
 *
 * @category operations
 * @since 0.1.0
 */
export const unbind = (exchange: string, binding: Binding): AmqpChannel<void, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.asVoid(channel.request({ _tag: "exchange.unbind", ...wireBinding(exchange, binding) }))
  )

/**
 * Deletes an exchange with its bindings (`exchange.delete`). Succeeds when there is no such exchange. Fails with
 * `PreconditionFailed` when `ifUnused` is set and something is bound to it.
 *
 * @category operations
 * @since 0.1.0
 */
const remove = (
  exchange: string,
  options: { readonly ifUnused?: boolean | undefined } = {}
): AmqpChannel<void, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.asVoid(channel.request({
      _tag: "exchange.delete",
      exchange,
      ifUnused: options.ifUnused ?? false,
      noWait: false
    }))
  )

export { remove as delete }
