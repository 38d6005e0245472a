/**
 * One socket from its dial to its end: the reader, writer, heartbeat and timer fibers, and the channels.
 *
 * Everything lives in the scope that `make` is given. A session ends once, with a cause that everything hanging on it is
 * failed with; its scope only frees the socket and the fibers. Channels of a session are never used in another one.
 */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as AmqpError from "../../AmqpError.ts"
import { frameMinSize, frameOverhead, protocolHeader, ReplyCode } from "../../protocol/constants.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import { FrameParser } from "../../protocol/FrameParser.ts"
import type { ContentHeader, FrameHandler } from "../../protocol/FrameParser.ts"
import { encodeMethodFrame } from "../../protocol/frames.ts"
import { hasContent } from "../../protocol/methods.generated.ts"
import type { Method } from "../../protocol/methods.generated.ts"
import { EncodeError, ProtocolError, ProtocolMismatch } from "../../protocol/ProtocolError.ts"
import type { Channel, ConsumerSink } from "../channel/channel.ts"
import { Channels } from "../channel/channels.ts"
import type { ChannelsHost } from "../channel/channels.ts"
import type { ChannelEvent } from "../channel/requestQueue.ts"
import { monotonicMillis } from "../common/time.ts"
import { responsibleMethod } from "../errors/replyTexts.ts"
import { isTable } from "../options/clientProperties.ts"
import type { SessionOptions, Tuning } from "../options/sessionOptions.ts"
import { countsOf } from "../telemetry/counters.ts"
import type { Counts, Sampled } from "../telemetry/counters.ts"
import { Mailbox } from "../wire/mailbox.ts"
import { Outbound } from "../wire/outbound.ts"
import { Deadlines } from "../wire/requestTimeouts.ts"
import { silent, socketLost, unreachable } from "./connectErrors.ts"
import { renewSecret, SecretUpdates, updateFailed } from "./credentialRenewal.ts"
import { ancestry } from "./fiberAncestry.ts"
import { handshake } from "./handshake.ts"
import { keepAlive } from "./heartbeat.ts"
import { SecretFrames } from "./secretFrames.ts"

/** What brokers refuse a virtual host with: it is not there, not this user's, or has its limit of connections. */
const virtualHostCodes: ReadonlySet<number> = new Set([
  ReplyCode.invalidPath,
  ReplyCode.accessRefused,
  ReplyCode.notFound,
  ReplyCode.notAllowed
])

/** How large a frame a server may send before the tuning, in bytes, to a client that wants no limit. RabbitMQ's have 600. */
const firstReceivedFrameMax = 131072

/** How many methods of channel 0 wait to be handled: those of one read, or those that come while the handshake is busy. */
const maxControlMethods = 256

/** A reader that is paused for so long is worth a line in the log, in milliseconds. */
const longPause = 10_000

const pausedFor = ({ buffered, label }: ConsumerSink): string =>
  `Nothing has been read from the AMQP connection for ${longPause / 1000} s: ${
    label ?? "a consumer without acknowledgements"
  } ` +
  `holds ${buffered} messages that the program has not taken. Other consumers of the connection get nothing either. ` +
  "Take them faster, or consume with acknowledgements and a prefetch count."

/** What brokers refuse a new secret with. */
const secretCodes: ReadonlySet<number> = new Set([ReplyCode.accessRefused, ReplyCode.notAllowed])

/** Whether one side announces that it knows an extension of AMQP 0-9-1. */
const announces = ({ capabilities }: FieldTable, capability: string): boolean =>
  isTable(capabilities) && capabilities[capability] === true

const connectionError = (reason: AmqpError.ConnectionErrorReason) => new AmqpError.AmqpConnectionError({ reason })

/** The broker waits for the rest of a message, so its channel is of no use any more; its number stays taken. */
const bodyLost = (): AmqpError.AmqpChannelError =>
  new AmqpError.AmqpChannelError({
    reason: new AmqpError.InvalidArgument({
      description: "The body: its buffer was detached (transferred) before all of it was sent"
    })
  })

export class Session implements FrameHandler, ChannelsHost, Sampled {
  readonly counts: Counts
  readonly outbound: Outbound
  readonly deadlines: Deadlines
  readonly control = new Mailbox<Method, AmqpError.AmqpConnectionError>()
  readonly options: SessionOptions
  readonly channels: Channels
  /** Fails when the session is over. */
  readonly ended = Deferred.makeUnsafe<never, AmqpError.AmqpConnectionError>()
  /** What the handshake waits for, for errors; `undefined` once the connection is open. */
  phase: string | undefined = "the socket"
  failure: AmqpError.AmqpConnectionError | undefined
  tuning: Tuning = { frameMax: frameMinSize, channelMax: 0, heartbeatSeconds: 0 }
  serverProperties: FieldTable = {}
  /** How, as whom and for how long this session is logged in; see the handshake. */
  mechanism = ""
  username = ""
  expiresAt: number | undefined
  readonly secrets = new SecretUpdates(this)
  /** The fiber that made the session, and those that waited for it, for consumers that end their program. */
  makers: ReturnType<typeof ancestry> = []
  /** When the last bytes were read, in milliseconds of the monotonic clock. */
  lastRead = 0

  private readonly scope: Scope.Scope
  private readonly clock: Clock.Clock
  private readonly services: Context.Context<never>
  private readonly parser: FrameParser
  private readonly secretFrames = new SecretFrames()
  private readonly fullSinks = new Set<ConsumerSink>()
  private resumeReader: (() => void) | undefined
  private readonly touched = new Set<{ flush(): void }>()
  private hasReceived = false
  /** How often a consumer was full and is not any more. */
  private pauses = 0
  private isPauseWatched = false
  private closing = false

  constructor(options: SessionOptions, scope: Scope.Scope, clock: Clock.Clock, services: Context.Context<never>) {
    this.options = options
    this.scope = scope
    this.clock = clock
    this.services = services
    this.counts = countsOf(options, services)
    this.outbound = new Outbound(this.counts)
    this.channels = new Channels(this)
    // Room comes with what the peer says or takes, and it may take nothing before it is heard.
    this.outbound.onWaiting = () => this.expectReply()
    this.outbound.onLost = (channel) => this.channels.find(channel)?.end(bodyLost())
    this.deadlines = new Deadlines(Duration.toMillis(options.requestTimeout), clock)
    // Until the tuning a server may send no frame above the size that we are about to ask for, and who asks for no limit does
    // not yet know whom.
    this.parser = new FrameParser(this, {
      maxFrameSize: options.frameMax === 0 ? firstReceivedFrameMax : options.frameMax
    })
  }

  get frameMax(): number {
    return this.tuning.frameMax
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
    return this.channels.sum(({ buffered }) => buffered)
  }

  get maxBodySize(): number {
    return this.options.maxBodySize
  }

  get maxPublishSize(): number {
    return this.options.maxPublishSize
  }

  /** For logs: the buffers hold what was sent, and the first thing that was is a password. */
  toJSON(): unknown {
    return { _id: "Session", phase: this.phase, failure: this.failure?.message, channels: this.channels.count }
  }

  [Symbol.for("nodejs.util.inspect.custom")](): unknown {
    return this.toJSON()
  }

  toString(): string {
    return JSON.stringify(this.toJSON())
  }

  // ---------------------------------------------------------------------------
  // the reader fiber
  // ---------------------------------------------------------------------------

  onMethod(channel: number, method: Method): void {
    if (channel === 0) {
      if (hasContent(method._tag)) {
        const message = `${method._tag} arrived on channel 0`
        throw new ProtocolError({ replyCode: ReplyCode.channelError, message })
      }
      if (this.control.size >= maxControlMethods) {
        const message = `more than ${maxControlMethods} methods arrived on channel 0 that nothing asked for`
        throw new ProtocolError({ replyCode: ReplyCode.resourceError, message })
      }
      this.control.offer(method)
      this.touched.add(this.control)
      return
    }
    const target = this.channels.find(channel)
    if (target === undefined) return
    if (method._tag === "basic.deliver" || method._tag === "basic.return" || method._tag === "basic.get-ok") {
      return target.assembler.start(method)
    }
    if (!target.assembler.idle) {
      throw new ProtocolError({
        replyCode: ReplyCode.unexpectedFrame,
        message: `${method._tag} arrived within the content of another method on channel ${channel}`
      })
    }
    this.deliver(target, method)
  }

  onHeader(channel: number, header: ContentHeader): void {
    const target = this.channels.find(channel)
    const content = target?.assembler.header(header)
    if (target !== undefined && content !== undefined) this.deliver(target, content)
  }

  onBody(channel: number, payload: Uint8Array): void {
    const target = this.channels.find(channel)
    const content = target?.assembler.body(payload)
    if (target !== undefined && content !== undefined) this.deliver(target, content)
  }

  onHeartbeat(): void {}

  private deliver(channel: Channel, event: ChannelEvent): void {
    channel.mailbox.offer(event)
    this.touched.add(channel.mailbox)
  }

  /** Decodes a whole read before it wakes anyone, and writes what they answered in one go. */
  private receive(chunks: ReadonlyArray<Uint8Array>): void {
    this.lastRead = monotonicMillis(this.clock)
    this.hasReceived = true
    try {
      for (const chunk of chunks) {
        this.counts.bytesRead += chunk.length
        this.parser.push(chunk)
      }
    } catch (error) {
      this.flushTouched()
      return this.violated(error)
    }
    this.flushTouched()
    this.outbound.wake()
  }

  private flushTouched(): void {
    for (const mailbox of this.touched) mailbox.flush()
    this.touched.clear()
  }

  readonly readFrom = (pull: Effect.Effect<ReadonlyArray<Uint8Array>, Socket.SocketError>): Effect.Effect<void> =>
    Effect.gen({ self: this }, function*() {
      while (this.failure === undefined) {
        if (this.mayRead) this.receive(yield* pull)
        else yield* this.awaitReading
      }
    }).pipe(Effect.catch((error) => Effect.sync(() => this.lost(error))))

  // A consumer whose messages need no acknowledgement can be sent more than it handles. When its inbox is full nothing is
  // read, so that the peer has to wait. But who waits for an answer must get it, or the inbox might never be emptied.

  pauseReading(sink: ConsumerSink): void {
    this.fullSinks.add(sink)
    if (this.isPauseWatched) return
    this.isPauseWatched = true
    Effect.runForkWith(this.services)(Effect.forkIn(this.watchPause, this.scope, { startImmediately: true }))
  }

  /** Warns of a reader that is paused for long, once for each time that it is. */
  private readonly watchPause: Effect.Effect<void> = Effect.gen({ self: this }, function*() {
    const paused = this.pauses
    yield* Effect.sleep(longPause)
    this.isPauseWatched = false
    const [sink] = this.fullSinks
    if (sink === undefined || this.failure !== undefined) return
    if (paused === this.pauses && !this.mayRead) this.warn(pausedFor(sink))
    // It was resumed meanwhile, and is paused again.
    else this.pauseReading(sink)
  })

  resumeReading(sink: ConsumerSink): void {
    if (!this.fullSinks.delete(sink)) return
    this.pauses++
    this.expectReply()
  }

  warn(message: string): void {
    Effect.runForkWith(this.services)(Effect.logWarning(message))
  }

  expectReply(): void {
    const resume = this.resumeReader
    this.resumeReader = undefined
    resume?.()
  }

  get mayRead(): boolean {
    return this.fullSinks.size === 0 || this.closing || this.outbound.isAwaited ||
      this.secrets.expectsReply || this.channels.expectReply
  }

  private readonly awaitReading: Effect.Effect<void> = Effect.callback((resume) => {
    this.resumeReader = () => resume(Effect.void)
    return Effect.sync(() => {
      this.resumeReader = undefined
    })
  })

  // ---------------------------------------------------------------------------
  // the other fibers
  // ---------------------------------------------------------------------------

  readonly writeTo = (writer: Socket.Writer): Effect.Effect<void> =>
    this.outbound.drainTo(writer.writeAll).pipe(Effect.catch((error) => Effect.sync(() => this.lost(error))))

  /** The fiber of channel 0 once the connection is open. */
  readonly runControl: Effect.Effect<void> = Effect.gen({ self: this }, function*() {
    while (true) {
      for (const method of yield* this.control.takeAll) this.handleControl(method)
    }
  }).pipe(Effect.catch(() => Effect.void))

  private handleControl(method: Method): void {
    switch (method._tag) {
      case "connection.close":
        return this.closedByServer(method)
      case "connection.close-ok":
        return this.end(connectionError(new AmqpError.ConnectionClosed()))
      case "connection.blocked":
        return this.outbound.setBlocked(method.reason, monotonicMillis(this.clock))
      case "connection.unblocked":
        return this.outbound.setBlocked(undefined, monotonicMillis(this.clock))
      case "connection.update-secret-ok":
        this.secretAnswered()
        if (this.secrets.confirm()) return
    }
    this.violated(
      new ProtocolError({ replyCode: ReplyCode.commandInvalid, message: `${method._tag} is not expected here` })
    )
  }

  // ---------------------------------------------------------------------------
  // channel 0
  // ---------------------------------------------------------------------------

  /** Sends a method on channel 0, in a frame of this size at most, 0: any. Fails with an `InvalidArgument`. */
  sendControl(
    method: Method,
    maxFrameSize = this.tuning.frameMax
  ): Effect.Effect<void, AmqpError.AmqpConnectionError> {
    return this.sendFrame(() => {
      const { writer } = this.outbound
      encodeMethodFrame(writer, 0, method)
      checkFrameSize(method, writer.provisionalBytes, maxFrameSize)
    })
  }

  /** As `sendControl`, for a method that holds a secret and that the broker answers: `secretAnswered`. */
  sendSecret(
    method: Method,
    maxFrameSize = this.tuning.frameMax
  ): Effect.Effect<void, AmqpError.AmqpConnectionError> {
    return this.sendFrame(() => {
      const frame = this.secretFrames.encode(method)
      checkFrameSize(method, frame.length, maxFrameSize)
      this.secretFrames.sent(frame)
      this.outbound.writer.appendReference(frame)
    })
  }

  /** The broker has answered a method that held a secret. */
  secretAnswered(): void {
    this.secretFrames.answered()
  }

  private sendFrame(encode: () => void): Effect.Effect<void, AmqpError.AmqpConnectionError> {
    return Effect.suspend(() => {
      try {
        encode()
      } catch (error) {
        this.outbound.writer.rollback()
        if (!(error instanceof EncodeError)) throw error
        return Effect.fail(connectionError(new AmqpError.InvalidArgument({ description: error.message })))
      }
      this.outbound.commit()
      return Effect.void
    })
  }

  sendProtocolHeader(): void {
    this.outbound.writer.bytes(protocolHeader)
    this.outbound.commit()
  }

  tuned(tuning: Tuning): void {
    this.tuning = tuning
    this.parser.maxFrameSize = tuning.frameMax
    this.parser.maxHeaderSize = this.options.maxHeaderSize
    this.channels.limit(tuning.channelMax)
  }

  // ---------------------------------------------------------------------------
  // channels
  // ---------------------------------------------------------------------------

  supports(capability: string): boolean {
    // A broker without the table is not related to RabbitMQ, and may have an extension without announcing it.
    return this.serverProperties.capabilities === undefined || announces(this.serverProperties, capability)
  }

  release(channel: Channel): void {
    this.channels.release(channel)
  }

  // ---------------------------------------------------------------------------
  // the end
  // ---------------------------------------------------------------------------

  /** The graceful close: the protocol's handshake, bounded in time. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    if (this.failure !== undefined) return Effect.void
    this.closing = true
    this.expectReply()
    const goodbye = this.sendControl({
      _tag: "connection.close",
      replyCode: ReplyCode.success,
      replyText: "Goodbye",
      classId: 0,
      methodId: 0
    })
    // The broker reads nothing behind it, and would get large messages without their end.
    return this.outbound.awaitLanes.pipe(
      Effect.andThen(goodbye),
      Effect.andThen(Deferred.await(this.ended)),
      Effect.interruptible,
      Effect.timeoutOption(this.options.closeTimeout),
      Effect.ignore,
      Effect.andThen(Effect.sync(() => this.end(connectionError(new AmqpError.ConnectionClosed()))))
    )
  })

  closedByServer(close: Extract<Method, { readonly _tag: "connection.close" }>): void {
    this.sendNow({ _tag: "connection.close-ok" })
    const method = responsibleMethod(close.classId, close.methodId)
    this.end(this.closeError(AmqpError.replyReason({ ...close, method })))
  }

  /** A close during the handshake says more than its code: what the broker did not like depends on the step. */
  private closeError(reason: AmqpError.ReplyReason): AmqpError.AmqpConnectionError {
    const { username } = this
    const { virtualHost } = this.options
    const { replyText } = reason
    if (
      reason.method === "connection.update-secret" ||
      (this.secrets.expectsReply && secretCodes.has(reason.replyCode))
    ) {
      return updateFailed(`${reason.replyCode} ${replyText}`)
    }
    if (this.phase === "connection.tune" && reason.replyCode === ReplyCode.accessRefused) {
      return connectionError(new AmqpError.AuthenticationFailed({ username, replyText }))
    }
    if (this.phase === "connection.open-ok" && virtualHostCodes.has(reason.replyCode)) {
      const { replyCode } = reason
      return connectionError(new AmqpError.VirtualHostRefused({ virtualHost, replyCode, replyText }))
    }
    return connectionError(reason)
  }

  private lost(error: Socket.SocketError): void {
    if (this.closing) return this.end(connectionError(new AmqpError.ConnectionClosed()))
    if (this.phase === "connection.tune" && !this.sendsRefusals) {
      // Before RabbitMQ 3.2, and in other brokers, the socket closes without a word (the specification, section 4.10.1).
      const replyText = "the broker closed the socket after the credentials were sent"
      return this.end(
        connectionError(new AmqpError.AuthenticationFailed({ username: this.username, replyText }))
      )
    }
    this.end(socketLost(this.options.transport, this.phase, this.hasReceived, error))
  }

  /** Whether a broker that refuses the credentials says so with a close: both sides announce that they know it. */
  private get sendsRefusals(): boolean {
    return announces(this.serverProperties, "authentication_failure_close") &&
      announces(this.options.clientProperties, "authentication_failure_close")
  }

  silent(phase: string): AmqpError.AmqpConnectionError {
    return silent(this.options.transport, phase, this.hasReceived)
  }

  /** Runs one of the session's fibers. None may end by a defect of its own unnoticed: others wait for what it does. */
  readonly fork = (loop: Effect.Effect<void, ProtocolError>): Effect.Effect<unknown> =>
    loop.pipe(
      Effect.catch((error) => Effect.sync(() => this.violated(error))),
      Effect.catchDefect((defect) =>
        Effect.sync(() => {
          const description = `the client failed: ${defect instanceof Error ? defect.message : String(defect)}`
          const replyCode = ReplyCode.internalError
          this.end(connectionError(new AmqpError.ProtocolViolation({ replyCode, description })))
        })
      ),
      Effect.forkIn(this.scope, { startImmediately: true })
    )

  private violated(error: unknown): void {
    if (this.failure !== undefined) return
    if (error instanceof ProtocolMismatch) {
      return this.end(
        connectionError(
          new AmqpError.ProtocolViolation({ replyCode: ReplyCode.notImplemented, description: error.message })
        )
      )
    }
    if (!(error instanceof ProtocolError)) throw error
    const { message, replyCode } = error
    // Who has said nothing in AMQP yet would not understand a close.
    if (this.parser.started) {
      this.sendNow({ _tag: "connection.close", replyCode, replyText: message.slice(0, 80), classId: 0, methodId: 0 })
    }
    this.end(connectionError(new AmqpError.ProtocolViolation({ replyCode, description: message })))
  }

  /** The last words before an end: into the socket in this very step, and nothing behind them. */
  private sendNow(method: Method): void {
    this.outbound.stopLanes()
    encodeMethodFrame(this.outbound.writer, 0, method)
    this.outbound.commit()
    this.outbound.wake()
  }

  /** The handshake is over. */
  opened(): void {
    this.phase = undefined
    this.counts.opened++
    if (this.failure === undefined) this.counts.sessions.add(this)
  }

  /** Says goodbye without waiting for the answer, and ends the session. */
  giveUp(error: AmqpError.AmqpConnectionError): void {
    if (this.failure !== undefined) return
    const replyText = "Goodbye"
    this.sendNow({ _tag: "connection.close", replyCode: ReplyCode.success, replyText, classId: 0, methodId: 0 })
    this.end(error)
  }

  /** Ends the session and everything that hangs on it, with the cause. Once. */
  end(error: AmqpError.AmqpConnectionError): void {
    if (this.failure !== undefined) return
    this.failure = error
    // Before the waiting fibers are told, in this very step.
    this.secretFrames.wipe()
    this.counts.sessions.delete(this)
    // What came before the end counts: a confirm that was read is a confirm.
    this.flushTouched()
    this.channels.end(error)
    this.control.fail(error)
    this.secrets.fail(error)
    this.outbound.close()
    Deferred.doneUnsafe(this.ended, Effect.fail(error))
  }
}

/** What of a connection stands for its session. A copy of the connection has it too. */
interface WithSession {
  readonly updateSecret: object
}

/** The sessions behind connections, where nothing that a program can reach leads to them. */
const sessions = new WeakMap<object, Session>()

/** Makes a session that of a connection. */
export const register = ({ updateSecret }: WithSession, session: Session): void => {
  sessions.set(updateSecret, session)
}

/** The session that the channels of a connection are opened in. */
export const sessionOf = ({ updateSecret }: WithSession): Session => {
  const session = sessions.get(updateSecret)
  if (session !== undefined) return session
  throw new TypeError(
    "The AmqpConnection was not made by AmqpConnection.make or AmqpConnection.layer, and is not a copy of one that was"
  )
}

/** Dials, shakes hands and runs a session in the scope. */
export const make = Effect.fnUntraced(function*(
  options: SessionOptions
): Effect.fn.Return<Session, AmqpError.AmqpConnectionError, Scope.Scope | Socket.Socket> {
  const socket = yield* Socket.Socket
  const scope = yield* Effect.scope
  const session = new Session(options, scope, yield* Clock.Clock, yield* Effect.context<never>())
  session.makers = yield* Effect.withFiber((fiber) => Effect.succeed(ancestry(fiber)))
  const connect = Effect.gen(function*() {
    const pull = yield* Effect.mapError(
      Socket.readerBytes(socket),
      (error) => unreachable(options.transport, error)
    )
    const writer = yield* socket.writer
    yield* session.fork(session.writeTo(writer))
    yield* session.fork(session.readFrom(pull))
    yield* handshake(session, options)
  })
  yield* connect.pipe(
    Effect.timeoutOrElse({
      duration: options.connectTimeout,
      orElse: () => Effect.fail(session.silent(session.phase ?? "connection.open-ok"))
    })
  )
  session.opened()
  yield* session.fork(session.runControl)
  yield* session.fork(session.deadlines.run)
  if (session.tuning.heartbeatSeconds > 0) {
    yield* session.fork(keepAlive(session, session.tuning.heartbeatSeconds))
  }
  if (session.expiresAt !== undefined) {
    yield* session.fork(renewSecret(session, session.secrets, session.expiresAt))
  }
  yield* Scope.addFinalizer(scope, session.close)
  return session
})

const checkFrameSize = ({ _tag }: Method, size: number, maxFrameSize: number): void => {
  if (maxFrameSize === 0 || size <= maxFrameSize) return
  throw new EncodeError({
    message: `${_tag}: ${size - frameOverhead} bytes do not fit a frame of ${maxFrameSize} bytes`
  })
}
