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
    const { confirmed, taken } = this
    const [first, ...rest] = this.failures.toSorted((a, b) => a.index - b.index)
    return first === undefined
      ? Effect.void
      : Effect.fail(new AmqpPublishAllError({ taken, confirmed, failures: [first, ...rest] }))
  }
}
