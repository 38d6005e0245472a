/**
 * Finds out whether a queue is a stream.
 */
import * as Effect from "effect/Effect"
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"
import { ReplyCode } from "../../protocol/constants.ts"
import { fieldOf } from "../../protocol/fieldTable.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import { basicConsume } from "../channel/methods.ts"
import { offsetKey } from "../message/streamOffset.ts"
import type { ConsumerHost } from "./consumerHost.ts"
import { QueueKind } from "./queueKind.ts"

/** The kind of a queue that is consumed with these arguments. `wasStream`: an earlier consumer found out that it is one. */
export const kindOf = (
  host: ConsumerHost,
  queue: string | AmqpQueue,
  name: string,
  table: FieldTable,
  wasStream: true | undefined
): QueueKind => new QueueKind(isKnownStream(queue, table) ?? wasStream, probe(host, name))

const isKnownStream = (queue: string | AmqpQueue, table: FieldTable): boolean | undefined => {
  if (typeof queue === "object" && queue.type !== undefined) return queue.type === "stream"
  return fieldOf(table, offsetKey) === undefined ? undefined : true
}

/**
 * Asks the broker with a request that it refuses in any case: an exclusive consumer without a prefetch. A stream requires a prefetch, and
 * any other queue refuses an exclusive consumer because it has a consumer already.
 */
const probe = ({ channels }: ConsumerHost, queue: string): Effect.Effect<boolean | undefined> =>
  Effect.scoped(
    Effect.flatMap(channels.scoped, (channel) =>
      channel.request(basicConsume(queue, channel.consumerTag(), { exclusive: true })))
  ).pipe(Effect.match({
    onSuccess: () =>
      false,
    onFailure: (error) => {
      if (isRefusedByStream(error)) return true
      return "replyCode" in error.reason && error.reason.replyCode === ReplyCode.accessRefused ? false : undefined
    }
  }))

/** Whether a stream refused a consumer that has no prefetch. */
export const isRefusedByStream = ({ reason }: AmqpChannelError): boolean =>
  "replyCode" in reason && reason.replyCode === ReplyCode.preconditionFailed && reason.replyText.includes("prefetch")
