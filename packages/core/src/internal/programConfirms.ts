/**
 * The confirms of one channel program: what became of its publishes, counted from 0 in the order in which it made them.
 */
import * as Effect from "effect/Effect"
import { AmqpPublishAllError } from "../AmqpError.ts"
import type { Channel, ProgramPublisher, Route } from "./channel.ts"
import type { Outcome, PublishOwner } from "./confirms.ts"
import type { Properties } from "./properties.ts"
import { failureOf } from "./publishing.ts"

/** How many publishes a program may have in flight. */
const maxInFlight = 1024

export class ProgramConfirms implements ProgramPublisher, PublishOwner {
  private readonly failures: Array<AmqpPublishAllError["failures"][number]> = []
  private next = 0
  private inFlight = 0
  private onSettled: (() => void) | undefined

  get hasRoom(): boolean {
    return this.inFlight < maxInFlight
  }

  publish(channel: Channel, route: Route, properties: Properties, body: Uint8Array): void {
    channel.publish(route, properties, body, this, this.next)
    this.next++
    this.inFlight++
  }

  settled(index: number, outcome: Outcome): void {
    this.inFlight--
    const error = failureOf(outcome)
    if (error !== undefined) this.failures.push({ index, error })
    this.onSettled?.()
  }

  readonly awaitRoom: Effect.Effect<void> = Effect.suspend(() => this.awaitAtMost(maxInFlight - 1))

  /** Waits until everything is confirmed. Fails when something was not. */
  readonly awaitAll: Effect.Effect<void, AmqpPublishAllError> = Effect.suspend(() =>
    Effect.flatMap(this.awaitAtMost(0), () => {
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

  private awaitAtMost(inFlight: number): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (this.inFlight <= inFlight) return resume(Effect.void)
      this.onSettled = () => {
        if (this.inFlight > inFlight) return
        this.onSettled = undefined
        resume(Effect.void)
      }
      return Effect.sync(() => {
        this.onSettled = undefined
      })
    })
  }
}
