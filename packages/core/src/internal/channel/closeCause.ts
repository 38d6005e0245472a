/**
 * Which of the publishes in flight made the broker close their channel.
 *
 * A broker closes the channel because of one message, and every other publish in flight there is lost with it. The message that
 * caused the close would cause it again; the others would not.
 */
import { AmqpChannelError, ChannelLost, ServerReply } from "../../AmqpError.ts"
import type { ReplyReason } from "../../AmqpError.ts"
import { blamedBy } from "../errors/replyTexts.ts"
import type { InFlight } from "../errors/replyTexts.ts"

export interface CloseCause {
  /** The publishes that caused the close, if that is known. */
  readonly publishes: ReadonlyArray<InFlight>
  /** Whether the text of the close names what these have in common. */
  readonly isNamed: boolean
  /** How many publishes may have caused the close, if it is not known which one did; otherwise 0. */
  readonly candidates: number
  readonly outcomeOf: (publish: InFlight) => AmqpChannelError
}

/** Whether an error is a close that some of the publishes in flight may have caused. */
export const mayBeCausedByPublish = ({ reason }: AmqpChannelError): boolean =>
  reason instanceof ServerReply && !reason.isRetryable

/** The error of an operation that was lost with its channel and did not cause the close. */
export const lostWithChannel = (error: AmqpChannelError, isCertain: boolean): AmqpChannelError => {
  const { reason } = error
  if (!(reason instanceof ServerReply) || reason.isRetryable) return error
  return new AmqpChannelError({ reason: new ChannelLost({ cause: reason, isCertain }) })
}

/**
 * Finds the cause in the text of the close. If the text does not name it, every publish is a candidate. These are retryable only if the
 * sender then sends one message at a time (`sendsSeparately`), so that another close shows which one it was.
 */
export const findCause = (
  error: AmqpChannelError,
  inFlight: Iterable<InFlight>,
  sendsSeparately: boolean
): CloseCause => {
  const publishes = [...inFlight]
  // `mayBeCausedByPublish` holds.
  const { replyCode, replyText } = error.reason as ReplyReason
  const isCause = blamedBy(replyCode, replyText, publishes)
  if (isCause !== undefined) {
    const lost = lostWithChannel(error, true)
    return {
      publishes: publishes.filter(isCause),
      isNamed: true,
      candidates: 0,
      outcomeOf: (publish) => isCause(publish) ? error : lost
    }
  }
  if (publishes.length === 1 || !sendsSeparately) {
    return { publishes, isNamed: false, candidates: 0, outcomeOf: () => error }
  }
  const lost = lostWithChannel(error, false)
  return { publishes: [], isNamed: false, candidates: publishes.length, outcomeOf: () => lost }
}
