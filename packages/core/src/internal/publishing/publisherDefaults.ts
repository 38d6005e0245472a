/**
 * What a publisher adds to its messages where they say nothing themselves.
 */
import { InvalidArgument } from "../../AmqpError.ts"
import type { Properties } from "../../AmqpMessage.ts"
import type { Defaults } from "../../AmqpPublisher.ts"
import { isTable } from "../../protocol/fieldTable.ts"
import { EncodeError } from "../../protocol/ProtocolError.ts"
import { Message } from "../message/message.ts"
import { encodedProperties } from "../message/properties.ts"
import * as Validation from "../options/validation.ts"

const keys = Validation.keysOf<Defaults>({
  contentType: true,
  contentEncoding: true,
  headers: true,
  deliveryMode: true,
  priority: true,
  replyTo: true,
  expiration: true,
  type: true,
  userId: true,
  appId: true,
  mandatory: true
})

interface Sent {
  readonly body: Uint8Array
  readonly properties: Properties
}

interface Target {
  readonly mandatory?: boolean | undefined
}

/** Adds the defaults. */
export interface AddDefaults {
  readonly toMessage: (message: Sent) => Sent
  readonly toOptions: <O extends Target>(options: O) => O
}

const none: AddDefaults = { toMessage: (message) => message, toOptions: (options) => options }

/** Throws an `InvalidArgument` for defaults that no message can have. */
export const addDefaults = (given: Defaults | undefined): AddDefaults => {
  if (given === undefined) return none
  const { mandatory, ...properties } = Validation.knownKeys(given, keys, "defaults")
  Validation.flag("defaults: mandatory", mandatory)
  try {
    encodedProperties(properties)
  } catch (thrown) {
    if (!(thrown instanceof EncodeError)) throw thrown
    throw new InvalidArgument({ description: `defaults: ${thrown.message}` })
  }
  // Changing the object later does not change messages.
  const defaults: Properties = {
    ...properties,
    ...(properties.headers && { headers: { ...Validation.record("headers", properties.headers) } })
  }
  // Messages made of one text or one JSON value after another share their properties.
  const merged = new WeakMap<Properties, Properties>()
  const merge = (own: Properties): Properties => {
    const known = merged.get(own)
    if (known !== undefined) return known
    const properties = Object.freeze(mergeProperties(defaults, own))
    if (Object.isFrozen(own) && own.headers === undefined) merged.set(own, properties)
    return properties
  }
  return {
    toMessage: ({ body, properties }) => new Message(body, merge(properties)),
    toOptions: mandatory === undefined
      ? none.toOptions
      : (options) => options.mandatory === undefined ? { ...options, mandatory } : options
  }
}

/** Those of the message win, also where only its raw properties say something. */
const mergeProperties = (defaults: Properties, own: Properties): Properties => {
  const { raw } = own
  const properties: { -readonly [K in keyof Properties]: Properties[K] } = { ...defaults }
  if (raw?.deliveryMode !== undefined) properties.deliveryMode = undefined
  if (raw?.expiration !== undefined) properties.expiration = undefined
  for (const [key, value] of Object.entries(own)) {
    // Keys of other names stay, so that they are refused when the message is encoded.
    if (value !== undefined) Object.assign(properties, { [key]: value })
  }
  // What is not a table stays, so that it is refused when the message is encoded.
  if (defaults.headers !== undefined && isTable(own.headers)) {
    properties.headers = { ...defaults.headers, ...Validation.record("headers", own.headers) }
  }
  return properties
}
