/** Reads the payloads of method frames, and distinguishes the ways in which they can be malformed as RabbitMQ does. */
import { ByteReader } from "../../../protocol/ByteReader.ts"
import { ReplyCode } from "../../../protocol/constants.ts"
import { decodeMethod } from "../../../protocol/methods.generated.ts"
import type { Method } from "../../../protocol/methods.generated.ts"
import { ProtocolError } from "../../../protocol/ProtocolError.ts"
import { hasContent } from "../channel/channelFrames.ts"

/** The class and the method that caused a close; zeros if none did. */
export interface MethodIds {
  readonly classId: number
  readonly methodId: number
}

export const noMethod: MethodIds = { classId: 0, methodId: 0 }

/** What a method frame contains instead of a method that this client's codec knows. */
export type Unreadable =
  /** A method of AMQP 0-8 that the server grants. */
  | "access.request"
  /** A method that RabbitMQ knows and this broker does not implement. */
  | "unimplemented"
  /** RabbitMQ's process for the connection crashes on it. */
  | "unknown"
  /** Its arguments are too short or too long. */
  | "malformed"
  /** A value within a table has an unknown type or is too long. RabbitMQ's process for a channel crashes on that. */
  | "malformed table"
  /** A short string is not UTF-8. */
  | "malformed text"

/** RabbitMQ's methods that this client does not need, by class and method: those of AMQP 0-8, and credit as in AMQP 1.0. */
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

export class MethodReader {
  private readonly reader = new ArgumentReader()

  /** Reads a payload that contains at least the four bytes of the ids. */
  read(payload: Uint8Array): Method | Unreadable {
    const { reader } = this
    reader.reset(payload)
    try {
      const method = decodeMethod(reader)
      // RabbitMQ does not decode the routing key of a publish, and replies to a malformed exchange name with 404.
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

const strictText = new TextDecoder("utf-8", { fatal: true })

/** Detects what the client's own reader tolerates. */
class ArgumentReader extends ByteReader {
  hasMalformedText = false
  private payload: Uint8Array = new Uint8Array(0)
  private depth = 0
  /** The end of the outermost table. */
  private tableEnd = 0

  /** Whether it is reading a table that ends with the payload. In the methods of a channel, tables are the last argument. */
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

  /** Names within tables may be invalid UTF-8. */
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
