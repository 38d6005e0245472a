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
import { decodeProperties } from "./properties.ts"
import type { ReceivedProperties } from "./properties.ts"
import * as Rendering from "./rendering.ts"

/** Where messages come from: one object for all those of a consumer. */
export interface Source {
  readonly queue: string
  readonly consumerTag: string | undefined
}

interface RequeueOption {
  readonly requeue?: boolean | undefined
}

const decoder = new TextDecoder()

// Consecutive messages mostly have the same properties, and then the parser hands over the same bytes.
let lastBytes: Uint8Array | undefined
let lastProperties: ReceivedProperties = {}

// `Object.defineProperty` takes twice as long, for every message.
const defineGetter: (this: object, name: string, get: () => unknown) => void = Reflect.get(
  Object.prototype,
  "__defineGetter__"
)

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

  constructor({ body, method, properties }: Content<BasicDeliver | BasicGetOk>, { consumerTag, queue }: Source) {
    this.body = body
    this.exchange = method.exchange
    this.routingKey = method.routingKey
    this.redelivered = method.redelivered
    // The channel has checked that it is a safe integer.
    this.deliveryTag = Number(method.deliveryTag)
    this.queue = queue
    this.consumerTag = consumerTag
    this.#encodedProperties = properties
    defineGetter.call(this, "text", getText)
    defineGetter.call(this, "properties", getProperties)
  }

  static decodeProperties(received: Received): ReceivedProperties {
    const bytes = received.#encodedProperties
    if (lastBytes !== bytes) {
      lastProperties = decodeProperties(bytes)
      lastBytes = bytes
    }
    return lastProperties
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
