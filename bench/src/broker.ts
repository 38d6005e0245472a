/**
 * Declares, fills, inspects and deletes the queues of the benchmark over a separate connection, so that no client under
 * test prepares or checks its own work.
 */
import * as amqplib from "amqplib"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { windowFor } from "./workload.ts"

export class BrokerError extends Schema.TaggedError<BrokerError>()("BrokerError", {
  message: Schema.String
}) {}

export interface Broker {
  readonly url: string
  /** Product and version from the broker's server properties. */
  readonly product: string
  /** Declares a transient queue with a new name and deletes it when the scope closes. */
  readonly queue: Effect.Effect<string, BrokerError, Scope.Scope>
  /** Publishes `count` bodies of `size` bytes to the queue, and succeeds when the broker has confirmed all. */
  readonly fill: (queue: string, count: number, size: number) => Effect.Effect<void, BrokerError>
  /** The number of ready messages in the queue. */
  readonly messageCount: (queue: string) => Effect.Effect<number, BrokerError>
}

const attempt = <A>(what: string, run: () => Promise<A>): Effect.Effect<A, BrokerError> =>
  Effect.tryPromise({
    try: run,
    catch: (cause) =>
      new BrokerError({ message: `${what}: ${cause instanceof Error && cause.message || String(cause)}` })
  })

/** If the benchmark is killed before it deletes a queue, the queue expires after this time without use. */
const expires = 60 * 60 * 1000

const fill = async (channel: amqplib.ConfirmChannel, queue: string, count: number, size: number) => {
  const body = Buffer.alloc(size, "x")
  // few enough messages in flight that the broker does not throttle the connection
  const batch = windowFor(size)
  for (let left = count; left > 0; left -= batch) {
    for (let published = Math.min(batch, left); published > 0; published--) {
      channel.publish("", queue, body)
    }
    await channel.waitForConfirms()
  }
}

/** Connects to the broker at `url` until the scope closes. */
export const connect = (url: string): Effect.Effect<Broker, BrokerError, Scope.Scope> =>
  Effect.gen(function*() {
    const connection = yield* Effect.acquireRelease(
      attempt("Cannot connect to the broker", async () => {
        const connection = await amqplib.connect(url)
        // a lost connection fails the next operation; without a listener it would end the process here
        connection.on("error", () => {})
        return connection
      }),
      (connection) => Effect.ignore(attempt("Cannot close the connection", () => connection.close()))
    )
    const channel = yield* attempt("Cannot open a channel", () => connection.createConfirmChannel())
    channel.on("error", () => {})
    let queues = 0
    const properties = connection.connection.serverProperties
    return {
      url,
      product: `${properties.product} ${properties.version}`,
      queue: Effect.acquireRelease(
        Effect.suspend(() => {
          const name = `effect-amqp-bench-${process.pid}-${Date.now()}-${queues++}`
          return Effect.as(
            attempt("Cannot declare a queue", () => channel.assertQueue(name, { durable: false, expires })),
            name
          )
        }),
        (name) => Effect.ignore(attempt("Cannot delete a queue", () => channel.deleteQueue(name)))
      ),
      fill: (queue, count, size) => attempt("Cannot fill a queue", () => fill(channel, queue, count, size)),
      messageCount: (queue) =>
        Effect.map(attempt("Cannot inspect a queue", () => channel.checkQueue(queue)), (ok) => ok.messageCount)
    }
  })
