import { AmqpBroker } from "@effect-amqp/core/testing"
import * as NodeAmqpBroker from "@effect-amqp/node/NodeAmqpBroker"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { inspect } from "node:util"
import type { Administration } from "./administration.ts"

/** An embedded broker that listens on a port of this machine. */
export interface EmbeddedBroker extends Administration {
  /** The version of RabbitMQ that it behaves like. */
  readonly version: AmqpBroker.Version
  readonly stop: () => Promise<void>
}

const nothing = /^$/

const modes = { Plain: "plain", Confirm: "confirm", Transaction: "transaction" } as const

const administer = (broker: AmqpBroker.AmqpBroker["Service"], url: string): Administration => {
  const withName = (connectionName: string) =>
    Effect.map(broker.connections, (connections) => connections.filter(({ name }) => name === connectionName))
  const users = new Map<string, "everything" | "read">()
  const setUser: Administration["addUser"] = (name, password, may) =>
    Effect.suspend(() => {
      users.set(name, may)
      return broker.setUser(name, {
        password: Redacted.make(password),
        permissions: may === "everything" ? undefined : { "/": { configure: nothing, write: nothing, read: /.*/ } }
      })
    })
  return {
    url,
    addVirtualHost: broker.addVirtualHost,
    deleteVirtualHost: broker.deleteVirtualHost,
    addUser: setUser,
    changePassword: (name, password) => Effect.suspend(() => setUser(name, password, users.get(name) ?? "everything")),
    deleteUser: broker.deleteUser,
    entities: (names) =>
      Effect.map(
        Effect.all([broker.queues(), broker.exchanges()]),
        ([queues, exchanges]) =>
          Object.fromEntries([
            ...queues.map(({ autoDelete, durable, exclusive, name, type, ...queue }) =>
              [name, { type, durable, autoDelete, exclusive, arguments: queue.arguments }] as const
            ),
            ...exchanges.map(({ name, ...exchange }) => [name, exchange] as const)
          ].filter(([name]) => names.includes(name)))
      ),
    connectionsNamed: (connectionName) => Effect.map(withName(connectionName), ({ length }) => length),
    clientPropertiesOf: (connectionName) =>
      Effect.map(withName(connectionName), (connections) => inspect(connections, { depth: Infinity })),
    channelsOf: (connectionName) =>
      Effect.map(
        withName(connectionName),
        (connections) =>
          connections.flatMap(({ channels }) =>
            channels.map(({ mode, number }) => ({ number, mode: modes[mode] }))
              .toSorted((a, b) => a.number - b.number)
          )
      ),
    closeConnection: (connectionName, reason) =>
      Effect.flatMap(
        withName(connectionName),
        Effect.forEach(({ close }) => close(320, `CONNECTION_FORCED - ${reason}`), { discard: true })
      ),
    cutConnection: (connectionName) =>
      Effect.flatMap(withName(connectionName), Effect.forEach(({ cut }) => cut, { discard: true })),
    exhaustMemory: broker.block("low on memory"),
    freeMemory: broker.unblock
  }
}

/** Starts an embedded broker on a free port. */
export const startEmbeddedBroker = async (options: AmqpBroker.Options = {}): Promise<EmbeddedBroker> => {
  const scope = Scope.makeUnsafe()
  const { broker, port } = await Effect.gen(function*() {
    const context = yield* Layer.build(AmqpBroker.layerBroker(options))
    const { port } = yield* Effect.provide(NodeAmqpBroker.listen({ port: 0 }), context)
    return { broker: Context.get(context, AmqpBroker.AmqpBroker), port }
  }).pipe(Scope.provide(scope), Effect.runPromise)
  return {
    ...administer(broker, `amqp://guest:guest@127.0.0.1:${port}`),
    version: options.version ?? "3.10",
    stop: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}
