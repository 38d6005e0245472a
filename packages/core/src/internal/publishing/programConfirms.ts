/**
 * The confirms of one channel program: the outcomes of its publishes, numbered from 0 in their order.
 */
import * as Effect from "effect/Effect"
import type { AmqpPublishAllError } from "../../AmqpError.ts"
import type { Properties } from "../../AmqpMessage.ts"
import type { Channel, ProgramPublisher } from "../channel/channel.ts"
import type { ConfirmLedger, Outcome, PublishOwner } from "../channel/confirmLedger.ts"
import { Signal } from "../common/signal.ts"
import type { Route } from "../message/route.ts"
import { BatchOutcomes } from "./batchOutcomes.ts"
import type { Replacement } from "./confirmTimeouts.ts"

/** How many publishes a program may have in flight. */
const maxInFlight = 1024

/** No publish is sent while those in flight have this size, in bytes. */
const maxInFlightBytes = 16 * 1024 * 1024

export class ProgramConfirms implements ProgramPublisher, PublishOwner {
  private readonly outcomes = new BatchOutcomes()
  private readonly roomMade = new Signal()
  private readonly allSettled = new Signal()
  private ledger: ConfirmLedger | undefined
  private isReplaced = false

  get hasRoom(): boolean {
    return !this.isReplaced && this.outcomes.pending < maxInFlight && (this.ledger?.bytes ?? 0) < maxInFlightBytes
  }

  publish(channel: Channel, route: Route, properties: Properties, body: Uint8Array): void {
    this.ledger = channel.confirms
    channel.publish(route, properties, body, this, this.outcomes.taken)
    this.outcomes.taken++
  }

  settled(index: number, outcome: Outcome): void {
    this.outcomes.add(index, outcome)
    if (this.hasRoom) this.roomMade.notify()
    if (this.outcomes.pending === 0) this.allSettled.notify()
  }

  /** The program sends nothing more on a session that is replaced. Its next step notices that. */
  readonly replacement: Replacement = {
    begin: () => void (this.isReplaced = true),
    end: () => {
      this.isReplaced = false
      this.roomMade.notify()
    }
  }

  readonly awaitRoom: Effect.Effect<void> = this.roomMade.until(() => this.hasRoom)

  /** Waits until every publish is settled. Fails if some were not acknowledged. */
  readonly awaitAll: Effect.Effect<void, AmqpPublishAllError> = Effect.andThen(
    this.allSettled.until(() => this.outcomes.pending === 0),
    Effect.suspend(() => this.outcomes.result)
  )
}
