/**
 * One socket from its dial to its end: the reader, writer, heartbeat and timer fibers, and the channels.
 *
 * Everything lives in the scope that `make` is given. A session ends once, with a cause that everything hanging on it is
 * failed with; its scope only frees the socket and the fibers. Channels of a session are never used in another one.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as AmqpError from "../AmqpError.ts"
import { frameMinSize, frameOverhead, protocolHeader, ReplyCode } from "../protocol/constants.ts"
import type { FieldTable } from "../protocol/fieldTable.ts"
import { FrameParser } from "../protocol/FrameParser.ts"
import type { ContentHeader, FrameHandler } from "../protocol/FrameParser.ts"
import { encodeMethodFrame, heartbeatFrame } from "../protocol/frames.ts"
import { methodName } from "../protocol/methods.generated.ts"
import type { Method } from "../protocol/methods.generated.ts"
import { EncodeError, ProtocolError, ProtocolMismatch } from "../protocol/ProtocolError.ts"
import { Channel } from "./channel.ts"
import type { ChannelHost, ChannelMode, ConsumerSink } from "./channel.ts"
import { ChannelNumbers } from "./channelNumbers.ts"
import { Deadlines } from "./deadlines.ts"
import { handshake } from "./handshake.ts"
import { Mailbox } from "./mailbox.ts"
import { Outbound } from "./outbound.ts"
import type { ChannelEvent } from "./requests.ts"
import type { SessionOptions, Tuning } from "./sessionOptions.ts"

/** What brokers refuse a virtual host with: it is not there, not this user's, or has its limit of connections. */
const virtualHostCodes: ReadonlySet<number> = new Set([
  ReplyCode.invalidPath,
  ReplyCode.accessRefused,
  ReplyCode.notFound,
  ReplyCode.notAllowed
])

const connectionError = (reason: AmqpError.ConnectionErrorReason) => new AmqpError.AmqpConnectionError({ reason })

export class Session implements FrameHandler, ChannelHost {
  readonly outbound = new Outbound()
  readonly deadlines: Deadlines
  readonly control = new Mailbox<Method, AmqpError.AmqpConnectionError>()
  readonly options: SessionOptions
  /** Fails when the session is over. */
  readonly ended = Deferred.makeUnsafe<never, AmqpError.AmqpConnectionError>()
  /** What the handshake waits for, for errors; `undefined` once the connection is open. */
  phase: string | undefined = "the socket"
  failure: AmqpError.AmqpConnectionError | undefined
  tuning: Tuning = { frameMax: frameMinSize, channelMax: 0, heartbeatSeconds: 0 }
  serverProperties: FieldTable = {}
  /** Socket reads since the start; any byte is a sign of life. */
  reads = 0

  private readonly scope: Scope.Scope
  private readonly parser: FrameParser
  private readonly channels = new Map<number, Channel>()
  private readonly idle: Record<ChannelMode, Array<Channel>> = { plain: [], confirm: [], transaction: [] }
  private readonly fullSinks = new Set<ConsumerSink>()
  private resumeReader: (() => void) | undefined
  private readonly touched = new Set<{ flush(): void }>()
  private numbers = new ChannelNumbers(0)
  private closing = false

  constructor(options: SessionOptions, scope: Scope.Scope, clock: Clock.Clock) {
    this.options = options
    this.scope = scope
    this.deadlines = new Deadlines(Duration.toMillis(options.requestTimeout), clock)
    // Until the tuning a server may send no frame above the size that we are about to ask for.
    this.parser = new FrameParser(this, { maxFrameSize: options.frameMax })
  }

  get frameMax(): number {
    return this.tuning.frameMax
  }

  get maxBodySize(): number {
    return this.options.maxBodySize
  }

  get maxPublishSize(): number {
    return this.options.maxPublishSize
  }

  // ---------------------------------------------------------------------------
  // the reader fiber
  // ---------------------------------------------------------------------------

  onMethod(channel: number, method: Method): void {
    if (channel === 0) {
      this.control.offer(method)
      this.touched.add(this.control)
      return
    }
    const target = this.channelOf(channel)
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
    const target = this.channelOf(channel)
    const content = target?.assembler.header(header)
    if (target !== undefined && content !== undefined) this.deliver(target, content)
  }

  onBody(channel: number, payload: Uint8Array): void {
    const target = this.channelOf(channel)
    const content = target?.assembler.body(payload)
    if (target !== undefined && content !== undefined) this.deliver(target, content)
  }

  onHeartbeat(): void {}

  private channelOf(number: number): Channel | undefined {
    const channel = this.channels.get(number)
    if (channel === undefined && !this.numbers.wasUsed(number)) {
      throw new ProtocolError({ replyCode: ReplyCode.channelError, message: `channel ${number} was never opened` })
    }
    return channel
  }

  private deliver(channel: Channel, event: ChannelEvent): void {
    channel.mailbox.offer(event)
    this.touched.add(channel.mailbox)
  }

  /** Decodes a whole read before it wakes anyone, and writes what they answered in one go. */
  private receive(chunks: ReadonlyArray<Uint8Array>): void {
    this.reads++
    try {
      for (const chunk of chunks) this.parser.push(chunk)
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
  }

  resumeReading(sink: ConsumerSink): void {
    if (this.fullSinks.delete(sink)) this.expectReply()
  }

  expectReply(): void {
    const resume = this.resumeReader
    this.resumeReader = undefined
    resume?.()
  }

  private get mayRead(): boolean {
    return this.fullSinks.size === 0 || this.closing ||
      [...this.channels.values()].some(({ expectsReply }) => expectsReply)
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

  /** Sends a heartbeat when half an interval was quiet, and gives up on a peer that is silent for two. */
  readonly heartbeat: Effect.Effect<void> = Effect.gen({ self: this }, function*() {
    const { heartbeatSeconds } = this.tuning
    let quiet = 0
    let reads = this.reads
    while (this.failure === undefined) {
      yield* Effect.sleep(heartbeatSeconds * 500)
      if (!this.outbound.active) {
        this.outbound.writer.bytes(heartbeatFrame)
        this.outbound.commit()
        this.outbound.wake()
      }
      // After the wake, since a heartbeat is no reason to leave out the next one.
      this.outbound.active = false
      // While nothing is read, nothing is known of the peer.
      quiet = this.reads === reads && this.mayRead ? quiet + 1 : 0
      reads = this.reads
      if (quiet >= 4) {
        this.end(connectionError(new AmqpError.HeartbeatTimeout({ intervalSeconds: heartbeatSeconds })))
      }
    }
  })

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
        return this.outbound.setBlocked(method.reason)
      case "connection.unblocked":
        return this.outbound.setBlocked(undefined)
      default:
        return this.violated(
          new ProtocolError({ replyCode: ReplyCode.commandInvalid, message: `${method._tag} is not expected here` })
        )
    }
  }

  // ---------------------------------------------------------------------------
  // channel 0
  // ---------------------------------------------------------------------------

  /** Sends a method on channel 0. Fails with an `InvalidArgument`. */
  sendControl(method: Method): Effect.Effect<void, AmqpError.AmqpConnectionError> {
    return Effect.suspend(() => {
      const { writer } = this.outbound
      try {
        encodeMethodFrame(writer, 0, method)
        const size = writer.provisionalBytes
        if (this.tuning.frameMax !== 0 && size > this.tuning.frameMax) {
          throw new EncodeError({
            message: `${method._tag}: ${size - frameOverhead} bytes do not fit a frame of ${this.tuning.frameMax} bytes`
          })
        }
      } catch (error) {
        writer.rollback()
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
    this.numbers = new ChannelNumbers(tuning.channelMax)
  }

  // ---------------------------------------------------------------------------
  // channels
  // ---------------------------------------------------------------------------

  /** Opens a channel. Its fiber lives as long as the channel. */
  readonly openChannel: Effect.Effect<Channel, AmqpError.AmqpChannelError> = Effect.uninterruptibleMask((restore) =>
    Effect.gen({ self: this }, function*() {
      if (this.failure !== undefined) return yield* Effect.fail(lostChannel(this.failure))
      const number = this.numbers.acquire()
      if (number === undefined) {
        return yield* Effect.fail(
          new AmqpError.AmqpChannelError({ reason: new AmqpError.TooManyChannels({ limit: this.numbers.limit }) })
        )
      }
      const channel = new Channel(number, this)
      this.channels.set(number, channel)
      yield* Effect.catch(channel.run, (error) => Effect.sync(() => this.violated(error))).pipe(this.fork)
      return yield* restore(channel.request({ _tag: "channel.open" })).pipe(
        Effect.as(channel),
        // Whoever gave up: the number stays taken until the broker has closed what it may have opened.
        Effect.onError(() => Effect.sync(() => channel.beginClose()))
      )
    })
  )

  /** Opens a channel for as long as the scope lives. */
  readonly scopedChannel: Effect.Effect<Channel, AmqpError.AmqpChannelError, Scope.Scope> = Effect.uninterruptibleMask(
    (restore) =>
      Effect.tap(
        restore(this.openChannel),
        (channel) => Effect.addFinalizer(() => this.closeChannel(channel))
      )
  )

  /** Closes a channel, within the close timeout. */
  closeChannel(channel: Channel): Effect.Effect<void> {
    return channel.state === "Closed"
      ? Effect.void
      : Effect.asVoid(Effect.timeoutOption(Effect.interruptible(channel.close), this.options.closeTimeout))
  }

  supports(capability: string): boolean {
    const { capabilities } = this.serverProperties
    // A broker without the table is none of RabbitMQ's kin, and may have an extension without saying so.
    if (typeof capabilities !== "object" || capabilities === null || !(capability in capabilities)) {
      return capabilities === undefined
    }
    return Reflect.get(capabilities, capability) === true
  }

  /** A channel in a mode, for as long as nobody else has it: an idle one, or another. */
  lease(mode: ChannelMode): Effect.Effect<Channel, AmqpError.AmqpChannelError> {
    return Effect.suspend(() => {
      const idle = this.idle[mode].pop()
      if (idle !== undefined) return idle.isClean ? Effect.succeed(idle) : this.lease(mode)
      return Effect.tap(
        this.openChannel,
        (channel) => Effect.onError(selectMode(channel, mode), () => Effect.sync(() => channel.beginClose()))
      )
    })
  }

  /** Takes a channel back: keeps it if it is clean, else closes it. */
  giveBack(channel: Channel): Effect.Effect<void> {
    return Effect.suspend(() => {
      const idle = this.idle[channel.mode]
      channel.programPublisher = undefined
      if (!channel.isClean || idle.length >= this.options.maxIdleChannels) return this.closeChannel(channel)
      idle.push(channel)
      return Effect.void
    })
  }

  release(channel: Channel): void {
    if (this.channels.get(channel.number) !== channel) return
    this.channels.delete(channel.number)
    channel.mailbox.fail("Ended")
    this.numbers.release(channel.number)
  }

  // ---------------------------------------------------------------------------
  // the end
  // ---------------------------------------------------------------------------

  /** The graceful close: the protocol's handshake, bounded in time. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    if (this.failure !== undefined) return Effect.void
    this.closing = true
    this.expectReply()
    return this.sendControl({
      _tag: "connection.close",
      replyCode: ReplyCode.success,
      replyText: "Goodbye",
      classId: 0,
      methodId: 0
    }).pipe(
      Effect.andThen(Effect.interruptible(Deferred.await(this.ended))),
      Effect.timeoutOption(this.options.closeTimeout),
      Effect.ignore,
      Effect.andThen(Effect.sync(() => this.end(connectionError(new AmqpError.ConnectionClosed()))))
    )
  })

  closedByServer(close: Extract<Method, { readonly _tag: "connection.close" }>): void {
    this.sendNow({ _tag: "connection.close-ok" })
    const method = methodName(close.classId, close.methodId)
    this.end(this.closeError(AmqpError.replyReason({ ...close, method })))
  }

  /** A close during the handshake says more than its code: what the broker did not like depends on the step. */
  private closeError(reason: AmqpError.ReplyReason): AmqpError.AmqpConnectionError {
    const { username, virtualHost } = this.options
    const { replyText } = reason
    if (this.phase === "connection.tune" && reason.replyCode === ReplyCode.accessRefused) {
      return connectionError(new AmqpError.AuthenticationFailed({ username, replyText }))
    }
    if (this.phase === "connection.open-ok" && virtualHostCodes.has(reason.replyCode)) {
      return connectionError(new AmqpError.VirtualHostRefused({ virtualHost, replyText }))
    }
    return connectionError(reason)
  }

  private lost(error: Socket.SocketError): void {
    if (this.closing) return this.end(connectionError(new AmqpError.ConnectionClosed()))
    if (this.phase === "connection.tune") {
      // Before RabbitMQ 3.2, and in other brokers, the socket closes without a word (the specification, section 4.10.1).
      const replyText = "the broker closed the socket after the credentials were sent"
      return this.end(
        connectionError(new AmqpError.AuthenticationFailed({ username: this.options.username, replyText }))
      )
    }
    this.end(connectionError(new AmqpError.SocketLost({ description: describeSocketError(error), cause: error })))
  }

  /** Runs one of the session's fibers. None may end by a defect of its own unnoticed: others wait for what it does. */
  readonly fork = (loop: Effect.Effect<void>): Effect.Effect<unknown> =>
    loop.pipe(
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
    if (error instanceof ProtocolMismatch) {
      return this.end(
        connectionError(
          new AmqpError.ProtocolViolation({ replyCode: ReplyCode.notImplemented, description: error.message })
        )
      )
    }
    if (!(error instanceof ProtocolError)) throw error
    const { message, replyCode } = error
    this.sendNow({ _tag: "connection.close", replyCode, replyText: message.slice(0, 80), classId: 0, methodId: 0 })
    this.end(connectionError(new AmqpError.ProtocolViolation({ replyCode, description: message })))
  }

  /** The last words before an end: into the socket in this very step. */
  private sendNow(method: Method): void {
    encodeMethodFrame(this.outbound.writer, 0, method)
    this.outbound.commit()
    this.outbound.wake()
  }

  /** Ends the session and everything that hangs on it, with the cause. Once. */
  end(error: AmqpError.AmqpConnectionError): void {
    if (this.failure !== undefined) return
    this.failure = error
    // What came before the end counts: a confirm that was read is a confirm.
    this.flushTouched()
    const channels = [...this.channels.values()]
    this.channels.clear()
    const channelError = lostChannel(error)
    for (const channel of channels) {
      channel.end(channelError)
      channel.mailbox.fail("Ended")
    }
    this.control.fail(error)
    this.outbound.close()
    Deferred.doneUnsafe(this.ended, Effect.fail(error))
  }
}

const selectMode = (channel: Channel, mode: ChannelMode): Effect.Effect<unknown, AmqpError.AmqpChannelError> =>
  mode === "plain" ? Effect.void : mode === "confirm" ? channel.confirmSelect : channel.transactionSelect

/** How the loss of the connection looks to what used a channel of it. */
export const lostChannel = (cause: AmqpError.AmqpConnectionError): AmqpError.AmqpChannelError =>
  new AmqpError.AmqpChannelError({ reason: new AmqpError.ConnectionLost({ cause }) })

/** The platform's own words where it has some: "connect ECONNREFUSED 127.0.0.1:5672". */
export const describeSocketError = (error: Socket.SocketError): string => {
  const { reason } = error
  switch (reason._tag) {
    case "SocketCloseError":
      return reason.code === 1000 ? "the peer closed the socket" : "the socket closed"
    case "SocketOpenError":
      return reason.kind === "Timeout" ? "the socket did not open in time" : describeCause(reason.cause, reason.message)
    default:
      return describeCause(reason.cause, reason.message)
  }
}

const describeCause = (cause: unknown, otherwise: string): string => {
  // A host with several addresses fails with one error for each of them.
  if (cause instanceof AggregateError) {
    return cause.errors.map((each) => describeCause(each, otherwise)).join("; ")
  }
  return cause instanceof Error && cause.message !== "" ? cause.message : otherwise
}

/** Dials, shakes hands and runs a session in the scope. */
export const make = Effect.fnUntraced(function*(
  options: SessionOptions
): Effect.fn.Return<Session, AmqpError.AmqpConnectionError, Scope.Scope | Socket.Socket> {
  const socket = yield* Socket.Socket
  const scope = yield* Effect.scope
  const session = new Session(options, scope, yield* Clock.Clock)
  const connect = Effect.gen(function*() {
    const pull = yield* Effect.mapError(
      Socket.readerBytes(socket),
      (error) => connectionError(new AmqpError.DialFailed({ description: describeSocketError(error), cause: error }))
    )
    const writer = yield* socket.writer
    yield* session.fork(session.writeTo(writer))
    yield* session.fork(session.readFrom(pull))
    yield* handshake(session, options)
  })
  yield* connect.pipe(
    Effect.timeoutOrElse({
      duration: options.connectTimeout,
      orElse: () =>
        Effect.fail(connectionError(new AmqpError.HandshakeTimeout({ phase: session.phase ?? "connection.open-ok" })))
    })
  )
  session.phase = undefined
  yield* session.fork(session.runControl)
  yield* session.fork(session.deadlines.run)
  if (session.tuning.heartbeatSeconds > 0) yield* session.fork(session.heartbeat)
  yield* Scope.addFinalizer(scope, session.close)
  return session
})
