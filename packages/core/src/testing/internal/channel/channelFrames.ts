/** Assembles the frames of a channel to methods with their contents, and refuses unexpected frames as RabbitMQ does. */
import { basicClassId } from "../../../protocol/constants.ts"
import type { Method } from "../../../protocol/methods.generated.ts"
import { joined, noBytes, view } from "../common/bytes.ts"
import { Refusal } from "../common/refusal.ts"
import type { VersionRules } from "../common/versionRules.ts"

/** The content of a method. `body` is a copy, and empty if the content is too large to be kept. */
export interface ReceivedContent {
  /** Encoded. */
  readonly properties: Uint8Array
  /** The size that the content header announced, in bytes. */
  readonly bodySize: number
  readonly body: Uint8Array
}

interface Header {
  readonly properties: Uint8Array
  readonly bodySize: number
}

/** The size of class, weight and body size, which come before the properties. */
export const contentHeaderSize = 12

export class ChannelFrames {
  private readonly maxBodySize: number
  private readonly rules: Pick<VersionRules, "refusesLongBodies">
  private readonly onMethod: (method: Method, content: ReceivedContent | undefined) => void
  /** The method whose content is being received. */
  pending: Method | undefined
  private header: Header | undefined
  private pieces: Array<Uint8Array> = []
  private missing = 0

  /** Bodies of more than `maxBodySize` bytes are read and dropped. */
  constructor(
    maxBodySize: number,
    rules: Pick<VersionRules, "refusesLongBodies">,
    onMethod: (method: Method, content: ReceivedContent | undefined) => void
  ) {
    this.maxBodySize = maxBodySize
    this.rules = rules
    this.onMethod = onMethod
  }

  method(method: Method): void {
    this.expectMethod()
    if (hasContent(method)) this.pending = method
    else this.onMethod(method, undefined)
  }

  /** Throws a `Refusal` unless the next frame may be a method. */
  expectMethod(): void {
    if (this.pending !== undefined) throw this.unexpected()
  }

  contentHeader(payload: Uint8Array): void {
    const classId = payload[0] << 8 | payload[1]
    const weight = payload[2] << 8 | payload[3]
    // RabbitMQ does not recognize a header whose weight is not 0.
    if (this.pending === undefined || this.header !== undefined || weight !== 0) throw this.unexpected()
    if (classId !== basicClassId) {
      throw new Refusal(
        "unexpectedFrame",
        `expected content header for class ${basicClassId}, got one for class ${classId} instead`
      )
    }
    const bodySize = longAt(payload, 4) * 4_294_967_296 + longAt(payload, 8)
    this.header = { properties: view(payload, contentHeaderSize, payload.length), bodySize }
    this.missing = bodySize
    if (bodySize === 0) this.complete(this.pending, this.header, noBytes)
  }

  body(payload: Uint8Array): void {
    const { header, pending } = this
    if (pending === undefined || header === undefined) throw this.unexpected()
    this.missing -= payload.length
    const isKept = header.bodySize <= this.maxBodySize
    if (this.missing === 0) {
      // A copy, because a view would keep everything in memory that was received with it.
      if (!isKept) this.complete(pending, header, noBytes)
      else if (this.pieces.length === 0) this.complete(pending, header, payload.slice())
      else this.complete(pending, header, joined([...this.pieces, payload]))
    } else if (this.missing > 0) {
      if (isKept) this.pieces.push(payload)
    } else {
      if (this.rules.refusesLongBodies) {
        throw new Refusal("frameError", "content body frame exceeds remaining content size")
      }
      // As in RabbitMQ before 4.3, a body that is longer than announced never ends.
      this.pieces = []
    }
  }

  private complete(method: Method, { bodySize, properties }: Header, body: Uint8Array): void {
    this.pending = undefined
    this.header = undefined
    if (this.pieces.length > 0) this.pieces = []
    this.onMethod(method, { properties, bodySize, body })
  }

  private unexpected(): Refusal {
    if (this.pending === undefined) {
      return new Refusal("unexpectedFrame", "expected method frame, got non method frame instead")
    }
    return new Refusal(
      "unexpectedFrame",
      this.header === undefined
        ? `expected content header for class ${basicClassId}, got non content header frame instead`
        : "expected content body, got non content body frame instead"
    )
  }
}

/** Whether a method carries a content, in either direction. */
export const hasContent = ({ _tag }: Method): boolean =>
  _tag === "basic.publish" || _tag === "basic.return" || _tag === "basic.deliver" || _tag === "basic.get-ok"

const longAt = (bytes: Uint8Array, at: number): number =>
  (bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3]) >>> 0
