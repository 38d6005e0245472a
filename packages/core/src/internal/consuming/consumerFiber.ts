/**
 * The fiber of a consumer: opens a channel with a subscription, uses it until it ends, and goes on with another one.
 *
 * - The session was lost: the consumer goes on with the next one, without a pause. The connection has pauses of its own.
 * - The session is being replaced (`AmqpConnection.reconnect`): the consumer leaves it in order, and goes on with the next one.
 * - The broker has closed the channel or cancelled the consumer, or refuses to start it again: the consumer starts again after a pause if
 *   the reason may pass, and ends otherwise.
 *
 * On each session, described queues are declared before anything publishes, and so before they are consumed. They are not declared again on
 * the same session: after a cancel, a queue may have been deleted on purpose. An auto-delete queue is declared again after its channel was
 * closed, which has deleted it.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"
import type { Channel } from "../channel/channel.ts"
import { lostChannel, notSupported } from "../channel/channelErrors.ts"
import { untilAny } from "../common/signal.ts"
import { monotonicMillis } from "../common/time.ts"
import type { Session } from "../connection/session.ts"
import * as Validation from "../options/validation.ts"
import { declareAll } from "../topology/declare.ts"
import { queueName, sourcesOf } from "../topology/descriptions.ts"
import { Consumer } from "./consumer.ts"
import type { ConsumerConnection } from "./consumer.ts"
import type { ConsumerRecovery } from "./consumerRecovery.ts"
import type { Inbox, SubscriptionError } from "./inbox.ts"
import { OversizedMessages } from "./oversizedMessages.ts"
import { check, Subscription } from "./subscription.ts"
import type { Decode, SubscriptionOptions } from "./subscription.ts"

/**
 * Starts a consumer, until the scope closes. Succeeds when the broker has accepted it, and fails if it refuses it. `stop` runs before the
 * channel is closed.
 */
export const startConsumer = (
  connection: ConsumerConnection,
  options: SubscriptionOptions,
  recovery: ConsumerRecovery,
  decode: Decode,
  inbox: Inbox,
  stop: (consumer: Consumer) => Effect.Effect<void>
): Effect.Effect<Consumer, AmqpChannelError, Scope.Scope> =>
  Effect.gen(function*() {
    yield* Validation.attempt(() => check(options))
    const consumer = new Consumer(connection, options, recovery, decode, inbox)
    const session = yield* connection.awaitToConsume
    const started = Deferred.makeUnsafe<void, AmqpChannelError>()
    // Closed after the fiber is interrupted.
    const channels = yield* Scope.fork(yield* Effect.scope)
    const loop = new ConsumerLoop(consumer, started, channels, yield* Clock.Clock)
    const fiber = yield* Effect.uninterruptible(Effect.tap(
      Effect.forkScoped(Effect.interruptible(loop.run(session)), { startImmediately: true }),
      Effect.addFinalizer(() => stop(consumer))
    ))
    yield* Effect.onError(Deferred.await(started), () => Fiber.interrupt(fiber))
    if (options.queues.some((queue) => typeof queue === "object")) {
      yield* connection.preparations.register({ consumedQueues: (session) => declareAhead(consumer, session) })
    }
    return consumer
  })

/** Declares the queues of a consumer on a new session, before anything publishes to them. If that fails, the consumer tries it again. */
const declareAhead = (consumer: Consumer, session: Session): Effect.Effect<void> =>
  Effect.suspend(() =>
    consumer.isDone
      ? Effect.void
      : Effect.match(session.channels.leased((channel) => declareQueues(channel, consumer.options.queues)), {
        onFailure: () => {},
        onSuccess: (names) => consumer.declaredOn(session, names)
      })
  )

/** What topologies were still trying to declare when an attempt began. If all of that is over, the next one need not wait any longer. */
type Pending = ReadonlyArray<Effect.Effect<void>>

/** What the fiber does next. */
type Next =
  /** It waits for the next session, or takes the current one. */
  | { readonly _tag: "Continue" }
  | { readonly _tag: "Pause"; readonly pause: Duration.Duration; readonly pending: Pending }
  /** The consumer has ended. */
  | { readonly _tag: "End" }

const proceed: Next = { _tag: "Continue" }

const end: Next = { _tag: "End" }

class ConsumerLoop {
  private readonly consumer: Consumer
  private readonly started: Deferred.Deferred<void, AmqpChannelError>
  private readonly channels: Scope.Scope
  private readonly clock: Clock.Clock
  private hasStarted = false
  /** Since the broker ended the consumer, until it consumes again. */
  private outage: { readonly since: number; attempts: number } | undefined

  constructor(
    consumer: Consumer,
    started: Deferred.Deferred<void, AmqpChannelError>,
    channels: Scope.Scope,
    clock: Clock.Clock
  ) {
    this.consumer = consumer
    this.started = started
    this.channels = channels
    this.clock = clock
  }

  run(first: Session): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      let session = first
      while (true) {
        const scope = yield* Scope.fork(this.channels)
        const next = yield* Scope.provide(this.use(session), scope)
        // The channel stays open until the scope of the consumer closes, so that what it delivered can be settled.
        if (next._tag === "End") return
        yield* Scope.close(scope, Exit.void)
        if (this.consumer.isDone) return
        if (next._tag === "Pause") {
          const declared = next.pending.length === 0
            ? Effect.never
            : Effect.all(next.pending, { concurrency: "unbounded" })
          yield* Effect.raceAllFirst([Effect.sleep(next.pause), whenOver(session), declared])
        }
        const { awaitToConsume, nextToConsume } = this.consumer.connection
        const following = yield* Effect.result(
          this.hasStarted ? Effect.mapError(nextToConsume, lostChannel) : awaitToConsume
        )
        if (Result.isFailure(following)) {
          this.consumer.end(following.failure)
          // If the consumer has not started, the program still waits for that.
          return void Deferred.doneUnsafe(this.started, Effect.fail(following.failure))
        }
        session = following.success
        if (this.consumer.isDone) return
      }
    })
  }

  /** Opens a channel and consumes on it. The channel stays open while the scope does. */
  private use(session: Session): Effect.Effect<Next, never, Scope.Scope> {
    return Effect.gen({ self: this }, function*() {
      const { consumer } = this
      // Before the requests: what is declared before a reply arrives may have been declared too late for it.
      const pending = pendingDeclarations(session, consumer.options.queues)
      const opened = yield* Effect.result(this.open(session))
      if (Result.isFailure(opened)) return yield* this.refused(session, opened.failure, pending)
      const subscription = opened.success
      // The program may have cancelled the consumer in the meantime.
      if (consumer.isDone) return proceed
      const start = monotonicMillis(this.clock)
      yield* this.begin(subscription)
      const stopped = session.consumerBegan()
      const error = yield* Effect.ensuring(untilEnded(session, subscription, stopped), Effect.sync(stopped))
      consumer.restarts.lasted(monotonicMillis(this.clock) - start)
      consumer.lost(error)
      return error === undefined ? proceed : yield* this.ended(session, subscription, error)
    })
  }

  // ---------------------------------------------------------------------------
  // starting
  // ---------------------------------------------------------------------------

  private open(session: Session): Effect.Effect<Subscription, AmqpChannelError, Scope.Scope> {
    return Effect.gen({ self: this }, function*() {
      const { consumer } = this
      const { inbox, options } = consumer
      const priorities = "consumer_priorities"
      if ("x-priority" in options.arguments && !session.supports(priorities)) {
        return yield* Effect.fail(notSupported(priorities))
      }
      // Closed last, when it is known what was not settled.
      let subscription: Subscription | undefined
      yield* Effect.addFinalizer(() => Effect.sync(() => subscription?.channelClosed()))
      const channel = yield* session.channels.scopedToConsume
      const names = consumer.namesOn(session) ?? (yield* declareQueues(channel, options.queues))
      consumer.declaredOn(session, names)
      const oversized = yield* OversizedMessages.make(session, options.onOversized, (settle) => {
        if (inbox.settleBetween === undefined) settle()
        else inbox.settleBetween(settle)
      })
      consumer.inboxLimit.attach(session.readGate)
      yield* Effect.addFinalizer(() => Effect.sync(() => consumer.inboxLimit.detach()))
      subscription = new Subscription(session, channel, consumer, names, consumer.prefetch, oversized)
      yield* subscription.start
      // It was changed in the meantime.
      if (subscription.prefetch !== consumer.prefetch) yield* subscription.setPrefetch(consumer.prefetch)
      return subscription
    })
  }

  private begin(subscription: Subscription): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { outage } = this
      this.outage = undefined
      this.hasStarted = true
      this.consumer.begin(subscription)
      Deferred.doneUnsafe(this.started, Effect.void)
      if (outage === undefined) return Effect.void
      const seconds = ((monotonicMillis(this.clock) - outage.since) / 1000).toFixed(1)
      const attempts = outage.attempts === 1 ? "1 attempt" : `${outage.attempts} attempts`
      const text = `${capitalized(this.consumer.label)} has started again, after ${seconds} s and ${attempts}`
      return Effect.ignoreCause(Effect.logInfo(text))
    })
  }

  /** The subscription could not be started. */
  private refused(session: Session, error: AmqpChannelError, pending: Pending): Effect.Effect<Next> {
    return Effect.suspend(() => {
      const { connection, restarts } = this.consumer
      if (!this.hasStarted) {
        const mayFollow = connection.failure === undefined && restarts.followsSession(error)
        if (session.failure !== undefined && mayFollow) return this.sessionLost(error)
        Deferred.doneUnsafe(this.started, Effect.fail(error))
        return Effect.succeed(end)
      }
      this.consumer.lost(error)
      if (session.failure !== undefined) return this.sessionLost(error)
      return restarts.mayRetry(error, pending.length > 0) ? this.pauseAfter(error, pending) : this.end(error)
    }).pipe(this.orEnd(error))
  }

  // ---------------------------------------------------------------------------
  // going on and ending
  // ---------------------------------------------------------------------------

  /** The subscription has ended. */
  private ended(session: Session, subscription: Subscription, error: SubscriptionError): Effect.Effect<Next> {
    return Effect.suspend(() => {
      const { consumer } = this
      if (session.failure !== undefined) return this.sessionLost(error)
      if (consumer.isDone || !consumer.restarts.mayRestart(error)) return this.end(error)
      if (error._tag === "AmqpChannelError") consumer.channelClosed()
      return Effect.tap(this.pauseAfter(error), () => subscription.endOthers)
    }).pipe(this.orEnd(error))
  }

  /** Ends the consumer if its schedule or `isRecoverable` dies: no other fiber would notice that this one has ended. */
  private orEnd(error: SubscriptionError): (next: Effect.Effect<Next>) => Effect.Effect<Next> {
    return Effect.catchDefect((defect) =>
      Effect.andThen(
        Effect.ignoreCause(
          Effect.logError(`The recovery option of ${this.consumer.label} failed, so it has ended`, Cause.die(defect))
        ),
        this.end(error)
      )
    )
  }

  private sessionLost(error: SubscriptionError): Effect.Effect<Next> {
    const { connection, isDone, restarts } = this.consumer
    if (isDone || connection.failure !== undefined || !restarts.followsSession(error)) return this.end(error)
    return Effect.succeed(proceed)
  }

  /** Logs the loss, once until the consumer has started again. */
  private pauseAfter(error: SubscriptionError, pending: Pending = []): Effect.Effect<Next> {
    return Effect.gen({ self: this }, function*() {
      const pause = yield* this.consumer.restarts.pauseAfter(error)
      if (pause === undefined) return yield* this.end(error)
      const label = capitalized(this.consumer.label)
      if (this.outage === undefined) {
        this.outage = { since: monotonicMillis(this.clock), attempts: 0 }
        yield* Effect.ignoreCause(Effect.logWarning(`${label} has ended, and is started again. ${error.message}`))
      } else {
        yield* Effect.ignoreCause(Effect.logDebug(`${label} could not be started again yet. ${error.message}`))
      }
      this.outage.attempts++
      return { _tag: "Pause" as const, pause, pending }
    })
  }

  private end(error: SubscriptionError): Effect.Effect<Next> {
    return Effect.sync(() => {
      if (!this.consumer.isDone) this.consumer.end(error)
      return end
    })
  }
}

/** Waits until a subscription has ended, or has left its session in order. Calls `stopped` when no handler is running. */
const untilEnded = (
  session: Session,
  subscription: Subscription,
  stopped: () => void
): Effect.Effect<SubscriptionError | undefined> => {
  const { leaving } = session
  const hasEnded = (): boolean => subscription.outcome !== undefined
  const leave = Effect.gen(function*() {
    yield* subscription.stopHandling
    stopped()
    yield* leaving.await("ConsumersLeave")
    yield* subscription.leave
  })
  return untilAny([subscription.ended, leaving.changed], () => hasEnded() || leaving.has("ConsumersStop")).pipe(
    // The subscription may end while it leaves.
    Effect.andThen(
      Effect.suspend(() => hasEnded() ? Effect.void : Effect.raceFirst(subscription.ended.until(hasEnded), leave))
    ),
    Effect.andThen(Effect.sync(() => subscription.outcome?.error))
  )
}

/** Waits until a session has ended, or is being replaced. */
const whenOver = (session: Session): Effect.Effect<void> =>
  untilAny(
    [session.closed, session.leaving.changed],
    () => session.hasClosed || session.leaving.has("ConsumersStop")
  )

/** Declares the described queues. Yields the names of all queues. */
const declareQueues = (
  channel: Channel,
  queues: ReadonlyArray<string | AmqpQueue>
): Effect.Effect<ReadonlyArray<string>, AmqpChannelError> =>
  Effect.forEach(queues, (queue) =>
    typeof queue === "string"
      ? Effect.succeed(queue)
      : Effect.map(declareAll(channel, [], [queue]), ([declared]) => declared.queue))

/** What topologies are still trying to declare of these queues, and of the exchanges that they are bound to. */
const pendingDeclarations = (
  { pendingExchanges, pendingQueues }: Session,
  queues: ReadonlyArray<string | AmqpQueue>
): Pending => [
  ...pendingQueues.of(queues.map((queue) => queueName(queue))),
  ...pendingExchanges.of(queues.flatMap((queue) => typeof queue === "string" ? [] : sourcesOf(queue)))
]

const capitalized = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)
