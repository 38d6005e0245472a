/**
 * Exchanges: what they are like, as immutable descriptions, and operations on them, as steps of channel programs.
 *
 * A description is made by {@link direct}, {@link fanout}, {@link topic}, {@link headers} or {@link make}, which throw an
 * `InvalidArgument` for what no broker would take. Names hold at most 255 bytes of UTF-8. What the broker refuses closes the
 * channel: the operation fails with its reason, and so does everything after it in the same program.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type { AmqpChannel } from "./AmqpChannel.ts"
import type { AmqpChannelError } from "./AmqpError.ts"
import * as Program from "./internal/program.ts"
import * as Topology from "./internal/topology.ts"
import * as Validation from "./internal/validation.ts"
import type { FieldTable } from "./protocol/fieldTable.ts"

// -----------------------------------------------------------------------------
// descriptions
// -----------------------------------------------------------------------------

/**
 * What an exchange is like: its type (`direct`, `fanout`, `topic`, `headers`, or `x-…` for one that a plugin of the broker
 * adds), its properties, the broker's extensions and the exchanges that route to it.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpExchange extends Topology.ExchangeDescription {}

/**
 * What every exchange can be told.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Whether it survives a restart of the broker. Default: `true`. */
  readonly durable?: boolean | undefined
  /** Whether it goes with its last binding. Default: `false`. */
  readonly autoDelete?: boolean | undefined
  /** Whether only exchanges that are bound to it may publish to it (RabbitMQ). Default: `false`. */
  readonly internal?: boolean | undefined
  /** Where messages go that it can't route (RabbitMQ, "Alternate Exchanges"). */
  readonly alternateExchange?: string | AmqpExchange | undefined
  /** Further extensions of the broker, by their own names. */
  readonly arguments?: FieldTable | undefined
}

/**
 * An exchange of any type, such as `x-delayed-message`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (name: string, options: Options & { readonly type: string }): AmqpExchange => {
  const { alternateExchange, arguments: table = {}, autoDelete = false, durable = true, internal = false, type } =
    options
  return Topology.describe({
    name: Validation.nonEmptyName("exchange", name),
    type: Validation.nonEmptyName("type", type),
    durable,
    autoDelete,
    internal,
    arguments: Validation.extend(table, {
      "alternate-exchange": alternateExchange === undefined
        ? undefined
        : Validation.nonEmptyName("alternateExchange", Topology.nameOf(alternateExchange))
    }),
    bindings: [],
    references: Topology.described(alternateExchange)
  })
}

/**
 * An exchange that routes to the queues that are bound with the message's routing key.
 *
 * @category constructors
 * @since 0.1.0
 */
export const direct = (name: string, options?: Options): AmqpExchange => make(name, { ...options, type: "direct" })

/**
 * An exchange that routes to all queues that are bound to it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fanout = (name: string, options?: Options): AmqpExchange => make(name, { ...options, type: "fanout" })

/**
 * An exchange that routes by patterns of words with dots between them, where `*` is one word and `#` any number of them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const topic = (name: string, options?: Options): AmqpExchange => make(name, { ...options, type: "topic" })

/**
 * An exchange that routes by the message's headers: bindings name them in their arguments, and `x-match` says whether `all`
 * or `any` of them have to match.
 *
 * @category constructors
 * @since 0.1.0
 */
export const headers = (name: string, options?: Options): AmqpExchange => make(name, { ...options, type: "headers" })

/**
 * A rule by which one exchange routes to another.
 *
 * @category models
 * @since 0.1.0
 */
export interface Binding {
  /** The exchange that messages come from. One that is described is declared with the one that is bound. */
  readonly source: string | AmqpExchange
  /** What it means is up to the type of the source. Default: `""`. */
  readonly routingKey?: string | undefined
  /** What a headers exchange compares with. Default: none. */
  readonly arguments?: FieldTable | undefined
}

const describeBinding = ({ arguments: table = {}, routingKey = "", source }: Binding): Topology.BindingDescription => ({
  exchange: source,
  routingKey,
  arguments: table
})

/**
 * The same exchange with one more exchange that routes to it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const withBinding: {
  (binding: Binding): (self: AmqpExchange) => AmqpExchange
  (self: AmqpExchange, binding: Binding): AmqpExchange
} = dual(2, (self: AmqpExchange, binding: Binding): AmqpExchange => {
  Validation.nonEmptyName("source", Topology.nameOf(binding.source))
  Validation.name("routingKey", binding.routingKey ?? "")
  return Topology.describe({ ...self, bindings: [...self.bindings, describeBinding(binding)] })
})

// -----------------------------------------------------------------------------
// operations
// -----------------------------------------------------------------------------

/**
 * Makes an exchange, with its bindings and all that it refers to, unless it is there (`exchange.declare`). A name alone is
 * that of a durable direct exchange.
 *
 * Fails with `PreconditionFailed` when it is there and is different, with `AccessRefused` when the user may not or the name
 * is one of the broker's own (`amq.…`).
 *
 * **Gotchas**
 *
 * For a type that it does not know RabbitMQ 3.10 closes the whole connection (503 `CommandInvalid`), with all channels on it.
 *
 * @category operations
 * @since 0.1.0
 */
export const declare = (exchange: string | AmqpExchange): AmqpChannel<void, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.asVoid(Effect.flatMap(
      Validation.attempt(() => typeof exchange === "string" ? direct(exchange) : exchange),
      (exchange) => Topology.declareAll(channel, [exchange], [])
    ))
  )

/**
 * Asks whether an exchange is there, without making one (`exchange.declare` with `passive`). Fails with `NotFound` when it
 * is not.
 *
 * @category operations
 * @since 0.1.0
 */
export const declarePassive = (exchange: string | AmqpExchange): AmqpChannel<void, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.asVoid(channel.request({
      _tag: "exchange.declare",
      exchange: Topology.nameOf(exchange),
      // The broker asks for a type, and does not compare it.
      type: typeof exchange === "string" ? "direct" : exchange.type,
      passive: true,
      durable: false,
      autoDelete: false,
      internal: false,
      noWait: false,
      arguments: {}
    }))
  )

/**
 * Has another exchange, the source, route to this one (`exchange.bind`; RabbitMQ, "Exchange to Exchange Bindings"). Fails with
 * `NotFound` when one of the two is not there, with `NotSupported` where the broker has no such bindings.
 *
 * @category operations
 * @since 0.1.0
 */
export const bind = (exchange: string | AmqpExchange, binding: Binding): AmqpChannel<void, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.asVoid(Topology.bindExchange(channel, Topology.nameOf(exchange), describeBinding(binding)))
  )

/**
 * Takes a binding back (`exchange.unbind`). Succeeds when there was none.
 *
 * @category operations
 * @since 0.1.0
 */
export const unbind = (exchange: string | AmqpExchange, binding: Binding): AmqpChannel<void, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.asVoid(channel.requestWith("exchange_exchange_bindings", {
      _tag: "exchange.unbind",
      destination: Topology.nameOf(exchange),
      source: Topology.nameOf(binding.source),
      routingKey: binding.routingKey ?? "",
      noWait: false,
      arguments: binding.arguments ?? {}
    }))
  )

/**
 * Deletes an exchange with its bindings (`exchange.delete`). Succeeds when there is no such exchange. Fails with
 * `PreconditionFailed` when `ifUnused` is set and something is bound to it.
 *
 * @category operations
 * @since 0.1.0
 */
const remove = (
  exchange: string | AmqpExchange,
  options: { readonly ifUnused?: boolean | undefined } = {}
): AmqpChannel<void, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.asVoid(channel.request({
      _tag: "exchange.delete",
      exchange: Topology.nameOf(exchange),
      ifUnused: options.ifUnused ?? false,
      noWait: false
    }))
  )

export { remove as delete }
