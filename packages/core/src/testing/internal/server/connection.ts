/** A connection from the broker's side: its handshake, its channels and its end. */
import { frameMinSize, FrameType, protocolHeader } from "../../../protocol/constants.ts"
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { heartbeatFrame } from "../../../protocol/frames.ts"
import type * as Methods from "../../../protocol/methods.generated.ts"
import type { Confirmation, RefusalInfo } from "../../AmqpBroker.ts"
import type { ServerChannel } from "../channel/channel.ts"
import { contentHeaderSize } from "../channel/channelFrames.ts"
import type { DirectReplies } from "../channel/directReplies.ts"
import { describeFrame, describeProblem } from "../common/erlangTerms.ts"
import { FrameReader } from "../common/frameReader.ts"
import type { Message } from "../common/message.ts"
import { idsOf, MethodReader, noMethod } from "../common/methodReader.ts"
import type { MethodIds } from "../common/methodReader.ts"
import { Refusal } from "../common/refusal.ts"
import type { Rules } from "../common/rules.ts"
import type { Timers } from "../common/timers.ts"
import { authorize, mayOpen } from "../common/users.ts"
import type { Permission, User } from "../common/users.ts"
import type { VirtualHost } from "../routing/virtualHost.ts"
import { ConnectionChannels, internalError, malformedText } from "./connectionChannels.ts"
import type { ChannelsHost, CloseReason } from "./connectionChannels.ts"
import { checkTune, isWrongLogin, logIn, versionOf } from "./handshake.ts"
import { Heartbeats } from "./heartbeats.ts"
import { Outgoing } from "./outgoing.ts"

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
  /** What differs between versions of RabbitMQ. */
  readonly rules: Rules
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
  runDeferred(): void
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

const nothing = new Uint8Array(0)

export class ServerConnection implements ChannelsHost {
  readonly isOwner = true
  readonly id: number
  phase: Phase = "header"
  clientProperties: FieldTable = {}

  private readonly host: ConnectionHost
  readonly transport: Transport
  private readonly outgoing: Outgoing
  private readonly reader: FrameReader
  private readonly methods = new MethodReader()
  private header: Uint8Array = nothing
  private user: User | undefined
  private home: VirtualHost | undefined
  private readonly channelSet: ConnectionChannels
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
    this.channelSet = new ConnectionChannels(host.options.channelMax, this)
    this.reader = new FrameReader(frameMinSize, {
      onFrame: (type, channel, payload) => this.onFrame(type, channel, payload),
      onUnreadable: (type, payload, problem) => this.onUnreadable(type, payload, problem)
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
        return channel === 0 ? this.onControl(payload) : this.channelSet.onMethod(channel, payload)
      case FrameType.header:
        if (payload.length < contentHeaderSize) break
        if (channel === 0) return this.unexpectedFrame(type, payload)
        return this.channelSet.onContentHeader(channel, payload)
      case FrameType.body:
        if (channel === 0) return this.unexpectedFrame(type, payload)
        return this.channelSet.onBody(channel, payload)
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
  private onUnreadable(type: number, payload: Uint8Array, problem: ReadonlyArray<string | number>): void {
    if (this.phase !== "closed") {
      this.fail(new Refusal("frameError", describeProblem(type, payload, problem)), noMethod)
    }
    this.fallSilent()
  }

  // ---------------------------------------------------------------------------
  // channel 0
  // ---------------------------------------------------------------------------

  private onControl(payload: Uint8Array): void {
    const read = this.methods.read(payload)
    const ids = idsOf(payload)
    switch (read) {
      case "unknown":
        return this.end()
      case "malformed":
      case "malformed table":
        return this.fail(internalError, noMethod)
      case "malformed text":
        return this.fail(malformedText(), ids)
      case "access.request":
      case "unimplemented":
        return this.fail(this.unexpectedMethod(), ids)
    }
    try {
      this.onControlMethod(read)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      this.fail(error, ids)
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
          method.newSecret.fill(0)
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
    if (read === "unknown") this.end()
    if (typeof read === "string") return
    if (read._tag === "connection.close-ok") this.end()
    else if (read._tag === "connection.close") this.send(0, { _tag: "connection.close-ok" })
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
    this.channelSet.maximum = method.channelMax
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
  closeChannel(number: number, reason: CloseReason): void {
    this.channelSet.close(number, reason, noMethod)
  }

  /** Closes the connection, and waits for the client to say that it heard. */
  close({ replyCode, replyText }: CloseReason, ids: MethodIds = noMethod): void {
    if (this.hasClosed) return
    this.endChannels()
    this.phase = "closed"
    this.send(0, { _tag: "connection.close", replyCode, replyText: short(replyText), ...ids })
    this.endAfter(this.patienceMillis)
    // The answer has to be read.
    this.readOn()
  }

  // ---------------------------------------------------------------------------
  // what channels need
  // ---------------------------------------------------------------------------

  /** The open ones. */
  get channels(): ReadonlyMap<number, ServerChannel> {
    return this.channelSet.open
  }

  refuse(refusal: Refusal, number: number): void {
    this.channelSet.refuse(refusal, number, noMethod)
  }

  channelRefused(channel: number, { replyCode, replyText }: CloseReason): void {
    this.host.refused({ connection: this.id, channel, replyCode, replyText })
  }

  deliverDeferred(): void {
    this.host.runDeferred()
  }

  sendChannelClose(number: number, { replyCode, replyText }: CloseReason, ids: MethodIds): void {
    this.send(number, { _tag: "channel.close", replyCode, replyText: short(replyText), ...ids })
  }

  published(): void {
    if (this.hasPublished) return
    this.hasPublished = true
    // Takes effect after this message: it comes within the bytes that are read already.
    if (this.host.blockedReason !== undefined) this.block(this.host.blockedReason)
  }

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

  /** Closes the connection for an error of the client's. In most of the handshake, the client is not told. */
  fail(reason: CloseReason, ids: MethodIds): void {
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

  private endChannels(): void {
    this.channelSet.endAll()
    this.home?.ownerClosed(this)
  }

  private endAfter(milliseconds: number): void {
    this.stopTimer()
    this.stopTimer = this.host.timers.schedule(milliseconds, () => this.end())
  }

  /** Closes the socket. */
  end(): void {
    if (this.phase === "gone") return
    this.lost()
    this.host.touch(this)
  }
}

/** A text of the broker is a short string; RabbitMQ cuts what is longer, too. */
const short = (text: string): string => {
  const encoded = new TextEncoder().encode(text)
  return encoded.length <= 255
    ? text
    : new TextDecoder().decode(encoded.subarray(0, 252)).replace(/\uFFFD$/u, "") + "..."
}
