/**
 * Whether and when a consumer starts again after it was lost.
 *
 * A reason that may pass is tried again for as long as the schedule allows. After a cancel or on a new session, the queue may seem to be
 * missing because its node is down, so a 404 is tried again too, until the same one has come three times in a row. Those that come while a
 * topology is still trying to declare the queue, or an exchange that it is bound to, do not count.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { RecoveryOptions } from "../../AmqpConsumer.ts"
import { Pauses } from "../common/pauses.ts"
import * as Validation from "../options/validation.ts"
import { declareBackoff } from "../topology/declareBackoff.ts"
import type { SubscriptionError } from "./inbox.ts"

/** How a consumer starts again. */
export interface ConsumerRecovery {
  /** `undefined`: as the connection does. */
  readonly isEnabled: boolean | undefined
  readonly schedule: Schedule.Schedule<unknown, SubscriptionError>
  /** In milliseconds. */
  readonly stableAfter: number
  /** Decides whether to go on after an error; otherwise the default rule does. */
  readonly isRecoverable: ((error: SubscriptionError) => boolean) | undefined
}

const keys = Validation.keysOf<RecoveryOptions>({ schedule: true, stableAfter: true, isRecoverable: true })

/** Throws an `InvalidArgument`. */
export const resolveConsumerRecovery = (given: boolean | RecoveryOptions | undefined): ConsumerRecovery => {
  const options = given === undefined || typeof given === "boolean" ? {} : Validation.knownKeys(given, keys, "recovery")
  const { isRecoverable, schedule = declareBackoff } = options
  if (!Schedule.isSchedule(schedule)) throw Validation.invalid("recovery.schedule: must be a Schedule")
  Validation.callable("recovery.isRecoverable", isRecoverable)
  return {
    isEnabled: given === undefined ? undefined : given !== false,
    schedule,
    stableAfter: Validation.timeout("recovery.stableAfter", options.stableAfter ?? "10 seconds", true),
    isRecoverable
  }
}

/** After this many equal refusals in a row, another attempt is not expected to succeed. */
const maxEqual = 3

/** The shortest pause, as a schedule may have none. */
const shortestPause = Duration.millis(50)

/** The shortest pause after a 404, which is tried only a few times: a node takes a moment to restart. */
const notFoundPause = Duration.seconds(1)

/** Decides for one consumer. */
export class Restarts {
  readonly isEnabled: boolean
  private readonly recovery: ConsumerRecovery
  private readonly pauses: Pauses<SubscriptionError>
  private lastRefusal: string | undefined
  private refusals = 0

  constructor(recovery: ConsumerRecovery, isEnabledByDefault: boolean) {
    this.isEnabled = recovery.isEnabled ?? isEnabledByDefault
    this.recovery = recovery
    this.pauses = new Pauses(recovery.schedule)
  }

  /** Whether the consumer goes on after the loss of its session, without a pause: the connection has pauses of its own. */
  followsSession(error: SubscriptionError): boolean {
    return this.isEnabled && this.recovery.isRecoverable?.(error) !== false
  }

  /** Whether the consumer, which had started, goes on after this error. */
  mayRestart(error: SubscriptionError): boolean {
    return this.isEnabled && (this.recovery.isRecoverable?.(error) ?? mayPass(error))
  }

  /**
   * Whether the consumer tries again to start after this error. `isPending`: whether a topology is still trying to declare one of its queues, or
   * an exchange that one is bound to.
   */
  mayRetry(error: SubscriptionError, isPending: boolean): boolean {
    if (this.mayRestart(error)) return true
    if (!this.isEnabled || this.recovery.isRecoverable !== undefined || !isNotFound(error)) return false
    if (isPending) return true
    this.refusals = error.message === this.lastRefusal ? this.refusals + 1 : 1
    this.lastRefusal = error.message
    return this.refusals < maxEqual
  }

  /** The consumer has started. */
  started(): void {
    this.lastRefusal = undefined
    this.refusals = 0
  }

  /** The consumer has ended after this many milliseconds. */
  lasted(millis: number): void {
    if (millis >= this.recovery.stableAfter) this.pauses.reset()
  }

  /** The pause before the next attempt. `undefined` if the schedule has ended. */
  pauseAfter(error: SubscriptionError): Effect.Effect<Duration.Duration | undefined> {
    return Effect.map(
      this.pauses.next(error),
      (pause) =>
        pause === undefined
          ? undefined
          : Duration.max(pause, isNotFound(error) && !mayPass(error) ? notFoundPause : shortestPause)
    )
  }
}

const mayPass = (error: SubscriptionError): boolean => error.isRetryable

const isNotFound = (error: SubscriptionError): boolean =>
  error._tag === "AmqpChannelError" && error.reason._tag === "NotFound"
