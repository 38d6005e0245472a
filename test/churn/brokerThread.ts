/** The embedded broker on a thread of its own, so that its turns are not those of the client. */
import { AmqpBroker } from "@effect-amqp/core/testing"
import { NodeAmqpBroker } from "@effect-amqp/node"
import * as Effect from "effect/Effect"
import { parentPort } from "node:worker_threads"

/** What the client asks the broker to do. */
export type Request = "cut" | "count"

/** What the broker reports: its port, or its channels and consumers. */
export type Report = { readonly port: number } | { readonly channels: number; readonly consumers: number }

const port = parentPort
if (port === null) throw new Error("brokerThread.ts has to run as a worker thread")

const report = (report: Report) => Effect.sync(() => port.postMessage(report))

const program = Effect.gen(function*() {
  const broker = yield* AmqpBroker.AmqpBroker
  const handle = (request: Request) =>
    Effect.gen(function*() {
      const connections = yield* broker.connections
      if (request === "cut") return yield* Effect.forEach(connections, ({ cut }) => cut, { discard: true })
      const channels = connections.flatMap(({ channels }) => channels)
      const consumers = channels.reduce((sum, { consumers }) => sum + consumers, 0)
      yield* report({ channels: channels.length, consumers })
    })
  port.on("message", (request: Request) => void Effect.runFork(handle(request)))
  yield* report({ port: (yield* NodeAmqpBroker.listen({ port: 0 })).port })
  return yield* Effect.never
})

await Effect.runPromise(Effect.scoped(Effect.provide(program, AmqpBroker.layerBroker())))
