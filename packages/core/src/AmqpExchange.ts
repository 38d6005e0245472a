/**
 * Exchanges: immutable descriptions of exchanges, and operations on exchanges as steps of channel programs.
 *
 * {@link direct}, {@link fanout}, {@link topic}, {@link headers} and {@link make} make descriptions, and throw an
 * `InvalidArgument` for anything that no broker accepts. Names hold at most 255 bytes of UTF-8. When the broker refuses
 * an operation, it closes the channel: the operation fails with the broker's reason, and so do all later operations of
 * the same program.
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
 * The types of exchanges that every broker has (section 3.1.3 of AMQP 0-9-1).
 *
 * @category models
 * @since 0.1.0
 */
export type ExchangeType = "direct" | "fanout" | "topic" | "headers"

/**
 * The description of an exchange: its type (an {@link ExchangeType}, or one that a plugin of the broker adds),
 * properties, arguments, and bindings to other exchanges.
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
  /** The exchanges that this exchange needs, other than those in its bindings. */
  readonly references: ReadonlyArray<AmqpExchange>
}

/**
 * A binding in a description, with all defaults: messages come from `exchange`.
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
 * Whether a value is a description of an exchange, or a copy of one by spread.
 *
 * @category guards
 * @since 0.1.0
 */
export const isExchange: (value: unknown) => value is AmqpExchange = Brands.isExchange

/**
 * Options of all exchanges.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Whether the exchange survives a restart of the broker. Default: `true`. */
  readonly durable?: boolean | undefined
  /** Whether the exchange is deleted with its last binding. Default: `false`. */
  readonly autoDelete?: boolean | undefined
  /**
   * Whether clients can't publish to the exchange, so that messages only come from exchanges that it is bound to
   * (RabbitMQ). Default: `false`.
   */
  readonly internal?: boolean | undefined
  /** The exchange for messages that this one can't route (RabbitMQ, "Alternate Exchanges"). */
  readonly alternateExchange?: string | AmqpExchange | undefined
  /** Further arguments of the broker, by their own names. */
  readonly arguments?: FieldTable | undefined
}

/**
 * {@link Options} with the type of the exchange: `type` for one that every broker has, `pluginType` for one that a
 * plugin adds.
 *
 * @category models
 * @since 0.1.0
 */
export type MakeOptions =
  | Options & { readonly type: ExchangeType; readonly pluginType?: undefined }
  | Options & { readonly pluginType: string; readonly type?: undefined }

/**
 * Describes an exchange of any type. A type that a plugin of the broker adds, such as `x-delayed-message`, is given as
 * `pluginType`.
 *
 * **Gotchas**
 *
 * If RabbitMQ before 4.0 does not know the type, it closes the whole connection (503 `CommandInvalid`), with all its
 * channels. Therefore `type` only takes types that every broker has; use `pluginType` where the plugin is enabled.
 *
 * **Example** (An exchange type of a plugin)
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
    if (type !== undefined) throw Validation.invalid("type, pluginType: only one of them can be given")
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
 * Describes an exchange that routes to queues that are bound with the message's routing key.
 *
 * @category constructors
 * @since 0.1.0
 */
export const direct = (name: string, options?: Options): AmqpExchange => makeOf("direct", name, options)

/**
 * Describes an exchange that routes to all queues that are bound to it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fanout = (name: string, options?: Options): AmqpExchange => makeOf("fanout", name, options)

/**
 * Describes an exchange that routes by patterns of words separated by dots: `*` matches one word, `#` any number of
 * words.
 *
 * @category constructors
 * @since 0.1.0
 */
export const topic = (name: string, options?: Options): AmqpExchange => makeOf("topic", name, options)

/**
 * Describes an exchange that routes by headers: the arguments of a binding are headers to match, and its argument
 * `x-match` states whether `all` or `any` of them have to.
 *
 * @category constructors
 * @since 0.1.0
 */
export const headers = (name: string, options?: Options): AmqpExchange => makeOf("headers", name, options)

/**
 * A binding of an exchange to another exchange, its source.
 *
 * @category models
 * @since 0.1.0
 */
export interface Binding {
  /** The exchange that messages come from. A described exchange is declared with the bound one. */
  readonly source: string | AmqpExchange
  /** Its meaning depends on the type of the source. Default: `""`. */
  readonly routingKey?: string | undefined
  /** The headers that a headers exchange compares. Default: none. */
  readonly arguments?: FieldTable | undefined
}

const describeBinding = (binding: Binding): BindingDescription => {
  const { arguments: table = {}, routingKey = "", source } = Validation.knownKeys(binding, bindingKeys, "binding")
  Validation.nonEmptyName("source", Descriptions.exchangeName(source, "source"))
  return { exchange: source, routingKey: Validation.name("routingKey", routingKey), arguments: table }
}

const bindingKeys = ["source", "routingKey", "arguments"] as const

/**
 * Adds a binding to the description of an exchange.
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
 * Declares an exchange, with its bindings and everything that it refers to (`exchange.declare`). A name alone stands
 * for a durable direct exchange.
 *
 * Fails with `PreconditionFailed` if the exchange exists with another type, other properties or arguments, and with
 * `AccessRefused` if the user lacks the permission or the name is reserved for the broker (`amq.…`). For a type that
 * the broker does not know, see {@link make}.
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
 * Checks that an exchange exists, without creating it (`exchange.declare` with `passive`). Fails with `NotFound` if it
 * does not.
 *
 * @category operations
 * @since 0.1.0
 */
export const declarePassive = (exchange: string | AmqpExchange): AmqpChannel<void, AmqpChannelError> =>
  onExchange(exchange, (channel, name) =>
    Effect.asVoid(
      channel.request(passiveExchangeDeclare(name, typeof exchange === "string" ? undefined : exchange.type))
    ))

/** An operation on an exchange other than the default exchange, on which none is allowed. */
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
 * Binds an exchange to another one, its source (`exchange.bind`; RabbitMQ, "Exchange to Exchange Bindings"). Fails with
 * `NotFound` if either does not exist, and with `NotSupported` if the broker has no such bindings.
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
 * Removes a binding (`exchange.unbind`). Succeeds if it does not exist.
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
 * Deletes an exchange with its bindings (`exchange.delete`). Succeeds if the exchange does not exist. Fails with
 * `PreconditionFailed` if `ifUnused` is set and something is bound to it.
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
