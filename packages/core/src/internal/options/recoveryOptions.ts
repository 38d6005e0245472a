/** The options of recovery, checked and with defaults. */
import * as Duration from "effect/Duration"
import * as Schedule from "effect/Schedule"
import type { Options, RecoveryOptions } from "../../AmqpConnection.ts"
import type { AmqpConnectionError } from "../../AmqpError.ts"
import { backoff } from "../common/pauses.ts"
import * as Validation from "./validation.ts"

/** How a connection is established again. */
export interface Recovery {
  /** `false`: a connection that is lost stays lost. */
  readonly isEnabled: boolean
  readonly schedule: Schedule.Schedule<unknown, AmqpConnectionError>
  /** In milliseconds. */
  readonly stableAfter: number
  /** Whether the first connection is tried again too. */
  readonly retriesInitial: boolean
  /** How long operations wait for the connection. */
  readonly waitTimeout: Duration.Duration
  /** Decides whether to go on after an error; otherwise the default rule does. */
  readonly isRecoverable: ((error: AmqpConnectionError) => boolean) | undefined
}

const keys = Validation.keysOf<RecoveryOptions>({
  schedule: true,
  stableAfter: true,
  initial: true,
  waitTimeout: true,
  isRecoverable: true
})

/** Throws an `InvalidArgument`. */
export const resolveRecovery = (given: Options["recovery"] = true): Recovery => {
  const options = typeof given === "boolean" ? {} : Validation.knownKeys(given, keys, "recovery")
  const { isRecoverable, schedule = backoff(Duration.millis(250), Duration.seconds(30)) } = options
  if (!Schedule.isSchedule(schedule)) throw Validation.invalid("recovery.schedule: must be a Schedule")
  Validation.callable("recovery.isRecoverable", isRecoverable)
  return {
    isEnabled: given !== false,
    schedule,
    stableAfter: Validation.timeout("recovery.stableAfter", options.stableAfter ?? "10 seconds", true),
    retriesInitial: given !== false &&
      Validation.oneOf("recovery.initial", options.initial ?? "fail", ["fail", "retry"]) === "retry",
    waitTimeout: Validation.duration("recovery.waitTimeout", options.waitTimeout ?? "30 seconds", 0),
    isRecoverable
  }
}
