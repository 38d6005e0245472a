/**
 * Topologies: exchanges and queues that belong together, as data.
 *
 * A topology consists of descriptions and is independent of any broker. It can be declared any number of times, and
 * declaring never deletes anything; {@link delete} does.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as AmqpChannel from "./AmqpChannel.ts"
import type { AmqpConnection } from "./AmqpConnection.ts"
import type { AmqpChannelError } from "./AmqpError.ts"
import { delete as deleteExchange, isExchange } from "./AmqpExchange.ts"
import type { AmqpExchange } from "./AmqpExchange.ts"
import { delete as deleteQueue, isQueue } from "./AmqpQueue.ts"
import type { AmqpQueue, QueueInfo } from "./AmqpQueue.ts"
import * as Program from "./internal/channel/program.ts"
import * as Brands from "./internal/common/brands.ts"
import * as Validation from "./internal/options/validation.ts"
import { declareAll } from "./internal/topology/declare.ts"
import * as Descriptions from "./internal/topology/descriptions.ts"

const TypeId = "~@effect-amqp/core/AmqpTopology"

/**
 * Exchanges and queues, each once, with everything that they refer to.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpTopology {
  readonly [TypeId]: typeof TypeId
  readonly exchanges: ReadonlyArray<AmqpExchange>
  readonly queues: ReadonlyArray<AmqpQueue>
}

/**
 * Combines exchanges and queues, in any order. Throws an `InvalidArgument` for two descriptions with the same name that
 * differ.
 *
 * **Details**
 *
 * Described exchanges and queues that a description refers to are included: exchanges in bindings, dead-letter queues,
 * dead-letter and alternate exchanges. Those that are only named are not.
 *
 * **Example** (Orders, and a queue for failed ones)
 *
 * ```ts
 * import { AmqpExchange, AmqpQueue, AmqpTopology } from "@effect-amqp/core"
 *
 * const events = AmqpExchange.topic("events")
 * const failed = AmqpExchange.fanout("orders.failed")
 *
 * export const topology = AmqpTopology.make(
 *   AmqpQueue.quorum("orders", { deadLetterExchange: failed }).pipe(
 *     AmqpQueue.withBinding({ exchange: events, routingKey: "order.*" })
 *   ),
 *   AmqpQueue.quorum("orders.failed").pipe(AmqpQueue.withBinding({ exchange: failed }))
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (...descriptions: ReadonlyArray<AmqpExchange | AmqpQueue>): AmqpTopology => {
  if (!descriptions.every((description) => isExchange(description) || isQueue(description))) {
    throw Validation.invalid(`descriptions: each must be ${Brands.exchangeDescription}, or ${Brands.queueDescription}`)
  }
  return brand(Descriptions.collect(descriptions.filter(isExchange), descriptions.filter(isQueue)))
}

const brand = Descriptions.branded("AmqpTopology", TypeId)

/**
 * Whether a value is a topology, or a copy of one by spread.
 *
 * @category guards
 * @since 0.1.0
 */
export const isTopology = (value: unknown): value is AmqpTopology => Predicate.hasProperty(value, TypeId)

const checked = (topology: AmqpTopology): Effect.Effect<AmqpTopology, AmqpChannelError> =>
  Validation.attempt(() => {
    if (isTopology(topology)) return topology
    throw Validation.invalid("topology: must be made by AmqpTopology.make")
  })

/**
 * Declares exchanges, then their bindings, then queues with theirs, on one channel. Yields what the broker reports
 * about each queue, in the order of `queues`.
 *
 * Fails at the first declaration that the broker refuses, see `AmqpExchange.declare` and `AmqpQueue.declare`; earlier
 * declarations remain.
 *
 * @category operations
 * @since 0.1.0
 */
export const declare = (topology: AmqpTopology): AmqpChannel.AmqpChannel<ReadonlyArray<QueueInfo>, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.map(
      Effect.flatMap(checked(topology), ({ exchanges, queues }) => declareAll(channel, exchanges, queues)),
      (answers) =>
        answers.map(({ consumerCount, messageCount, queue }) => ({ name: queue, messageCount, consumerCount }))
    )
  )

/**
 * Deletes the queues of a topology with their messages, then its exchanges. Skips those that do not exist. Server-named
 * queues are left to the broker, which deletes them with their connection.
 *
 * Fails at the first deletion that the broker refuses, see `AmqpQueue.delete` and `AmqpExchange.delete`.
 *
 * @category operations
 * @since 0.1.0
 */
const remove = (topology: AmqpTopology): AmqpChannel.AmqpChannel<void, AmqpChannelError> =>
  AmqpChannel.gen(function*() {
    const { exchanges, queues } = yield* checked(topology)
    for (const { name } of queues) if (name !== "") yield* deleteQueue(name)
    for (const { name } of exchanges) yield* deleteExchange(name)
  })

export { remove as delete }

/**
 * Declares a topology when the layer is built; see {@link declare} for the errors.
 *
 * **When to use**
 *
 * Use below layers that publish and consume, so that everything they need exists before they start.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (topology: AmqpTopology): Layer.Layer<never, AmqpChannelError, AmqpConnection> =>
  Layer.effectDiscard(AmqpChannel.run(declare(topology)))
