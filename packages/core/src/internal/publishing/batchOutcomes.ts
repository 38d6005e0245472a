/**
 * The outcomes of the messages of a batch, by index.
 */
import * as Effect from "effect/Effect"
import { AmqpPublishAllError } from "../../AmqpError.ts"
import type { AmqpPublishError } from "../../AmqpError.ts"
import type { Outcome } from "../channel/confirmLedger.ts"
import { notConfirmed } from "./publishErrors.ts"

export class BatchOutcomes {
  /** How many messages were taken from the batch. */
  taken = 0
  /** Whether the batch was given up before its end was reached. */
  isRestUnread = false
  private confirmed = 0
  private readonly failures: Array<AmqpPublishAllError["failures"][number]> = []

  /** How many of the messages that were taken have no outcome yet. */
  get pending(): number {
    return this.taken - this.confirmed - this.failures.length
  }

  add(index: number, outcome: Outcome): void {
    if (outcome === "Acked") this.confirmed++
    else this.addFailure(index, notConfirmed(outcome))
  }

  addFailure(index: number, error: AmqpPublishError): void {
    this.failures.push({ index, error })
  }

  /** Fails if any message failed. For use when nothing is pending. */
  get result(): Effect.Effect<void, AmqpPublishAllError> {
    const { confirmed, isRestUnread, taken } = this
    const [first, ...rest] = this.failures.toSorted((a, b) => a.index - b.index)
    if (first === undefined) return Effect.void
    const failures = [first, ...rest] as const
    const error = isRestUnread ? { taken, confirmed, failures, isRestUnread } : { taken, confirmed, failures }
    return Effect.fail(new AmqpPublishAllError(error))
  }
}
