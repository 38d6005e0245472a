/** A timer for one action whose time changes often: moving it to a later time sets no new timer. */
import type { Timers } from "./timers.ts"

export class MovableTimer {
  private readonly timers: Timers
  private readonly action: () => void
  /** When the action is due; infinite while it is not. */
  private due = Infinity
  /** When the underlying timer fires, if one is set: never after `due`. */
  private armed = Infinity
  private disarm: (() => void) | undefined

  constructor(timers: Timers, action: () => void) {
    this.timers = timers
    this.action = action
  }

  /** Sets the time of the action in milliseconds since 1970, replacing the previous one. Infinity cancels it. */
  moveTo(due: number): void {
    this.due = due
    if (due >= this.armed) return
    this.disarm?.()
    this.arm()
  }

  /** Sets the time of the action unless it is due before. */
  moveForwardTo(due: number): void {
    if (due < this.due) this.moveTo(due)
  }

  clear(): void {
    this.due = Infinity
    this.disarm?.()
    this.armed = Infinity
    this.disarm = undefined
  }

  private arm(): void {
    this.armed = this.due
    this.disarm = this.timers.schedule(Math.max(0, this.due - this.timers.now()), () => this.fire())
  }

  private fire(): void {
    this.armed = Infinity
    this.disarm = undefined
    if (this.due === Infinity) return
    if (this.due > this.timers.now()) return this.arm()
    this.due = Infinity
    this.action()
  }
}
