/** How many messages and bytes a queue holds of those that nobody received (https://www.rabbitmq.com/docs/maxlength). */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { encodedProperties } from "../common/message.ts"
import type { Message } from "../common/message.ts"
import { integerOf } from "./queueArguments.ts"

export type Overflow = "drop-head" | "reject-publish" | "reject-publish-dlx"

/** What is counted against the limits. */
export interface Load {
  readonly length: number
  /** The sum of what `sizeOf` returns. */
  readonly bytes: number
}

/** What differs between types of queues. */
export interface LimitOptions {
  /** What `x-max-length-bytes` counts. */
  readonly counted: "bodies" | "properties and bodies"
  /** The values of `x-overflow` that have an effect; with any other one the queue drops from its head. */
  readonly overflows: ReadonlyArray<Overflow>
}

export class Limits {
  readonly overflow: Overflow
  private readonly length: number
  private readonly bytes: number
  private readonly counted: LimitOptions["counted"]

  constructor(table: FieldTable, { counted, overflows }: LimitOptions) {
    this.counted = counted
    this.length = integerOf(table, "x-max-length") ?? Infinity
    this.bytes = integerOf(table, "x-max-length-bytes") ?? Infinity
    this.overflow = overflows.find((overflow) => overflow === table["x-overflow"]) ?? "drop-head"
  }

  /** What a message counts for `x-max-length-bytes`. */
  sizeOf({ body, properties, publishedProperties = properties }: Message): number {
    return this.counted === "bodies" ? body.length : body.length + encodedProperties(publishedProperties).length
  }

  /** Whether it is more than the limits allow. */
  isExceeded({ length, bytes }: Load): boolean {
    return length > this.length || bytes > this.bytes
  }

  /** Whether it is so much less that a quorum queue takes messages again: four fifths. */
  isLeft({ length, bytes }: Load): boolean {
    return length <= Math.trunc(this.length * 0.8) && bytes <= Math.trunc(this.bytes * 0.8)
  }
}
