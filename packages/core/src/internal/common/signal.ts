/**
 * A repeated event that fibers and callbacks can wait for.
 */
import * as Effect from "effect/Effect"

interface Entry {
  readonly listener: () => void
}

export class Signal {
  /** Made for the first listener, as most signals of a channel never have one. */
  private waiting: Set<Entry> | undefined

  /** Whether a listener waits for the next `notify`. */
  get isAwaited(): boolean {
    return this.waiting !== undefined && this.waiting.size > 0
  }

  /** Calls `listener` once, at the next `notify`. Returns a function that cancels this. */
  once(listener: () => void): () => void {
    const waiting = this.waiting ??= new Set()
    const entry: Entry = { listener }
    waiting.add(entry)
    return () => {
      waiting.delete(entry)
    }
  }

  /** Calls the waiting listeners, or the first `limit` of them, in the order in which they began to wait. */
  notify(limit = Infinity): void {
    const { waiting } = this
    if (waiting === undefined || waiting.size === 0) return
    if (waiting.size > limit) return notifyFirst(waiting, limit)
    // A listener that is added meanwhile waits for the next call; one that is cancelled meanwhile is not called.
    this.waiting = undefined
    for (const entry of waiting) {
      waiting.delete(entry)
      entry.listener()
    }
  }

  /** Waits for the next `notify`. */
  get next(): Effect.Effect<void> {
    return Effect.callback((resume) => Effect.sync(this.once(() => resume(Effect.void))))
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

/** Waits until `condition` holds. Checks it at once, and whenever one of the signals is notified. */
export const untilAny = (signals: ReadonlyArray<Signal>, condition: () => boolean): Effect.Effect<void> =>
  Effect.callback((resume) => {
    let cancels: ReadonlyArray<() => void> = []
    const cancel = (): void => {
      for (const cancel of cancels) cancel()
    }
    const check = (): void => {
      cancel()
      if (condition()) resume(Effect.void)
      else cancels = signals.map((signal) => signal.once(check))
    }
    check()
    return Effect.sync(cancel)
  })

const notifyFirst = (waiting: Set<Entry>, limit: number): void => {
  for (const entry of [...waiting].slice(0, limit)) if (waiting.delete(entry)) entry.listener()
}
