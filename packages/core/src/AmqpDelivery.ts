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
import { annotationsOf } from "./internal/consuming/delivery.ts"
import { checked } from "./internal/consuming/handlerResult.ts"
import * as Settlements from "./internal/consuming/settlement.ts"
import * as Validation from "./internal/options/validation.ts"

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
 * A message of a stream. It stays in the stream whatever is said of it; to acknowledge it makes room for the next one in the prefetch.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamDelivery extends ReceivedMessage {
  /**
   * The broker may send the next one (`basic.ack`). Answers `true` once, and `false` when it was called before or the channel that the
   * message came on is gone.
   */
  readonly ack: Effect.Effect<boolean>
}

/**
 * How a delivery is refused.
 *
 * @category models
 * @since 0.1.0
 */
export interface RequeueOptions {
  /** Whether the message goes back into the queue; else it is dead-lettered. */
  readonly requeue?: boolean | undefined
}

/**
 * A message that the broker waits to hear about.
 *
 * **Details**
 *
 * `ack`, `nack` and `reject` settle it, once: the first answers `true`, each further one `false` and sends nothing. All
 * answer `false` when the channel it came on is gone or the broker ended the consumer, as the broker has then given the message back to
 * its queue. Acks that are due at the same time go out as one.
 *
 * A message that comes back to a quorum queue counts towards its delivery limit, whichever way it comes back. From RabbitMQ 4.3 on `nack`
 * with `requeue` does not count, and `reject` with `requeue` does.
 *
 * **Gotchas**
 *
 * Within a channel program (`AmqpChannel.run`, `confirmed`, `transaction`) a delivery of another channel can't be settled: it would not be
 * part of the program, and that is a defect. Use `AmqpConsumer.serveTransaction`, or settle before or after the program.
 *
 * RabbitMQ ends the connection of a client that refuses a stream's message. `nack` and `reject` of one die with a `TypeError`, and send
 * nothing. The type of what a consumer of an `AmqpQueue.stream` gets, {@link StreamDelivery}, has neither.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpDelivery extends StreamDelivery {
  /** The message was handled: the broker forgets it (`basic.ack`). */
  readonly ack: Effect.Effect<boolean>
  /** It was not (`basic.nack`). `requeue`, by default `true`, puts it back into the queue; else it is dead-lettered. */
  readonly nack: (options?: RequeueOptions) => Effect.Effect<boolean>
  /** It is refused (`basic.reject`). `requeue`, by default `false`, puts it back into the queue; else it is dead-lettered. */
  readonly reject: (options?: RequeueOptions) => Effect.Effect<boolean>
}

/**
 * The ways in which a delivery can be settled.
 *
 * @category models
 * @since 0.1.0
 */
export type SettlementTag = "Ack" | "Reject" | "Requeue"

/**
 * What is to become of a delivery, with a value for the caller: {@link ack}, {@link reject} or {@link requeue}. Only these, and what
 * {@link as} makes of them, are settlements: at run time a value of the same shape is not. The type of `ack` says what it is, and that
 * of the others only that they are settlements: so a handler may return one or the other, and one for a stream only `ack`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settlement<out A = void, out Tag extends SettlementTag = SettlementTag> {
  readonly _tag: Tag
  readonly value: A
}

/**
 * The message was handled: the broker forgets it (`basic.ack`).
 *
 * @category constructors
 * @since 0.1.0
 */
export const ack: Settlement<void, "Ack"> = Settlements.make("Ack", undefined)

/**
 * The message can't be handled: the broker dead-letters it, or drops it when the queue has no dead-letter exchange
 * (`basic.reject`). Not for messages of streams.
 *
 * @category constructors
 * @since 0.1.0
 */
export const reject: Settlement = Settlements.make("Reject", undefined)

/**
 * Another consumer, or the same one at once, shall handle the message: it goes back into the queue (`basic.reject` with
 * `requeue`). Quorum queues count that towards their delivery limit. Not for messages of streams.
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
 * How {@link handleDecoded} decodes, and what becomes of a message that it can't.
 *
 * @category models
 * @since 0.1.0
 */
export interface HandleDecodedOptions extends AmqpMessage.DecodeOptions {
  /**
   * - `fail`: the handler fails with the `AmqpDecodeError`, and the failure policy of `AmqpConsumer.serve` decides. By default that
   *   gives such a message up at once: it goes to the dead-letter target of its queue where one is known, and else stays in the queue.
   * - `reject`: a warning is logged and the message is rejected: the broker dead-letters it, or drops it when the queue has no
   *   dead-letter exchange.
   *
   * Default: `fail`.
   */
  readonly onDecodeError?: "fail" | "reject" | undefined
}

const handleDecodedKeys = ["checkContentType", "decompress", "maxDecompressedSize", "onDecodeError"] as const

/**
 * Makes a handler of deliveries, for `AmqpConsumer.serve` and `AmqpQueue.get`, from a handler of the values in them; see
 * `AmqpMessage.decode` for how they are read, by a schema of the body or an envelope.
 *
 * **Details**
 *
 * A handler of a message that can't be read fails with an `AmqpDecodeError`. With the option `reject` it succeeds instead, with a
 * settlement whose value is `undefined`. Throws an `InvalidArgument` for options that are not known.
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
      // The signatures name what this can do with the option that they are for, which is less than what it can do.
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
