/**
 * Decides whether a connection is tried again after an error.
 *
 * Errors that may pass are tried again for as long as the schedule allows. Others, such as refused credentials, may pass too while a broker
 * starts or is configured, so they are tried again until the same error has come three times in a row, without a session in between.
 *
 * An internal error of the broker (541) is not a refusal: the broker does not say that it dislikes what it was asked for. It may concern one
 * queue that is declared on each session, until an operator mends it, and the connection with all that uses it would be over by then.
 */
import type { AmqpConnectionError } from "../../AmqpError.ts"
import type { Recovery } from "../options/recoveryOptions.ts"

/** After this many equal refusals in a row, another attempt is not expected to succeed. */
const maxEqual = 3

export class Refusals {
  private readonly isRecoverable: Recovery["isRecoverable"]
  private last: string | undefined
  private count = 0

  constructor(isRecoverable: Recovery["isRecoverable"]) {
    this.isRecoverable = isRecoverable
  }

  /** Whether to try again after an error. Refusals of different credentials (`login`) are not equal. */
  mayRetry(error: AmqpConnectionError, login: number): boolean {
    if (this.isRecoverable !== undefined) return this.isRecoverable(error)
    if (error.isRetryable || isInternal(error)) {
      this.reset()
      return true
    }
    const refusal = `${login} ${textOf(error)}`
    this.count = refusal === this.last ? this.count + 1 : 1
    this.last = refusal
    return this.count < maxEqual
  }

  reset(): void {
    this.last = undefined
    this.count = 0
  }
}

const isInternal = ({ reason }: AmqpConnectionError): boolean =>
  reason._tag === "EndpointsFailed"
    ? reason.failures.some(({ reason }) => reason._tag === "InternalError")
    : reason._tag === "InternalError"

/** Identifies an error. The endpoints of a round may be tried in another order each time. */
const textOf = ({ message, reason }: AmqpConnectionError): string =>
  reason._tag === "EndpointsFailed"
    ? reason.failures.map(({ endpoint, reason }) => `${endpoint} ${reason._tag} ${reason.message}`).toSorted().join(" ")
    : `${reason._tag} ${message}`
