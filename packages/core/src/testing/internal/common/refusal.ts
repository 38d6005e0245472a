/** Refused requests, as RabbitMQ refuses them: a reply code, and a text that begins with the name of the code. */
import { ReplyCode, replyName } from "../../../protocol/constants.ts"

/** Soft errors (section 1.3 of the specification) close the channel; all other codes close the connection. */
const channelCodes: ReadonlySet<number> = new Set([
  ReplyCode.contentTooLarge,
  ReplyCode.noConsumers,
  ReplyCode.accessRefused,
  ReplyCode.notFound,
  ReplyCode.resourceLocked,
  ReplyCode.preconditionFailed
])

/** Thrown while a method is handled; its dispatcher closes the channel or the connection. */
export class Refusal extends Error {
  override readonly name = "Refusal"
  readonly replyCode: number
  readonly replyText: string

  constructor(code: keyof typeof ReplyCode, explanation?: string) {
    const replyCode = ReplyCode[code]
    const name = `${replyName(replyCode)?.toUpperCase().replaceAll("-", "_")}`
    const replyText = explanation === undefined ? name : `${name} - ${explanation}`
    super(replyText)
    this.replyCode = replyCode
    this.replyText = replyText
  }

  /** Whether it closes the connection rather than the channel. */
  get closesConnection(): boolean {
    return !channelCodes.has(this.replyCode)
  }
}

/** The refusal that stands for a crash in RabbitMQ: a connection error without an explanation. */
export const crash = (): Refusal => new Refusal("internalError")
