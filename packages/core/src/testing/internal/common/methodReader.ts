/** Reads the payload of a client's method frame, and tells the ways in which it may be malformed apart as RabbitMQ does. */
import { ByteReader } from "../../../protocol/ByteReader.ts"
import { ReplyCode } from "../../../protocol/constants.ts"
import { decodeMethod } from "../../../protocol/methods.generated.ts"
import type { Method } from "../../../protocol/methods.generated.ts"
import { ProtocolError } from "../../../protocol/ProtocolError.ts"

/** The class and the method that a close names; zeros for none. */
export interface MethodIds {
  readonly classId: number
  readonly methodId: number
}

export const noMethod: MethodIds = { classId: 0, methodId: 0 }

/** What a method frame is found to be that is no method of this client's codec. */
export type Unreadable =
  /** The server grants it to AMQP 0-8, where it comes from. */
  | "access.request"
  /** RabbitMQ knows it, and this broker does not. */
  | "unimplemented"
  /** RabbitMQ's process for the connection dies of it. */
  | "unknown"
  /** Its arguments end too early or too late. */
  | "malformed"
  /** A value within a table is of an unknown type, or ends too late. RabbitMQ's process dies of that on a channel. */
  | "malformed table"
  /** A short string is not UTF-8. */
  | "malformed text"

/** Methods of RabbitMQ's that this client has no need to know, by class and method: AMQP 0-8's, and early AMQP 1.0's credits. */
const otherMethods: ReadonlyMap<number, "access.request" | "unimplemented"> = new Map(
  [
    [0x001e000a, "access.request"],
    [0x001e000b, "unimplemented"],
    [0x003c00c8, "unimplemented"],
    [0x003c00c9, "unimplemented"],
    [0x003c00ca, "unimplemented"]
  ] as const
)

/** The class and the method of a method frame's payload. */
export const idsOf = (payload: Uint8Array): MethodIds => ({
  classId: payload[0] << 8 | payload[1],
  methodId: payload[2] << 8 | payload[3]
})

/** Reads the payload of a method frame, which has at least the four bytes of the ids. */
export class MethodReader {
  private readonly reader = new ArgumentReader()

  read(payload: Uint8Array): Method | Unreadable {
    const { reader } = this
    reader.reset(payload)
    try {
      const method = decodeMethod(reader)
      // The routing key of a message is bytes to RabbitMQ, and its exchange is looked up and not found.
      return reader.hasMalformedText && !hasContent(method) ? "malformed text" : method
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      if (error.replyCode === ReplyCode.commandInvalid) return otherMethod(payload)
      return reader.isInLastTable ? "malformed table" : "malformed"
    }
  }
}

const otherMethod = (payload: Uint8Array): Unreadable => {
  const { classId, methodId } = idsOf(payload)
  const name = otherMethods.get(classId << 16 | methodId) ?? "unknown"
  // The realm, and a byte of flags.
  const isWhole = name !== "access.request" || payload.length >= 6 && payload.length === payload[4] + 6
  return isWhole ? name : "malformed"
}

/** Whether a content comes after a method, in whichever direction it belongs. */
export const hasContent = ({ _tag }: Method): boolean =>
  _tag === "basic.publish" || _tag === "basic.return" || _tag === "basic.deliver" || _tag === "basic.get-ok"

const strictText = new TextDecoder("utf-8", { fatal: true })

/** Notices what the client's own reader is lenient about. */
class ArgumentReader extends ByteReader {
  hasMalformedText = false
  private payload: Uint8Array = new Uint8Array(0)
  private depth = 0
  /** Where the outermost table ends. */
  private tableEnd = 0

  /** Whether it reads within a table that is as long as it should be: it is the last argument of each method of a channel. */
  get isInLastTable(): boolean {
    return this.depth > 0 && this.tableEnd === this.payload.length
  }

  override reset(payload: Uint8Array): void {
    super.reset(payload)
    this.payload = payload
    this.hasMalformedText = false
    this.depth = 0
  }

  override enter(length: number): number {
    const end = this.payload.length - this.remaining + length
    const outer = super.enter(length)
    if (this.depth++ === 0) this.tableEnd = end
    return outer
  }

  override leave(outer: number): void {
    super.leave(outer)
    this.depth--
  }

  /** Names within tables may be any bytes. */
  override shortString(): string {
    const start = this.payload.length - this.remaining + 1
    const text = super.shortString()
    if (this.depth === 0 && !isAscii(text)) {
      try {
        strictText.decode(this.payload.subarray(start, this.payload.length - this.remaining))
      } catch {
        this.hasMalformedText = true
      }
    }
    return text
  }
}

const isAscii = (text: string): boolean => {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 127) return false
  return true
}
