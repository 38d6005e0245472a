/** Direct reply-to: the pseudo-queue for replies that are sent to a channel without a queue (RabbitMQ, "Direct Reply-to"). */
import type { Message } from "../common/message.ts"
import type { VirtualHost } from "../routing/virtualHost.ts"

/** Clients consume from it and set it as `reply-to`, which the broker replaces with the address of their channel. */
export const replyQueue = "amq.rabbitmq.reply-to"

export interface ReplyReceiver {
  readonly virtualHost: VirtualHost
  deliverReply(message: Message): void
}

export class DirectReplies {
  private readonly receivers = new Map<string, ReplyReceiver>()
  private lastNumber = 0

  /** Returns the address of a new receiver. */
  register(receiver: ReplyReceiver): string {
    const address = `${replyQueue}.g1h.${++this.lastNumber}`
    this.receivers.set(address, receiver)
    return address
  }

  remove(address: string): void {
    this.receivers.delete(address)
  }

  /** Whether the address belongs to a receiver in this virtual host. */
  has(virtualHost: VirtualHost, address: string): boolean {
    return this.receivers.get(address)?.virtualHost === virtualHost
  }

  /** Delivers a reply to the receiver whose address is the routing key, and returns whether there is one. */
  deliver(virtualHost: VirtualHost, message: Message): boolean {
    const receiver = this.receivers.get(message.routingKey)
    if (receiver === undefined || receiver.virtualHost !== virtualHost) return false
    receiver.deliverReply(message)
    return true
  }
}
