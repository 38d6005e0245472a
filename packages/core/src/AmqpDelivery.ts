/**
 * Messages that a consumer receives, and how they are settled.
 *
 * The broker keeps a delivered message until it is settled. A program settles an {@link AmqpDelivery} with its `ack`,
 * `nack` or `reject`; a handler settles a message with the {@link Settlement} that it returns.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type { AmqpDecodeError } from "./AmqpError.ts"
import * as AmqpMessage from "./AmqpMessage.ts"
import { annotationsOf } from "./internal/consuming/delivery.ts"
import { checked } from "./internal/consuming/handlerResult.ts"
import * as Settlements from "./internal/consuming/settlement.ts"
import * as Validation from "./internal/options/validation.ts"

/**
 * A received message without methods to settle it: either a handler settles it by the value that it returns, or the
 * broker regards it as settled once sent (RabbitMQ, "Automatic acknowledgement mode").
 *
 * @category models
 * @since 0.1.0
 */
export interface ReceivedMessage {
  /** The body: a view of the received bytes. To keep a small part of a large message, copy it. */
  readonly body: Uint8Array
  /** The body, decoded as UTF-8. Invalid UTF-8 is replaced with U+FFFD. */
  readonly text: string
  /**
   * The properties, decoded when first read. Reading them throws a `ProtocolError` if the publisher sent malformed
   * ones.
   */
  readonly properties: AmqpMessage.ReceivedProperties
  /** The exchange that the message was published to; `""` is the default exchange. */
  readonly exchange: string
  /** The routing key that the message was published with. */
  readonly routingKey: string
  /** Whether the message was delivered before, to any consumer, and returned to the queue. */
  readonly redelivered: boolean
  /** The number of the delivery on its channel, from 1. */
  readonly deliveryTag: number
  /** The name of the queue that the message was taken from. */
  readonly queue: string
  /** The tag of the consumer that received the message; `undefined` for `basic.get`. */
  readonly consumerTag: string | undefined
  /** The text that `AmqpMessage.pretty` returns; `console.log` and Effect's loggers print it too. */
  toString(): string
}

/**
 * A message of a stream. It stays in the stream whether acknowledged or not; an acknowledgement makes room for the next
 * message in the prefetch.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamDelivery extends ReceivedMessage {
  /**
   * Acknowledges the message (`basic.ack`), so that the broker may send the next one. Succeeds with `true` once, and
   * with `false` if it was called before or the message's channel is closed.
   */
  readonly ack: Effect.Effect<boolean>
}

/**
 * Options of `nack` and `reject`.
 *
 * @category models
 * @since 0.1.0
 */
export interface RequeueOptions {
  /** Whether the message returns to its queue. Otherwise it is dead-lettered. */
  readonly requeue?: boolean | undefined
}

/**
 * A message that has to be settled.
 *
 * **Details**
 *
 * `ack`, `nack` and `reject` settle the message once: the first call succeeds with `true`, later ones with `false` and
 * send nothing. All of them succeed with `false` when the channel is closed or the broker has cancelled the consumer:
 * the broker has then requeued the message. Acknowledgements that are due at the same time are sent as one.
 *
 * A message that returns to a quorum queue counts towards the queue's delivery limit. From RabbitMQ 4.3 on, `nack` with
 * `requeue` does not count, while `reject` with `requeue` does.
 *
 * **Gotchas**
 *
 * A channel program (`AmqpChannel.run`, `confirmed`, `transaction`) can't settle a delivery of another channel, as the
 * settlement would not be part of the program: it dies with a `TypeError`. Use `AmqpConsumer.serveTransaction`, or
 * settle before or after the program.
 *
 * RabbitMQ closes the connection of a client that rejects a message of a stream. `nack` and `reject` of such a message
 * die with a `TypeError` and send nothing. {@link StreamDelivery}, the type of the deliveries of an `AmqpQueue.stream`,
 * has neither.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpDelivery extends StreamDelivery {
  /** Acknowledges the message, so that the broker deletes it (`basic.ack`). */
  readonly ack: Effect.Effect<boolean>
  /**
   * Refuses the message (`basic.nack`). `requeue` (default: `true`) returns it to its queue; otherwise it is
   * dead-lettered.
   */
  readonly nack: (options?: RequeueOptions) => Effect.Effect<boolean>
  /**
   * Rejects the message (`basic.reject`). `requeue` (default: `false`) returns it to its queue; otherwise it is
   * dead-lettered.
   */
  readonly reject: (options?: RequeueOptions) => Effect.Effect<boolean>
}

/**
 * The ways to settle a delivery.
 *
 * @category models
 * @since 0.1.0
 */
export type SettlementTag = "Ack" | "Reject" | "Requeue"

/**
 * How to settle a delivery, with a value for the caller: {@link ack}, {@link reject} or {@link requeue}. Only these,
 * and what {@link as} makes of them, are settlements: at run time, a value of the same shape is refused. Only `ack` has
 * its tag in its type, so that a handler may return any of the three, and a handler of a stream only `ack`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settlement<out A = void, out Tag extends SettlementTag = SettlementTag> {
  readonly _tag: Tag
  readonly value: A
}

/**
 * Acknowledges the message, so that the broker deletes it (`basic.ack`).
 *
 * @category constructors
 * @since 0.1.0
 */
export const ack: Settlement<void, "Ack"> = Settlements.make("Ack", undefined)

/**
 * Rejects the message (`basic.reject`): the broker dead-letters it, or drops it if the queue has no dead-letter
 * exchange. Not for messages of streams.
 *
 * @category constructors
 * @since 0.1.0
 */
export const reject: Settlement = Settlements.make("Reject", undefined)

/**
 * Returns the message to its queue (`basic.reject` with `requeue`), where any consumer may get it, also the same one at
 * once. Counts towards the delivery limit of a quorum queue. Not for messages of streams.
 *
 * @category constructors
 * @since 0.1.0
 */
export const requeue: Settlement = Settlements.make("Requeue", undefined)

/**
 * Adds a value to a settlement, which `AmqpQueue.get` yields.
 *
 * @category combinators
 * @since 0.1.0
 */
export const as: {
  <A>(value: A): <Tag extends SettlementTag>(settlement: Settlement<unknown, Tag>) => Settlement<A, Tag>
  <A, Tag extends SettlementTag>(settlement: Settlement<unknown, Tag>, value: A): Settlement<A, Tag>
} = dual(
  2,
  <A, Tag extends SettlementTag>(settlement: Settlement<unknown, Tag>, value: A): Settlement<A, Tag> => {
    if (!Settlements.isSettlement(settlement)) {
      throw new TypeError("AmqpDelivery.as: the first argument is not a settlement")
    }
    return Settlements.make(settlement._tag, value)
  }
)

// -----------------------------------------------------------------------------
// decoding
// -----------------------------------------------------------------------------

/**
 * Options of {@link handleDecoded}.
 *
 * @category models
 * @since 0.1.0
 */
export interface HandleDecodedOptions extends AmqpMessage.DecodeOptions {
  /**
   * What happens to a message that can't be decoded:
   *
   * - `fail`: the handler fails with the `AmqpDecodeError`, and the failure policy of `AmqpConsumer.serve` decides. The
   *   default policy does not retry such a message: it dead-letters the message if it knows a dead-letter target, and
   *   otherwise leaves it in the queue.
   * - `reject`: a warning is logged and the message is rejected: the broker dead-letters it, or drops it if the queue
   *   has no dead-letter exchange.
   *
   * Default: `fail`.
   */
  readonly onDecodeError?: "fail" | "reject" | undefined
}

const handleDecodedKeys = ["checkContentType", "decompress", "maxDecompressedSize", "onDecodeError"] as const

/**
 * Makes a handler of deliveries, for `AmqpConsumer.serve` and `AmqpQueue.get`, from a handler of decoded values.
 * `AmqpMessage.decode` describes how a schema of the body, or an envelope, decodes a message.
 *
 * **Details**
 *
 * The handler fails with an `AmqpDecodeError` if the message can't be decoded. With `onDecodeError: "reject"` it
 * succeeds instead, with a settlement whose value is `undefined`. Throws an `InvalidArgument` for unknown or invalid
 * options.
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
 *   AmqpDelivery.handleDecoded(Order, (order) => Effect.as(Effect.log(order.id), AmqpDelivery.ack))
 * )
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const handleDecoded: {
  <S extends AmqpMessage.MessageSchema, A, Tag extends SettlementTag, E, R>(
    schema: S,
    handler: (value: S["Type"], delivery: ReceivedMessage) => Effect.Effect<Settlement<A, Tag>, E, R>,
    options?: HandleDecodedOptions & { readonly onDecodeError?: "fail" | undefined }
  ): (
    delivery: ReceivedMessage
  ) => Effect.Effect<Settlement<A, Tag>, E | AmqpDecodeError, R | S["DecodingServices"]>
  <S extends AmqpMessage.MessageSchema, A, Tag extends SettlementTag, E, R>(
    schema: S,
    handler: (value: S["Type"], delivery: ReceivedMessage) => Effect.Effect<Settlement<A, Tag>, E, R>,
    options: HandleDecodedOptions & { readonly onDecodeError: "reject" }
  ): (
    delivery: ReceivedMessage
  ) => Effect.Effect<Settlement<A | undefined>, E, R | S["DecodingServices"]>
} = <S extends AmqpMessage.MessageSchema, A, Tag extends SettlementTag, E, R>(
  schema: S,
  handler: (value: S["Type"], delivery: ReceivedMessage) => Effect.Effect<Settlement<A, Tag>, E, R>,
  options: HandleDecodedOptions = {}
) => {
  const { onDecodeError = "fail", ...decodeOptions } = Validation.knownKeys(
    options,
    handleDecodedKeys,
    "options of handleDecoded"
  )
  Validation.oneOf("onDecodeError", onDecodeError, ["fail", "reject"])
  const decode = AmqpMessage.decode(schema, decodeOptions)
  return (delivery: ReceivedMessage) =>
    Effect.matchEffect(decode(delivery), {
      onSuccess: (value) => checked(handler(value, delivery), "handler"),
      // Each signature is for one value of the option, and names only what that value leads to.
      onFailure: (error) =>
        (onDecodeError === "fail" ? Effect.fail(error) : rejectUnreadable(delivery, error)) as Effect.Effect<never>
    })
}

const rejectUnreadable = (
  delivery: ReceivedMessage,
  error: AmqpDecodeError
): Effect.Effect<Settlement> =>
  Effect.logWarning("A message could not be decoded and is rejected", error).pipe(
    Effect.annotateLogs(annotationsOf(delivery)),
    Effect.as(reject)
  )
