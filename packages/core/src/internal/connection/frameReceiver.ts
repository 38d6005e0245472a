/**
 * Hands received methods and complete messages to their channels.
 *
 * A socket read is decoded completely before any of it is handled. Then `flush` has each channel handle what it has received, which
 * resumes fibers in that same synchronous step.
 */
import { ReplyCode } from "../../protocol/constants.ts"
import type { ContentHeader, FrameHandler } from "../../protocol/FrameParser.ts"
import type { Method } from "../../protocol/methods.generated.ts"
import { ProtocolError } from "../../protocol/ProtocolError.ts"
import type { Channel } from "../channel/channel.ts"
import type { Channels } from "../channel/channels.ts"
import type { ChannelEvent } from "../channel/requestQueue.ts"
import type { ControlChannel } from "./controlChannel.ts"

export class FrameReceiver implements FrameHandler {
  private readonly control: ControlChannel
  private readonly channels: Channels
  private readonly failed: (error: unknown) => void
  /** The channels that have received something since the last flush, in the order of their first events. */
  private readonly touched: Array<Pick<Channel, "handleReceived">> = []
  /** The index of the channel that `flush` handles next. */
  private nextTouched = 0

  /** `failed` is called if a channel throws while it handles what it has received. */
  constructor(control: ControlChannel, channels: Channels, failed: (error: unknown) => void) {
    this.control = control
    this.channels = channels
    this.failed = failed
  }

  onMethod(number: number, method: Method): void {
    if (number === 0) {
      if (this.control.receive(method)) this.touched.push(this.control)
      return
    }
    const channel = this.channels.find(number)
    if (channel === undefined) return
    if (method._tag === "basic.deliver" || method._tag === "basic.return" || method._tag === "basic.get-ok") {
      return channel.assembler.start(method)
    }
    if (!channel.assembler.idle) {
      throw new ProtocolError({
        replyCode: ReplyCode.unexpectedFrame,
        message: `${method._tag} arrived within the content of another method on channel ${number}`
      })
    }
    this.deliver(channel, method)
  }

  onHeader(number: number, header: ContentHeader): void {
    const channel = this.channels.find(number)
    const content = channel?.assembler.header(header)
    if (channel !== undefined && content !== undefined) this.deliver(channel, content)
  }

  onBody(number: number, payload: Uint8Array, isPart: boolean): void {
    const channel = this.channels.find(number)
    const content = channel?.assembler.body(payload, isPart)
    if (channel !== undefined && content !== undefined) this.deliver(channel, content)
  }

  onHeartbeat(): void {}

  /** The handling of one channel may end the session, which flushes the channels that are left before it ends all. */
  flush(): void {
    while (this.nextTouched < this.touched.length) {
      const channel = this.touched[this.nextTouched++]
      try {
        channel.handleReceived()
      } catch (error) {
        this.failed(error)
      }
    }
    this.touched.length = 0
    this.nextTouched = 0
  }

  private deliver(channel: Channel, event: ChannelEvent): void {
    if (channel.receive(event)) this.touched.push(channel)
  }
}
