/**
 * The exchanges, or the queues, of topologies that are not declared on a session yet: they have not had their turn, or are being tried again.
 *
 * Whatever needs one of them, in whichever topology or consumer, is refused (404) until it exists.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"

export class PendingDeclarations {
  /** By their names. Several topologies may declare the same one. */
  private readonly byName = new Map<string, Set<Deferred.Deferred<void>>>()

  /** One is to be declared. Returns what to call when it is declared or given up. */
  add(name: string): () => void {
    const end = Deferred.makeUnsafe<void>()
    const ends = this.byName.get(name) ?? new Set()
    this.byName.set(name, ends.add(end))
    return () => {
      ends.delete(end)
      if (ends.size === 0 && this.byName.get(name) === ends) this.byName.delete(name)
      Deferred.doneUnsafe(end, Effect.void)
    }
  }

  /** Those of these names that are not declared yet: each effect waits until one is declared or given up. */
  of(names: ReadonlyArray<string>): ReadonlyArray<Effect.Effect<void>> {
    return names.flatMap((name) => [...this.byName.get(name) ?? []].map((end) => Deferred.await(end)))
  }
}
