/**
 * A connection: one session after the other, each on a socket of its own.
 *
 * The supervisor fiber dials, waits until the session has ended, and dials again, in rounds over the endpoints. A session is announced to
 * programs, publishers and consumers when the registered topologies are declared on it. It is released before the next is dialed, so there
 * are never two.
 *
 * States: `Connecting` → `Open` → `Recovering` → `Open` …, and `Connecting` after an ordered replacement; `Closed` from each of them. The
 * state changes in the synchronous step in which a session ends, so an operation that begins after that waits for the next session.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type { Endpoint } from "../../AmqpConnection.ts"
import {
  AmqpChannelError,
  ConfirmsOverdue,
  ConnectionClosed,
  ConnectionLost,
  ConnectionReplaced
} from "../../AmqpError.ts"
import type { AmqpConnectionError } from "../../AmqpError.ts"
import type { Credentials } from "../../AmqpSasl.ts"
import { lostChannel } from "../channel/channelErrors.ts"
import { Pauses } from "../common/pauses.ts"
import { Signal } from "../common/signal.ts"
import { monotonicMillis } from "../common/time.ts"
import type { ConnectionOptions, SessionOptions } from "../options/sessionOptions.ts"
import { clientFailed, connectionError } from "./connectionErrors.ts"
import { Endpoints } from "./endpoints.ts"
import type { Round } from "./endpoints.ts"
import { ancestry } from "./fiberAncestry.ts"
import { LoginCredentials } from "./loginCredentials.ts"
import { OverdueConfirms } from "./overdueConfirms.ts"
import { Preparations } from "./preparations.ts"
import { RecoveryReport } from "./recoveryReport.ts"
import { Refusals } from "./refusals.ts"
import * as Session from "./session.ts"
import { notDialed } from "./supervisorState.ts"
import type { Dialing, SupervisorState } from "./supervisorState.ts"

/** RabbitMQ accepts this user only from the same machine. */
const guest: Credentials = { username: "guest", password: Redacted.make("guest") }

/** How many fibers that wait for a session are resumed in one turn of the event loop. */
const resumedPerTurn = 32

type IsRight = (session: Session.Session) => boolean

/** The shortest pause after a round, as a schedule may have none. What is refused is tried only a few times, and a broker takes a while to start. */
const shortestPause = ({ isRetryable }: AmqpConnectionError): Duration.Duration =>
  isRetryable ? Duration.millis(50) : Duration.seconds(1)

const isAny: IsRight = () => true

/** Not a session that is about to be replaced. */
const isToConsume: IsRight = ({ leaving }) => !leaving.has("ConsumersStop")

export class Supervisor {
  readonly options: ConnectionOptions
  /** The fiber that made the connection, and its ancestors: a consumer can end the program that they belong to. */
  readonly makers: ReturnType<typeof ancestry>
  /** The session for programs, publishers and consumers, if there is one. */
  session: Session.Session | undefined
  /** Fails when the connection has closed for good. */
  readonly closed = Deferred.makeUnsafe<never, AmqpConnectionError>()
  readonly credentials: LoginCredentials
  readonly preparations = new Preparations()
  /** Called when the state changes, also when the broker blocks the connection. */
  readonly stateListeners = new Set<() => void>()

  private readonly scope: Scope.Scope
  /** Whether the next attempt to connect begins without a pause, and notified when that is so. */
  private isHurried = false
  private readonly hurried = new Signal()
  /** Notified when there is a session, or the connection has closed. */
  private readonly decided = new Signal()
  private readonly clock: Clock.Clock
  private readonly endpoints: Endpoints
  private readonly pauses: Pauses<AmqpConnectionError>
  private readonly refusals: Refusals
  private readonly report: RecoveryReport
  private currentState: SupervisorState = { _tag: "Connecting", ...notDialed }
  /** The state that everything was notified of. */
  private notifiedState = this.currentState
  /** With what waiting fibers end when the connection has closed. */
  private closeReason: Effect.Effect<never, AmqpConnectionError> = Effect.never
  private lastSession: Session.Session | undefined
  private lastEndpoint: Endpoint | undefined
  /** When there was last a session: as milliseconds since 1970, and of the monotonic clock. */
  private since: number
  private start: number
  private readonly overdueConfirms: OverdueConfirms

  constructor(
    options: ConnectionOptions,
    scope: Scope.Scope,
    clock: Clock.Clock,
    report: RecoveryReport,
    makers: ReturnType<typeof ancestry>
  ) {
    const { recovery } = options
    this.options = options
    this.makers = makers
    this.scope = scope
    this.clock = clock
    this.report = report
    this.credentials = new LoginCredentials()
    this.endpoints = new Endpoints(options.endpoints, options.isShuffled)
    this.pauses = new Pauses(recovery.schedule)
    this.refusals = new Refusals(recovery.isRecoverable)
    this.overdueConfirms = new OverdueConfirms(options.endpoints.length)
    this.since = clock.currentTimeMillisUnsafe()
    this.start = monotonicMillis(clock)
  }

  // ---------------------------------------------------------------------------
  // for programs, publishers and consumers
  // ---------------------------------------------------------------------------

  get state(): SupervisorState {
    return this.currentState
  }

  /** Why the connection has closed for good. */
  get failure(): AmqpConnectionError | undefined {
    return this.currentState._tag === "Closed" ? this.currentState.error : undefined
  }

  /** The session that is open, or was open last: its limits and the properties of its broker. */
  get latest(): Session.Session {
    if (this.lastSession !== undefined) return this.lastSession
    throw new Error("The connection has never been open")
  }

  /** How the session that is open, or was open last, reaches its broker. */
  get transport(): SessionOptions["transport"] {
    return this.latest.options.transport
  }

  /** Waits for a session, for as long as it takes. Fails when the connection has closed. */
  readonly nextSession = this.nextWith(isAny)

  /** The same, for a consumer. */
  readonly nextToConsume = this.nextWith(isToConsume)

  /** Waits for a session, for as long as the options allow. */
  readonly awaitSession = this.awaitWith(isAny)

  /** The same, for a consumer. */
  readonly awaitToConsume = this.awaitWith(isToConsume)

  private nextWith(isRight: IsRight): Effect.Effect<Session.Session, AmqpConnectionError> {
    const next: Effect.Effect<Session.Session, AmqpConnectionError> = Effect.suspend(() => {
      const { failure, session } = this
      if (session !== undefined && isRight(session)) return Effect.succeed(session)
      if (failure !== undefined) return Effect.fail(failure)
      const isDecided = () => this.session !== undefined && isRight(this.session) || this.failure !== undefined
      return Effect.andThen(this.decided.until(isDecided), next)
    })
    return next
  }

  private awaitWith(isRight: IsRight): Effect.Effect<Session.Session, AmqpChannelError> {
    const next = Effect.mapError(this.nextWith(isRight), lostChannel)
    return Effect.suspend(() =>
      this.session !== undefined && isRight(this.session)
        ? Effect.succeed(this.session)
        : Effect.timeoutOrElse(next, {
          duration: this.options.recovery.waitTimeout,
          orElse: () => Effect.fail(this.notConnected())
        })
    )
  }

  /** Why an operation that needs a session has none. */
  notConnected(): AmqpChannelError {
    const { currentState: state } = this
    if (state._tag === "Closed") return lostChannel(state.error)
    const cause = "lastError" in state && state.lastError !== undefined
      ? state.lastError
      : state._tag === "Recovering"
      ? state.cause
      : connectionError(new ConnectionReplaced())
    return new AmqpChannelError({ reason: new ConnectionLost({ cause, since: new Date(this.since) }) })
  }

  /** Replaces the password of the session, and that of later ones if it is fixed. */
  readonly updateSecret = (
    secret: Redacted.Redacted<string>,
    reason: string
  ): Effect.Effect<void, AmqpConnectionError> =>
    Effect.flatMap(
      Effect.catch(this.awaitSession, ({ reason }) =>
        Effect.fail(reason instanceof ConnectionLost ? reason.cause : connectionError(new ConnectionClosed()))),
      (session) =>
        session.secrets.update(secret, reason, () =>
          this.credentials.replaced(session.username, secret))
    )

  /** The confirm of a publish is overdue, and the session has confirmed nothing since it was sent. May replace the session. */
  confirmsOverdue(session: Session.Session, confirmTimeoutMillis: number): void {
    if (!this.replacesOverdue(session)) return
    this.overdueConfirms.replaced()
    session.closeWith(connectionError(new ConfirmsOverdue({ confirmTimeoutMillis })))
  }

  /** Whether `confirmsOverdue` replaces this session. */
  replacesOverdue(session: Session.Session): boolean {
    return this.options.recovery.isEnabled && this.session === session && this.overdueConfirms.mayReplace(session)
  }

  // ---------------------------------------------------------------------------
  // replacing and closing
  // ---------------------------------------------------------------------------

  /** Replaces the session in order, and waits for the next one. Without a session, the next attempt to connect begins at once. */
  readonly reconnect: Effect.Effect<void, AmqpConnectionError> = Effect.suspend(() => {
    const { failure, session } = this
    if (failure !== undefined) return Effect.fail(failure)
    if (session === undefined) {
      this.isHurried = true
      this.hurried.notify()
      return Effect.succeed(undefined)
    }
    // It goes on even if the caller is interrupted.
    const replace = session.leaving.has("ConsumersStop")
      ? Effect.void
      : Effect.forkIn(this.replace(session), this.scope, { startImmediately: true })
    return Effect.as(replace, session)
  }).pipe(
    Effect.uninterruptible,
    Effect.flatMap((replaced) => this.nextWith((session) => session !== replaced)),
    Effect.asVoid
  )

  /** Has everything leave a session, in the order of `LeavingStage`, and closes it. */
  private replace(session: Session.Session): Effect.Effect<void> {
    const { channels } = session
    const inTime = (effect: Effect.Effect<void>) => Effect.timeoutOption(effect, this.options.closeTimeout)
    return Effect.gen({ self: this }, function*() {
      session.leaving.begin("ConsumersStop")
      yield* inTime(session.awaitConsumersStopped)
      if (this.session === session) {
        this.leave()
        this.setState({ _tag: "Connecting", ...notDialed })
      }
      session.leaving.begin("PublishersLeave")
      yield* inTime(channels.awaitOnlyConsumers)
      session.leaving.begin("ConsumersLeave")
      yield* inTime(channels.awaitNoConsumers)
      yield* session.closeInOrder(connectionError(new ConnectionReplaced()))
    })
  }

  private setState(state: SupervisorState): void {
    if (this.currentState._tag === "Closed") return
    this.currentState = state
    this.notify()
  }

  /** Resumes what waits for the current state. */
  private notify(): void {
    if (this.notifiedState === this.currentState) return
    this.notifiedState = this.currentState
    this.stateChanged()
    const { _tag } = this.currentState
    if (_tag === "Open" || _tag === "Closed") this.resumeWaiting()
    // After subscribers to the state have seen it, as their streams end with this.
    if (_tag === "Closed") Deferred.doneUnsafe(this.closed, this.closeReason)
  }

  /**
   * Resumes the fibers that wait for a session, a part of them per turn of the event loop. Each opens a channel: all at once would keep the
   * process busy for long.
   */
  private resumeWaiting(): void {
    this.decided.notify(resumedPerTurn)
    if (!this.decided.isAwaited) return
    this.report.background(
      Effect.andThen(
        Effect.yieldNow,
        Effect.sync(() => {
          const { failure, session } = this
          // Otherwise they wait for the next session.
          const hasSession = session !== undefined && !session.leaving.has("ConsumersStop")
          if (hasSession || failure !== undefined) this.resumeWaiting()
        })
      )
    )
  }

  /** There is no session any longer that an operation could begin on. */
  private leave(): void {
    this.session = undefined
    this.since = this.clock.currentTimeMillisUnsafe()
    this.start = monotonicMillis(this.clock)
  }

  private readonly stateChanged = (): void => {
    for (const listener of this.stateListeners) listener()
  }

  /** Closes the connection for good. */
  close(error: AmqpConnectionError, reason: Effect.Effect<never, AmqpConnectionError> = Effect.fail(error)): void {
    if (this.failure !== undefined) return
    this.session = undefined
    this.closeReason = reason
    this.setState({ _tag: "Closed", error })
  }

  // ---------------------------------------------------------------------------
  // the supervisor fiber
  // ---------------------------------------------------------------------------

  /** The loop of the supervisor fiber, until the connection closes for good. */
  readonly run: Effect.Effect<void> = Effect.gen({ self: this }, function*() {
    const { stableAfter } = this.options.recovery
    let round = yield* this.endpoints.round(undefined)
    for (let isInitial = true;; isInitial = false) {
      const { endpoint, error, lasted, rest } = yield* this.connectAndUse(round, isInitial)
      const isReplaced = error.reason._tag === "ConnectionReplaced"
      if (!isReplaced && !this.mayRecover(error)) {
        yield* this.report.ended(error)
        return yield* Effect.fail(error)
      }
      if (isReplaced || lasted >= stableAfter) {
        this.pauses.reset()
        round = yield* this.endpoints.round(endpoint)
      } else {
        // Otherwise a broker that accepts connections and closes them again would be dialed without a pause.
        rest.failed(endpoint, error)
        round = rest
      }
    }
  }).pipe(Effect.catchCause((cause) => this.ended(cause)))

  private mayRecover(error: AmqpConnectionError): boolean {
    const { isEnabled, isRecoverable } = this.options.recovery
    return isEnabled && isRecoverable?.(error) !== false
  }

  private ended(cause: Cause.Cause<AmqpConnectionError>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const error = Cause.findErrorOption(cause)
      if (Option.isSome(error)) {
        this.close(error.value)
        return Effect.void
      }
      // A defect of the program's code, for example of its schedule. The caller of `start` gets that of the first connection.
      const failure = clientFailed(Cause.squash(cause))
      const isLost = this.lastSession !== undefined && this.failure === undefined
      this.close(failure, Effect.failCause(cause))
      return isLost ? this.report.givenUp(failure, cause) : Effect.void
    })
  }

  /** Connects, and waits until the session has ended. Returns for how many milliseconds it was open, and the rest of the round. */
  private connectAndUse(first: Round, isInitial: boolean) {
    return Effect.gen({ self: this }, function*() {
      yield* this.report.begun(this.currentState, this.lastEndpoint)
      const { before, endpoint, round, scope, session } = yield* this.connect(first, isInitial)
      this.isHurried = false
      // The broker has accepted the connection, so what ends it later is not a refusal.
      this.refusals.reset()
      const opened = monotonicMillis(this.clock)
      yield* this.report.opened(before, endpoint, opened - this.start)
      yield* Effect.exit(Deferred.await(session.ended))
      const lasted = monotonicMillis(this.clock) - opened
      yield* Effect.uninterruptible(Scope.close(scope, Exit.void))
      const { failure: error = connectionError(new ConnectionClosed()) } = session
      return { endpoint, error, lasted, rest: round }
    })
  }

  /** A session ends. Nothing is resumed here: what is on the session has not failed yet. */
  private sessionEnding(error: AmqpConnectionError): void {
    if (this.currentState._tag !== "Open") return
    this.leave()
    if (this.options.recovery.isEnabled) {
      this.currentState = { _tag: "Recovering", cause: error, since: this.since, ...notDialed }
    } else {
      this.closeReason = Effect.fail(error)
      this.currentState = { _tag: "Closed", error }
    }
  }

  // ---------------------------------------------------------------------------
  // dialing
  // ---------------------------------------------------------------------------

  /** Tries the endpoints of rounds until one is connected. Fails when the connection is given up. */
  private connect(first: Round, isInitial: boolean) {
    return Effect.gen({ self: this }, function*() {
      const { isEnabled, retriesInitial } = this.options.recovery
      for (let round = first;; round = yield* this.endpoints.round(this.lastEndpoint)) {
        for (let endpoint = round.next(); endpoint !== undefined; endpoint = round.next()) {
          this.lastEndpoint = endpoint
          this.dialing({ endpoint: endpoint.name, nextAttempt: undefined }, 1)
          const result = yield* Effect.result(this.dial(endpoint))
          if (Result.isSuccess(result)) return { round, endpoint, ...result.success }
          const { failure: error } = result
          round.failed(endpoint, error)
          this.dialing({ lastError: error })
          yield* this.report.attemptFailed(endpoint, error)
        }
        const { error } = round
        const mayRetry = isEnabled && (!isInitial || retriesInitial) &&
          this.refusals.mayRetry(error, this.credentials.changes)
        const given = mayRetry ? yield* this.pauses.next(error) : undefined
        if (given === undefined) {
          if (!isInitial) yield* this.report.givenUp(error)
          return yield* Effect.fail(error)
        }
        const pause = Duration.max(given, shortestPause(error))
        if (this.currentState._tag === "Connecting") {
          yield* this.report.waiting(error, isInitial ? "first" : "replacement")
        }
        const now = this.clock.currentTimeMillisUnsafe()
        this.dialing({ lastError: error, nextAttempt: now + Duration.toMillis(pause) })
        // It may have been asked for during the attempt before.
        if (!this.isHurried) yield* Effect.raceFirst(Effect.sleep(pause), this.hurried.next)
        this.isHurried = false
      }
    })
  }

  private dialing(change: Partial<Dialing>, attempts = 0): void {
    const { currentState: state } = this
    if (state._tag === "Open" || state._tag === "Closed") return
    this.setState({ ...state, ...change, attempt: state.attempt + attempts })
  }

  /**
   * Connects to an endpoint, and announces the session. It lives in the scope, which is closed if this fails. `before` is the state that it
   * ended.
   */
  private dial(endpoint: Endpoint) {
    return Effect.gen({ self: this }, function*() {
      const { options } = this
      const scope = yield* Scope.fork(this.scope)
      const sessionOptions: SessionOptions = {
        ...options,
        transport: endpoint.transport,
        credentials: this.credentials.forSession(options.credentials ?? endpoint.credentials ?? guest)
      }
      const opened = yield* Session.make(sessionOptions, {
        ending: (error) => this.sessionEnding(error),
        ended: () => this.notify()
      }).pipe(
        Effect.provideService(Socket.Socket, endpoint.socket),
        Scope.provide(scope),
        Effect.tap((session) => this.prepare(session)),
        Effect.flatMap((session) => this.announce(session, endpoint)),
        Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
      )
      return { ...opened, scope }
    })
  }

  /**
   * Runs the preparations. A broker that does not reply to one of them, such as a quorum queue without a majority, does not keep everything
   * else from the session for longer than a request may take: the preparations go on in the background then.
   */
  private prepare(session: Session.Session): Effect.Effect<unknown> {
    if (this.preparations.isEmpty) return Effect.void
    const isDone = Deferred.makeUnsafe<void>()
    session.background(Effect.ensuring(this.preparations.run(session), Deferred.succeed(isDone, undefined)))
    return Effect.raceFirst(
      Effect.timeoutOption(Deferred.await(isDone), this.options.requestTimeout),
      Effect.exit(Deferred.await(session.ended))
    )
  }

  /** One synchronous step, so that a session which has ended is not announced. */
  private announce(session: Session.Session, { name }: Endpoint) {
    return Effect.suspend(() => {
      const failure = session.failure ?? this.failure
      if (failure !== undefined) return Effect.fail(failure)
      const { currentState: before } = this
      this.session = this.lastSession = session
      session.outbound.blockedListeners.add(this.stateChanged)
      this.setState({ _tag: "Open", endpoint: name })
      return Effect.succeed({ session, before })
    })
  }
}

/** Starts a connection, until the scope closes. Succeeds when it is open. */
export const start = (
  options: ConnectionOptions
): Effect.Effect<Supervisor, AmqpConnectionError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const makers = yield* Effect.withFiber((fiber) => Effect.succeed(ancestry(fiber)))
      const sessions = yield* Scope.make()
      const report = new RecoveryReport(options, yield* Effect.context<never>())
      const supervisor = new Supervisor(options, sessions, clock, report, makers)
      const fiber = yield* Effect.forkDetach(Effect.interruptible(supervisor.run), { startImmediately: true })
      const release = Effect.sync(() => supervisor.close(connectionError(new ConnectionClosed()))).pipe(
        Effect.andThen(Fiber.interrupt(fiber)),
        Effect.andThen(Scope.close(sessions, Exit.void))
      )
      yield* Effect.addFinalizer(() => release)
      // The scope of the caller may stay open for long after a failure.
      yield* restore(Effect.catch(supervisor.nextSession, () => Deferred.await(supervisor.closed))).pipe(
        Effect.onError(() => release)
      )
      return supervisor
    })
  )
