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
): QueueKind =>
  new QueueKind(isKnownStream(queue, table) ?? wasStream, Effect.orElseSucceed(probe(host, name), () => undefined))

const isKnownStream = (queue: string | AmqpQueue, table: FieldTable): boolean | undefined => {
  if (typeof queue === "object" && queue.type !== undefined) return queue.type === "stream"
  return fieldOf(table, offsetKey) === undefined ? undefined : true
}

/**
 * Asks the broker with a consumer that it refuses in any case, so that nothing is delivered: without the prefetch that a stream requires,
 * and with an offset, which other queues don't accept. `undefined` if the reply does not show it. Fails if it can't be asked.
 */
export const probe = (
  { channels }: Pick<ConsumerHost, "channels">,
  queue: string
): Effect.Effect<boolean | undefined, AmqpChannelError> =>
  Effect.scoped(Effect.flatMap(channels.scoped, (channel) =>
    Effect.match(
      // Exclusive, so that a broker without streams refuses it too if the queue has a consumer.
      channel.request(
        basicConsume(queue, channel.consumerTag(), { exclusive: true, arguments: { [offsetKey]: "next" } })
      ),
      {
        onSuccess: () => false,
        onFailure: ({ reason }) => "replyCode" in reason ? meaningOf(reason.replyCode, reason.replyText) : undefined
      }
    )))

const meaningOf = (replyCode: number, replyText: string): boolean | undefined => {
  if (replyCode === ReplyCode.accessRefused) return false
  if (replyCode !== ReplyCode.preconditionFailed) return undefined
  return replyText.includes("prefetch") ? true : replyText.includes(offsetKey) ? false : undefined
}
