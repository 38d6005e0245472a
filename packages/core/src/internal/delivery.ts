/**
 * Messages that were received, as objects for users.
 *
 * What the interface names is there as properties of the object itself, so that a delivery can be taken apart and spread as any
 * other object. The channel that it came on is held where nothing reaches it.
 */
import * as Effect from "effect/Effect"
import { NodeInspectSymbol } from "effect/Inspectable"
import type { Content } from "../protocol/ContentAssembler.ts"
import type { BasicDeliver, BasicGetOk } from "../protocol/methods.generated.ts"
import type { Acknowledgements } from "./acknowledgements.ts"
import { hideClass } from "./hideClass.ts"
import { decodeProperties } from "./properties.ts"
import type { ReceivedProperties } from "./properties.ts"
import * as Rendering from "./rendering.ts"

/** Where messages come from: one object for all those of a consumer. */
export interface Source {
  readonly queue: string
  readonly consumerTag: string | undefined
  /** The properties that were decoded last: consecutive messages mostly have the same, and the parser hands over the same bytes. */
  decodedBytes?: Uint8Array
  decoded?: ReceivedProperties
}

interface RequeueOption {
  readonly requeue?: boolean | undefined
}

const decoder = new TextDecoder()

// `Object.defineProperty` takes twice as long, for every message.
const defineGetter: (this: object, name: string, get: () => unknown) => void = Reflect.get(
  Object.prototype,
  "__defineGetter__"
)

/** Properties that nobody can change, as they may be those of the next message too. */
const frozen = (properties: ReceivedProperties): ReceivedProperties => {
  const { headers } = properties
  if (headers !== undefined) freeze(headers)
  return Object.freeze(properties)
}

/** Freezes a table or an array with those in it. */
const freeze = (table: object): void => {
  for (const name in table) {
    const value: unknown = Reflect.get(table, name)
    // A view can't be frozen, and a Date would not be.
    if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value)) freeze(value)
  }
  Object.freeze(table)
}

/** A message with nothing to settle. */
export class Received {
  readonly body: Uint8Array
  declare readonly text: string
  declare readonly properties: ReceivedProperties
  readonly exchange: string
  readonly routingKey: string
  readonly redelivered: boolean
  readonly deliveryTag: number
  readonly queue: string
  readonly consumerTag: string | undefined
  readonly #encodedProperties: Uint8Array
  readonly #source: Source

  constructor({ body, method, properties }: Content<BasicDeliver | BasicGetOk>, source: Source) {
    this.body = body
    this.exchange = method.exchange
    this.routingKey = method.routingKey
    this.redelivered = method.redelivered
    // The channel has checked that it is a safe integer.
    this.deliveryTag = Number(method.deliveryTag)
    this.queue = source.queue
    this.consumerTag = source.consumerTag
    this.#encodedProperties = properties
    this.#source = source
    defineGetter.call(this, "text", getText)
    defineGetter.call(this, "properties", getProperties)
  }

  static decodeProperties(received: Received): ReceivedProperties {
    const bytes = received.#encodedProperties
    const source = received.#source
    if (source.decodedBytes === bytes && source.decoded !== undefined) return source.decoded
    const properties = frozen(decodeProperties(bytes))
    source.decodedBytes = bytes
    return source.decoded = properties
  }

  toString(): string {
    return Rendering.pretty("AmqpDelivery", this)
  }

  toJSON(): unknown {
    return Rendering.toJson("AmqpDelivery", this)
  }

  [NodeInspectSymbol](): unknown {
    return this.toString()
  }
}

// One function for all deliveries: those with a function each would be of a shape each.
const getText = function(this: Received): string {
  return decoder.decode(this.body)
}

const getProperties = function(this: Received): ReceivedProperties {
  return Received.decodeProperties(this)
}

/** A message that the broker waits to hear about. */
export class Delivery extends Received {
  readonly ack: Effect.Effect<boolean>
  readonly nack: (options?: RequeueOption) => Effect.Effect<boolean>
  readonly reject: (options?: RequeueOption) => Effect.Effect<boolean>

  constructor(content: Content<BasicDeliver | BasicGetOk>, acknowledgements: Acknowledgements, source: Source) {
    super(content, source)
    const { deliveryTag } = this
    this.ack = Effect.sync(() => acknowledgements.ack(deliveryTag))
    this.nack = (options) => Effect.sync(() => acknowledgements.nack(deliveryTag, options?.requeue ?? true))
    this.reject = (options) => Effect.sync(() => acknowledgements.reject(deliveryTag, options?.requeue ?? false))
  }
}

hideClass(Received)
hideClass(Delivery)
