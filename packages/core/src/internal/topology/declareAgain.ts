/**
 * Declares a topology on a new session of its connection.
 *
 * Each exchange and each queue is a part of its own: if one is refused, or gets no answer, the others are declared all the same. A large
 * topology uses several channels, so that it does not take a round trip after the other.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { AmqpExchange, BindingDescription } from "../../AmqpExchange.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"
import type { Channel } from "../channel/channel.ts"
import { Pauses } from "../common/pauses.ts"
import type { Preparation } from "../connection/preparations.ts"
import type { Session } from "../connection/session.ts"
import { bindExchange, bindQueue, declareExchange, declareQueue } from "./declare.ts"
import { inLane } from "./lanes.ts"

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

/** How many more channels are used at a time while the broker does not answer on those. */
const maxStuck = 8

/** What is declared on one channel, one request after the other. */
interface Part {
  readonly description: AmqpExchange | AmqpQueue
  /** Calls `answered` at each answer of the broker. */
  readonly declare: (channel: Channel, answered: () => void) => Effect.Effect<void, AmqpChannelError>
}

const exchangesOf = ({ exchanges }: Topology): ReadonlyArray<Part> =>
  exchanges.map((exchange) => ({
    description: exchange,
    declare: (channel) => Effect.asVoid(declareExchange(channel, exchange))
  }))

const exchangeBindingsOf = ({ exchanges }: Topology): ReadonlyArray<Part> =>
  exchanges.filter(({ bindings }) => bindings.length > 0).map((exchange) => ({
    description: exchange,
    declare: (channel, answered) =>
      bindEach(exchange, answered, (binding) => bindExchange(channel, exchange.name, binding))
  }))

const queuesOf = ({ queues }: Topology): ReadonlyArray<Part> =>
  queues.map((queue) => ({
    description: queue,
    declare: (channel, answered) =>
      Effect.flatMap(declareQueue(channel, queue), (declared) => {
        answered()
        return bindEach(queue, answered, (binding) => bindQueue(channel, declared.queue, binding))
      })
  }))

const bindEach = (
  { bindings }: AmqpExchange | AmqpQueue,
  answered: () => void,
  bind: (binding: BindingDescription) => Effect.Effect<unknown, AmqpChannelError>
): Effect.Effect<void, AmqpChannelError> =>
  Effect.forEach(bindings, (binding) => Effect.tap(bind(binding), () => Effect.sync(answered)), { discard: true })

/** Declares all parts once on a session. Those whose failure may pass are tried again in the background, for as long as the session lasts. */
export const declareAgain = (topology: Topology, options: DeclareAgainOptions): Preparation => ({
  exchanges: declareParts(exchangesOf(topology), options),
  exchangeBindings: declareParts(exchangeBindingsOf(topology), options),
  queues: declareParts(queuesOf(topology), options)
})

const declareParts =
  (parts: ReadonlyArray<Part>, options: DeclareAgainOptions) => (host: Session): Effect.Effect<void> => {
    const channels = Math.min(Math.ceil(parts.length / partsPerChannel), maxChannels) || 1
    const lanes = Semaphore.makeUnsafe(channels)
    return Effect.forEach(parts, (part) => inLane(lanes, (answered) => declarePart(host, part, options, answered)), {
      concurrency: channels + maxStuck,
      discard: true
    })
  }

const declarePart = (
  host: Session,
  part: Part,
  options: DeclareAgainOptions,
  answered: () => void
): Effect.Effect<void> =>
  request(host, part, answered).pipe(
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

const request = (
  { channels }: Session,
  { declare }: Part,
  answered: () => void
): Effect.Effect<void, AmqpChannelError> =>
  channels.leased((channel) => {
    // The channel is open.
    answered()
    return declare(channel, answered)
  })

const retry = (
  host: Session,
  part: Part,
  options: DeclareAgainOptions,
  first: AmqpChannelError
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { description } = part
    const pauses = new Pauses(options.schedule)
    for (let error = first;;) {
      const pause = error.isRetryable ? yield* orEnd(pauses.next(error)) : undefined
      if (pause === undefined) return yield* reportFailure(options, { description, error, willRetry: false })
      yield* Effect.sleep(pause)
      const result = yield* Effect.result(request(host, part, () => {}))
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
