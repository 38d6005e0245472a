/** What a channel needs of its connection and its broker. */
import type * as Methods from "../../../protocol/methods.generated.ts"
import type { Confirmation } from "../../AmqpBroker.ts"
import type { Message } from "../common/message.ts"
import type { Refusal } from "../common/refusal.ts"
import type { ResourceKind } from "../common/resource.ts"
import type { Timers } from "../common/timers.ts"
import type { Permission } from "../common/users.ts"
import type { Owner } from "../queues/queue.ts"
import type { VirtualHost } from "../routing/virtualHost.ts"
import type { DirectReplies } from "./directReplies.ts"

export interface ChannelHost extends Owner {
  readonly virtualHost: VirtualHost
  readonly username: string
  /** Whether the client has so much to read that nothing should be delivered. */
  readonly isCongested: boolean
  /** Whether the client understands `basic.cancel` from the broker. */
  readonly notifiesCancel: boolean
  readonly directReplies: DirectReplies
  /** In bytes. */
  readonly maxMessageSize: number
  readonly timers: Timers
  /** How long the client may keep a message unsettled, in milliseconds. */
  readonly consumerTimeoutMillis: number
  /** The reply to a publish that all queues took. */
  confirmation(message: Message): Confirmation
  /** Throws a `Refusal` if the user lacks the permission. */
  authorize(permission: Permission, kind: ResourceKind, name: string): void
  send(channel: number, method: Methods.ServerMethod): void
  /** Sends a method that this client's codec does not know. */
  sendBytes(bytes: Uint8Array): void
  sendContent(
    channel: number,
    method: Methods.BasicDeliver | Methods.BasicGetOk | Methods.BasicReturn,
    message: Message
  ): void
  /** Closes a channel for a reason other than a method of its client. */
  refuse(refusal: Refusal, channel: number): void
  /** Calls `flush` when the step ends. */
  defer(deferred: { flush(): void }): void
}

/** The reply to a method, unless the client sets `no-wait`. */
export const unlessNoWait = <M extends Methods.ServerMethod>(noWait: boolean, reply: M): M | undefined =>
  noWait ? undefined : reply
