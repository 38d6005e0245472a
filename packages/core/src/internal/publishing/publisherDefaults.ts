/**
 * The properties and options that a publisher adds to messages and publishes that don't set them.
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

/** Completes messages and the options of their publish. */
export interface Preparation {
  readonly toMessage: (message: Sent) => Sent
  readonly toOptions: <O extends Target>(options: O) => O
}

/** Changes nothing. */
export const unprepared: Preparation = { toMessage: (message) => message, toOptions: (options) => options }

/** Adds the defaults. Throws an `InvalidArgument` for defaults that no message can have. */
export const addDefaults = (given: Defaults | undefined): Preparation => {
  if (given === undefined) return unprepared
  const { mandatory, ...properties } = Validation.knownKeys(given, keys, "defaults")
  Validation.flag("defaults: mandatory", mandatory)
  try {
    encodedProperties(properties)
  } catch (thrown) {
    if (!(thrown instanceof EncodeError)) throw thrown
    throw new InvalidArgument({ description: `defaults: ${thrown.message}` })
  }
  // A copy, so that later changes of the given object have no effect.
  const defaults: Properties = {
    ...properties,
    ...(properties.headers && { headers: { ...Validation.record("headers", properties.headers) } })
  }
  // Messages made by `text` or `json` without options share their properties.
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
      ? unprepared.toOptions
      : (options) => options.mandatory === undefined ? { ...options, mandatory } : options
  }
}

/** Those of the message take precedence, also if only its raw properties set them. */
const mergeProperties = (defaults: Properties, own: Properties): Properties => {
  const { raw } = own
  const properties: { -readonly [K in keyof Properties]: Properties[K] } = { ...defaults }
  if (raw?.deliveryMode !== undefined) properties.deliveryMode = undefined
  if (raw?.expiration !== undefined) properties.expiration = undefined
  for (const [key, value] of Object.entries(own)) {
    // Unknown keys are kept, so that encoding the message fails.
    if (value !== undefined) Object.assign(properties, { [key]: value })
  }
  // Headers that are not a table are kept, so that encoding the message fails.
  if (defaults.headers !== undefined && isTable(own.headers)) {
    properties.headers = { ...defaults.headers, ...Validation.record("headers", own.headers) }
  }
  return properties
}
