/** The limits of a queue's ready messages (https://www.rabbitmq.com/docs/maxlength). */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { encodedProperties } from "../common/message.ts"
import type { Message } from "../common/message.ts"
import { integerOf } from "./argumentValues.ts"

export type Overflow = "drop-head" | "reject-publish" | "reject-publish-dlx"

/** What is compared with the limits. */
export interface Load {
  readonly length: number
  /** The sum of the messages' sizes, as `sizeOf` returns them. */
  readonly bytes: number
}

/** What differs between types of queues. */
export interface LengthLimitOptions {
  /** What `x-max-length-bytes` counts. */
  readonly counted: "bodies" | "properties and bodies"
  /** The supported values of `x-overflow`. Any other one has the effect of `drop-head`. */
  readonly overflows: ReadonlyArray<Overflow>
}

export class LengthLimits {
  readonly overflow: Overflow
  private readonly length: number
  private readonly bytes: number
  private readonly counted: LengthLimitOptions["counted"]

  constructor(table: FieldTable, { counted, overflows }: LengthLimitOptions) {
    this.counted = counted
    this.length = integerOf(table, "x-max-length") ?? Infinity
    this.bytes = integerOf(table, "x-max-length-bytes") ?? Infinity
    this.overflow = overflows.find((overflow) => overflow === table["x-overflow"]) ?? "drop-head"
  }

  /** The size of a message for `x-max-length-bytes`. */
  sizeOf({ body, properties, publishedProperties = properties }: Message): number {
    return this.counted === "bodies" ? body.length : body.length + encodedProperties(publishedProperties).length
  }

  isExceeded({ length, bytes }: Load): boolean {
    return length > this.length || bytes > this.bytes
  }

  /** Whether a quorum queue that was full accepts messages again: at four fifths of the limits. */
  acceptsAgain({ length, bytes }: Load): boolean {
    return length <= Math.trunc(this.length * 0.8) && bytes <= Math.trunc(this.bytes * 0.8)
  }
}
