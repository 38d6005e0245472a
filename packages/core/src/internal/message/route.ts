/** Routes of messages: an exchange and a routing key, checked. */
import type { PublishOptions } from "../../AmqpChannel.ts"
import { InvalidArgument } from "../../AmqpError.ts"
import { EncodeError } from "../../protocol/ProtocolError.ts"
import { exchangeDescription, isExchange } from "../common/brands.ts"

/** Where a message is published to, and whether the broker returns it if no queue takes it. */
export interface Route {
  readonly exchange: string
  readonly routingKey: string
  readonly mandatory?: boolean | undefined
}

/** The checked route, with the exchange by name. Throws an `EncodeError` for invalid options of a publish. */
export const routeOf = (options: PublishOptions): Route => {
  // One comparison per key, as this runs for each message.
  for (const key in options) {
    if (key !== "exchange" && key !== "routingKey" && key !== "mandatory") throw unknownRouteKey(key)
  }
  const { exchange, mandatory, routingKey } = options
  if (typeof routingKey !== "string") throw new EncodeError({ message: "routingKey: must be a string" })
  if (typeof exchange !== "string" && !(isExchange(exchange) && typeof exchange.name === "string")) {
    throw new EncodeError({
      message: `exchange: must be a name or ${exchangeDescription}; "" is the default exchange`
    })
  }
  if (mandatory !== undefined && typeof mandatory !== "boolean") {
    throw new EncodeError({ message: "mandatory: must be true or false" })
  }
  // A copy of the checked values, as the caller's object may change.
  return { exchange: typeof exchange === "string" ? exchange : exchange.name, routingKey, mandatory }
}

/** Like {@link routeOf}, or `undefined`: the publish reports the error. */
export const routeIfValid = (options: PublishOptions): Route | undefined => {
  try {
    return routeOf(options)
  } catch {
    return undefined
  }
}

const unknownRouteKey = (key: string): EncodeError => {
  const { message } = InvalidArgument.unknownKey("publish options", key, ["exchange", "routingKey", "mandatory"])
  return new EncodeError({ message })
}
