/** What the broker refuses, as RabbitMQ does: a reply code and a text that begins with the code's name. */
import { ReplyCode, replyName } from "../../../protocol/constants.ts"

/** Soft errors (section 1.3 of the specification) close the channel; any other code closes the connection. */
const channelCodes: ReadonlySet<number> = new Set([
  ReplyCode.contentTooLarge,
  ReplyCode.noConsumers,
  ReplyCode.accessRefused,
  ReplyCode.notFound,
  ReplyCode.resourceLocked,
  ReplyCode.preconditionFailed
])

/** Thrown by whatever handles a method; who dispatched the method closes its channel or its connection. */
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

  /** Whether the connection is closed for it, and not only the channel. */
  get closesConnection(): boolean {
    return !channelCodes.has(this.replyCode)
  }
}

/** What RabbitMQ says when it fails over a request: a connection error without an explanation. */
export const crash = (): Refusal => new Refusal("internalError")
