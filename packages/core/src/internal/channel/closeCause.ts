/**
 * Which of the publishes in flight a close of their channel is about.
 *
 * A broker closes the channel for one message, and takes down with it whatever else is in flight there. The message that caused it
 * would do so again; the others would not.
 */
import { AmqpChannelError, ChannelLost, ServerReply } from "../../AmqpError.ts"
import type { ReplyReason } from "../../AmqpError.ts"
import { blamedBy } from "../errors/replyTexts.ts"
import type { InFlight } from "../errors/replyTexts.ts"

export interface Judgement {
  /** The publishes that caused the close, where that is known. */
  readonly culprits: ReadonlyArray<InFlight>
  /** Whether the text names what they have in common, or there was only one. */
  readonly isNamed: boolean
  /** How many publishes may have caused it, while it is not known which did; else 0. */
  readonly suspects: number
  readonly outcomeOf: (publish: InFlight) => AmqpChannelError
}

/** Whether an error is a close for which some of the publishes may be to blame, and others not. */
export const canBlame = ({ reason }: AmqpChannelError): boolean => reason instanceof ServerReply && !reason.isRetryable

/** What the loss of a channel is to something that did not cause it. */
export const innocent = (error: AmqpChannelError, isCertain: boolean): AmqpChannelError => {
  const { reason } = error
  if (!(reason instanceof ServerReply) || reason.isRetryable) return error
  return new AmqpChannelError({ reason: new ChannelLost({ cause: reason, isCertain }) })
}

/**
 * Judges the publishes in flight by the close's text. Where that doesn't tell, all of them are suspects, and each may
 * be tried again if whoever sends them then finds out which it was (`findsOut`); else none may.
 */
export const judge = (error: AmqpChannelError, publishes: Iterable<InFlight>, findsOut: boolean): Judgement => {
  const all = [...publishes]
  // `canBlame` says so.
  const { replyCode, replyText } = error.reason as ReplyReason
  const isBlamed = blamedBy(replyCode, replyText, all)
  if (isBlamed !== undefined) {
    const other = innocent(error, true)
    return {
      culprits: all.filter(isBlamed),
      isNamed: true,
      suspects: 0,
      outcomeOf: (publish) => isBlamed(publish) ? error : other
    }
  }
  if (all.length === 1 || !findsOut) return { culprits: all, isNamed: false, suspects: 0, outcomeOf: () => error }
  const suspect = innocent(error, false)
  return { culprits: [], isNamed: false, suspects: all.length, outcomeOf: () => suspect }
}
