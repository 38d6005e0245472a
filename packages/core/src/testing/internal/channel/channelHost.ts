/** What a channel knows of its connection. */
import type * as Methods from "../../../protocol/methods.generated.ts"
import type { Confirmation } from "../../AmqpBroker.ts"
import type { Message } from "../common/message.ts"
import type { Refusal } from "../common/refusal.ts"
import type { Timers } from "../common/timers.ts"
import type { Permission } from "../common/users.ts"
import type { Owner } from "../queues/queue.ts"
import type { VirtualHost } from "../routing/virtualHost.ts"
import type { DirectReplies } from "./directReplies.ts"

/** What a channel needs of its connection and its broker. */
export interface ChannelHost extends Owner {
  readonly virtualHost: VirtualHost
  readonly username: string
  /** Whether so much waits to be read by the client that nothing should be delivered. */
  readonly isCongested: boolean
  /** Whether the client wants to hear that a consumer of it was cancelled. */
  readonly notifiesCancel: boolean
  readonly directReplies: DirectReplies
  /** In bytes. */
  readonly maxMessageSize: number
  readonly timers: Timers
  /** How long the client may keep a message unsettled, in milliseconds. */
  readonly consumerTimeoutMillis: number
  /** What to answer a publish with that the queues took. */
  confirmation(message: Message): Confirmation
  authorize(permission: Permission, kind: "exchange" | "queue", name: string): void
  send(channel: number, method: Methods.ServerMethod): void
  /** Sends what is no method of this client's codec. */
  sendBytes(bytes: Uint8Array): void
  sendContent(
    channel: number,
    method: Methods.BasicDeliver | Methods.BasicGetOk | Methods.BasicReturn,
    message: Message
  ): void
  /** Closes a channel of itself, and not for a method. */
  refuse(refusal: Refusal, channel: number): void
  /** Calls `flush` when the step ends. */
  defer(deferred: { flush(): void }): void
}

/** The answer to a method, unless it wants none. */
export const unless = <M extends Methods.ServerMethod>(noWait: boolean, answer: M): M | undefined =>
  noWait ? undefined : answer
