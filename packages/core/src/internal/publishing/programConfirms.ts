/**
 * The confirms of one channel program: what became of its publishes, counted from 0 in the order in which it made them.
 */
import * as Effect from "effect/Effect"
import { AmqpPublishAllError } from "../../AmqpError.ts"
import type { Properties } from "../../AmqpMessage.ts"
import type { Channel, ProgramPublisher } from "../channel/channel.ts"
import type { ConfirmLedger, Outcome, PublishOwner } from "../channel/confirmLedger.ts"
import type { Route } from "../message/route.ts"
import { failureOf } from "./publishQueue.ts"

/** How many publishes a program may have in flight. */
const maxInFlight = 1024

/** No publish is sent while those in flight hold this many bytes. */
const maxInFlightBytes = 16 * 1024 * 1024

export class ProgramConfirms implements ProgramPublisher, PublishOwner {
  private readonly failures: Array<AmqpPublishAllError["failures"][number]> = []
  private next = 0
  private inFlight = 0
  private ledger: ConfirmLedger | undefined
  private onSettled: (() => void) | undefined

  get hasRoom(): boolean {
    return this.inFlight < maxInFlight && (this.ledger?.bytes ?? 0) < maxInFlightBytes
  }

  private get isSettled(): boolean {
    return this.inFlight === 0
  }

  publish(channel: Channel, route: Route, properties: Properties, body: Uint8Array): void {
    this.ledger = channel.confirms
    channel.publish(route, properties, body, this, this.next)
    this.next++
    this.inFlight++
  }

  settled(index: number, outcome: Outcome): void {
    this.inFlight--
    if (outcome !== "Acked") this.failures.push({ index, error: failureOf(outcome) })
    this.onSettled?.()
  }

  readonly awaitRoom: Effect.Effect<void> = this.awaitUntil("hasRoom")

  /** Waits until everything is confirmed. Fails when something was not. */
  readonly awaitAll: Effect.Effect<void, AmqpPublishAllError> = Effect.suspend(() =>
    Effect.flatMap(this.awaitUntil("isSettled"), () => {
      const [first, ...rest] = this.failures.toSorted((a, b) => a.index - b.index)
      return first === undefined
        ? Effect.void
        : Effect.fail(
          new AmqpPublishAllError({
            taken: this.next,
            confirmed: this.next - rest.length - 1,
            failures: [first, ...rest]
          })
        )
    })
  )

  private awaitUntil(condition: "hasRoom" | "isSettled"): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (this[condition]) return resume(Effect.void)
      this.onSettled = () => {
        if (!this[condition]) return
        this.onSettled = undefined
        resume(Effect.void)
      }
      return Effect.sync(() => {
        this.onSettled = undefined
      })
    })
  }
}
