/**
 * What a {@link PublishQueue} sends: the messages of one caller, one after the other.
 *
 * The queue asks for a message when it can be sent. The message and its options are the caller's objects until then, and encoding
 * them may run the caller's code.
 */
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { Properties } from "../../AmqpMessage.ts"
import type { PublishOwner } from "../channel/confirmLedger.ts"
import type { routeOf } from "../message/route.ts"

/** The exchange, the routing key and `mandatory`, not checked yet. */
export type RouteOptions = Parameters<typeof routeOf>[0]

/** Its methods throw nothing. */
export interface PublishJob {
  /** When the job began to wait for its turn, in milliseconds of the monotonic clock. Set by the queue. */
  waitingSince: number
  /** The size of the body that the job keeps in memory while it waits, in bytes. */
  readonly waitingBytes: number

  /** The current message, its target, the owner of its outcome, and its index for that. */
  readonly body: Uint8Array
  readonly properties: Properties
  readonly options: RouteOptions
  readonly owner: PublishOwner
  readonly index: number

  /** Takes the next message, which becomes the current one. Returns whether there is one to send now. */
  next(): boolean
  /** Whether there may be messages after the current one. */
  readonly hasMore: boolean
  /** The current message has to wait: the following `next` is to return to it. */
  hold(): void
  /** The current message can't be sent: its encoding threw this. */
  failed(thrown: unknown): void
  /** Nothing more can be sent. */
  refuse(error: AmqpChannelError): void
}
