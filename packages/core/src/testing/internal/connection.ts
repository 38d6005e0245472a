/** A connection from the broker's side: its handshake, its channels and its end. */
import { frameMinSize, FrameType, protocolHeader, ReplyCode } from "../../protocol/constants.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import { heartbeatFrame } from "../../protocol/frames.ts"
import { methodIds } from "../../protocol/methods.generated.ts"
import type * as Methods from "../../protocol/methods.generated.ts"
import { ProtocolError } from "../../protocol/ProtocolError.ts"
import { ServerChannel } from "./channel.ts"
import { ChannelFrames, contentHeaderSize } from "./channelFrames.ts"
import type { ReceivedContent } from "./channelFrames.ts"
import type { ChannelHost } from "./channelHost.ts"
import type { Confirmation } from "./confirms.ts"
import type { DirectReplies } from "./directReplies.ts"
import { describeFrame, numbers } from "./erlangTerms.ts"
import { FrameReader } from "./frameReader.ts"
import { checkTune, isWrongLogin, logIn, versionOf } from "./handshake.ts"
import { Heartbeats } from "./heartbeats.ts"
import type { Message } from "./message.ts"
import { idsOf, MethodReader, noMethod } from "./methodReader.ts"
import type { MethodIds } from "./methodReader.ts"
import { Outgoing } from "./outgoing.ts"
import { Refusal } from "./refusal.ts"
import type { RefusalInfo } from "./refusal.ts"
import type { Timers } from "./timers.ts"
import { authorize, mayOpen } from "./users.ts"
import type { Permission, User } from "./users.ts"
import type { VirtualHost } from "./virtualHost.ts"

/** The bytes' way to the client. */
export interface Transport {
  /** Takes bytes for the client, whether it reads or not. */
  send(chunks: ReadonlyArray<Uint8Array>): void
  /** Whether much of what was sent has not been read, with so many bytes more to come. Whoever is told so is told `drained` later. */
  isCongested(bytesToCome: number): boolean
  /** Reads nothing of the client until `resumeReading`. */
  pauseReading(): void
  resumeReading(): void
  /** Closes the way once everything that was sent is read. */
  close(): void
  /** Ends it at once and without a word. */
  cut(): void
}

/** What a broker tells its clients, and lets them do. */
export interface ServerOptions {
  readonly serverProperties: FieldTable
  readonly mechanisms: ReadonlyArray<string>
  readonly channelMax: number
  /** In bytes; 0 sets no limit. */
  readonly frameMax: number
  readonly heartbeatSeconds: number
  /** The largest body, in bytes. */
  readonly maxMessageSize: number
  /** How long a client may keep a message unsettled. */
  readonly consumerTimeoutMillis: number
}

/** What a connection needs of its broker. */
export interface ConnectionHost {
  readonly timers: Timers
  readonly directReplies: DirectReplies
  readonly options: ServerOptions
  /** Why publishers are to be held up, while they are. */
  readonly blockedReason: string | undefined
  user(name: string): User | undefined
  virtualHost(name: string): VirtualHost | undefined
  confirmation(message: Message): Confirmation
  /** Has the connection flushed when the step ends. */
  touch(connection: ServerConnection): void
  ended(connection: ServerConnection): void
  refused(refusal: RefusalInfo): void
}

/** Where a connection is, in RabbitMQ's words where its texts have them. */
type Phase =
  | "header"
  | "starting"
  | "tuning"
  | "opening"
  | "running"
  /** A close or its answer is sent: the client is to answer it, or to close the socket. */
  | "closed"
  /** Nothing is understood any more, and soon the socket is closed. */
  | "deaf"
  | "gone"

/** How long the handshake may take, in milliseconds. */
const handshakeTimeout = 10_000

/** How long after an error of the handshake or of framing the socket is closed: RabbitMQ's way to slow attackers down. */
const silentCloseDelay = 3000

/** How long a closed connection waits for the client, in milliseconds, if the heartbeat's interval is not shorter. */
const closeTimeout = 30_000

/** What RabbitMQ says when something in it breaks. */
const internalError = { replyCode: ReplyCode.internalError, replyText: "INTERNAL_ERROR" } as const

interface CloseReason {
  readonly replyCode: number
  readonly replyText: string
}

const nothing = new Uint8Array(0)

export class ServerConnection implements ChannelHost {
  readonly isOwner = true
  readonly id: number
  phase: Phase = "header"
  clientProperties: FieldTable = {}
  /** The open ones. */
  readonly channels = new Map<number, ServerChannel>()

  private readonly host: ConnectionHost
  readonly transport: Transport
  private readonly outgoing: Outgoing
  private readonly reader: FrameReader
  private readonly methods = new MethodReader()
  private header: Uint8Array = nothing
  private user: User | undefined
  private home: VirtualHost | undefined
  private channelMax: number
  /** The frames of the channels that are open, of those that are closing, and of those that are not opened yet. */
  private readonly frames = new Map<number, ChannelFrames>()
  /** Channels that the broker closed and the client has not yet said so. */
  private readonly closingChannels = new Set<number>()
  /** Who flushes when the step ends. */
  private deferred = new Set<{ flush(): void }>()
  /** Whether it published ever: RabbitMQ holds up nobody who only consumes. */
  private hasPublished = false
  /** Whether nothing is read of the client, because it publishes what there is no room for. */
  isBlocked = false
  private heartbeats: Heartbeats | undefined
  /** How long a closed connection waits for the client. */
  private patienceMillis = silentCloseDelay
  private stopTimer: () => void = () => {}

  constructor(id: number, host: ConnectionHost, transport: Transport) {
    this.id = id
    this.host = host
    this.transport = transport
    this.outgoing = new Outgoing(host.options.frameMax, () => {
      this.heartbeats?.sent()
      host.touch(this)
    })
    this.channelMax = host.options.channelMax
    this.reader = new FrameReader(frameMinSize, {
      onFrame: (type, channel, payload) => this.onFrame(type, channel, payload),
      onUnreadable: (type, channel, payload, problem) => this.onUnreadable(type, channel, payload, problem)
    })
    this.endAfter(handshakeTimeout)
  }

  // ---------------------------------------------------------------------------
  // bytes
  // ---------------------------------------------------------------------------

  /** Takes what the client sent. The bytes belong to the connection from now on. */
  receive(bytes: Uint8Array): void {
    this.heartbeats?.received()
    if (this.phase === "gone" || this.phase === "deaf") return
    const rest = this.phase === "header" ? this.readHeader(bytes) : bytes
    if (rest.length > 0) this.reader.push(rest)
  }

  /** The way to the client is no more. */
  lost(): void {
    if (this.phase === "gone") return
    this.phase = "gone"
    this.stopTimer()
    this.heartbeats?.stop()
    this.reader.stop()
    this.endChannels()
    this.host.ended(this)
  }

  /** The client has read what was sent. */
  drained(): void {
    for (const channel of this.channels.values()) channel.resume()
  }

  /** Ends a step: what was encoded in it leaves. */
  flush(): void {
    const { deferred } = this
    this.deferred = new Set()
    for (const each of deferred) each.flush()
    const said = this.outgoing.take()
    if (said.length > 0) this.transport.send(said)
    if (this.phase === "gone") this.transport.close()
  }

  private readHeader(bytes: Uint8Array): Uint8Array {
    const missing = protocolHeader.length - this.header.length
    this.header = Uint8Array.of(...this.header, ...bytes.subarray(0, missing))
    if (this.header.length < protocolHeader.length) return nothing
    const version = versionOf(this.header)
    if (version === undefined) {
      this.outgoing.bytes(protocolHeader)
      this.end()
      return nothing
    }
    this.phase = "starting"
    this.send(0, {
      _tag: "connection.start",
      versionMajor: version.major,
      versionMinor: version.minor,
      serverProperties: this.host.options.serverProperties,
      mechanisms: this.host.options.mechanisms.join(" "),
      locales: "en_US"
    })
    return bytes.subarray(missing)
  }

  // ---------------------------------------------------------------------------
  // frames
  // ---------------------------------------------------------------------------

  private onFrame(type: number, channel: number, payload: Uint8Array): void {
    if (this.phase === "gone" || this.phase === "deaf") return
    if (this.phase === "closed") {
      if (channel === 0 && type === FrameType.method && payload.length >= 4) this.onMethodAfterClose(payload)
      return
    }
    if (channel !== 0 && this.phase !== "running") return this.unexpectedFrame(type, payload)
    switch (type) {
      case FrameType.method:
        if (payload.length < 4) break
        return channel === 0 ? this.onControl(payload) : this.onMethod(channel, payload)
      case FrameType.header:
        if (payload.length < contentHeaderSize) break
        if (channel === 0) return this.unexpectedFrame(type, payload)
        return this.onContent(channel, (frames) => frames.contentHeader(payload))
      case FrameType.body:
        if (channel === 0) return this.unexpectedFrame(type, payload)
        return this.onContent(channel, (frames) => frames.body(payload))
      case FrameType.heartbeat:
        if (payload.length > 0) break
        if (channel !== 0) this.unexpectedFrame(type, payload)
        return
    }
    this.fail(new Refusal("frameError", `${describeFrame(type, payload)}: unknown_frame`), noMethod)
  }

  private unexpectedFrame(type: number, payload: Uint8Array): void {
    this.fail(new Refusal("unexpectedFrame", describeFrame(type, payload)), noMethod)
  }

  /** What comes after it can't be told apart. */
  private onUnreadable(type: number, _channel: number, payload: Uint8Array, problem: string): void {
    if (this.phase !== "closed") {
      this.fail(new Refusal("frameError", `${describeFrame(type, payload)}: ${problem}`), noMethod)
    }
    this.fallSilent()
  }

  private onMethod(number: number, payload: Uint8Array): void {
    const read = this.methods.read(payload)
    const ids = idsOf(payload)
    switch (read._tag) {
      case "Unknown":
      case "MalformedTable":
        return this.end()
      case "Malformed":
        return this.fail(new Refusal("frameError", `cannot decode ${numbers(payload.subarray(4))}`), ids)
      case "MalformedText":
        return this.fail(malformedText(), noMethod)
      case "Other":
        return this.onContent(number, (frames) => {
          frames.expectMethod()
          const channel = this.openChannel(number, ids)
          if (read.name === "access.request") channel?.grantAccess()
          else this.fail(new Refusal("commandInvalid", "unimplemented method"), ids)
        })
      case "Method":
        this.onContent(number, (frames) => frames.method(read.method))
        if (read.method._tag === "basic.publish" && !this.hasPublished) {
          this.hasPublished = true
          // Takes effect after this message: it comes within the bytes that are read already.
          if (this.host.blockedReason !== undefined) this.block(this.host.blockedReason)
        }
    }
  }

  /** Gives a frame to those of its channel, which begin with the first, and need no open channel for that. */
  private onContent(number: number, take: (frames: ChannelFrames) => void): void {
    let frames = this.frames.get(number)
    if (frames === undefined) {
      if (this.channelMax !== 0 && this.frames.size >= this.channelMax) {
        const { size } = this.frames
        return this.fail(
          new Refusal(
            "notAllowed",
            `number of channels opened (${size}) has reached the negotiated channel_max (${this.channelMax})`
          ),
          noMethod
        )
      }
      frames = new ChannelFrames(
        this.host.options.maxMessageSize,
        (method, content) => this.onChannelMethod(number, method, content)
      )
      this.frames.set(number, frames)
    }
    const { pending } = frames
    try {
      take(frames)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      this.fail(error, pending === undefined ? noMethod : methodIds[pending._tag])
    }
  }

  private onChannelMethod(number: number, method: Methods.Method, content: ReceivedContent | undefined): void {
    if (this.closingChannels.has(number)) {
      if (method._tag === "channel.close-ok") this.forgetChannel(number)
      else if (method._tag === "channel.close") this.send(number, { _tag: "channel.close-ok" })
      return
    }
    if (method._tag === "channel.open" && !this.channels.has(number)) {
      this.channels.set(number, new ServerChannel(number, this))
      return this.send(number, { _tag: "channel.open-ok" })
    }
    const channel = this.openChannel(number, methodIds[method._tag])
    if (channel === undefined) return
    if (method._tag === "channel.close") {
      this.channels.delete(number)
      this.forgetChannel(number)
      channel.end()
      return this.send(number, { _tag: "channel.close-ok" })
    }
    try {
      channel.onMethod(method, content)
    } catch (error) {
      this.refuse(error, number, methodIds[method._tag])
    }
  }

  /** The channel, if it is open; otherwise the connection is closed for what the client sent on it. */
  private openChannel(number: number, ids: MethodIds): ServerChannel | undefined {
    const channel = this.channels.get(number)
    if (channel === undefined && !this.closingChannels.has(number)) {
      this.fail(new Refusal("channelError", "expected 'channel.open'"), ids)
    }
    return channel
  }

  private forgetChannel(number: number): void {
    this.closingChannels.delete(number)
    this.frames.delete(number)
  }

  // ---------------------------------------------------------------------------
  // channel 0
  // ---------------------------------------------------------------------------

  private onControl(payload: Uint8Array): void {
    const read = this.methods.read(payload)
    const ids = idsOf(payload)
    switch (read._tag) {
      case "Unknown":
        return this.end()
      case "Malformed":
      case "MalformedTable":
        return this.fail(internalError, noMethod)
      case "MalformedText":
        return this.fail(malformedText(), ids)
      case "Other":
        return this.fail(this.unexpectedMethod(), ids)
      case "Method":
        try {
          this.onControlMethod(read.method)
        } catch (error) {
          if (!(error instanceof Refusal)) throw error
          this.fail(error, ids)
        }
    }
  }

  private onControlMethod(method: Methods.Method): void {
    switch (this.phase) {
      case "starting":
        if (method._tag === "connection.start-ok") return this.login(method)
        break
      case "tuning":
        if (method._tag === "connection.tune-ok") return this.tune(method)
        break
      case "opening":
        if (method._tag === "connection.open") return this.open(method.virtualHost)
        break
      case "running":
        if (method._tag === "connection.close") return this.sayClosed()
        if (method._tag === "connection.update-secret") {
          return this.send(0, { _tag: "connection.update-secret-ok" })
        }
    }
    throw this.unexpectedMethod()
  }

  private unexpectedMethod(): Refusal {
    return new Refusal("channelError", `unexpected method in connection state ${this.phase}`)
  }

  /** Of a closed connection, the client may say so as often as it likes. */
  private onMethodAfterClose(payload: Uint8Array): void {
    const read = this.methods.read(payload)
    if (read._tag === "Unknown") this.end()
    if (read._tag !== "Method") return
    if (read.method._tag === "connection.close-ok") this.end()
    else if (read.method._tag === "connection.close") this.send(0, { _tag: "connection.close-ok" })
  }

  private login(method: Methods.ConnectionStartOk): void {
    this.clientProperties = method.clientProperties
    const { channelMax, frameMax, heartbeatSeconds, mechanisms } = this.host.options
    this.user = logIn(method, mechanisms, (name) => this.host.user(name))
    this.phase = "tuning"
    this.send(0, { _tag: "connection.tune", channelMax, frameMax, heartbeat: heartbeatSeconds })
  }

  private tune(method: Methods.ConnectionTuneOk): void {
    checkTune(method, this.host.options)
    this.outgoing.frameMax = method.frameMax
    this.channelMax = method.channelMax
    this.reader.frameMax = method.frameMax
    this.phase = "opening"
    const intervalMillis = method.heartbeat * 1000
    this.patienceMillis = intervalMillis > 0 && intervalMillis < closeTimeout ? intervalMillis : closeTimeout
    if (intervalMillis === 0) return
    this.heartbeats = new Heartbeats({
      timers: this.host.timers,
      intervalMillis,
      sendHeartbeat: () => this.outgoing.bytes(heartbeatFrame),
      onSilence: () => {
        if (this.phase !== "closed" && this.phase !== "deaf") this.end()
      }
    })
  }

  private open(name: string): void {
    const home = this.host.virtualHost(name)
    if (home === undefined) throw new Refusal("notAllowed", `vhost ${name} not found`)
    if (this.user === undefined || !mayOpen(this.user, name)) {
      throw new Refusal("notAllowed", `access to vhost '${name}' refused for user '${this.username}'`)
    }
    this.home = home
    this.phase = "running"
    this.stopTimer()
    this.send(0, { _tag: "connection.open-ok" })
  }

  // ---------------------------------------------------------------------------
  // what people cause
  // ---------------------------------------------------------------------------

  /** Holds up a client that published, until it is unblocked: nothing of it is read any more. */
  block(reason: string): void {
    if (!this.hasPublished || this.phase !== "running" || this.isBlocked) return
    this.isBlocked = true
    this.heartbeats?.pauseWatching()
    this.transport.pauseReading()
    if (this.supports("connection.blocked")) this.send(0, { _tag: "connection.blocked", reason: short(reason) })
  }

  unblock(): void {
    if (!this.isBlocked) return
    if (this.supports("connection.blocked")) this.send(0, { _tag: "connection.unblocked" })
    this.readOn()
  }

  private readOn(): void {
    if (!this.isBlocked) return
    this.isBlocked = false
    this.heartbeats?.resumeWatching()
    this.transport.resumeReading()
  }

  /** Bytes of anything. */
  sendBytes(bytes: Uint8Array): void {
    this.outgoing.bytes(bytes)
  }

  /** Closes a channel with a code of the caller's. */
  closeChannel(number: number, { replyCode, replyText }: CloseReason, ids: MethodIds = noMethod): void {
    const channel = this.channels.get(number)
    if (channel === undefined) return
    this.channels.delete(number)
    this.closingChannels.add(number)
    channel.end()
    this.send(number, { _tag: "channel.close", replyCode, replyText: short(replyText), ...ids })
  }

  /** Closes the connection, and waits for the client to say that it heard. */
  close({ replyCode, replyText }: CloseReason, ids: MethodIds = noMethod): void {
    if (this.hasClosed) return
    // The answer has to be read.
    this.readOn()
    this.endChannels()
    this.phase = "closed"
    this.send(0, { _tag: "connection.close", replyCode, replyText: short(replyText), ...ids })
    this.endAfter(this.patienceMillis)
  }

  // ---------------------------------------------------------------------------
  // what channels need
  // ---------------------------------------------------------------------------

  get username(): string {
    return this.user?.name ?? ""
  }

  get virtualHost(): VirtualHost {
    // Channels open only when the connection is.
    return this.home!
  }

  get homeName(): string | undefined {
    return this.home?.name
  }

  get isCongested(): boolean {
    // What this step has already said counts too, or one step could say all that there is.
    return this.transport.isCongested(this.outgoing.pendingBytes)
  }

  get notifiesCancel(): boolean {
    return this.supports("consumer_cancel_notify")
  }

  get directReplies(): DirectReplies {
    return this.host.directReplies
  }

  get maxMessageSize(): number {
    return this.host.options.maxMessageSize
  }

  get consumerTimeoutMillis(): number {
    return this.host.options.consumerTimeoutMillis
  }

  get timers(): Timers {
    return this.host.timers
  }

  confirmation(message: Message): Confirmation {
    return this.host.confirmation(message)
  }

  authorize(permission: Permission, kind: "exchange" | "queue", name: string): void {
    if (this.user !== undefined) authorize(this.user, this.virtualHost.name, permission, kind, name)
  }

  defer(deferred: { flush(): void }): void {
    this.deferred.add(deferred)
    this.host.touch(this)
  }

  send(channel: number, method: Methods.ServerMethod): void {
    this.outgoing.method(channel, method)
  }

  sendContent(
    channel: number,
    method: Methods.BasicDeliver | Methods.BasicGetOk | Methods.BasicReturn,
    message: Message
  ): void {
    this.outgoing.content(channel, method, message)
  }

  private supports(capability: string): boolean {
    const { capabilities } = this.clientProperties
    return typeof capabilities === "object" && capabilities !== null && Reflect.get(capabilities, capability) === true
  }

  // ---------------------------------------------------------------------------
  // the end
  // ---------------------------------------------------------------------------

  private get hasClosed(): boolean {
    return this.phase === "closed" || this.phase === "deaf" || this.phase === "gone"
  }

  /** Closes what an error of a channel concerns: the channel or the connection. */
  refuse(error: unknown, number: number, ids: MethodIds = noMethod): void {
    // Of what a channel reads, only properties can be malformed. RabbitMQ's channel breaks when it decodes them.
    if (error instanceof ProtocolError) return this.failFirst(number, internalError, noMethod)
    if (!(error instanceof Refusal)) throw error
    if (error.closesConnection || !this.channels.has(number)) return this.failFirst(number, error, ids)
    const { replyCode, replyText } = error
    this.host.refused({ connection: this.id, channel: number, replyCode, replyText })
    this.closeChannel(number, error, ids)
  }

  /** Closes the connection for an error of a channel, which ends before the others do. They may get what it had. */
  private failFirst(number: number, reason: CloseReason, ids: MethodIds): void {
    const channel = this.channels.get(number)
    this.channels.delete(number)
    channel?.end()
    this.fail(reason, ids)
  }

  /** Closes the connection for an error of the client's. In most of the handshake, the client is not told. */
  private fail(reason: CloseReason, ids: MethodIds): void {
    if (this.hasClosed) return
    const { replyCode, replyText } = reason
    this.host.refused({ connection: this.id, channel: 0, replyCode, replyText })
    if (this.phase === "running" || this.phase === "opening" && reason !== internalError) this.close(reason, ids)
    else if (this.phase === "starting" && reason instanceof Refusal && isWrongLogin(reason)) this.refuseLogin(reason)
    else this.fallSilent()
  }

  private refuseLogin(reason: Refusal): void {
    // Who doesn't say that it understands a close is left with a closed socket, as all were before RabbitMQ 3.2.
    if (this.supports("authentication_failure_close")) return this.close(reason)
    this.phase = "closed"
    this.endAfter(this.patienceMillis)
  }

  /** Understands nothing more, and closes the socket after a while. */
  private fallSilent(): void {
    this.phase = "deaf"
    this.endAfter(silentCloseDelay)
  }

  /** Answers the client's close. RabbitMQ leaves it to the client to close the socket. */
  private sayClosed(): void {
    this.endChannels()
    this.phase = "closed"
    this.send(0, { _tag: "connection.close-ok" })
    this.endAfter(this.patienceMillis)
  }

  /** Ends all channels. None of them is given what another one puts back. */
  private endChannels(): void {
    const channels = [...this.channels.values()]
    this.channels.clear()
    for (const channel of channels) channel.stop()
    for (const channel of channels) channel.end()
    this.home?.ownerClosed(this)
  }

  private endAfter(milliseconds: number): void {
    this.stopTimer()
    this.stopTimer = this.host.timers.schedule(milliseconds, () => this.end())
  }

  /** Closes the socket. */
  private end(): void {
    if (this.phase === "gone") return
    this.lost()
    this.host.touch(this)
  }
}

const malformedText = (): Refusal => new Refusal("frameError", "Malformed UTF-8 in shortstr")

/** A text of the broker is a short string; RabbitMQ cuts what is longer, too. */
const short = (text: string): string => {
  const encoded = new TextEncoder().encode(text)
  return encoded.length <= 255
    ? text
    : new TextDecoder().decode(encoded.subarray(0, 252)).replace(/\uFFFD$/u, "") + "..."
}
