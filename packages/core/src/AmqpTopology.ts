/**
 * Topologies: exchanges and queues that belong together, as data.
 *
 * A topology consists of descriptions and is independent of any broker. It can be declared any number of times, and
 * declaring never deletes anything; {@link delete} does.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as AmqpChannel from "./AmqpChannel.ts"
import { AmqpConnection } from "./AmqpConnection.ts"
import type { AmqpChannelError } from "./AmqpError.ts"
import { delete as deleteExchange, isExchange } from "./AmqpExchange.ts"
import type { AmqpExchange } from "./AmqpExchange.ts"
import { delete as deleteQueue, isQueue } from "./AmqpQueue.ts"
import type { AmqpQueue, QueueInfo } from "./AmqpQueue.ts"
import * as Program from "./internal/channel/program.ts"
import * as Brands from "./internal/common/brands.ts"
import { supervisorOf } from "./internal/connection/connectionRegistry.ts"
import * as Validation from "./internal/options/validation.ts"
import { declareAll } from "./internal/topology/declare.ts"
import { declareAgain } from "./internal/topology/declareAgain.ts"
import { declareBackoff } from "./internal/topology/declareBackoff.ts"
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
 * An exchange or a queue of a topology that could not be declared on a new connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeclareFailure {
  readonly description: AmqpExchange | AmqpQueue
  readonly error: AmqpChannelError
  /**
   * Whether it is tried again: the reason may pass, such as a node that is down, or it is bound to an exchange of the
   * topology that is itself tried again.
   */
  readonly willRetry: boolean
}

/**
 * The options of {@link layer}.
 *
 * @category models
 * @since 0.1.0
 */
export interface LayerOptions<out R = never> {
  /**
   * Called for each exchange or queue that could not be declared on a new connection, for example because it was deleted
   * and declared with other arguments meanwhile (406). The others are declared all the same. Default: it is logged, as a
   * warning if it is tried again, else as an error.
   */
  readonly onFailure?: ((failure: DeclareFailure) => Effect.Effect<unknown, never, R>) | undefined
  /**
   * The pauses between attempts to declare what failed for a reason that may pass; its input is the error. Default:
   * exponential from 250 ms to 30 seconds with full jitter, and at most 2 seconds while another connection holds the
   * queue (405), until it succeeds or the connection is lost. A binding that failed because its exchange could not be
   * declared is tried again when the exchange is declared, without a pause.
   */
  readonly schedule?: Schedule.Schedule<unknown, AmqpChannelError> | undefined
}

/**
 * Declares a topology when the layer is built, see {@link declare} for the errors, and again each time that the
 * connection is established again.
 *
 * **When to use**
 *
 * Use below layers that publish and consume, so that everything they need exists before they start.
 *
 * **Details**
 *
 * On a new connection, the topology is declared before anything else uses it. What the broker refuses then is reported,
 * see {@link LayerOptions}. Server-named queues have a new name on each connection.
 *
 * Nothing else is remembered: what a program declares in other ways, or deletes, is not declared again.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <R = never>(
  topology: AmqpTopology,
  options: LayerOptions<R> = {}
): Layer.Layer<never, AmqpChannelError, AmqpConnection | R> =>
  Layer.effectDiscard(Effect.gen(function*() {
    const { onFailure = logFailure, schedule = declareBackoff } = yield* Validation
      .attempt(() => {
        const known = Validation.knownKeys(options, ["onFailure", "schedule"], "AmqpTopology.layer options")
        Validation.callable("onFailure", known.onFailure)
        if (known.schedule !== undefined && !Schedule.isSchedule(known.schedule)) {
          throw Validation.invalid("schedule: must be a Schedule")
        }
        return known
      })
    const { exchanges, queues } = yield* checked(topology)
    const all = yield* Validation.attempt(() => Descriptions.collect(exchanges, queues))
    const context = yield* Effect.context<R>()
    const supervisor = supervisorOf(yield* AmqpConnection)
    const report = (failure: DeclareFailure) => Effect.provideContext(onFailure(failure), context)
    const closed = yield* Effect.acquireRelease(Deferred.make<void>(), (closed) => Deferred.succeed(closed, undefined))
    const preparation = declareAgain(all, { schedule, report, closed })
    yield* supervisor.preparations.register(preparation)
    yield* Effect.retry(AmqpChannel.run(declare(topology)), { while: wasLostWithConnection })
  }))

/** Whether the connection was lost after the declaration had begun, so that another connection may follow. */
const wasLostWithConnection = ({ isRetryable, reason }: AmqpChannelError): boolean =>
  reason._tag === "ConnectionLost" && reason.since === undefined && isRetryable

const logFailure = ({ description, error, willRetry }: DeclareFailure): Effect.Effect<void> => {
  const { name } = description
  const what = name === ""
    ? "A server-named queue"
    : `${isQueue(description) ? "Queue" : "Exchange"} ${JSON.stringify(name)}`
  return willRetry
    ? Effect.logWarning(
      `${what} can't be declared on the new AMQP connection yet, and is tried again. ${error.message}`
    )
    : Effect.logError(`${what} can't be declared on the new AMQP connection. ${error.message}`)
}
