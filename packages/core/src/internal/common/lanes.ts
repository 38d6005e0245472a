/**
 * Lanes: each has room for one effect at a time. An effect that has had no answer of the broker for a while leaves its lane to the next one and
 * goes on, so that it delays only itself.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Semaphore from "effect/Semaphore"
import { Signal } from "./signal.ts"

/** How long an effect keeps its lane without an answer. */
const patience = Duration.seconds(1)

/** Runs an effect when there is a free lane. The effect has to call `answered` at each answer of the broker. */
export const inLane = <A, E>(
  lanes: Semaphore.Semaphore,
  use: (answered: () => void) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.gen(function*() {
    const answers = new Signal()
    const fiber = yield* lanes.withPermit(Effect.gen(function*() {
      const running = yield* Effect.forkChild(use(() => answers.notify()), { startImmediately: true })
      yield* Effect.raceFirst(Fiber.await(running), awaitSilence(answers))
      return running
    }))
    return yield* Fiber.join(fiber)
  })

/** Waits until the last answer was that long ago. */
const awaitSilence = (answers: Signal): Effect.Effect<void> =>
  Effect.ignore(Effect.forever(Effect.timeout(answers.next, patience)))
