/**
 * The pauses between attempts, as a schedule determines them.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"

/**
 * Exponential pauses from `first` to at most `longest`, without end and with full jitter: each is a random part of that time, so that the
 * clients of a broker that restarts do not return all at once.
 */
export const backoff = (first: Duration.Duration, longest: Duration.Duration): Schedule.Schedule<unknown> =>
  Schedule.modifyDelay(
    Schedule.exponential(first),
    ({ duration }) => Effect.map(Random.next, (part) => Duration.times(Duration.min(duration, longest), part))
  )

export class Pauses<Input> {
  private readonly schedule: Schedule.Schedule<unknown, Input>
  private step: Effect.Success<ReturnType<typeof Schedule.toStep<unknown, Input, never, never>>> | undefined

  constructor(schedule: Schedule.Schedule<unknown, Input>) {
    this.schedule = schedule
  }

  /** The pause after a failed attempt. `undefined` if the schedule has ended. */
  readonly next = (input: Input): Effect.Effect<Duration.Duration | undefined> =>
    Effect.gen({ self: this }, function*() {
      const step = this.step ??= yield* Schedule.toStep(this.schedule)
      const now = yield* Clock.currentTimeMillis
      return yield* step(now, input).pipe(
        Effect.map(([, pause]): Duration.Duration | undefined => pause),
        Pull.catchDone(() => Effect.succeed(undefined))
      )
    })

  /** Starts the schedule again. */
  reset(): void {
    this.step = undefined
  }
}
