/**
 * How far the ordered replacement of a session has come. Each stage begins when the one before has been completed by everything that it concerns.
 */
import type * as Effect from "effect/Effect"
import { Signal } from "../common/signal.ts"

/**
 * - `ConsumersStop`: consumers take no more messages. Handlers that run may still publish on the session.
 * - `PublishersLeave`: no handler is running. Publishers leave the session; queues that end with their last consumer still exist.
 * - `ConsumersLeave`: publishers have left, and consumers leave the session.
 */
export type LeavingStage = "ConsumersStop" | "PublishersLeave" | "ConsumersLeave"

const order: ReadonlyArray<LeavingStage> = ["ConsumersStop", "PublishersLeave", "ConsumersLeave"]

export class Leaving {
  /** Notified when a stage begins. */
  readonly changed = new Signal()
  /** How many stages have begun. */
  private begun = 0

  has(stage: LeavingStage): boolean {
    return order.indexOf(stage) < this.begun
  }

  begin(stage: LeavingStage): void {
    this.begun = Math.max(this.begun, order.indexOf(stage) + 1)
    this.changed.notify()
  }

  /** Waits until a stage has begun. */
  await(stage: LeavingStage): Effect.Effect<void> {
    return this.changed.until(() => this.has(stage))
  }
}
