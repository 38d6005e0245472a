/**
 * Publishing a message again after an error.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { AmqpPublishError } from "../../AmqpError.ts"

type RetrySchedule = Schedule.Schedule<unknown, AmqpPublishError>

/** With these reasons, the broker does not have the message from this attempt. It may have it from an earlier one. */
const notTaken: ReadonlySet<string> = new Set(["NotSent", "Nacked"])

/** The shortest pause after such an attempt, in milliseconds. */
const minimumPause = 50

/**
 * Adds pauses after attempts that may take no time. With a schedule without delays these would keep this process busy, and the broker
 * too if a full queue refuses the message.
 */
export const withPauses = (schedule: RetrySchedule) =>
  Schedule.modifyDelay(
    schedule,
    ({ duration, input }) =>
      Effect.succeed(
        notTaken.has(input.reason._tag) ? Duration.max(duration, Duration.millis(minimumPause)) : duration
      )
  )

/**
 * Retries a publish by a schedule, while its errors are retryable and its publisher is open. Once the outcome of an attempt was
 * unknown, the outcome of the whole is unknown until an attempt succeeds or is returned.
 */
export const retryPublish = (
  publish: Effect.Effect<void, AmqpPublishError>,
  schedule: RetrySchedule,
  publisher: { readonly isClosed: boolean }
): Effect.Effect<void, AmqpPublishError> =>
  Effect.suspend(() => {
    let unknown: AmqpPublishError | undefined
    return publish.pipe(
      Effect.retry({
        schedule,
        while: (error) => {
          if (error.reason._tag === "OutcomeUnknown") unknown = error
          return error.isRetryable && !publisher.isClosed
        }
      }),
      Effect.mapError((error) => notTaken.has(error.reason._tag) ? unknown ?? error : error)
    )
  })
