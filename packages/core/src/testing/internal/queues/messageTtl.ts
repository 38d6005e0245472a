/** When the messages of a queue expire (https://www.rabbitmq.com/docs/ttl#message-ttl). */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { Timers } from "../common/timers.ts"
import { integerOf } from "./argumentValues.ts"

export class MessageTtl {
  private readonly timers: Timers
  private readonly queueMillis: number

  constructor(table: FieldTable, timers: Timers) {
    this.timers = timers
    this.queueMillis = integerOf(table, "x-message-ttl") ?? Infinity
  }

  /** When a message with this `expiration` expires, in milliseconds since 1970. The lower of the queue's and its own TTL applies. */
  expiryOf(expiration: string | undefined): number {
    const millis = Math.min(this.queueMillis, expiration === undefined ? Infinity : Number(expiration))
    return millis === Infinity ? Infinity : this.timers.now() + millis
  }

  isExpired({ expiry }: { readonly expiry: number }): boolean {
    return expiry !== Infinity && expiry <= this.timers.now()
  }
}
