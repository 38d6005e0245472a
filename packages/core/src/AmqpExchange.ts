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
import type * as Pipeable from "effect/Pipeable"
import type { AmqpChannel } from "./AmqpChannel.ts"
import type { AmqpChannelError } from "./AmqpError.ts"
import type { Channel } from "./internal/channel/channel.ts"
import { passiveExchangeDeclare } from "./internal/channel/methods.ts"
import * as Program from "./internal/channel/program.ts"
import * as Brands from "./internal/common/brands.ts"
import { nearestName } from "./internal/errors/nearestName.ts"
import * as Validation from "./internal/options/validation.ts"
import { bindExchange, declareAll } from "./internal/topology/declare.ts"
import * as Descriptions from "./internal/topology/descriptions.ts"
import type { FieldTable } from "./protocol/fieldTable.ts"

const TypeId = Brands.ExchangeTypeId

// -----------------------------------------------------------------------------
// descriptions
// -----------------------------------------------------------------------------

/**
 * The types of exchanges that every broker has.
 *
 * @category models
 * @since 0.1.0
 */
export type ExchangeType = "direct" | "fanout" | "topic" | "headers"

/**
 * What an exchange is like: its type (an {@link ExchangeType}, or one that a plugin of the broker adds), its properties, the broker's
 * extensions and the exchanges that route to it.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpExchange extends Pipeable.Pipeable {
  readonly [TypeId]: typeof TypeId
  readonly name: string
  readonly type: string
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly internal: boolean
  readonly arguments: FieldTable
  readonly bindings: ReadonlyArray<BindingDescription>
  /** The exchanges that this one needs, apart from those in its bindings. */
  readonly references: ReadonlyArray<AmqpExchange>
}

/**
 * A binding of a description: the exchange that messages come from, and which of them.
 *
 * @category models
 * @since 0.1.0
 */
export interface BindingDescription {
  readonly exchange: string | AmqpExchange
  readonly routingKey: string
  readonly arguments: FieldTable
}

/**
 * Whether a value is the description of an exchange, or a copy of one by spread.
 *
 * @category guards
 * @since 0.1.0
 */
export const isExchange: (value: unknown) => value is AmqpExchange = Brands.isExchange

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
 * {@link Options} with the type of the exchange: one that every broker has, or by another option one that a plugin adds.
 *
 * @category models
 * @since 0.1.0
 */
export type MakeOptions =
  | Options & { readonly type: ExchangeType; readonly pluginType?: undefined }
  | Options & { readonly pluginType: string; readonly type?: undefined }

/**
 * An exchange of any type. One that a plugin of the broker adds, such as `x-delayed-message`, is named by `pluginType`.
 *
 * **Gotchas**
 *
 * For the declaration of an exchange of a type that it does not know, RabbitMQ before 4.0 closes the whole connection (503
 * `CommandInvalid`), with all channels on it. So `type` takes no other types than those that every broker has, and `pluginType` is for where
 * the plugin is enabled.
 *
 * **Example** (An exchange of a plugin)
 *
 * ```ts
 * import { AmqpExchange } from "@effect-amqp/core"
 *
 * const delayed = AmqpExchange.make("delayed", {
 *   pluginType: "x-delayed-message",
 *   arguments: { "x-delayed-type": "direct" }
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (name: string, options: MakeOptions): AmqpExchange => {
  Validation.knownKeys(options, ["type", "pluginType", ...optionKeys])
  const { alternateExchange, arguments: table = {} } = options
  return Descriptions.describeExchange({
    name: Validation.nonEmptyName("exchange", name),
    type: typeOf(options),
    durable: Validation.flag("durable", options.durable, true),
    autoDelete: Validation.flag("autoDelete", options.autoDelete),
    internal: Validation.flag("internal", options.internal),
    arguments: Validation.extend(table, {
      "alternate-exchange": alternateExchange === undefined
        ? undefined
        : Validation.nonEmptyName(
          "alternateExchange",
          Descriptions.exchangeName(alternateExchange, "alternateExchange")
        )
    }),
    bindings: [],
    references: [alternateExchange].filter(isExchange)
  })
}

const optionKeys = ["durable", "autoDelete", "internal", "alternateExchange", "arguments"] as const

const makeOf = (type: ExchangeType, name: string, options: Options = {}): AmqpExchange =>
  make(name, { ...Validation.knownKeys(options, optionKeys), type })

const exchangeTypes: ReadonlyArray<string> = ["direct", "fanout", "topic", "headers"]

const typeOf = (options: MakeOptions): string => {
  const { pluginType, type }: { readonly pluginType?: string | undefined; readonly type?: unknown } = options
  if (pluginType !== undefined) {
    if (type !== undefined) throw Validation.invalid("type, pluginType: an exchange has one type")
    return Validation.nonEmptyName("pluginType", pluginType)
  }
  const given = typeof type === "string" ? type.slice(0, 40) : typeof type
  if (exchangeTypes.includes(given)) return given
  const nearest = nearestName(given, exchangeTypes)
  const hint = nearest === undefined
    ? `there are ${exchangeTypes.join(", ")}; a type that a plugin adds is given as pluginType`
    : `did you mean ${JSON.stringify(nearest)}?`
  throw Validation.invalid(
    `type: no broker has the exchange type ${JSON.stringify(given)}; ${hint}`
  )
}

/**
 * An exchange that routes to the queues that are bound with the message's routing key.
 *
 * @category constructors
 * @since 0.1.0
 */
export const direct = (name: string, options?: Options): AmqpExchange => makeOf("direct", name, options)

/**
 * An exchange that routes to all queues that are bound to it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fanout = (name: string, options?: Options): AmqpExchange => makeOf("fanout", name, options)

/**
 * An exchange that routes by patterns of words with dots between them, where `*` is one word and `#` any number of them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const topic = (name: string, options?: Options): AmqpExchange => makeOf("topic", name, options)

/**
 * An exchange that routes by the message's headers: bindings name them in their arguments, and `x-match` says whether `all`
 * or `any` of them have to match.
 *
 * @category constructors
 * @since 0.1.0
 */
export const headers = (name: string, options?: Options): AmqpExchange => makeOf("headers", name, options)

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

const describeBinding = (binding: Binding): BindingDescription => {
  const { arguments: table = {}, routingKey = "", source } = Validation.knownKeys(binding, bindingKeys, "binding")
  Validation.nonEmptyName("source", Descriptions.exchangeName(source, "source"))
  return { exchange: source, routingKey: Validation.name("routingKey", routingKey), arguments: table }
}

const bindingKeys = ["source", "routingKey", "arguments"] as const

/**
 * The same exchange with one more exchange that routes to it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const withBinding: {
  (binding: Binding): (self: AmqpExchange) => AmqpExchange
  (self: AmqpExchange, binding: Binding): AmqpExchange
} = dual(
  2,
  (self: AmqpExchange, binding: Binding): AmqpExchange => {
    Descriptions.exchangeName(self)
    return Descriptions.describeExchange({ ...self, bindings: [...self.bindings, describeBinding(binding)] })
  }
)

// -----------------------------------------------------------------------------
// operations
// -----------------------------------------------------------------------------

/**
 * Makes an exchange, with its bindings and all that it refers to, unless it is there (`exchange.declare`). A name alone is
 * that of a durable direct exchange.
 *
 * Fails with `PreconditionFailed` when it is there and is different, with `AccessRefused` when the user may not or the name
 * is one of the broker's own (`amq.…`). For a type that the broker does not know, see {@link make}.
 *
 * @category operations
 * @since 0.1.0
 */
export const declare = (exchange: string | AmqpExchange): AmqpChannel<void, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.asVoid(Effect.flatMap(
      Validation.attempt(() => typeof exchange === "string" ? direct(exchange) : exchange),
      (exchange) => declareAll(channel, [exchange], [])
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
  onExchange(exchange, (channel, name) =>
    Effect.asVoid(
      channel.request(passiveExchangeDeclare(name, typeof exchange === "string" ? undefined : exchange.type))
    ))

/** An operation on an exchange other than the default exchange, which allows none. */
const onExchange = <A>(
  exchange: string | AmqpExchange,
  operation: (channel: Channel, name: string) => Effect.Effect<A, AmqpChannelError>
): AmqpChannel<A, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.flatMap(
      Validation.attempt(() => {
        const name = Descriptions.exchangeName(exchange, "exchange")
        if (name !== "") return name
        throw Validation.invalid("exchange: must not be empty; the default exchange can only be published to")
      }),
      (name) => operation(channel, name)
    )
  )

/**
 * Has another exchange, the source, route to this one (`exchange.bind`; RabbitMQ, "Exchange to Exchange Bindings"). Fails with
 * `NotFound` when one of the two is not there, with `NotSupported` where the broker has no such bindings.
 *
 * @category operations
 * @since 0.1.0
 */
export const bind = (exchange: string | AmqpExchange, binding: Binding): AmqpChannel<void, AmqpChannelError> =>
  onExchange(exchange, (channel, name) =>
    Effect.flatMap(
      Validation.attempt(() => describeBinding(binding)),
      (binding) => Effect.asVoid(bindExchange(channel, name, binding))
    ))

/**
 * Takes a binding back (`exchange.unbind`). Succeeds when there was none.
 *
 * @category operations
 * @since 0.1.0
 */
export const unbind = (exchange: string | AmqpExchange, binding: Binding): AmqpChannel<void, AmqpChannelError> =>
  onExchange(
    exchange,
    (channel, name) =>
      Effect.flatMap(
        Validation.attempt(() => describeBinding(binding)),
        (binding) =>
          Effect.asVoid(channel.requestWith("exchange_exchange_bindings", {
            _tag: "exchange.unbind",
            destination: name,
            source: Descriptions.exchangeName(binding.exchange),
            routingKey: binding.routingKey,
            noWait: false,
            arguments: binding.arguments
          }))
      )
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
  onExchange(exchange, (channel, name) =>
    Effect.flatMap(
      Validation.attempt(() => Validation.flag("ifUnused", Validation.knownKeys(options, ["ifUnused"]).ifUnused)),
      (ifUnused) => Effect.asVoid(channel.request({ _tag: "exchange.delete", exchange: name, ifUnused, noWait: false }))
    ))

export { remove as delete }
