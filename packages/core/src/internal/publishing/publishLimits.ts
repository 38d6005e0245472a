/**
 * The limits of a publisher: how many messages may be in flight and may wait, and how long each may take.
 */
import * as Duration from "effect/Duration"
import * as Validation from "../options/validation.ts"

/** All times are in milliseconds. */
export interface PublishLimits {
  readonly maxInFlight: number
  readonly maxInFlightBytes: number
  /** How long a message may wait until it is sent. */
  readonly sendTimeout: number
  /** How long the confirm of a message may take. */
  readonly confirmTimeout: number
  /** Whether `confirmTimeout` includes the time while the broker blocks the connection, and while a large message is being sent. */
  readonly countsBlocked: boolean
  /** How many publishes may wait to be sent. */
  readonly maxWaiting: number
  /** No publish begins to wait while the bodies of those that wait have this size, in bytes. */
  readonly maxWaitingBytes: number
  /** Whether publishes fail while the broker blocks the connection. */
  readonly failWhenBlocked: boolean
  /** Whether publishes fail while there is no connection. */
  readonly failWhenDisconnected: boolean
}

interface LimitOptions {
  readonly maxInFlight?: number | undefined
  readonly maxInFlightBytes?: number | undefined
  readonly maxWaiting?: number | undefined
  readonly maxWaitingBytes?: number | undefined
  readonly sendTimeout?: Duration.Input | undefined
  readonly confirmTimeout?: Duration.Input | undefined
  readonly whenBlocked?: "wait" | "fail" | undefined
  readonly whenDisconnected?: "wait" | "fail" | undefined
}

/** A quorum queue without a majority never confirms. */
export const defaultConfirmLimits: Pick<PublishLimits, "confirmTimeout" | "countsBlocked"> = {
  confirmTimeout: 60_000,
  countsBlocked: false
}

const timeout = (what: string, input: Duration.Input, minimum: number): number =>
  Duration.toMillis(Validation.duration(what, input, minimum))

const mebibyte = 1024 * 1024

/** Whether publishes fail instead of waiting. */
const fails = (what: string, given: "wait" | "fail" | undefined): boolean =>
  Validation.oneOf(what, given ?? "wait", ["wait", "fail"]) === "fail"

/** The limits that the options ask for. Throws an `InvalidArgument`. */
export const resolveLimits = (options: LimitOptions): PublishLimits => {
  const { confirmTimeout, maxInFlight = 1024, maxInFlightBytes = 16 * mebibyte, sendTimeout } = options
  const { maxWaiting = 100_000, maxWaitingBytes = 128 * mebibyte } = options
  return {
    maxInFlight: Validation.wholeNumber("maxInFlight", maxInFlight, 1),
    maxInFlightBytes: Validation.wholeNumber("maxInFlightBytes", maxInFlightBytes, 1),
    maxWaiting: Validation.wholeNumber("maxWaiting", maxWaiting, 1),
    maxWaitingBytes: Validation.wholeNumber("maxWaitingBytes", maxWaitingBytes, 1),
    sendTimeout: sendTimeout === undefined ? Infinity : timeout("sendTimeout", sendTimeout, 0),
    ...(confirmTimeout === undefined
      ? defaultConfirmLimits
      : { confirmTimeout: timeout("confirmTimeout", confirmTimeout, 1), countsBlocked: true }),
    failWhenBlocked: fails("whenBlocked", options.whenBlocked),
    failWhenDisconnected: fails("whenDisconnected", options.whenDisconnected)
  }
}
