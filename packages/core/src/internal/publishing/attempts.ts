/**
 * The attempts to publish one message, as a schedule allows.
 *
 * A message that was in flight when its channel was lost is published again before all newer ones. The schedule counts the loss; its
 * pause is not waited, since recovery has pauses of its own. After other errors that are retryable the message pauses, and then waits
 * like a new one.
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import type { AmqpChannelError, AmqpPublishError } from "../../AmqpError.ts"
import { Pauses } from "../common/pauses.ts"
import * as Validation from "../options/validation.ts"
import { notSent } from "./publishErrors.ts"
import type { PublishJob } from "./publishJob.ts"
import type { PublishQueue } from "./publishQueue.ts"
import type { Resend } from "./resendLine.ts"

type RetrySchedule = Schedule.Schedule<unknown, AmqpPublishError>

/** With these reasons, the broker does not have the message from this attempt. It may have it from an earlier one. */
const notTaken: ReadonlySet<string> = new Set(["NotSent", "Nacked", "Returned"])

/** The shortest pause after such an attempt, in milliseconds. */
const minimumPause = 50

/** Whether too many publishes wait. Those that pause would wait in addition, without a limit. */
const isBeyondLimit = ({ reason }: AmqpPublishError): boolean =>
  reason._tag === "NotSent" && reason.cause.reason._tag === "TooManyPublishes"

/** Throws an `InvalidArgument` if the option is not a schedule. */
export const checkRetry = (retry: RetrySchedule | undefined): void => {
  if (retry !== undefined && !Schedule.isSchedule(retry)) throw Validation.invalid("retry: must be a Schedule")
}

/**
 * Adds pauses after attempts that may take no time. With a schedule without delays these would keep this process busy, and the broker
 * too if a full queue refuses the message.
 */
export const withPauses = (schedule: RetrySchedule): RetrySchedule =>
  Schedule.modifyDelay(
    schedule,
    ({ duration, input }) =>
      Effect.succeed(
        notTaken.has(input.reason._tag) ? Duration.max(duration, Duration.millis(minimumPause)) : duration
      )
  )

/** How the messages of one call are published again. */
export interface Retry {
  readonly queue: Pick<PublishQueue, "hasLostChannel" | "isClosed" | "resends" | "submitAgain" | "withdraw">
  readonly schedule: RetrySchedule
  /** The services of the caller's fiber: the schedule may log, or open spans. */
  readonly services: Context.Context<never>
}

/** A job of one message. */
export interface Attempted extends PublishJob {
  /** Ends the publish, and with it its attempts. */
  end(exit: Exit.Exit<never, AmqpPublishError>): void
}

export class Attempts implements Resend {
  readonly job: Attempted
  place = 0

  private readonly retry: Retry
  private readonly pauses: Pauses<AmqpPublishError>
  /** Whether the message was handed to the channel in this attempt. */
  private isSent = false
  private isEnded = false
  private error: AmqpPublishError | undefined
  /** Of the last attempt whose outcome is unknown. */
  private unknown: AmqpPublishError | undefined
  private pausing: Fiber.Fiber<void> | undefined

  constructor(job: Attempted, retry: Retry) {
    this.job = job
    this.retry = retry
    this.pauses = new Pauses(retry.schedule)
  }

  /** The message is about to be sent. */
  begin(): void {
    const { resends } = this.retry.queue
    resends.release(this)
    this.place = resends.nextPlace()
    this.isSent = true
  }

  /** The message is not sent yet after all. */
  held(): void {
    this.isSent = false
  }

  /** The attempt has failed. */
  failed(error: AmqpPublishError): void {
    if (this.isEnded) return
    const { isSent, retry: { queue } } = this
    this.isSent = false
    this.error = error
    if (error.reason._tag === "OutcomeUnknown") this.unknown = error
    if (!error.isRetryable || queue.isClosed || isBeyondLimit(error)) this.giveUp(error)
    else if (isSent && queue.hasLostChannel) queue.resends.addLost(this)
    else this.pause()
  }

  refuse(error: AmqpChannelError): void {
    if (!this.isEnded) this.giveUp(notSent(error))
  }

  /** Makes no further attempt. */
  stop(): void {
    if (this.isEnded) return
    this.isEnded = true
    const { pausing, retry: { queue } } = this
    queue.resends.delete(this)
    queue.withdraw(this.job)
    this.pausing = undefined
    pausing?.interruptUnsafe()
  }

  /**
   * Once the outcome of an attempt was unknown, the outcome of the whole is unknown until an attempt succeeds. A queue may have taken it that is
   * gone now, or that has no leader at the moment.
   */
  private giveUp(error: AmqpPublishError): void {
    this.job.end(Exit.fail(notTaken.has(error.reason._tag) ? this.unknown ?? error : error))
  }

  /** The next pause. Gives up if there is none. */
  private readonly step: Effect.Effect<Duration.Duration | undefined> = Effect.suspend(() => {
    const { error } = this
    if (error === undefined) return Effect.succeed(undefined)
    return Effect.tap(
      this.pauses.next(error),
      (pause) => Effect.sync(() => pause === undefined ? this.giveUp(error) : undefined)
    )
  }).pipe(
    // The schedule is the caller's, and so are its defects.
    Effect.catchDefect((defect) => {
      this.job.end(Exit.die(defect))
      return Effect.succeed(undefined)
    })
  )

  readonly mayGoOn: Effect.Effect<boolean> = Effect.suspend(() =>
    Effect.map(Effect.provideContext(this.step, this.retry.services), (pause) => pause !== undefined)
  )

  private pause(): void {
    const { queue, services } = this.retry
    queue.resends.addPaused(this)
    const again = Effect.gen({ self: this }, function*() {
      const pause = yield* this.step
      if (pause === undefined) return
      yield* Effect.sleep(pause)
      this.pausing = undefined
      queue.resends.resume(this)
      queue.submitAgain(this.job)
    })
    const fiber = Effect.runForkWith(services)(again)
    // A schedule that has ended ends the fiber at once.
    if (fiber.pollUnsafe() === undefined) this.pausing = fiber
  }
}
