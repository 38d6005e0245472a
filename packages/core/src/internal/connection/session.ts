/**
 * A session: one socket from the dial to its close, with the fibers that handle channel 0, send heartbeats and time out requests, and with the
 * channels.
 *
 * The session belongs to the scope in which `make` runs. It ends once, with an error that fails everything on it; its scope only frees the
 * socket and the fibers. A channel is never used in another session.
 */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import { ConnectionClosed, InvalidArgument } from "../../AmqpError.ts"
import type { AmqpConnectionError } from "../../AmqpError.ts"
import type { Transport } from "../../AmqpTransport.ts"
import { ReplyCode } from "../../protocol/constants.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import { FrameParser } from "../../protocol/FrameParser.ts"
import type { ConnectionClose, Method } from "../../protocol/methods.generated.ts"
import { ProtocolError } from "../../protocol/ProtocolError.ts"
import type { Channel } from "../channel/channel.ts"
import { channelError } from "../channel/channelErrors.ts"
import { Channels } from "../channel/channels.ts"
import type { ChannelsHost } from "../channel/channels.ts"
import { connectionClose, connectionCloseFor } from "../channel/methods.ts"
import { Signal } from "../common/signal.ts"
import { monotonicMillis, TurnClock } from "../common/time.ts"
import type { SessionOptions, Tuning } from "../options/sessionOptions.ts"
import { countsOf } from "../telemetry/counters.ts"
import type { Counts, Sampled } from "../telemetry/counters.ts"
import { Outbound } from "../wire/outbound.ts"
import { ReadGate } from "../wire/readGate.ts"
import { RequestTimeouts } from "../wire/requestTimeouts.ts"
import { transportOf } from "../wire/socketFibers.ts"
import * as ConnectionErrors from "./connectionErrors.ts"
import type { ConnectionFacts, HandshakeProgress } from "./connectionErrors.ts"
import { ControlChannel } from "./controlChannel.ts"
import { renewSecret, SecretUpdates } from "./credentialRenewal.ts"
import { FrameReceiver } from "./frameReceiver.ts"
import { logIn, openVirtualHost } from "./handshake.ts"
import type { Login } from "./handshake.ts"
import { keepAlive } from "./heartbeat.ts"
import { Leaving } from "./leaving.ts"
import { PendingDeclarations } from "./pendingDeclarations.ts"

/** The largest frame that the broker may send before the tuning, if the client sets no limit. In bytes; RabbitMQ sends about 600. */
const firstReceivedFrameMax = 131072

const closedHere = () => ConnectionErrors.connectionError(new ConnectionClosed())

/** Is notified of the end of a session, in the synchronous step in which it ends. */
export interface SessionListener {
  /** Before fibers are resumed: what they begin then is not for this session. Resumes none itself. */
  readonly ending: (error: AmqpConnectionError) => void
  /** When everything on the session has failed. */
  readonly ended: () => void
}

export class Session implements ChannelsHost, Sampled, ConnectionFacts {
  readonly options: SessionOptions
  readonly counts: Counts
  readonly outbound: Outbound
  readonly readGate: ReadGate
  readonly requestTimeouts: RequestTimeouts
  readonly closeTimeouts: RequestTimeouts
  readonly control: ControlChannel
  readonly channels: Channels
  readonly secrets: SecretUpdates
  readonly pendingExchanges = new PendingDeclarations()
  readonly pendingQueues = new PendingDeclarations()
  /** Fails when the session has ended. */
  readonly ended = Deferred.makeUnsafe<never, AmqpConnectionError>()
  readonly progress: HandshakeProgress = { phase: "the socket", username: "", serverProperties: {} }
  /** Set when the session has ended. */
  failure: AmqpConnectionError | undefined
  login: Login = {
    mechanism: "",
    expiresAt: undefined,
    tuning: { frameMax: 0, channelMax: 0, heartbeatSeconds: 0 }
  }
  hasReceived = false
  /** How far the ordered replacement of the session has come. */
  readonly leaving = new Leaving()
  /** Notified when the session has ended and `hasClosed` is true. */
  readonly closed = new Signal()
  /** When the broker last confirmed a publish, in milliseconds of a clock that stops while it reads nothing. */
  lastConfirm: number | undefined
  /** When the last bytes were read, in milliseconds of the monotonic clock. */
  lastRead = 0

  private readonly scope: Scope.Scope
  private readonly clock: Clock.Clock
  private readonly turns: TurnClock
  private readonly services: Context.Context<never>
  private readonly receiver: FrameReceiver
  private readonly parser: FrameParser
  private readonly listener: SessionListener
  private transport: Transport | undefined
  /** How many consumers take messages, or wait for handlers. */
  private consuming = 0
  private readonly consumerStopped = new Signal()
  /** The error with which the session ends when the broker has replied to its close. */
  private closing: AmqpConnectionError | undefined
  private isCloseSent = false
  private isClosed = false

  constructor(
    options: SessionOptions,
    scope: Scope.Scope,
    clock: Clock.Clock,
    services: Context.Context<never>,
    listener: SessionListener
  ) {
    this.options = options
    this.listener = listener
    this.scope = scope
    this.clock = clock
    this.turns = new TurnClock(clock)
    this.services = services
    this.counts = countsOf(options, services)
    this.readGate = new ReadGate(this)
    this.requestTimeouts = new RequestTimeouts(Duration.toMillis(options.requestTimeout), clock)
    this.closeTimeouts = new RequestTimeouts(Duration.toMillis(options.closeTimeout), clock)
    this.outbound = new Outbound(this.counts, {
      // There may be no room until the broker reads, and it may not read until this side has read.
      roomAwaited: () => this.readGate.replyExpected(),
      bodyDetached: (channel) => this.channels.find(channel)?.end(bodyDetached()),
      inNextTurn: (step) => this.afterwards(Effect.andThen(Effect.yieldNow, Effect.sync(step))),
      failed: (error) => this.failed(error)
    })
    this.channels = new Channels(this)
    this.control = new ControlChannel(this.outbound)
    this.secrets = new SecretUpdates(this)
    this.receiver = new FrameReceiver(this.control, this.channels, (error) => this.failed(error))
    // Before the tuning, the broker may not send frames above the size that the client will ask for.
    this.parser = new FrameParser(this.receiver, {
      maxFrameSize: options.frameMax === 0 ? firstReceivedFrameMax : options.frameMax
    })
  }

  // ---------------------------------------------------------------------------
  // for channels and metrics
  // ---------------------------------------------------------------------------

  get serverProperties(): FieldTable {
    return this.progress.serverProperties
  }

  get username(): string {
    return this.progress.username
  }

  get tuning(): Tuning {
    return this.login.tuning
  }

  get maxBodySize(): number {
    return this.options.maxBodySize
  }

  get maxPublishSize(): number {
    return this.options.maxPublishSize
  }

  get channelCount(): number {
    return this.channels.count
  }

  get isBlocked(): boolean {
    return this.outbound.blocked !== undefined
  }

  get unconfirmed(): number {
    return this.channels.sum(({ confirms }) => confirms?.count ?? 0)
  }

  get unsettled(): number {
    return this.channels.sum(({ acknowledgements }) => acknowledgements.openCount)
  }

  get buffered(): number {
    return this.channels.sum(({ consumers }) => consumers.buffered)
  }

  /** Whether the session has ended, and everything on it was failed. */
  get hasClosed(): boolean {
    return this.isClosed
  }

  get isRenewingSecret(): boolean {
    return this.secrets.expectsReply
  }

  /** Whether a fiber waits for something that the broker has to send. */
  get expectsReply(): boolean {
    return this.closing !== undefined || this.outbound.isAwaited || this.secrets.expectsReply ||
      this.channels.expectsReply
  }

  supports(capability: string): boolean {
    // A broker without this table may support an extension without announcing it.
    return this.serverProperties.capabilities === undefined ||
      ConnectionErrors.announces(this.serverProperties, capability)
  }

  confirmed(): void {
    const { millis } = this.turns
    this.lastConfirm = millis - this.outbound.blockedMillis(millis)
  }

  release(channel: Channel): void {
    this.channels.release(channel)
  }

  /** For logs, which must not show the buffers: these contain the password. */
  toJSON(): unknown {
    return {
      _id: "Session",
      phase: this.progress.phase,
      failure: this.failure?.message,
      channels: this.channels.count
    }
  }

  [Symbol.for("nodejs.util.inspect.custom")](): unknown {
    return this.toJSON()
  }

  toString(): string {
    return JSON.stringify(this.toJSON())
  }

  // ---------------------------------------------------------------------------
  // leaving
  // ---------------------------------------------------------------------------

  /** A consumer has begun. Returns a function to call when it takes no more messages, and its handlers have ended. */
  consumerBegan(): () => void {
    let hasStopped = false
    this.consuming++
    return () => {
      if (hasStopped) return
      hasStopped = true
      this.consuming--
      this.consumerStopped.notify()
    }
  }

  /** Waits until no consumer takes messages, and no handler is running. */
  readonly awaitConsumersStopped: Effect.Effect<void> = this.consumerStopped.until(() => this.consuming === 0)

  // ---------------------------------------------------------------------------
  // fibers
  // ---------------------------------------------------------------------------

  /** Runs a loop in a fiber of the session. If it fails or dies, the session ends: other fibers depend on it. */
  readonly fork = (loop: Effect.Effect<void, ProtocolError>): Effect.Effect<unknown> =>
    loop.pipe(
      Effect.catch((error) => Effect.sync(() => this.failed(error))),
      Effect.catchDefect((defect) => Effect.sync(() => this.failed(defect))),
      Effect.forkIn(this.scope, { startImmediately: true })
    )

  background(effect: Effect.Effect<void>): void {
    Effect.runForkWith(this.services)(Effect.forkIn(effect, this.scope, { startImmediately: true }))
  }

  afterwards(effect: Effect.Effect<void>): void {
    Effect.runForkWith(this.services)(effect)
  }

  warn(message: string): void {
    Effect.runForkWith(this.services)(Effect.logWarning(message))
  }

  // ---------------------------------------------------------------------------
  // the transport
  // ---------------------------------------------------------------------------

  /** Begins to read and to write. */
  open(transport: Transport): void {
    this.transport = transport
    transport.start({
      received: (chunks) => this.receive(chunks),
      drained: () => this.outbound.drained(),
      ended: (error) => this.end(this.closing ?? ConnectionErrors.socketLost(this, error))
    })
    this.outbound.start(transport)
  }

  /** Decodes a whole read before it resumes fibers, and then writes everything that they have sent. Returns whether it keeps the chunks. */
  private receive(chunks: ReadonlyArray<Uint8Array>): boolean {
    if (this.failure !== undefined) return false
    this.lastRead = monotonicMillis(this.clock)
    this.hasReceived = true
    let areKept = false
    try {
      for (const chunk of chunks) {
        this.counts.bytesRead += chunk.length
        if (this.parser.push(chunk)) areKept = true
      }
    } catch (error) {
      this.receiver.flush()
      this.failed(error)
      return true
    }
    this.outbound.hold()
    this.receiver.flush()
    this.outbound.wake()
    if (!this.readGate.isOpen) this.pauseReading()
    return areKept
  }

  private pauseReading(): void {
    this.transport?.pause()
    this.readGate.whenOpen(() => this.transport?.resume())
  }

  /** The loop of the fiber of channel 0. */
  readonly runControl: Effect.Effect<void> = Effect.suspend(() =>
    this.control.run((method) => this.handleControl(method))
  )

  private handleControl(method: Method): void {
    switch (method._tag) {
      case "connection.close":
        return this.closedByServer(method)
      case "connection.close-ok":
        return this.end(this.closing ?? closedHere())
      case "connection.blocked":
        return this.outbound.setBlocked(method.reason, monotonicMillis(this.clock))
      case "connection.unblocked":
        return this.outbound.setBlocked(undefined, monotonicMillis(this.clock))
      case "connection.update-secret-ok":
        this.control.secretReplied()
        if (this.secrets.confirm()) return
    }
    this.protocolViolated(
      new ProtocolError({
        replyCode: ReplyCode.commandInvalid,
        message: `${method._tag} arrived unexpectedly on channel 0`
      })
    )
  }

  /** Applies the negotiated limits, which the broker knows by then. */
  private loggedIn(login: Login): void {
    const { channelMax, frameMax } = login.tuning
    this.login = login
    this.outbound.frameMax = frameMax
    this.parser.maxFrameSize = frameMax
    this.parser.maxHeaderSize = this.options.maxHeaderSize
    this.channels.setLimit(channelMax)
  }

  /** Logs in and opens the virtual host. The fibers of the socket must be running. */
  readonly handshake: Effect.Effect<void, AmqpConnectionError> = Effect.suspend(() =>
    Effect.flatMap(logIn(this), (login) => {
      this.loggedIn(login)
      return openVirtualHost(this)
    })
  )

  /** Starts the other fibers, when the connection is open. */
  readonly start: Effect.Effect<void> = Effect.gen({ self: this }, function*() {
    const { expiresAt, tuning: { heartbeatSeconds } } = this.login
    this.counts.opened++
    if (this.failure === undefined) this.counts.sessions.add(this)
    yield* this.fork(this.runControl)
    yield* this.fork(this.requestTimeouts.run)
    yield* this.fork(this.closeTimeouts.run)
    if (heartbeatSeconds > 0) yield* this.fork(keepAlive(this, heartbeatSeconds))
    if (expiresAt !== undefined) yield* this.fork(renewSecret(this, this.secrets, expiresAt))
  })

  // ---------------------------------------------------------------------------
  // closing
  // ---------------------------------------------------------------------------

  /** Closes the connection and waits for the broker's reply, within the close timeout. */
  get close(): Effect.Effect<void> {
    return this.closeInOrder(closedHere())
  }

  /** Like `close`, and ends the session with this error. */
  closeInOrder(error: AmqpConnectionError): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.failure !== undefined) return Effect.void
      this.closing = error
      this.readGate.replyExpected()
      // The broker ignores what follows the close, so large messages must be sent to their end first.
      return this.outbound.awaitBodies.pipe(
        Effect.andThen(this.sendClose),
        Effect.andThen(Deferred.await(this.ended)),
        Effect.interruptible,
        Effect.timeoutOption(this.options.closeTimeout),
        Effect.ignore,
        Effect.andThen(Effect.sync(() => this.end(error)))
      )
    })
  }

  /** Once: a close that was interrupted is continued by the next one. */
  private readonly sendClose: Effect.Effect<void, AmqpConnectionError> = Effect.suspend(() => {
    if (this.isCloseSent) return Effect.void
    this.isCloseSent = true
    return this.control.send(connectionClose)
  })

  /** Closes the connection without waiting for the broker's reply. */
  closeWith(error: AmqpConnectionError): void {
    if (this.failure !== undefined) return
    this.control.sendLast(connectionClose)
    this.end(error)
  }

  closedByServer(close: ConnectionClose): void {
    this.control.sendLast({ _tag: "connection.close-ok" })
    this.end(ConnectionErrors.closedByServer(this, close))
  }

  /** The broker has violated the protocol, or there is a defect in this client. */
  private failed(error: unknown): void {
    if (error instanceof ProtocolError) this.protocolViolated(error)
    else this.end(ConnectionErrors.clientFailed(error))
  }

  private protocolViolated(error: unknown): void {
    if (this.failure !== undefined) return
    const failure = ConnectionErrors.protocolViolated(error)
    // A peer that has not sent AMQP frames would not understand a close.
    if (error instanceof ProtocolError && this.parser.started) {
      this.control.sendLast(connectionCloseFor(error.replyCode, error.message))
    }
    this.end(failure)
  }

  /** Ends the session, and fails everything on it. */
  end(error: AmqpConnectionError): void {
    if (this.failure !== undefined) return
    this.failure = error
    this.listener.ending(error)
    // Before waiting fibers are resumed, which happens in this synchronous step.
    this.control.wipe()
    this.counts.sessions.delete(this)
    // Delivers what was read before the end, for example confirms.
    this.receiver.flush()
    this.channels.end(error)
    this.control.fail(error)
    this.secrets.fail(error)
    this.outbound.close()
    this.listener.ended()
    this.isClosed = true
    this.closed.notify()
    Deferred.doneUnsafe(this.ended, Effect.fail(error))
  }
}

/** The broker waits for the rest of a message, so the channel can no longer be used. Its number is not free again. */
const bodyDetached = () =>
  channelError(
    new InvalidArgument({
      description: "The body: its buffer was detached (transferred) before all of it was sent"
    })
  )

/** Dials, and runs a session in the scope. Succeeds when the connection is open. */
export const make = Effect.fnUntraced(function*(
  options: SessionOptions,
  listener: SessionListener
): Effect.fn.Return<Session, AmqpConnectionError, Scope.Scope | Socket.Socket> {
  const socket = yield* Socket.Socket
  const scope = yield* Effect.scope
  const session = new Session(options, scope, yield* Clock.Clock, yield* Effect.context<never>(), listener)
  const connect = Effect.gen(function*() {
    session.open(
      yield* Effect.mapError(
        transportOf(socket, (loop) => session.afterwards(Effect.asVoid(session.fork(loop)))),
        (error) => ConnectionErrors.dialFailed(options.transport, error)
      )
    )
    yield* session.handshake
  })
  yield* connect.pipe(
    Effect.timeoutOrElse({
      duration: options.connectTimeout,
      orElse: () =>
        Effect.fail(
          ConnectionErrors.handshakeTimedOut(session, session.progress.phase ?? "connection.open-ok")
        )
    })
  )
  yield* session.start
  yield* Scope.addFinalizer(scope, session.close)
  return session
})
