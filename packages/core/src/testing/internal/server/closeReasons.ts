/** Why a channel or a connection is closed. */
import { ReplyCode } from "../../../protocol/constants.ts"
import { Refusal } from "../common/refusal.ts"

/** The code and the text of a close. */
export interface CloseReason {
  readonly replyCode: number
  readonly replyText: string
}

/** The reason that RabbitMQ gives when something in it crashes. */
export const internalError: CloseReason = { replyCode: ReplyCode.internalError, replyText: "INTERNAL_ERROR" }

/** A short string of a method is not UTF-8. */
export const malformedText = (): Refusal => new Refusal("frameError", "Malformed UTF-8 in shortstr")
