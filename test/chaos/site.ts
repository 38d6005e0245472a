/** The brokers of a run, and the proxies in front of them. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as fs from "node:fs"
import * as path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { startCluster } from "../support/cluster.ts"
import { startProxy } from "../support/proxy.ts"
import type { FaultProxy } from "../support/proxy.ts"
import type { RabbitMQNode } from "../support/rabbitmqNode.ts"
import { startControl } from "./control.ts"

/** How a client reaches the brokers: by one of the proxies, or directly. */
export type Access = "firstProxy" | "secondProxy" | "direct"

/** A user whose password changes. */
export interface User {
  readonly name: string
  password: string
}

export interface Site {
  readonly version: string
  readonly nodes: ReadonlyArray<RabbitMQNode>
  /** Two for a single node, otherwise one for each node. */
  readonly proxies: ReadonlyArray<FaultProxy>
  readonly urlsOf: (access: Access) => ReadonlyArray<string>
  readonly user: User
  /** Evaluates an Erlang expression on a node, by default on one that is running. */
  readonly evaluate: (expression: string, node?: RabbitMQNode) => Promise<string>
  /** The lines of the brokers' logs. */
  readonly logLines: () => ReadonlyArray<string>
}

const config = [
  // The alarms are set by the faults alone, and not by a machine that is short of disk.
  "disk_free_limit.absolute = 1MB",
  // Half-open connections of dead clients are found as fast as the clients find those of brokers.
  "heartbeat = 3",
  // A node that is cut off from the others stops, and starts again when it sees them. Otherwise two halves may both go on.
  "cluster_partition_handling = pause_minority"
]

const portOf = (node: RabbitMQNode): number => Number(new URL(node.url).port)

const urlTo = (port: number): string => `amqp://guest:guest@127.0.0.1:${port}`

/** Starts brokers and proxies, which end with the scope. */
export const startSite = (size: number): Effect.Effect<Site, never, Scope.Scope> =>
  Effect.gen(function*() {
    const cluster = yield* Effect.acquireRelease(
      Effect.promise(() => startCluster({ size, config })),
      ({ stop }) => Effect.promise(stop)
    )
    const { nodes } = cluster
    const behind = size === 1 ? [nodes[0], nodes[0]] : nodes
    const proxies = yield* Effect.forEach(behind, (node) =>
      Effect.acquireRelease(
        Effect.promise(() => startProxy({ host: "127.0.0.1", port: portOf(node) })),
        (proxy) => Effect.promise(() => proxy.close())
      ))
    const control = yield* Effect.acquireRelease(
      Effect.sync(() => startControl(nodes[0])),
      ({ stop }) => Effect.promise(stop)
    )
    const evaluate: Site["evaluate"] = (expression, node) => {
      const target = node ?? nodes.find((node) => node.isRunning())
      return target === undefined
        ? Promise.reject(new Error("no node is running"))
        : control.evaluate(target, expression)
    }
    const user = { name: "rotating", password: "first" }
    yield* Effect.promise(() =>
      evaluate(`begin
        rabbit_auth_backend_internal:add_user(<<"${user.name}">>, <<"${user.password}">>, <<"chaos">>),
        rabbit_auth_backend_internal:set_permissions(<<"${user.name}">>, <<"/">>, <<".*">>, <<".*">>, <<".*">>, <<"chaos">>)
      end`)
    )
    return {
      version: cluster.version,
      nodes,
      proxies,
      user,
      evaluate,
      urlsOf: (access) =>
        access === "direct"
          ? nodes.map((node) => urlTo(portOf(node)))
          : size === 1
          ? [urlTo(proxies[access === "firstProxy" ? 0 : 1].port)]
          : proxies.map(({ port }) => urlTo(port)),
      logLines: () =>
        nodes.flatMap(({ env }) => {
          const folder = env["RABBITMQ_LOG_BASE"]
          return fs.globSync("*.log", { cwd: folder }).flatMap((name) =>
            fs.readFileSync(path.join(folder, name), "utf8").split("\n")
          )
        })
    }
  })

/** Repeats what may fail for a while, for example because a node has only just started. */
export const eventually = async <A>(millis: number, attempt: () => Promise<A>): Promise<A> => {
  const deadline = performance.now() + millis
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (performance.now() > deadline) throw error
      await sleep(500)
    }
  }
}
