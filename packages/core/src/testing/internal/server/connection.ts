/** A connection as the broker sees it: from the first byte to the close of the socket. */
import { frameMinSize, FrameType, protocolHeader } from "../../../protocol/constants.ts"
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { heartbeatFrame } from "../../../protocol/frames.ts"
import type * as Methods from "../../../protocol/methods.generated.ts"
import type { Confirmation } from "../../AmqpBroker.ts"
import type { ServerChannel } from "../channel/channel.ts"
import { contentHeaderSize } from "../channel/channelFrames.ts"
import type { DirectReplies } from "../channel/directReplies.ts"
import { noBytes } from "../common/bytes.ts"
import type { Message } from "../common/message.ts"
import { Refusal } from "../common/refusal.ts"
import type { ResourceKind } from "../common/resource.ts"
import type { Timers } from "../common/timers.ts"
import { authorize } from "../common/users.ts"
import type { Permission, User } from "../common/users.ts"
import type { VersionRules } from "../common/versionRules.ts"
import type { VirtualHost } from "../routing/virtualHost.ts"
import { internalError } from "./closeReasons.ts"
import type { CloseReason } from "./closeReasons.ts"
import { ConnectionChannels } from "./connectionChannels.ts"
import type { ChannelsHost } from "./connectionChannels.ts"
import type { ConnectionHost, ServerOptions } from "./connectionHost.ts"
import { ConnectionMethods } from "./connectionMethods.ts"
import type { ControlledConnection, Phase } from "./connectionMethods.ts"
import { describeFrame, describeProblem } from "./frameErrorTexts.ts"
import { FrameReader } from "./frameReader.ts"
import { headerFor, isWrongLogin, versionOf } from "./handshake.ts"
import { Heartbeats } from "./heartbeats.ts"
import { noMethod } from "./methodReader.ts"
import type { MethodIds } from "./methodReader.ts"
import { Outgoing, shortText } from "./outgoing.ts"
import { PublisherBlock } from "./publisherBlock.ts"
import type { Transport } from "./transport.ts"

/** How long the handshake may take, in milliseconds. */
const handshakeTimeout = 10_000

/** The delay before the socket is closed after an error of the handshake or of framing. RabbitMQ slows attackers down in this way. */
const silentCloseDelay = 3000

/** How long a closed connection waits for the client, in milliseconds, unless the heartbeat interval is shorter. */
const closeTimeout = 30_000

export class ServerConnection implements ChannelsHost, ControlledConnection {
  readonly isOwner = true
  readonly id: number
  readonly transport: Transport
  phase: Phase = "header"

  private readonly host: ConnectionHost<ServerConnection>
  private readonly outgoing: Outgoing
  private readonly reader: FrameReader
  private readonly methods: ConnectionMethods
  private readonly channelSet: ConnectionChannels
  private readonly publisherBlock: PublisherBlock
  private header: Uint8Array = noBytes
  private heartbeats: Heartbeats | undefined
  /** What is flushed when the step ends. */
  private deferred = new Set<{ flush(): void }>()
  /** How long a closed connection waits for the client. */
  private closeMillis = silentCloseDelay
  private stopTimer: () => void = () => {}

  constructor(id: number, host: ConnectionHost<ServerConnection>, transport: Transport) {
    this.id = id
    this.host = host
    this.transport = transport
    this.outgoing = new Outgoing(host.options.frameMax, () => {
      this.heartbeats?.sent()
      host.touch(this)
    })
    this.reader = new FrameReader(frameMinSize, {
      onFrame: (type, channel, payload) => this.onFrame(type, channel, payload),
      onUnreadable: (type, payload, problem) => this.onUnreadable(type, payload, problem)
    })
    this.methods = new ConnectionMethods(this)
    this.channelSet = new ConnectionChannels(host.options.channelMax, this)
    this.publisherBlock = new PublisherBlock({
      pauseReading: () => {
        this.heartbeats?.pauseWatching()
        transport.pauseReading()
      },
      resumeReading: () => {
        this.heartbeats?.resumeWatching()
        transport.resumeReading()
      },
      sendBlocked: (reason) => this.notifyBlocked({ _tag: "connection.blocked", reason: shortText(reason) }),
      sendUnblocked: () => this.notifyBlocked({ _tag: "connection.unblocked" })
    })
    this.endAfter(handshakeTimeout)
  }

  // ---------------------------------------------------------------------------
  // bytes
  // ---------------------------------------------------------------------------

  /** Takes bytes from the client, which belong to the connection from now on. */
  receive(bytes: Uint8Array): void {
    this.heartbeats?.received()
    if (this.phase === "gone" || this.phase === "deaf") return
    const rest = this.phase === "header" ? this.readHeader(bytes) : bytes
    if (rest.length > 0) this.reader.push(rest)
  }

  /** The network connection has ended. */
  lost(): void {
    if (this.phase === "gone") return
    this.phase = "gone"
    this.stopTimer()
    this.heartbeats?.stop()
    this.reader.stop()
    this.endChannels()
    this.host.ended(this)
  }

  /** The client has read most of what was sent. */
  drained(): void {
    for (const channel of this.channels.values()) channel.resume()
  }

  /** Ends a step: sends what was encoded in it. */
  flush(): void {
    const { deferred } = this
    this.deferred = new Set()
    for (const each of deferred) each.flush()
    const chunks = this.outgoing.take()
    if (chunks.length > 0) this.transport.send(chunks)
    if (this.phase === "gone") this.transport.close()
  }

  private readHeader(bytes: Uint8Array): Uint8Array {
    const missing = protocolHeader.length - this.header.length
    this.header = Uint8Array.of(...this.header, ...bytes.subarray(0, missing))
    if (this.header.length < protocolHeader.length) return noBytes
    const version = versionOf(this.header, this.options.rules)
    if (version === undefined) {
      this.outgoing.bytes(headerFor(this.options.rules))
      this.end()
      return noBytes
    }
    this.phase = "starting"
    this.send(0, {
      _tag: "connection.start",
      versionMajor: version.major,
      versionMinor: version.minor,
      serverProperties: this.options.serverProperties,
      mechanisms: this.options.mechanisms.join(" "),
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
      if (channel === 0 && type === FrameType.method && payload.length >= 4) this.methods.onMethodAfterClose(payload)
      return
    }
    if (channel !== 0 && this.phase !== "running") return this.unexpectedFrame(type, payload)
    switch (type) {
      case FrameType.method:
        if (payload.length < 4) break
        return channel === 0 ? this.methods.onMethod(payload) : this.channelSet.onMethod(channel, payload)
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

  /** Nothing is read after such a frame, because it is unknown where the next one begins. */
  private onUnreadable(type: number, payload: Uint8Array, problem: ReadonlyArray<string | number>): void {
    if (this.phase !== "closed") {
      this.fail(new Refusal("frameError", describeProblem(type, payload, problem)), noMethod)
    }
    this.stopReading()
  }

  // ---------------------------------------------------------------------------
  // what the methods of channel 0 need
  // ---------------------------------------------------------------------------

  get options(): ServerOptions {
    return this.host.options
  }

  userNamed(name: string): User | undefined {
    return this.host.user(name)
  }

  virtualHostNamed(name: string): VirtualHost | undefined {
    return this.host.virtualHost(name)
  }

  tuned(method: Methods.ConnectionTuneOk): void {
    this.outgoing.frameMax = method.frameMax
    this.channelSet.maximum = method.channelMax
    this.reader.frameMax = method.frameMax
    const intervalMillis = method.heartbeat * 1000
    this.closeMillis = intervalMillis > 0 && intervalMillis < closeTimeout ? intervalMillis : closeTimeout
    if (intervalMillis === 0) return
    this.heartbeats = new Heartbeats({
      timers: this.timers,
      intervalMillis,
      sendHeartbeat: () => this.outgoing.bytes(heartbeatFrame),
      onSilence: () => {
        if (this.phase !== "closed" && this.phase !== "deaf") this.end()
      }
    })
  }

  opened(): void {
    this.stopTimer()
  }

  /** RabbitMQ leaves it to the client to close the socket. */
  confirmClose(): void {
    this.endChannels()
    this.phase = "closed"
    this.send(0, { _tag: "connection.close-ok" })
    this.endAfter(this.closeMillis)
  }

  // ---------------------------------------------------------------------------
  // what a test may do
  // ---------------------------------------------------------------------------

  get clientProperties(): FieldTable {
    return this.methods.clientProperties
  }

  get virtualHostName(): string | undefined {
    return this.methods.virtualHost?.name
  }

  get isBlocked(): boolean {
    return this.publisherBlock.isActive
  }

  /** Blocks a client that has published, until `unblock`. */
  block(reason: string): void {
    if (this.phase === "running") this.publisherBlock.block(reason)
  }

  unblock(): void {
    this.publisherBlock.unblock()
  }

  /** Sends any bytes. */
  sendBytes(bytes: Uint8Array): void {
    this.outgoing.bytes(bytes)
  }

  closeChannel(number: number, reason: CloseReason): void {
    this.channelSet.close(number, reason, noMethod)
  }

  /** Closes the connection, and waits for the client's close-ok. */
  close({ replyCode, replyText }: CloseReason, ids: MethodIds = noMethod): void {
    if (this.hasClosed) return
    this.endChannels()
    this.phase = "closed"
    this.send(0, { _tag: "connection.close", replyCode, replyText: shortText(replyText), ...ids })
    this.endAfter(this.closeMillis)
    // The close-ok has to be read.
    this.publisherBlock.lift()
  }

  // ---------------------------------------------------------------------------
  // what channels need
  // ---------------------------------------------------------------------------

  /** Those that are open. */
  get channels(): ReadonlyMap<number, ServerChannel> {
    return this.channelSet.open
  }

  get username(): string {
    return this.methods.user?.name ?? ""
  }

  get virtualHost(): VirtualHost {
    // Set before the first channel is opened.
    return this.methods.virtualHost!
  }

  get isCongested(): boolean {
    // What was encoded in this step counts too. Otherwise one step could deliver everything there is.
    return this.transport.isCongested(this.outgoing.pendingBytes)
  }

  get notifiesCancel(): boolean {
    return this.methods.supports("consumer_cancel_notify")
  }

  get directReplies(): DirectReplies {
    return this.host.directReplies
  }

  get rules(): VersionRules {
    return this.options.rules
  }

  get maxMessageSize(): number {
    return this.options.maxMessageSize
  }

  get consumerTimeoutMillis(): number {
    return this.options.consumerTimeoutMillis
  }

  get timers(): Timers {
    return this.host.timers
  }

  confirmation(message: Message): Confirmation {
    return this.host.confirmation(message)
  }

  authorize(permission: Permission, kind: ResourceKind, name: string): void {
    const { user } = this.methods
    if (user !== undefined) authorize(user, this.virtualHost.name, permission, kind, name)
  }

  published(): void {
    this.publisherBlock.published(this.phase === "running" ? this.host.blockedReason : undefined)
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

  defer(deferred: { flush(): void }): void {
    this.deferred.add(deferred)
    this.host.touch(this)
  }

  send(channel: number, method: Methods.ServerMethod): void {
    this.outgoing.method(channel, method)
  }

  sendChannelClose(number: number, { replyCode, replyText }: CloseReason, ids: MethodIds): void {
    this.send(number, { _tag: "channel.close", replyCode, replyText: shortText(replyText), ...ids })
  }

  sendContent(
    channel: number,
    method: Methods.BasicDeliver | Methods.BasicGetOk | Methods.BasicReturn,
    message: Message
  ): void {
    this.outgoing.content(channel, method, message)
  }

  private notifyBlocked(method: Methods.ConnectionBlocked | Methods.ConnectionUnblocked): void {
    if (this.methods.supports("connection.blocked")) this.send(0, method)
  }

  // ---------------------------------------------------------------------------
  // closing
  // ---------------------------------------------------------------------------

  private get hasClosed(): boolean {
    return this.phase === "closed" || this.phase === "deaf" || this.phase === "gone"
  }

  /** Closes the connection for an error of the client, which is not notified in most of the handshake. */
  fail(reason: CloseReason, ids: MethodIds): void {
    if (this.hasClosed) return
    const { replyCode, replyText } = reason
    this.host.refused({ connection: this.id, channel: 0, replyCode, replyText })
    if (this.phase === "running" || this.phase === "opening" && reason !== internalError) this.close(reason, ids)
    else if (this.phase === "starting" && reason instanceof Refusal && isWrongLogin(reason)) this.refuseLogin(reason)
    else this.stopReading()
  }

  private refuseLogin(reason: Refusal): void {
    // A client without this capability finds the socket closed, as all clients did before RabbitMQ 3.2.
    if (this.methods.supports("authentication_failure_close")) return this.close(reason)
    this.phase = "closed"
    this.endAfter(this.closeMillis)
  }

  /** Reads nothing more, and closes the socket after a while. */
  private stopReading(): void {
    this.phase = "deaf"
    this.endAfter(silentCloseDelay)
  }

  private endChannels(): void {
    this.channelSet.endAll()
    this.methods.virtualHost?.ownerClosed(this)
  }

  private endAfter(milliseconds: number): void {
    this.stopTimer()
    this.stopTimer = this.timers.schedule(milliseconds, () => this.end())
  }

  /** Closes the socket. */
  end(): void {
    if (this.phase === "gone") return
    this.lost()
    this.host.touch(this)
  }
}
