/** The embedded broker in a process of its own, so that neither its turns nor its memory are those of the client. */
import { AmqpBroker } from "@effect-amqp/core/testing"
import { NodeAmqpBroker } from "@effect-amqp/node"
import * as Effect from "effect/Effect"
import * as os from "node:os"

/** What the client asks the broker to do. */
export type Request = "cut" | "count"

/** What the broker reports: its port, or its channels and consumers. */
export type Report = { readonly port: number } | { readonly channels: number; readonly consumers: number }

// On a machine with few processors, the broker would take the client's, which a broker elsewhere does not.
os.setPriority(os.constants.priority.PRIORITY_BELOW_NORMAL)

const report = (report: Report) => Effect.sync(() => process.send?.(report))

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
  process.on("message", (request: Request) => void Effect.runFork(handle(request)))
  process.on("disconnect", () => process.exit())
  yield* report({ port: (yield* NodeAmqpBroker.listen({ port: 0 })).port })
  return yield* Effect.never
})

await Effect.runPromise(Effect.scoped(Effect.provide(program, AmqpBroker.layerBroker())))
