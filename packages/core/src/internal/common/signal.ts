/**
 * A repeated event that fibers and callbacks can wait for.
 */
import * as Effect from "effect/Effect"

interface Entry {
  readonly listener: () => void
}

export class Signal {
  private waiting = new Set<Entry>()

  /** Whether a listener waits for the next `notify`. */
  get isAwaited(): boolean {
    return this.waiting.size > 0
  }

  /** Calls `listener` once, at the next `notify`. Returns a function that cancels this. */
  once(listener: () => void): () => void {
    const { waiting } = this
    const entry: Entry = { listener }
    waiting.add(entry)
    return () => {
      waiting.delete(entry)
    }
  }

  /** Calls all waiting listeners in the order in which they began to wait. */
  notify(): void {
    const { waiting } = this
    if (waiting.size === 0) return
    // A listener that is added meanwhile waits for the next call; one that is cancelled meanwhile is not called.
    this.waiting = new Set()
    for (const entry of waiting) {
      waiting.delete(entry)
      entry.listener()
    }
  }

  /** Waits until `condition` holds. Checks it at once, and at each `notify`. */
  until(condition: () => boolean): Effect.Effect<void> {
    return Effect.callback((resume) => {
      let cancel = (): void => {}
      const check = (): void => {
        if (condition()) resume(Effect.void)
        else cancel = this.once(check)
      }
      check()
      return Effect.sync(() => cancel())
    })
  }
}
