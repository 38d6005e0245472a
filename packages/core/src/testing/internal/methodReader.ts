/** Reads the payload of a client's method frame, and tells the ways in which it may be malformed apart as RabbitMQ does. */
import { ByteReader } from "../../protocol/ByteReader.ts"
import { decodeMethod, methodIds } from "../../protocol/methods.generated.ts"
import type { Method } from "../../protocol/methods.generated.ts"
import { ProtocolError } from "../../protocol/ProtocolError.ts"

/** The class and the method that a close names; zeros for none. */
export interface MethodIds {
  readonly classId: number
  readonly methodId: number
}

export const noMethod: MethodIds = { classId: 0, methodId: 0 }

/** Methods of RabbitMQ's that this client has no need to know: an AMQP 0-8 relic, and the credits of early AMQP 1.0. */
const otherMethods: ReadonlyMap<number, "access.request" | "unimplemented"> = new Map(
  [
    [0x001e000a, "access.request"],
    [0x001e000b, "unimplemented"],
    [0x003c00c8, "unimplemented"],
    [0x003c00c9, "unimplemented"],
    [0x003c00ca, "unimplemented"]
  ] as const
)

const knownMethods: ReadonlySet<number> = new Set(
  Object.values(methodIds).map(({ classId, methodId }) => classId << 16 | methodId)
)

/** What a method frame is found to be. */
export type ReadMethod =
  | { readonly _tag: "Method"; readonly method: Method }
  | { readonly _tag: "Other"; readonly name: "access.request" | "unimplemented" }
  /** RabbitMQ's process for the connection dies of it. */
  | { readonly _tag: "Unknown" }
  /** Its arguments end too early or too late. */
  | { readonly _tag: "Malformed" }
  /** A value within a table is of an unknown type, or ends too late. RabbitMQ's process dies of that on a channel. */
  | { readonly _tag: "MalformedTable" }
  /** A short string is not UTF-8. */
  | { readonly _tag: "MalformedText" }

/** The class and the method of a method frame's payload. */
export const idsOf = (payload: Uint8Array): MethodIds => ({
  classId: payload[0] << 8 | payload[1],
  methodId: payload[2] << 8 | payload[3]
})

/** Reads the payload of a method frame, which has at least the four bytes of the ids. */
export class MethodReader {
  private readonly reader = new ArgumentReader()

  read(payload: Uint8Array): ReadMethod {
    const { classId, methodId } = idsOf(payload)
    const id = classId << 16 | methodId
    const other = otherMethods.get(id)
    if (other !== undefined) return this.readOther(other, payload)
    if (!knownMethods.has(id)) return { _tag: "Unknown" }
    const { reader } = this
    reader.reset(payload)
    try {
      const method = decodeMethod(reader)
      // The routing key of a message is bytes to RabbitMQ, and its exchange is looked up and not found.
      return reader.hasMalformedText && !hasContent(method) ? { _tag: "MalformedText" } : { _tag: "Method", method }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      return { _tag: reader.isInLastTable ? "MalformedTable" : "Malformed" }
    }
  }

  private readOther(name: "access.request" | "unimplemented", payload: Uint8Array): ReadMethod {
    // The realm, and a byte of flags.
    const isWhole = name !== "access.request" || payload.length >= 6 && payload.length === payload[4] + 6
    return isWhole ? { _tag: "Other", name } : { _tag: "Malformed" }
  }
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
