/**
 * Operations on queues, as steps of channel programs.
 *
 * Names hold at most 255 bytes of UTF-8; longer ones, and arguments that AMQP can't express, fail with the reason
 * `InvalidArgument` before anything is sent. What the broker refuses closes the channel: the operation fails with its
 * reason, and so does everything after it in the same program.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { AmqpChannel, Step } from "./AmqpChannel.ts"
import * as AmqpDelivery from "./AmqpDelivery.ts"
import type { AmqpChannelError } from "./AmqpError.ts"
import * as Program from "./internal/program.ts"
import type { FieldTable } from "./protocol/fieldTable.ts"

/**
 * What a queue is like.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeclareOptions {
  /** Whether it survives a restart of the broker. Default: `true`, and `false` when `exclusive`. */
  readonly durable?: boolean | undefined
  /** Whether it is for this connection alone and goes with it. Default: `false`. */
  readonly exclusive?: boolean | undefined
  /** Whether it goes with its last consumer. Default: `false`. */
  readonly autoDelete?: boolean | undefined
  /** The broker's extensions, such as `x-message-ttl` (RabbitMQ, "Optional Queue Arguments"). */
  readonly arguments?: FieldTable | undefined
}

/**
 * What the broker says of a queue.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueueInfo {
  /** The name, which the broker made if the one asked for was empty. */
  readonly name: string
  /** Messages that are ready to be delivered. */
  readonly messageCount: number
  readonly consumerCount: number
}

const declareQueue = (
  queue: string,
  passive: boolean,
  { arguments: table = {}, autoDelete = false, durable, exclusive = false }: DeclareOptions
): AmqpChannel<QueueInfo, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.map(
      channel.request({
        _tag: "queue.declare",
        queue,
        passive,
        durable: durable ?? !exclusive,
        exclusive,
        autoDelete,
        noWait: false,
        arguments: table
      }),
      ({ consumerCount, messageCount, queue }) => ({ name: queue, messageCount, consumerCount })
    )
  )

/**
 * Makes a queue unless it is there (`queue.declare`). With an empty name the broker makes one up.
 *
 * Fails with `PreconditionFailed` when it is there and is different, with `ResourceLocked` when it is another connection's
 * exclusive queue, with `AccessRefused` when the user may not.
 *
 * @category operations
 * @since 0.1.0
 */
export const declare = (queue: string, options: DeclareOptions = {}): AmqpChannel<QueueInfo, AmqpChannelError> =>
  declareQueue(queue, false, options)

/**
 * Asks about a queue without making one (`queue.declare` with `passive`). Fails with `NotFound` when it is not there.
 *
 * @category operations
 * @since 0.1.0
 */
export const declarePassive = (queue: string): AmqpChannel<QueueInfo, AmqpChannelError> => declareQueue(queue, true, {})

/**
 * A rule by which an exchange routes to a queue.
 *
 * @category models
 * @since 0.1.0
 */
export interface Binding {
  readonly exchange: string
  /** What it means is up to the type of the exchange. Default: `""`. */
  readonly routingKey?: string | undefined
  /** What a headers exchange compares with. Default: none. */
  readonly arguments?: FieldTable | undefined
}

/**
 * Has an exchange route to the queue (`queue.bind`). Fails with `NotFound` when one of the two is not there.
 *
 * @category operations
 * @since 0.1.0
 */
export const bind = (queue: string, binding: Binding): AmqpChannel<void, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.asVoid(channel.request({
      _tag: "queue.bind",
      queue,
      exchange: binding.exchange,
      routingKey: binding.routingKey ?? "",
      noWait: false,
      arguments: binding.arguments ?? {}
    }))
  )

/**
 * Takes a binding back (`queue.unbind`). Succeeds when there was none.
 *
 * @category operations
 * @since 0.1.0
 */
export const unbind = (queue: string, binding: Binding): AmqpChannel<void, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.asVoid(channel.request({
      _tag: "queue.unbind",
      queue,
      exchange: binding.exchange,
      routingKey: binding.routingKey ?? "",
      arguments: binding.arguments ?? {}
    }))
  )

/**
 * Deletes the messages that are ready, not those a consumer has yet to settle (`queue.purge`), and yields how many.
 *
 * @category operations
 * @since 0.1.0
 */
export const purge = (queue: string): AmqpChannel<number, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.map(channel.request({ _tag: "queue.purge", queue, noWait: false }), ({ messageCount }) => messageCount)
  )

/**
 * Deletes a queue with its messages (`queue.delete`), and yields how many there were. Succeeds when there is no such queue.
 * Fails with `PreconditionFailed` when it has consumers or messages and an option says that it must not.
 *
 * @category operations
 * @since 0.1.0
 */
const remove = (
  queue: string,
  options: { readonly ifUnused?: boolean | undefined; readonly ifEmpty?: boolean | undefined } = {}
): AmqpChannel<number, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.map(
      channel.request({
        _tag: "queue.delete",
        queue,
        ifUnused: options.ifUnused ?? false,
        ifEmpty: options.ifEmpty ?? false,
        noWait: false
      }),
      ({ messageCount }) => messageCount
    )
  )

export { remove as delete }

/**
 * Fetches a message, if there is one (`basic.get`), and settles it as the handler decides. Yields the settlement's value, or
 * `None` when the queue is empty. A handler that fails gives the message back to the queue.
 *
 * For a steady flow of messages an `AmqpConsumer` is much faster: this is a round trip for each.
 *
 * **Example** (Handling at most one order)
 *
 * ```ts
 * import { AmqpChannel, AmqpDelivery, AmqpQueue } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * const program = AmqpQueue.get("orders", (delivery) =>
 *   Effect.as(Effect.log(delivery.text), AmqpDelivery.ack))
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const get = <A, E, R>(
  queue: string,
  handler: (delivery: AmqpDelivery.AmqpDelivery) => Step<AmqpDelivery.Settlement<A>, E, R>
): AmqpChannel<Option.Option<A>, E | AmqpChannelError, R> =>
  Program.make((channel) =>
    // From the arrival of the message to its settlement nothing may get lost by an interruption.
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(restore(channel.get(queue, false)), (answer) => {
        if ("_tag" in answer) return Effect.succeedNone
        const delivery = AmqpDelivery.make(answer, channel)
        const handled = Effect.suspend(() => Program.runOn(handler(delivery), channel))
        return restore(handled).pipe(
          Effect.onExit((exit) =>
            AmqpDelivery.settle(delivery, Exit.isSuccess(exit) ? exit.value : AmqpDelivery.requeue)
          ),
          Effect.map(({ value }) => Option.some(value))
        )
      })
    )
  )

/**
 * Fetches a message, if there is one, which the broker forgets as it sends it (`basic.get` with `no-ack`): it is lost when
 * the program ends before it is handled.
 *
 * @category operations
 * @since 0.1.0
 */
export const getAutoAck = (
  queue: string
): AmqpChannel<Option.Option<AmqpDelivery.AutoAckDelivery>, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.map(
      channel.get(queue, true),
      (answer) => "_tag" in answer ? Option.none() : Option.some(AmqpDelivery.make(answer, channel))
    )
  )
