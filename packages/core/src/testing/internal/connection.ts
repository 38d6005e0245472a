/** A connection from the broker's side: its handshake, its channels and its end. */
import * as Redacted from "effect/Redacted"
import { frameMinSize, protocolHeader, ReplyCode } from "../../protocol/constants.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import { FrameParser } from "../../protocol/FrameParser.ts"
import { heartbeatFrame } from "../../protocol/frames.ts"
import { methodIds } from "../../protocol/methods.generated.ts"
import type * as Methods from "../../protocol/methods.generated.ts"
import { ProtocolError } from "../../protocol/ProtocolError.ts"
import { ServerChannel } from "./channel.ts"
import type { ChannelHost } from "./channelHost.ts"
import type { Confirmation } from "./confirms.ts"
import type { DirectReplies } from "./directReplies.ts"
import { mechanisms } from "./login.ts"
import type { Message } from "./message.ts"
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

/** What is expected next of the client. */
type Phase = "header" | "start-ok" | "tune-ok" | "open" | "running" | "closing" | "closed"

/** How long a client may take to answer a close, in milliseconds. */
const closeTimeout = 30_000

const nothing = new Uint8Array(0)

export class ServerConnection implements ChannelHost {
  readonly isOwner = true
  readonly id: number
  phase: Phase = "header"
  clientProperties: FieldTable = {}
  readonly channels = new Map<number, ServerChannel>()

  private readonly host: ConnectionHost
  readonly transport: Transport
  private readonly outgoing: Outgoing
  private readonly parser: FrameParser
  private header: Uint8Array = nothing
  private user: User | undefined
  private home: VirtualHost | undefined
  private channelMax: number
  /** Channels that the broker closed and the client has not yet said so. */
  private readonly closingChannels = new Set<number>()
  /** Who flushes when the step ends. */
  private deferred = new Set<{ flush(): void }>()
  /** Whether it published ever: RabbitMQ holds up nobody who only consumes. */
  private hasPublished = false
  /** Whether nothing is read of the client, because it publishes what there is no room for. */
  isBlocked = false
  private received = false
  private sent = false
  private stopTimer: () => void = () => {}

  constructor(id: number, host: ConnectionHost, transport: Transport) {
    this.id = id
    this.host = host
    this.transport = transport
    this.outgoing = new Outgoing(host.options.frameMax, () => host.touch(this))
    this.channelMax = host.options.channelMax
    this.parser = new FrameParser({
      onMethod: (channel, method) => this.onMethod(channel, method),
      onHeader: (channel, header) => this.onContent(channel, (open) => open.onHeader(header)),
      onBody: (channel, payload) => this.onContent(channel, (open) => open.onBody(payload)),
      onHeartbeat: () => {}
    }, { maxFrameSize: frameMinSize * 2 })
  }

  // ---------------------------------------------------------------------------
  // bytes
  // ---------------------------------------------------------------------------

  /** Takes what the client sent. The bytes belong to the connection from now on. */
  receive(bytes: Uint8Array): void {
    this.received = true
    if (this.phase === "closed") return
    const rest = this.phase === "header" ? this.readHeader(bytes) : bytes
    if (rest.length === 0) return
    try {
      this.parser.push(rest)
    } catch (error) {
      // After a malformed frame nothing can be told apart, so whatever comes then stands for the answer to the close.
      if (this.phase === "closing") this.finish()
      else this.refuse(error, 0)
    }
  }

  /** The way to the client is no more. */
  lost(): void {
    if (this.phase === "closed") return
    this.phase = "closed"
    this.stopTimer()
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
    if (said.length > 0) {
      this.sent = true
      this.transport.send(said)
    }
    if (this.phase === "closed") this.transport.close()
  }

  private readHeader(bytes: Uint8Array): Uint8Array {
    const missing = protocolHeader.length - this.header.length
    const header = new Uint8Array([...this.header, ...bytes.subarray(0, missing)])
    this.header = header
    if (header.some((byte, index) => byte !== protocolHeader[index])) {
      this.outgoing.bytes(protocolHeader)
      this.finish()
      return nothing
    }
    if (header.length === protocolHeader.length) {
      this.phase = "start-ok"
      this.send(0, {
        _tag: "connection.start",
        versionMajor: 0,
        versionMinor: 9,
        serverProperties: this.host.options.serverProperties,
        mechanisms: this.host.options.mechanisms.join(" "),
        locales: "en_US"
      })
    }
    return bytes.subarray(missing)
  }

  // ---------------------------------------------------------------------------
  // frames
  // ---------------------------------------------------------------------------

  private onMethod(number: number, method: Methods.Method): void {
    if (this.phase === "closed") return
    if (this.phase === "closing") {
      if (method._tag === "connection.close-ok") this.finish()
      else if (method._tag === "connection.close") this.sayClosed()
      return
    }
    try {
      if (number === 0) return this.onControl(method)
      if (this.phase !== "running") {
        throw new Refusal("commandInvalid", `unexpected method in connection state ${this.phase}`)
      }
      this.onChannelMethod(number, method)
    } catch (error) {
      this.refuse(error, number, method)
    }
    if (method._tag === "basic.publish" && !this.hasPublished) {
      this.hasPublished = true
      // Takes effect after this message: it comes within the bytes that are read already.
      if (this.host.blockedReason !== undefined) this.block(this.host.blockedReason)
    }
  }

  private onChannelMethod(number: number, method: Methods.Method): void {
    const channel = this.channels.get(number)
    if (channel === undefined) {
      if (this.closingChannels.has(number)) {
        if (method._tag === "channel.close-ok") this.closingChannels.delete(number)
        else if (method._tag === "channel.close") this.send(number, { _tag: "channel.close-ok" })
        return
      }
      if (method._tag !== "channel.open") throw new Refusal("channelError", "expected 'channel.open'")
      if (this.channelMax !== 0 && this.channels.size >= this.channelMax) {
        throw new Refusal(
          "notAllowed",
          `number of channels opened (${this.channels.size}) has reached the negotiated channel_max (${this.channelMax})`
        )
      }
      this.channels.set(number, new ServerChannel(number, this))
      return this.send(number, { _tag: "channel.open-ok" })
    }
    if (method._tag === "channel.close") {
      this.channels.delete(number)
      channel.end()
      return this.send(number, { _tag: "channel.close-ok" })
    }
    channel.onMethod(method)
  }

  private onContent(number: number, take: (channel: ServerChannel) => void): void {
    if (this.phase !== "running") return
    const channel = this.channels.get(number)
    if (channel === undefined) {
      if (this.closingChannels.has(number)) return
      return this.refuse(new Refusal("channelError", "expected 'channel.open'"), number)
    }
    try {
      take(channel)
    } catch (error) {
      this.refuse(error, number, { _tag: "basic.publish" })
    }
  }

  // ---------------------------------------------------------------------------
  // channel 0
  // ---------------------------------------------------------------------------

  private onControl(method: Methods.Method): void {
    if (method._tag === "connection.close") return this.sayClosed()
    switch (this.phase) {
      case "start-ok":
        if (method._tag === "connection.start-ok") return this.login(method)
        break
      case "tune-ok":
        if (method._tag === "connection.tune-ok") return this.tune(method)
        break
      case "open":
        if (method._tag === "connection.open") return this.open(method.virtualHost)
        break
      case "running":
        if (method._tag === "connection.update-secret") {
          method.newSecret.fill(0)
          return this.send(0, { _tag: "connection.update-secret-ok" })
        }
    }
    throw new Refusal("commandInvalid", `unexpected method in connection state ${this.phase}`)
  }

  private login(method: Methods.ConnectionStartOk): void {
    this.clientProperties = method.clientProperties
    const login = this.host.options.mechanisms.includes(method.mechanism) ? mechanisms.get(method.mechanism) : undefined
    if (login === undefined) {
      throw new Refusal("commandInvalid", `unknown authentication mechanism '${method.mechanism}'`)
    }
    const said = login(method.response)
    // A view of what was received, which the parser may hold for as long as nothing else comes.
    method.response.fill(0)
    const user = said === undefined ? undefined : this.host.user(said.username)
    if (user === undefined || Redacted.value(user.password) !== said?.password) {
      return this.refuseLogin(method.mechanism)
    }
    this.user = user
    this.phase = "tune-ok"
    const { channelMax, frameMax, heartbeatSeconds } = this.host.options
    this.send(0, { _tag: "connection.tune", channelMax, frameMax, heartbeat: heartbeatSeconds })
  }

  private refuseLogin(mechanism: string): void {
    // Who doesn't say that it understands a close is left with a closed socket, as all were before RabbitMQ 3.2.
    if (!this.supports("authentication_failure_close")) return this.finish()
    this.close(
      new Refusal(
        "accessRefused",
        `Login was refused using authentication mechanism ${mechanism}. For details see the broker logfile.`
      ),
      undefined
    )
  }

  private tune(method: Methods.ConnectionTuneOk): void {
    const { channelMax, frameMax } = this.host.options
    checkTuned("channel_max", method.channelMax, channelMax, 1)
    checkTuned("frame_max", method.frameMax, frameMax, frameMinSize)
    this.outgoing.frameMax = method.frameMax
    this.channelMax = method.channelMax
    this.parser.maxFrameSize = method.frameMax
    this.phase = "open"
    if (method.heartbeat > 0) this.keepAlive(method.heartbeat * 500)
  }

  private open(name: string): void {
    const home = this.host.virtualHost(name)
    if (home === undefined) throw new Refusal("notAllowed", `vhost ${name} not found`)
    if (this.user === undefined || !mayOpen(this.user, name)) {
      throw new Refusal("notAllowed", `access to vhost '${name}' refused for user '${this.username}'`)
    }
    this.home = home
    this.phase = "running"
    this.send(0, { _tag: "connection.open-ok" })
  }

  /** Each half interval: says something if nothing was said, and gives up a client that is silent for two intervals. */
  private keepAlive(halfMillis: number): void {
    let silent = 0
    const beat = (): void => {
      silent = this.received ? 0 : silent + 1
      this.received = false
      // A client that is not read may well have said something.
      if (silent >= 4 && !this.isBlocked) return this.finish()
      if (!this.sent) this.outgoing.bytes(heartbeatFrame)
      this.sent = false
      this.stopTimer = this.host.timers.schedule(halfMillis, beat)
    }
    this.stopTimer = this.host.timers.schedule(halfMillis, beat)
  }

  // ---------------------------------------------------------------------------
  // what people cause
  // ---------------------------------------------------------------------------

  /** Holds up a client that published, until it is unblocked: nothing of it is read any more. */
  block(reason: string): void {
    if (!this.hasPublished || this.phase !== "running" || this.isBlocked) return
    this.isBlocked = true
    this.transport.pauseReading()
    if (this.supports("connection.blocked")) this.send(0, { _tag: "connection.blocked", reason: short(reason) })
  }

  unblock(): void {
    if (!this.isBlocked) return
    this.isBlocked = false
    if (this.supports("connection.blocked")) this.send(0, { _tag: "connection.unblocked" })
    this.transport.resumeReading()
  }

  /** Bytes of anything. */
  sendBytes(bytes: Uint8Array): void {
    this.outgoing.bytes(bytes)
  }

  /** Closes a channel with a code of the caller's. */
  closeChannel(
    number: number,
    { replyCode, replyText }: { readonly replyCode: number; readonly replyText: string },
    tag: Methods.MethodTag | undefined
  ): void {
    const channel = this.channels.get(number)
    if (channel === undefined) return
    this.channels.delete(number)
    this.closingChannels.add(number)
    channel.end()
    this.send(number, { _tag: "channel.close", replyCode, replyText: short(replyText), ...idsOf(tag) })
  }

  /** Closes the connection, and waits for the client to say that it heard. */
  close(reason: { readonly replyCode: number; readonly replyText: string }, tag: Methods.MethodTag | undefined): void {
    if (this.phase === "closed" || this.phase === "closing") return
    // The answer has to be read.
    if (this.isBlocked) this.transport.resumeReading()
    this.isBlocked = false
    this.endChannels()
    this.phase = "closing"
    const { replyCode, replyText } = reason
    this.send(0, { _tag: "connection.close", replyCode, replyText: short(replyText), ...idsOf(tag) })
    this.stopTimer()
    this.stopTimer = this.host.timers.schedule(closeTimeout, () => this.finish())
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

  /** Closes what an error concerns: the channel or the connection. */
  refuse(error: unknown, number: number, method?: { readonly _tag: Methods.MethodTag }): void {
    const refusal = error instanceof ProtocolError
      ? new Refusal(codeNames.get(error.replyCode) ?? "internalError", error.message)
      : error
    if (!(refusal instanceof Refusal)) throw error
    const { replyCode, replyText } = refusal
    const channel = refusal.closesConnection ? undefined : this.channels.get(number)
    this.host.refused({ connection: this.id, channel: channel?.number ?? 0, replyCode, replyText })
    if (channel === undefined) return this.close(refusal, method?._tag)
    this.closeChannel(number, refusal, method?._tag)
  }

  private sayClosed(): void {
    this.endChannels()
    this.send(0, { _tag: "connection.close-ok" })
    this.finish()
  }

  private endChannels(): void {
    const channels = [...this.channels.values()]
    this.channels.clear()
    for (const channel of channels) channel.end()
    this.home?.ownerClosed(this)
  }

  private finish(): void {
    if (this.phase === "closed") return
    this.lost()
    this.host.touch(this)
  }
}

const codeNames: ReadonlyMap<number, keyof typeof ReplyCode> = new Map(
  // The entries of a constant have its keys.
  Object.entries(ReplyCode).map(([name, code]) => [code, name as keyof typeof ReplyCode])
)

const idsOf = (tag: Methods.MethodTag | undefined): { readonly classId: number; readonly methodId: number } =>
  tag === undefined ? { classId: 0, methodId: 0 } : methodIds[tag]

/** A text of the broker is a short string; RabbitMQ cuts what is longer, too. */
const short = (text: string): string => {
  const encoded = new TextEncoder().encode(text)
  return encoded.length <= 255
    ? text
    : new TextDecoder().decode(encoded.subarray(0, 252)).replace(/\uFFFD$/u, "") + "..."
}

/** What the client answers to `connection.tune` keeps within what the server asked for; 0 stands for no limit. */
const checkTuned = (name: string, value: number, maximum: number, minimum: number): void => {
  if (maximum !== 0 && (value === 0 || value > maximum)) {
    const shown = value === 0 ? "no limit" : value
    throw new Refusal(
      "notAllowed",
      `negotiated ${name} = ${shown} is higher than the maximum allowed value (${maximum})`
    )
  }
  if (value !== 0 && value < minimum) {
    throw new Refusal(
      "notAllowed",
      `negotiated ${name} = ${value} is lower than the minimum allowed value (${minimum})`
    )
  }
}
