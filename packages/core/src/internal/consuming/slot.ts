/**
 * A slot: one fiber of a consumer, which handles one message after another.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { Received } from "./delivery.ts"

/**
 * Identifies the slot in whose fiber code runs. A handler that closes the scope of its own consumer must not wait for itself to end.
 */
export const CurrentSlot = Context.Reference<object | undefined>("@effect-amqp/core/CurrentSlot", {
  defaultValue: () => undefined
})

export class Slot<R> {
  /** The value of `CurrentSlot`. Programs can read it, so it gives no access to the slot. */
  readonly token: object = Object.freeze({})
  fiber: Fiber.Fiber<unknown> | undefined
  /** The message that it handles. */
  current: Received | undefined
  /** How often the handler was called with the message, including the current call. */
  attempt = 1
  /** How long to wait before the handler is called again, in milliseconds. */
  pause = 0
  /** Runs the handler with the message and applies what it decides. */
  work: Effect.Effect<void, never, R>
  /** What to do next instead of taking a message. */
  job: Effect.Effect<void, never, R> | undefined
  /** Whether the handler is running. */
  isHandling = false
  /** Whether the slot waits for `pause` to elapse. */
  isPausing = false
  /** Whether the handler did not end within the drain timeout. */
  isAbandoned = false
  /** Whether the slot takes no further message: its fiber ends, or another slot has its message. */
  isRetired = false

  constructor(work: (slot: Slot<R>) => Effect.Effect<void, never, R>) {
    this.work = work(this)
  }

  /** The slot no longer has a message. */
  clear(): void {
    this.current = undefined
    this.attempt = 1
    this.pause = 0
  }

  /** Takes over the message of another slot, with its attempts. */
  inherit({ attempt, current, pause }: Slot<R>): void {
    this.current = current
    this.attempt = attempt
    this.pause = pause
  }
}
