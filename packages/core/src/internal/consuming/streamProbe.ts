/**
 * Finds out whether a queue is a stream, when it is known by its name only.
 */
import * as Effect from "effect/Effect"
import { ReplyCode } from "../../protocol/constants.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import { fieldOf } from "../../protocol/fieldTable.ts"
import { basicConsume } from "../channel/methods.ts"
import type { Session } from "../connection/session.ts"
import { offsetKey } from "../message/streamOffset.ts"
import type { QueueDescription } from "../topology/descriptions.ts"
import { QueueKind } from "./queueKind.ts"

/** The kind of a queue that is consumed with these arguments. */
export const kindOf = (
  session: Session,
  queue: string | QueueDescription,
  name: string,
  table: FieldTable
): QueueKind => new QueueKind(isKnownStream(queue, table), probe(session, name))

const isKnownStream = (queue: string | QueueDescription, table: FieldTable): boolean | undefined => {
  if (typeof queue === "object" && queue.type !== undefined) return queue.type === "stream"
  return fieldOf(table, offsetKey) === undefined ? undefined : true
}

/**
 * Asks the broker, by a request that it refuses in any case, and differently: a consumer without a prefetch, which a stream does not
 * take, that wants to be the only one, which no other queue allows while it has a consumer.
 */
const probe = (session: Session, queue: string): Effect.Effect<boolean | undefined> =>
  Effect.scoped(
    Effect.flatMap(session.channels.scoped, (channel) =>
      channel.request(basicConsume(queue, channel.consumerTag(), { exclusive: true })))
  ).pipe(Effect.match({
    onSuccess: () =>
      false,
    onFailure: ({ reason }) => {
      if (!("replyCode" in reason)) return undefined
      if (reason.replyCode === ReplyCode.accessRefused) return false
      const isAboutPrefetch = reason.replyText.includes("prefetch")
      return reason.replyCode === ReplyCode.preconditionFailed && isAboutPrefetch ? true : undefined
    }
  }))
