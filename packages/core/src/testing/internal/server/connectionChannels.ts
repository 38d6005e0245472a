/** The channels of a connection, open and closing, and the frames that arrive for them. */
import { methodIds } from "../../../protocol/methods.generated.ts"
import type * as Methods from "../../../protocol/methods.generated.ts"
import { ProtocolError } from "../../../protocol/ProtocolError.ts"
import { ServerChannel } from "../channel/channel.ts"
import { ChannelFrames } from "../channel/channelFrames.ts"
import type { ReceivedContent } from "../channel/channelFrames.ts"
import type { ChannelHost } from "../channel/channelHost.ts"
import { Refusal } from "../common/refusal.ts"
import type { VersionRules } from "../common/versionRules.ts"
import { internalError, malformedText } from "./closeReasons.ts"
import type { CloseReason } from "./closeReasons.ts"
import { printNumbers } from "./frameErrorTexts.ts"
import { idsOf, MethodReader, noMethod } from "./methodReader.ts"
import type { MethodIds } from "./methodReader.ts"

/** What the channels need of their connection. */
export interface ChannelsHost extends ChannelHost {
  readonly rules: VersionRules
  /** Closes the connection for an error of the client. */
  fail(reason: CloseReason, ids: MethodIds): void
  /** Closes the socket without a close. */
  end(): void
  /** A channel was closed for an error of the client. */
  channelRefused(number: number, reason: CloseReason): void
  /** Has queues deliver now what they deferred to the end of the step. */
  deliverDeferred(): void
  sendChannelClose(number: number, reason: CloseReason, ids: MethodIds): void
  /** The client has published. */
  published(): void
}

export class ConnectionChannels {
  readonly open = new Map<number, ServerChannel>()
  /** The negotiated `channel-max`; 0 sets no limit. */
  maximum: number
  private readonly host: ChannelsHost
  private readonly methods = new MethodReader()
  /** The frames of all channels: open, closing, and not opened yet. */
  private readonly frames = new Map<number, ChannelFrames>()
  /** Those that the broker closed and whose close-ok has not arrived. */
  private readonly closing = new Set<number>()

  constructor(maximum: number, host: ChannelsHost) {
    this.maximum = maximum
    this.host = host
  }

  /** Handles the payload of a method frame, which contains at least the ids of a method. */
  onMethod(number: number, payload: Uint8Array): void {
    const read = this.methods.read(payload)
    switch (read) {
      case "unknown":
      case "malformed table":
        return this.host.end()
      case "malformed": {
        const refusal = new Refusal("frameError", `cannot decode ${printNumbers(payload.subarray(4))}`)
        return this.host.fail(refusal, idsOf(payload))
      }
      case "malformed text":
        return this.host.fail(malformedText(), noMethod)
    }
    const frames = this.framesOf(number)
    if (frames === undefined) return
    try {
      if (typeof read !== "string") frames.method(read)
      else this.onOtherMethod(number, read, frames, idsOf(payload))
    } catch (error) {
      this.refuseFrame(error, frames)
    }
    if (typeof read !== "string" && read._tag === "basic.publish") this.host.published()
  }

  /** Handles the payload of a content header, which has at least `contentHeaderSize` bytes. */
  onContentHeader(number: number, payload: Uint8Array): void {
    const frames = this.framesOf(number)
    try {
      frames?.contentHeader(payload)
    } catch (error) {
      this.refuseFrame(error, frames)
    }
  }

  onBody(number: number, payload: Uint8Array): void {
    const frames = this.framesOf(number)
    try {
      frames?.body(payload)
    } catch (error) {
      this.refuseFrame(error, frames)
    }
  }

  /** Closes a channel, and waits for the client's close-ok. */
  close(number: number, reason: CloseReason, ids: MethodIds): void {
    const channel = this.open.get(number)
    if (channel === undefined) return
    this.open.delete(number)
    this.closing.add(number)
    channel.end()
    this.host.sendChannelClose(number, reason, ids)
  }

  /** Closes the channel or the connection for an error on the channel. */
  refuse(error: unknown, number: number, ids: MethodIds): void {
    // Only properties can be malformed here. RabbitMQ's channel crashes when it decodes them.
    if (error instanceof ProtocolError) return this.endBeforeOthers(number, internalError, noMethod)
    if (!(error instanceof Refusal)) throw error
    if (error.closesConnection) {
      // A channel that crashes in RabbitMQ gives neither an explanation nor the method.
      return this.endBeforeOthers(number, error, error.replyText === internalError.replyText ? noMethod : ids)
    }
    this.host.channelRefused(number, error)
    this.close(number, error, ids)
  }

  /** Ends all channels. None of them gets what another one puts back. */
  endAll(): void {
    const channels = [...this.open.values()]
    this.open.clear()
    for (const channel of channels) channel.stop()
    for (const channel of channels) channel.end()
  }

  /** The channel that caused a connection error ends first, and the others may get its messages. */
  private endBeforeOthers(number: number, reason: CloseReason, ids: MethodIds): void {
    const channel = this.open.get(number)
    this.open.delete(number)
    channel?.end()
    this.host.deliverDeferred()
    this.host.fail(reason, ids)
  }

  private onOtherMethod(
    number: number,
    name: "access.request" | "unimplemented",
    frames: ChannelFrames,
    ids: MethodIds
  ): void {
    frames.expectMethod()
    const channel = this.expectOpen(number, ids)
    if (channel === undefined) return
    if (name === "access.request") channel.grantAccess()
    else this.refuse(new Refusal("commandInvalid", "unimplemented method"), number, ids)
  }

  /** A channel received an unexpected frame. */
  private refuseFrame(error: unknown, frames: ChannelFrames | undefined): void {
    if (!(error instanceof Refusal)) throw error
    const pending = frames?.pending
    this.host.fail(error, pending === undefined ? noMethod : methodIds[pending._tag])
  }

  /** As in RabbitMQ, a channel begins with its first frame, before it is checked whether that opens the channel. */
  private framesOf(number: number): ChannelFrames | undefined {
    return this.frames.get(number) ?? this.begin(number)
  }

  private begin(number: number): ChannelFrames | undefined {
    const { size } = this.frames
    if (this.maximum !== 0 && size >= this.maximum) {
      const text = `number of channels opened (${size}) has reached the negotiated channel_max (${this.maximum})`
      this.host.fail(new Refusal("notAllowed", text), noMethod)
      return undefined
    }
    const frames = new ChannelFrames(
      this.host.maxMessageSize,
      this.host.rules,
      (method, content) => this.onWholeMethod(number, method, content)
    )
    this.frames.set(number, frames)
    return frames
  }

  private onWholeMethod(number: number, method: Methods.Method, content: ReceivedContent | undefined): void {
    if (method._tag === "channel.open") return this.openChannel(number)
    if (this.closing.has(number)) {
      if (method._tag === "channel.close-ok") this.forget(number)
      else if (method._tag === "channel.close") this.host.send(number, { _tag: "channel.close-ok" })
      return
    }
    const channel = this.expectOpen(number, methodIds[method._tag])
    if (channel === undefined) return
    if (method._tag === "channel.close") {
      this.open.delete(number)
      this.forget(number)
      channel.end()
      return this.host.send(number, { _tag: "channel.close-ok" })
    }
    try {
      channel.onMethod(method, content)
    } catch (error) {
      this.refuse(error, number, methodIds[method._tag])
    }
  }

  private openChannel(number: number): void {
    if (this.open.has(number) || this.closing.has(number)) {
      const refusal = new Refusal("channelError", "second 'channel.open' seen")
      return this.refuse(refusal, number, methodIds["channel.open"])
    }
    this.open.set(number, new ServerChannel(number, this.host))
    this.host.send(number, { _tag: "channel.open-ok" })
  }

  /** The channel if it is open. If it is neither open nor closing, the connection is closed. */
  private expectOpen(number: number, ids: MethodIds): ServerChannel | undefined {
    const channel = this.open.get(number)
    if (channel === undefined && !this.closing.has(number)) {
      this.host.fail(new Refusal("channelError", "expected 'channel.open'"), ids)
    }
    return channel
  }

  private forget(number: number): void {
    this.closing.delete(number)
    this.frames.delete(number)
  }
}
