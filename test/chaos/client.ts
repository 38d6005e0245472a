/** Everything here that is about recovery: the options of connections and publishers, and the states of a connection. */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import type * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import type * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import { NodeAmqp } from "@effect-amqp/node"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { Monitor } from "./monitor.ts"

/** The prefix of the names of connections, by which the broker's lists are searched. */
export const connectionPrefix = "chaos "

/** Short timeouts: a run has many faults, and each has to be noticed. */
export const connection = (
  name: string,
  urls: ReadonlyArray<string>,
  credentials: NodeAmqp.Options["credentials"]
) =>
  NodeAmqp.layer({
    url: urls,
    connectionName: `${connectionPrefix}${name}`,
    credentials,
    heartbeat: "3 seconds",
    connectTimeout: "8 seconds",
    handshakeTimeout: "5 seconds",
    requestTimeout: "15 seconds",
    closeTimeout: "3 seconds",
    recovery: { schedule: Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("2 seconds")]) }
  })

/** Records the states of a connection until it is closed. */
export const watch = (name: string, monitor: Monitor) =>
  Effect.flatMap(
    AmqpConnection.AmqpConnection,
    ({ stateChanges }) => Stream.runForEach(stateChanges, ({ _tag }) => Effect.sync(() => monitor.changed(name, _tag)))
  )

/** Confirmed does not mean routed: a queue that is not there takes nothing, as a stream after a start of its node. */
const persistent: AmqpPublisher.Options = {
  maxInFlight: 256,
  defaults: { deliveryMode: "persistent", mandatory: true }
}

/** A publisher that publishes again what it does not know the outcome of, as long as it takes. */
export const retrying: AmqpPublisher.Options = { ...persistent, retry: Schedule.spaced("50 millis") }

/** A publisher that publishes each message once, and waits until it can. */
export const waiting: AmqpPublisher.Options = {
  ...persistent,
  // Less than are published within the timeout.
  maxWaiting: 300,
  sendTimeout: "10 seconds",
  confirmTimeout: "15 seconds"
}

/** A publisher that publishes each message once, and fails if it can't. */
export const impatient: AmqpPublisher.Options = {
  ...persistent,
  maxWaitingBytes: 64 * 1024,
  confirmTimeout: "15 seconds",
  whenBlocked: "fail",
  whenDisconnected: "fail"
}

/** A client whose calls fail when their outcome is unknown. */
export const callingOnce: AmqpRpc.ClientOptions = { sendTimeout: "10 seconds", confirmTimeout: "15 seconds" }

/** A client that sends requests again, as long as it takes. */
export const callingAgain: AmqpRpc.ClientOptions = {
  confirmTimeout: "15 seconds",
  retry: Schedule.spaced("50 millis")
}

/** How programs are retried: as long as it takes. */
export const whileRetryable = {
  while: (error: { readonly isRetryable: boolean }): boolean => error.isRetryable,
  schedule: Schedule.spaced("100 millis")
}
