/**
 * Declares a topology on a new session of its connection.
 *
 * Each exchange and each queue is a part of its own: if one is refused, the others are declared all the same. A large topology uses several
 * channels, so that it does not take a round trip after the other.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Schedule from "effect/Schedule"
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { AmqpExchange } from "../../AmqpExchange.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"
import type { Channel } from "../channel/channel.ts"
import { Pauses } from "../common/pauses.ts"
import type { Preparation } from "../connection/preparations.ts"
import type { Session } from "../connection/session.ts"
import { bindExchange, bindQueue, declareExchange, declareQueue } from "./declare.ts"

/** An exchange or a queue that could not be declared. */
interface Failure {
  readonly description: AmqpExchange | AmqpQueue
  readonly error: AmqpChannelError
  readonly willRetry: boolean
}

interface Topology {
  readonly exchanges: ReadonlyArray<AmqpExchange>
  readonly queues: ReadonlyArray<AmqpQueue>
}

export interface DeclareAgainOptions {
  /** The pauses between attempts to declare a part whose failure may pass. */
  readonly schedule: Schedule.Schedule<unknown, AmqpChannelError>
  readonly report: (failure: Failure) => Effect.Effect<unknown>
}

/** How many parts one channel declares before another is worth its round trips, and how many channels are used. */
const partsPerChannel = 16
const maxChannels = 8

interface Part {
  readonly description: AmqpExchange | AmqpQueue
  readonly declare: (channel: Channel) => Effect.Effect<unknown, AmqpChannelError>
}

const exchangesOf = ({ exchanges }: Topology): ReadonlyArray<Part> =>
  exchanges.map((exchange) => ({
    description: exchange,
    declare: (channel) => declareExchange(channel, exchange)
  }))

const exchangeBindingsOf = ({ exchanges }: Topology): ReadonlyArray<Part> =>
  exchanges.filter(({ bindings }) => bindings.length > 0).map((exchange) => ({
    description: exchange,
    declare: (channel) =>
      Effect.forEach(exchange.bindings, (binding) => bindExchange(channel, exchange.name, binding), { discard: true })
  }))

const queuesOf = ({ queues }: Topology): ReadonlyArray<Part> =>
  queues.map((queue) => ({
    description: queue,
    declare: (channel) =>
      Effect.flatMap(
        declareQueue(channel, queue),
        (declared) =>
          Effect.forEach(queue.bindings, (binding) => bindQueue(channel, declared.queue, binding), { discard: true })
      )
  }))

/** Declares all parts once on a session. Those whose failure may pass are tried again in the background, for as long as the session lasts. */
export const declareAgain = (topology: Topology, options: DeclareAgainOptions): Preparation => ({
  exchanges: declareParts(exchangesOf(topology), options),
  exchangeBindings: declareParts(exchangeBindingsOf(topology), options),
  queues: declareParts(queuesOf(topology), options)
})

const declareParts =
  (parts: ReadonlyArray<Part>, options: DeclareAgainOptions) => (host: Session): Effect.Effect<void> =>
    Effect.forEach(parts, (part) => declarePart(host, part, options), {
      concurrency: Math.min(Math.ceil(parts.length / partsPerChannel), maxChannels) || 1,
      discard: true
    })

const declarePart = (host: Session, part: Part, options: DeclareAgainOptions): Effect.Effect<void> =>
  host.channels.leased(part.declare).pipe(
    Effect.asVoid,
    Effect.catch((error) => {
      // The session has ended, so another one follows or the connection is closed.
      if (error.reason._tag === "ConnectionLost") return Effect.void
      return Effect.sync(() => {
        // In the background: a report that uses the connection waits for the session, which is announced after this.
        host.background(reportFailure(options, { description: part.description, error, willRetry: error.isRetryable }))
        if (error.isRetryable) host.background(retry(host, part, options, error))
      })
    })
  )

const retry = (
  { channels }: Session,
  { declare, description }: Part,
  options: DeclareAgainOptions,
  first: AmqpChannelError
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const pauses = new Pauses(options.schedule)
    for (let error = first;;) {
      const pause = error.isRetryable ? yield* orEnd(pauses.next(error)) : undefined
      if (pause === undefined) return yield* reportFailure(options, { description, error, willRetry: false })
      yield* Effect.sleep(pause)
      const result = yield* Effect.result(channels.leased(declare))
      if (Result.isSuccess(result)) return
      error = result.failure
    }
  })

/** A schedule that dies has ended. */
const orEnd = <A>(next: Effect.Effect<A | undefined>): Effect.Effect<A | undefined> =>
  Effect.catchDefect(next, (defect) =>
    Effect.as(
      Effect.ignoreCause(
        Effect.logError("The schedule of an AMQP topology failed, so it has ended", Cause.die(defect))
      ),
      undefined
    ))

/** A failing report changes nothing for the rest. */
const reportFailure = ({ report }: DeclareAgainOptions, failure: Failure): Effect.Effect<void> =>
  Effect.ignoreCause(Effect.suspend(() => report(failure)))
