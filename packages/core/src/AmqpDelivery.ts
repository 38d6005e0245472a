/**
 * Messages that a consumer receives, and how they are settled.
 *
 * The broker keeps a delivered message until it hears what became of it. A {@link AmqpDelivery} says so with its `ack`,
 * `nack` or `reject`; a handler says so with the {@link Settlement} that it returns.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type { AmqpDecodeError } from "./AmqpError.ts"
import * as AmqpMessage from "./AmqpMessage.ts"
import * as Settlements from "./internal/settlement.ts"

/**
 * A message that was received, and has nothing to settle: a handler settles it by what it returns, or the broker regards it as
 * settled since it left (RabbitMQ, "Automatic acknowledgement mode").
 *
 * @category models
 * @since 0.1.0
 */
export interface ReceivedMessage {
  /** The body. A view of what was received: copy it to keep a small part of a large message for long. */
  readonly body: Uint8Array
  /** The body, read as UTF-8. Bytes that are none become U+FFFD. */
  readonly text: string
  /** The properties. Decoded when first read; throws a `ProtocolError` when the publisher sent some that are malformed. */
  readonly properties: AmqpMessage.ReceivedProperties
  /** The exchange that it was published to; `""` is the default exchange. */
  readonly exchange: string
  /** The routing key that it was published with. */
  readonly routingKey: string
  /** Whether it was delivered before, to anyone, and came back to the queue. */
  readonly redelivered: boolean
  /** Counts the deliveries of the channel, from 1. */
  readonly deliveryTag: number
  /** The queue that it was taken from, also one that the broker named. */
  readonly queue: string
  /** The consumer that it was sent to, by its tag; `undefined` when it was fetched (`basic.get`). */
  readonly consumerTag: string | undefined
  /** What `AmqpMessage.pretty` answers; so do `console.log` and Effect's loggers show it. */
  toString(): string
}

/**
 * A message that the broker waits to hear about.
 *
 * **Details**
 *
 * `ack`, `nack` and `reject` settle it, once: the first answers `true`, each further one `false` and sends nothing. All
 * answer `false` when the channel it came on is gone, as the broker has then given the message back to its queue. Acks
 * that are due at the same time go out as one.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpDelivery extends ReceivedMessage {
  /** The message was handled: the broker forgets it (`basic.ack`). */
  readonly ack: Effect.Effect<boolean>
  /** It was not (`basic.nack`). `requeue`, by default `true`, puts it back into the queue; else it is dead-lettered. */
  readonly nack: (options?: { readonly requeue?: boolean | undefined }) => Effect.Effect<boolean>
  /** It is refused (`basic.reject`). `requeue`, by default `false`, puts it back into the queue; else it is dead-lettered. */
  readonly reject: (options?: { readonly requeue?: boolean | undefined }) => Effect.Effect<boolean>
}

/**
 * What is to become of a delivery, with a value for whoever asked: {@link ack}, {@link reject} or {@link requeue}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settlement<out A = void> {
  readonly _tag: "Ack" | "Reject" | "Requeue"
  readonly value: A
}

/**
 * The message was handled: the broker forgets it (`basic.ack`).
 *
 * @category constructors
 * @since 0.1.0
 */
export const ack: Settlement = Settlements.make("Ack", undefined)

/**
 * The message can't be handled: the broker dead-letters it, or drops it when the queue has no dead-letter exchange
 * (`basic.reject`).
 *
 * @category constructors
 * @since 0.1.0
 */
export const reject: Settlement = Settlements.make("Reject", undefined)

/**
 * Somebody else, or the same consumer later, shall handle the message: it goes back into the queue (`basic.reject` with
 * `requeue`).
 *
 * @category constructors
 * @since 0.1.0
 */
export const requeue: Settlement = Settlements.make("Requeue", undefined)

/**
 * The same settlement with a value, which `AmqpQueue.get` hands on.
 *
 * @category combinators
 * @since 0.1.0
 */
export const as: {
  <A>(value: A): (settlement: Settlement<unknown>) => Settlement<A>
  <A>(settlement: Settlement<unknown>, value: A): Settlement<A>
} = dual(2, <A>({ _tag }: Settlement<unknown>, value: A): Settlement<A> => Settlements.make(_tag, value))

// -----------------------------------------------------------------------------
// decoding
// -----------------------------------------------------------------------------

/**
 * How {@link decoded} decodes, and what becomes of a message that it can't.
 *
 * @category models
 * @since 0.1.0
 */
export interface DecodedOptions extends AmqpMessage.DecodeOptions {
  /**
   * - `reject`: the message is dead-lettered, or dropped when the queue has no dead-letter exchange. A warning is logged.
   * - `requeue`: it goes back into the queue the first time, for a consumer that can read it; when it was redelivered it is
   *   dead-lettered, so that a message nobody can read does not go round for ever. A warning is logged.
   * - `fail`: the handler fails with the error, and `onFailure` of `AmqpConsumer.serve` decides.
   *
   * Default: `reject`.
   */
  readonly onDecodeError?: "reject" | "requeue" | "fail" | undefined
}

/**
 * Makes a handler of deliveries, for `AmqpConsumer.serve` and `AmqpQueue.get`, from a handler of the values in them; see
 * `AmqpMessage.decode` for how they are read, by a schema of the body or an envelope.
 *
 * **Details**
 *
 * The settlement of a message that can't be read has the value `undefined`, unless the option says `fail`.
 *
 * **Example** (Handling orders)
 *
 * ```ts
 * import { AmqpConsumer, AmqpDelivery } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * const Order = Schema.Struct({ id: Schema.Int, placedAt: Schema.Date })
 *
 * const worker = AmqpConsumer.serve(
 *   "orders",
 *   AmqpDelivery.decoded(Order, (order) => Effect.as(Effect.log(order.id), AmqpDelivery.ack))
 * )
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const decoded: {
  <S extends AmqpMessage.Content, A, E, R>(
    schema: S,
    handler: (value: S["Type"], delivery: ReceivedMessage) => Effect.Effect<Settlement<A>, E, R>,
    options: DecodedOptions & { readonly onDecodeError: "fail" }
  ): (
    delivery: ReceivedMessage
  ) => Effect.Effect<Settlement<A>, E | AmqpDecodeError, R | S["DecodingServices"]>
  <S extends AmqpMessage.Content, A, E, R>(
    schema: S,
    handler: (value: S["Type"], delivery: ReceivedMessage) => Effect.Effect<Settlement<A>, E, R>,
    options?: DecodedOptions & { readonly onDecodeError?: "reject" | "requeue" | undefined }
  ): (delivery: ReceivedMessage) => Effect.Effect<Settlement<A | undefined>, E, R | S["DecodingServices"]>
} = <S extends AmqpMessage.Content, A, E, R>(
  schema: S,
  handler: (value: S["Type"], delivery: ReceivedMessage) => Effect.Effect<Settlement<A>, E, R>,
  options?: DecodedOptions
) => {
  const onDecodeError = options?.onDecodeError ?? "reject"
  const decode = AmqpMessage.decode(schema, options)
  const refuse = (delivery: ReceivedMessage, error: AmqpDecodeError) =>
    onDecodeError === "fail" ? Effect.fail(error) : settleUnreadable(delivery, onDecodeError, error)
  return (delivery: ReceivedMessage) =>
    Effect.matchEffect(decode(delivery), {
      onSuccess: (value) => handler(value, delivery),
      // The signatures name what this can do with the option that they are for, which is less than what it can do.
      onFailure: (error) => refuse(delivery, error) as Effect.Effect<never>
    })
}

const settleUnreadable = (
  { redelivered }: ReceivedMessage,
  onDecodeError: "reject" | "requeue",
  error: AmqpDecodeError
): Effect.Effect<Settlement<undefined>> => {
  const isRequeued = onDecodeError === "requeue" && !redelivered
  return Effect.as(
    Effect.logWarning(`A message could not be decoded and is ${isRequeued ? "requeued" : "dead-lettered"}`, error),
    as(isRequeued ? requeue : reject, undefined)
  )
}
