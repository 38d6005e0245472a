/** Deletes a queue that was unused for its `x-expires` (https://www.rabbitmq.com/docs/ttl#queue-ttl). */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { MovableTimer } from "../common/movableTimer.ts"
import type { Timers } from "../common/timers.ts"
import { integerOf } from "./argumentValues.ts"

export class QueueExpiry {
  private readonly timers: Timers
  private readonly timer: MovableTimer
  private readonly unusedMillis: number | undefined

  constructor(table: FieldTable, timers: Timers, onExpired: () => void) {
    this.unusedMillis = integerOf(table, "x-expires")
    this.timers = timers
    this.timer = new MovableTimer(timers, onExpired)
  }

  /** The queue is unused from now on. */
  start(): void {
    if (this.unusedMillis !== undefined) this.timer.moveTo(this.timers.now() + this.unusedMillis)
  }

  /** The queue is used, or deleted. */
  stop(): void {
    this.timer.clear()
  }
}
