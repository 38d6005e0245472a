/**
 * Puts received methods and complete messages into the mailboxes of their channels.
 *
 * A socket read is decoded completely before any fiber is resumed. Then `flush` resumes the fiber of each channel once.
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
  /** The mailboxes that have received something since the last flush. */
  private readonly touched = new Set<{ flush(): void }>()

  constructor(control: ControlChannel, channels: Channels) {
    this.control = control
    this.channels = channels
  }

  onMethod(number: number, method: Method): void {
    if (number === 0) {
      this.control.receive(method)
      this.touched.add(this.control.mailbox)
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

  onBody(number: number, payload: Uint8Array): void {
    const channel = this.channels.find(number)
    const content = channel?.assembler.body(payload)
    if (channel !== undefined && content !== undefined) this.deliver(channel, content)
  }

  onHeartbeat(): void {}

  flush(): void {
    for (const mailbox of this.touched) mailbox.flush()
    this.touched.clear()
  }

  private deliver({ mailbox }: Channel, event: ChannelEvent): void {
    mailbox.offer(event)
    this.touched.add(mailbox)
  }
}
