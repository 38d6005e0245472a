/**
 * What operators see of recovery: a warning when the connection is lost, a line when it is back, debug lines between, and metrics.
 */
import type * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { Endpoint } from "../../AmqpConnection.ts"
import type { AmqpConnectionError } from "../../AmqpError.ts"
import type { ConnectionOptions } from "../options/sessionOptions.ts"
import { countsOf } from "../telemetry/counters.ts"
import type { Counts } from "../telemetry/counters.ts"
import { serverAttributes } from "../telemetry/serverAttributes.ts"
import type { SupervisorState } from "./supervisorState.ts"

/** Of the histogram, in seconds. */
const boundaries = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600]

const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`

/** A logger that dies ends nothing. */
const logged = (log: Effect.Effect<void>): Effect.Effect<void> => Effect.ignoreCause(log)

export class RecoveryReport {
  private readonly options: ConnectionOptions
  private readonly context: Context.Context<never>
  /** What waits for a connection that was not lost, if that was logged: the program for its first one, or an ordered replacement. */
  private waitingFor: "first" | "replacement" | undefined

  constructor(options: ConnectionOptions, context: Context.Context<never>) {
    this.options = options
    this.context = context
  }

  /** Runs an effect that does not belong to a session. */
  background(effect: Effect.Effect<void>): void {
    Effect.runForkWith(this.context)(effect)
  }

  /** Dialing begins: for the first time, after a loss, or to replace the session. */
  begun(state: SupervisorState, last: Endpoint | undefined): Effect.Effect<void> {
    const to = last === undefined ? "" : ` to ${last.name}`
    if (state._tag === "Recovering") {
      return logged(
        Effect.logWarning(`The AMQP connection${to} was lost, and is being established again. ${state.cause.message}`)
      )
    }
    return last === undefined ? Effect.void : logged(Effect.logDebug(`The AMQP connection${to} is being replaced`))
  }

  attemptFailed(endpoint: Endpoint, { message }: AmqpConnectionError): Effect.Effect<void> {
    this.countsFor(endpoint).failedAttempts++
    return logged(Effect.logDebug(`An attempt to connect to ${endpoint.name} failed. ${message}`))
  }

  /** A connection that was not lost can't be made yet. */
  waiting({ message }: AmqpConnectionError, what: "first" | "replacement"): Effect.Effect<void> {
    if (this.waitingFor !== undefined) return Effect.void
    this.waitingFor = what
    const text = what === "first"
      ? "There is no AMQP connection yet. The program waits and tries again"
      : "There is no AMQP connection: the last one was closed to be replaced, and another one is being established"
    return logged(Effect.logWarning(`${text}. ${message}`))
  }

  /** There is a session. `state` is the one that this ended, and `millis` how long it lasted. */
  opened(state: SupervisorState, endpoint: Endpoint, millis: number): Effect.Effect<void> {
    const { waitingFor } = this
    this.waitingFor = undefined
    if (state._tag === "Recovering" || waitingFor === "replacement") {
      this.countsFor(endpoint).recovered++
      Metric.histogram("amqp.client.recovery.duration", {
        description: "The time from the loss of a connection until it was usable again",
        boundaries,
        attributes: { ...serverAttributes({ ...this.options, transport: endpoint.transport }), unit: "seconds" }
      }).updateUnsafe(millis / 1000, this.context)
      const made = "attempt" in state ? state.attempt : 1
      const attempts = made === 1 ? "1 attempt" : `${made} attempts`
      return logged(
        Effect.logInfo(
          `The AMQP connection is open again, to ${endpoint.name}, after ${seconds(millis)} and ${attempts}`
        )
      )
    }
    if (waitingFor === undefined) return Effect.void
    return logged(Effect.logInfo(`The AMQP connection to ${endpoint.name} is open, after ${seconds(millis)}`))
  }

  /** `defect`: that of the program's code, for example of its schedule. */
  givenUp({ message }: AmqpConnectionError, ...defect: ReadonlyArray<Cause.Cause<unknown>>): Effect.Effect<void> {
    const text = `The AMQP connection is lost, and will not be established again. ${message}`
    return logged(Effect.logError(text, ...defect))
  }

  /** A session has ended and is not followed by another. */
  ended(error: AmqpConnectionError): Effect.Effect<void> {
    if (this.options.recovery.isEnabled) return this.givenUp(error)
    const { message, reason: { _tag } } = error
    return _tag === "UpdateSecretFailed" || _tag === "CredentialsUnavailable"
      ? logged(Effect.logWarning(`The AMQP connection has ended, as its secret was not renewed. ${message}`))
      : Effect.void
  }

  private countsFor({ transport }: Endpoint): Counts {
    return countsOf({ ...this.options, transport }, this.context)
  }
}
