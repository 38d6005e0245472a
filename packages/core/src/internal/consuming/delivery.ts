/**
 * Received messages, as objects for users.
 *
 * The members of the interfaces are own properties, so that a delivery can be destructured and spread like any other
 * object. Its channel is not reachable from it.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { NodeInspectSymbol } from "effect/Inspectable"
import type { RequeueOptions } from "../../AmqpDelivery.ts"
import type { ReceivedProperties } from "../../AmqpMessage.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import type { BasicDeliver, BasicGetOk } from "../../protocol/methods.generated.ts"
import type { Acknowledgements } from "../channel/acknowledgements.ts"
import { channelOf, CurrentProgram } from "../channel/program.ts"
import { hideClass } from "../common/hideClass.ts"
import * as Rendering from "../message/pretty.ts"
import { decodeProperties } from "../message/properties.ts"
import * as Validation from "../options/validation.ts"
import type { QueueKind } from "./queueKind.ts"

/** The origin of messages: one object for all messages of a consumer. */
export interface Source {
  readonly queue: string
  readonly consumerTag: string | undefined
  /**
   * The properties of the last message, and those that were decoded last. Consecutive messages mostly have the same, for which the parser
   * returns the same bytes.
   */
  lastBytes?: Uint8Array
  decodedBytes?: Uint8Array
  decoded?: ReceivedProperties
  /** Whether the broker has cancelled the consumer, and requeued its unsettled messages. */
  readonly hasEnded?: boolean
  /** Those of the channel on which the messages arrived. Absent: they are not settled through their objects. */
  readonly acknowledgements?: Acknowledgements
  /** Absent: the queue is not a stream. */
  readonly kind?: QueueKind
  readonly description?: AmqpQueue | undefined
}

/** What deliveries need from their consumer. */
export interface ConsumerSource extends Source {
  readonly consumerTag: string
  readonly hasEnded: boolean
  readonly acknowledgements: Acknowledgements
  readonly kind: QueueKind
  /** `undefined`: only the name of the queue is known. */
  readonly description: AmqpQueue | undefined
}

/** The approximate size of a message without body and properties, in bytes. */
const overhead = 256

/** The approximate size of a message in memory, in bytes. */
export const sizeOf = (bodySize: number, properties: Uint8Array): number => bodySize + properties.length + overhead

const decoder = new TextDecoder()

// `Object.defineProperty` takes twice as long, for each message.
const defineGetter: (this: object, name: string, get: () => unknown) => void = Reflect.get(
  Object.prototype,
  "__defineGetter__"
)

/** Makes properties immutable, as the next message may have the same. */
const frozen = (properties: ReceivedProperties): ReceivedProperties => {
  const { headers } = properties
  if (headers !== undefined) freeze(headers)
  return Object.freeze(properties)
}

/** Freezes a table or an array, with all nested ones. */
const freeze = (table: object): void => {
  for (const name in table) {
    const value: unknown = Reflect.get(table, name)
    // A view can't be frozen, and freezing a Date has no effect.
    if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value)) freeze(value)
  }
  Object.freeze(table)
}

const decodeFor = (source: Source, bytes: Uint8Array): ReceivedProperties => {
  if (source.decodedBytes === bytes && source.decoded !== undefined) return source.decoded
  const properties = frozen(decodeProperties(bytes))
  source.decodedBytes = bytes
  return source.decoded = properties
}

/** The properties of a message, if the message before it had the same. Otherwise they are decoded when they are read. */
const knownProperties = (source: Source, bytes: Uint8Array): ReceivedProperties | undefined => {
  if (source.lastBytes !== bytes) {
    source.lastBytes = bytes
    return undefined
  }
  try {
    return decodeFor(source, bytes)
  } catch {
    // Malformed properties fail when they are read.
    return undefined
  }
}

/** A message without methods to settle it. */
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
    const known = knownProperties(source, properties)
    // A getter takes a tenth of the CPU time of a delivery.
    if (known === undefined) defineGetter.call(this, "properties", getProperties)
    else this.properties = known
  }

  static decodeProperties(received: Received): ReceivedProperties {
    return decodeFor(received.#source, received.#encodedProperties)
  }

  /** The approximate size in memory, in bytes. */
  static sizeOf(received: Received): number {
    return sizeOf(received.body.length, received.#encodedProperties)
  }

  /** Whether the message may be rejected or requeued. `undefined`: only the broker knows, see `askMayRefuse`. */
  static mayRefuse(received: Received): boolean | undefined {
    const { kind } = received.#source
    return kind === undefined || kind.mayRefuse(received.#encodedProperties)
  }

  static askMayRefuse(received: Received): Effect.Effect<boolean> {
    return received.#source.kind?.ask ?? Effect.succeed(true)
  }

  static sourceOf(received: Received): Source {
    return received.#source
  }

  /** Whether settling the message no longer has an effect. */
  static hasEnded(received: Received): boolean {
    return received.#source.hasEnded === true
  }

  /** Whether the message can still be settled: its channel and its consumer have not ended, and it was not settled before. */
  static isOpen(received: Received): boolean {
    return Received.openOn(received)?.isOpen(received.deliveryTag) === true
  }

  static ack(received: Received): boolean {
    return Received.openOn(received)?.ack(received.deliveryTag) === true
  }

  static nack(received: Received, requeue: boolean): boolean {
    return Received.openOn(received)?.nack(received.deliveryTag, requeue) === true
  }

  static reject(received: Received, requeue: boolean): boolean {
    return Received.openOn(received)?.reject(received.deliveryTag, requeue) === true
  }

  /** Always those of the channel on which the message arrived: on a later one, another message may have the same tag. */
  private static openOn(received: Received): Acknowledgements | undefined {
    const source = received.#source
    return source.hasEnded === true ? undefined : source.acknowledgements
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

// Shared by all deliveries: with a function each, every delivery would have its own shape.
const getText = function(this: Received): string {
  return decoder.decode(this.body)
}

const getProperties = function(this: Received): ReceivedProperties {
  return Received.decodeProperties(this)
}

/** The annotations of logs about a message: where it comes from, and its id, if it can be read. */
export const annotationsOf = (
  received: Pick<Received, "queue" | "exchange" | "routingKey" | "properties">
): Record<string, unknown> => {
  const { exchange, queue, routingKey } = received
  let messageId: string | undefined
  try {
    messageId = received.properties.messageId
  } catch {
    // Malformed properties are reported when they are read.
  }
  return { queue, ...(messageId === undefined ? {} : { messageId }), exchange, routingKey }
}

/**
 * A defect if the delivery can't be settled here: the settlement would seem to be part of a program that runs on
 * another channel.
 */
const foreign = (
  fiber: Fiber.Fiber<unknown, unknown>,
  acknowledgements: Acknowledgements
): Effect.Effect<never> | undefined => {
  const program = fiber.getRef(CurrentProgram)
  if (program === undefined || !program.isRunning || channelOf(program).acknowledgements === acknowledgements) {
    return undefined
  }
  return Effect.die(
    new TypeError(
      `A delivery of another channel can't be settled within AmqpChannel.${program.runner}: it would not be part of that program. ` +
        "Settle it before or after the program, or have it handled by AmqpConsumer.serveTransaction or AmqpQueue.get, " +
        "whose handlers may be programs on the channel of the delivery."
    )
  )
}

const streamRefusal = Effect.suspend(() =>
  Effect.die(
    new TypeError(
      "A stream's message can't be rejected or requeued: it stays in the stream. Acknowledge it to continue after it."
    )
  )
)

// Shared, to avoid an object for each acknowledgement.
const yes = Effect.succeed(true)
const no = Effect.succeed(false)

/** A message that has to be settled. For a stream, an acknowledgement only lets the broker send the next one. */
export class Delivery extends Received {
  readonly ack: Effect.Effect<boolean>
  readonly nack: (options?: RequeueOptions) => Effect.Effect<boolean>
  readonly reject: (options?: RequeueOptions) => Effect.Effect<boolean>

  constructor(content: Content<BasicDeliver | BasicGetOk>, source: ConsumerSource) {
    super(content, source)
    const { acknowledgements } = source
    this.ack = Effect.withFiber((fiber) => foreign(fiber, acknowledgements) ?? (Received.ack(this) ? yes : no))
    this.nack = (options) =>
      refusing(this, acknowledgements, options, () => Received.nack(this, options?.requeue ?? true))
    this.reject = (options) =>
      refusing(this, acknowledgements, options, () => Received.reject(this, options?.requeue ?? false))
  }
}

const refusing = (
  delivery: Received,
  acknowledgements: Acknowledgements,
  options: RequeueOptions | undefined,
  refuse: () => boolean
): Effect.Effect<boolean> =>
  Effect.withFiber((fiber) => {
    const mistake = foreign(fiber, acknowledgements) ?? unknownOption(options)
    if (mistake !== undefined) return mistake
    const mayRefuse = Received.mayRefuse(delivery)
    if (mayRefuse === true) return Effect.succeed(refuse())
    return Effect.flatMap(
      mayRefuse === false ? Effect.succeed(false) : Received.askMayRefuse(delivery),
      (mayRefuse) => mayRefuse ? Effect.sync(refuse) : streamRefusal
    )
  })

/** A misspelled key would settle the message in the other way. */
const unknownOption = (options: RequeueOptions | undefined): Effect.Effect<never> | undefined => {
  if (options === undefined) return undefined
  try {
    Validation.knownKeys(options, ["requeue"])
    if (options.requeue !== undefined && typeof options.requeue !== "boolean") {
      throw Validation.invalid("requeue: must be true or false")
    }
    return undefined
  } catch (mistake) {
    return Effect.die(mistake)
  }
}

hideClass(Received)
hideClass(Delivery)
