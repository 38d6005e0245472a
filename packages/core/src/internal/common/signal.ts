/**
 * Something that happens again and again, and what waits for the next time.
 */
import * as Effect from "effect/Effect"

interface Entry {
  readonly listener: () => void
}

/** Fibers and callbacks that wait for something to happen; each is called once. */
export class Signal {
  private waiting = new Set<Entry>()

  get isAwaited(): boolean {
    return this.waiting.size > 0
  }

  /** Calls `listener` once, at the next `notify`. Returns how to cancel that. */
  once(listener: () => void): () => void {
    const { waiting } = this
    const entry: Entry = { listener }
    waiting.add(entry)
    return () => {
      waiting.delete(entry)
    }
  }

  /** Calls every listener that waits now, in the order in which they began to wait. */
  notify(): void {
    const { waiting } = this
    if (waiting.size === 0) return
    // What a listener adds waits for the next time; what it cancels is not called.
    this.waiting = new Set()
    for (const entry of waiting) {
      waiting.delete(entry)
      entry.listener()
    }
  }

  /** Waits until `condition` holds: looks at once, and again at each `notify`. */
  until(condition: () => boolean): Effect.Effect<void> {
    return Effect.callback((resume) => {
      let cancel = (): void => {}
      const look = (): void => {
        if (condition()) resume(Effect.void)
        else cancel = this.once(look)
      }
      look()
      return Effect.sync(() => cancel())
    })
  }
}
