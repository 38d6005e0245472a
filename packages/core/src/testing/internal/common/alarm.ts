/** One thing to do at one time, which may change often: moving it later costs no timer. */
import type { Timers } from "./timers.ts"

export class Alarm {
  private readonly timers: Timers
  private readonly action: () => void
  /** When the action is due; infinite for never. */
  private due = Infinity
  /** When the timer ends, if there is one: never after `due`. */
  private armed = Infinity
  private disarm: (() => void) | undefined

  constructor(timers: Timers, action: () => void) {
    this.timers = timers
    this.action = action
  }

  /** Sets the time, in milliseconds since 1970. The time before is forgotten. */
  set(due: number): void {
    this.due = due
    if (due >= this.armed) return
    this.disarm?.()
    this.arm()
  }

  clear(): void {
    this.due = Infinity
    this.disarm?.()
    this.armed = Infinity
    this.disarm = undefined
  }

  private arm(): void {
    this.armed = this.due
    this.disarm = this.timers.schedule(Math.max(0, this.due - this.timers.now()), () => this.ring())
  }

  private ring(): void {
    this.armed = Infinity
    this.disarm = undefined
    if (this.due === Infinity) return
    if (this.due > this.timers.now()) return this.arm()
    this.due = Infinity
    this.action()
  }
}
