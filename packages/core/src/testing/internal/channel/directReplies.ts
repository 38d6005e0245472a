/** Direct reply-to: the pseudo-queue to which a server answers without declaring one (RabbitMQ, "Direct Reply-to"). */
import type { Message } from "../common/message.ts"
import type { VirtualHost } from "../routing/virtualHost.ts"

/** What a client consumes from and names as `reply-to`; the broker replaces it by an address of the channel. */
export const replyQueue = "amq.rabbitmq.reply-to"

export interface ReplyReceiver {
  readonly virtualHost: VirtualHost
  deliverReply(message: Message): void
}

export class DirectReplies {
  private readonly receivers = new Map<string, ReplyReceiver>()
  private lastNumber = 0

  /** Makes an address for a channel. */
  register(receiver: ReplyReceiver): string {
    const address = `${replyQueue}.g1h.${++this.lastNumber}`
    this.receivers.set(address, receiver)
    return address
  }

  remove(address: string): void {
    this.receivers.delete(address)
  }

  /** Whether somebody of the virtual host waits for replies at the address. */
  has(virtualHost: VirtualHost, address: string): boolean {
    return this.receivers.get(address)?.virtualHost === virtualHost
  }

  /** Hands over a reply, and says whether somebody was there to take it. */
  deliver(virtualHost: VirtualHost, message: Message): boolean {
    const receiver = this.receivers.get(message.routingKey)
    if (receiver === undefined || receiver.virtualHost !== virtualHost) return false
    receiver.deliverReply(message)
    return true
  }
}
