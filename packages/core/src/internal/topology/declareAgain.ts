/**
 * Declares a topology on a new session of its connection.
 *
 * Each exchange and each queue is a part of its own: if one is refused, or gets no answer, the others are declared all the same. A large
 * topology uses several channels, so that it does not take a round trip after the other.
 *
 * A binding to an exchange that is not declared yet, by this or another topology, is refused as well (404). It is tried again when the exchange is
 * declared.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { AmqpExchange, BindingDescription } from "../../AmqpExchange.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"
import type { Channel } from "../channel/channel.ts"
import { inLane } from "../common/lanes.ts"
import { Pauses } from "../common/pauses.ts"
import type { Preparation } from "../connection/preparations.ts"
import type { Session } from "../connection/session.ts"
import { bindExchange, bindQueue, declareExchange, declareQueue } from "./declare.ts"
import { sourcesOf } from "./descriptions.ts"

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
  /** Done when the topology is no longer wanted. */
  readonly closed: Deferred.Deferred<void>
}

/** How many parts one channel declares before another is worth its round trips, and how many channels are used. */
const partsPerChannel = 16
const maxChannels = 8

/** How many more channels are used at a time while the broker does not answer on those. */
const maxStuck = 8

/** What is declared on one channel, one request after the other. */
interface Part {
  readonly description: AmqpExchange | AmqpQueue
  /** Whether the part declares what is described. Otherwise it only binds it. */
  readonly isDeclaration: boolean
  /** The names of the exchanges that the part binds. */
  readonly binds: ReadonlyArray<string>
  /** Calls `answered` at each answer of the broker. */
  readonly declare: (channel: Channel, answered: () => void) => Effect.Effect<void, AmqpChannelError>
}

const exchangesOf = ({ exchanges }: Topology): ReadonlyArray<Part> =>
  exchanges.map((exchange) => ({
    description: exchange,
    isDeclaration: true,
    binds: [],
    declare: (channel) => Effect.asVoid(declareExchange(channel, exchange))
  }))

const exchangeBindingsOf = ({ exchanges }: Topology): ReadonlyArray<Part> =>
  exchanges.filter(({ bindings }) => bindings.length > 0).map((exchange) => ({
    description: exchange,
    isDeclaration: false,
    binds: [exchange.name, ...sourcesOf(exchange)],
    declare: (channel, answered) =>
      bindEach(exchange, answered, (binding) => bindExchange(channel, exchange.name, binding))
  }))

const queuesOf = ({ queues }: Topology): ReadonlyArray<Part> =>
  queues.map((queue) => {
    // Another attempt must not declare a second queue with another name.
    let serverNamed: string | undefined
    return {
      description: queue,
      isDeclaration: true,
      binds: sourcesOf(queue),
      declare: (channel, answered) =>
        Effect.gen(function*() {
          const name = serverNamed ?? (yield* declareQueue(channel, queue)).queue
          if (queue.name === "") serverNamed = name
          answered()
          yield* bindEach(queue, answered, (binding) => bindQueue(channel, name, binding))
        })
    }
  })

const bindEach = (
  { bindings }: AmqpExchange | AmqpQueue,
  answered: () => void,
  bind: (binding: BindingDescription) => Effect.Effect<unknown, AmqpChannelError>
): Effect.Effect<void, AmqpChannelError> =>
  Effect.forEach(bindings, (binding) => Effect.tap(bind(binding), () => Effect.sync(answered)), { discard: true })

/** Declares all parts once on a session. Those whose failure may pass are tried again in the background, for as long as the session lasts. */
export const declareAgain = (topology: Topology, options: DeclareAgainOptions): Preparation => {
  const started = new WeakMap<Session, SessionTopology>()
  const on = (session: Session): SessionTopology => {
    const found = started.get(session) ?? new SessionTopology(session, options)
    started.set(session, found)
    return found
  }
  return {
    exchanges: (session) =>
      Effect.suspend(() => {
        on(session).begin(topology)
        return on(session).declareAll(exchangesOf(topology))
      }),
    exchangeBindings: (session) => on(session).declareAll(exchangeBindingsOf(topology)),
    queues: (session) => on(session).declareAll(queuesOf(topology))
  }
}

/** An attempt to declare a part that failed. */
interface Failed {
  readonly error: AmqpChannelError
  /** An exchange that the part binds did not exist, and some were being tried again. Each of these ends when that is declared or given up. */
  readonly missing: ReadonlyArray<Effect.Effect<void>>
}

/** A topology on one session. */
class SessionTopology {
  private readonly session: Session
  private readonly options: DeclareAgainOptions
  /** What to call when one is declared or given up. */
  private readonly pending = new Map<AmqpExchange | AmqpQueue, () => void>()
  /** For the parts that follow an exchange, which may be the whole rest of the topology. */
  private readonly followers = Semaphore.makeUnsafe(maxChannels)

  constructor(session: Session, options: DeclareAgainOptions) {
    this.session = session
    this.options = options
  }

  /**
   * The first phase. All are pending from now on, as what needs one may be refused before that has had its turn. A layer that is built in a later
   * phase has none: it declares everything itself.
   */
  begin({ exchanges, queues }: Topology): void {
    const { pendingExchanges, pendingQueues } = this.session
    for (const exchange of exchanges) this.pending.set(exchange, pendingExchanges.add(exchange.name))
    for (const queue of queues) if (queue.name !== "") this.pending.set(queue, pendingQueues.add(queue.name))
    // The phases go on without a topology that is closed.
    const endAll = Effect.sync(() => this.pending.forEach((over) => over()))
    this.session.background(Effect.andThen(Deferred.await(this.options.closed), endAll))
  }

  declareAll(parts: ReadonlyArray<Part>): Effect.Effect<void> {
    const channels = Math.min(Math.ceil(parts.length / partsPerChannel), maxChannels) || 1
    const lanes = Semaphore.makeUnsafe(channels)
    return Effect.forEach(parts, (part) => inLane(lanes, (answered) => this.declare(part, answered)), {
      concurrency: channels + maxStuck,
      discard: true
    })
  }

  private declare(part: Part, answered: () => void): Effect.Effect<void> {
    const isClosed = () => Deferred.isDoneUnsafe(this.options.closed)
    return Effect.suspend(() => isClosed() ? Effect.void : this.declareOnce(part, answered))
  }

  private declareOnce(part: Part, answered: () => void): Effect.Effect<void> {
    return Effect.map(Effect.onError(this.attempt(part, answered), () => this.end(part)), (failed) => {
      if (failed === undefined) return this.over(part)
      const { error, missing } = failed
      const willRetry = error.isRetryable || missing.length > 0
      // In the background: a report that uses the connection waits for the session, which is announced after this.
      this.session.background(this.report({ description: part.description, error, willRetry }))
      if (willRetry) this.session.background(this.retry(part, failed))
      else this.over(part)
    })
  }

  /** Returns why it failed. */
  private attempt(part: Part, answered: () => void): Effect.Effect<Failed | undefined> {
    return Effect.suspend(() => {
      // Before the request: an exchange that is declared before its reply arrives may have been declared too late for it.
      const pending = this.session.pendingExchanges.of(part.binds)
      return Effect.match(this.request(part, answered), {
        onSuccess: () => undefined,
        onFailure: (error) => {
          const { reason: { _tag } } = error
          // The session has ended, so another one follows or the connection is closed.
          if (_tag === "ConnectionLost") return undefined
          return { error, missing: _tag === "NotFound" ? pending : [] }
        }
      })
    })
  }

  private request({ declare }: Part, answered: () => void): Effect.Effect<void, AmqpChannelError> {
    return this.session.channels.leased((channel) => {
      // The channel is open.
      answered()
      return declare(channel, answered)
    })
  }

  private retry(part: Part, first: Failed): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      // Before the report, which may take its time.
      const error = yield* Effect.ensuring(this.retryUntilEnd(part, first), this.end(part))
      if (error !== undefined) yield* this.report({ description: part.description, error, willRetry: false })
    }).pipe(Effect.raceFirst(Deferred.await(this.options.closed)))
  }

  /** Returns the last error if the part could not be declared. */
  private retryUntilEnd(part: Part, first: Failed): Effect.Effect<AmqpChannelError | undefined> {
    return Effect.gen({ self: this }, function*() {
      const pauses = new Pauses(this.options.schedule)
      let failed: Failed | undefined = first
      while (failed !== undefined) {
        const { error, missing }: Failed = failed
        if (error.isRetryable) {
          const pause = yield* orEnd(pauses.next(error))
          if (pause === undefined) return error
          yield* Effect.sleep(pause)
          failed = yield* this.attempt(part, () => {})
        } else if (missing.length > 0) {
          // The first of several: what binds that one need not wait for the others.
          yield* Effect.raceAllFirst(missing)
          // That may have been the end of the exchange.
          if (Deferred.isDoneUnsafe(this.options.closed)) return undefined
          failed = yield* inLane(this.followers, (answered) => this.attempt(part, answered))
        } else {
          return error
        }
      }
      return undefined
    })
  }

  /** The part is declared or given up. */
  private over({ description, isDeclaration }: Part): void {
    if (isDeclaration) this.pending.get(description)?.()
  }

  private end(part: Part): Effect.Effect<void> {
    return Effect.sync(() => this.over(part))
  }

  /** A failing report changes nothing for the rest. */
  private report(failure: Failure): Effect.Effect<void> {
    return Effect.ignoreCause(Effect.suspend(() => this.options.report(failure)))
  }
}

/** A schedule that dies has ended. */
const orEnd = <A>(next: Effect.Effect<A | undefined>): Effect.Effect<A | undefined> =>
  Effect.catchDefect(next, (defect) =>
    Effect.as(
      Effect.ignoreCause(
        Effect.logError("The schedule of an AMQP topology failed, so it has ended", Cause.die(defect))
      ),
      undefined
    ))
