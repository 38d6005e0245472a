/**
 * A cluster of RabbitMQ nodes on this machine, for tests that stop, kill or freeze some of them. Its nodes listen on loopback
 * ports of their own and are unknown to any other RabbitMQ; everything that they write is removed with the cluster.
 */
import { rabbitmqctlFor } from "./command.ts"
import { canStartNode, makeNode, makeNodeHome } from "./rabbitmqNode.ts"
import type { NodeHome, RabbitMQNode } from "./rabbitmqNode.ts"

export interface ClusterOptions {
  /** How many nodes it has: 3 by default. */
  readonly size?: number | undefined
  /** More lines for the `rabbitmq.conf` of each node. */
  readonly config?: ReadonlyArray<string> | undefined
  /** The port of each node; free ones by default. */
  readonly ports?: ReadonlyArray<number> | undefined
}

export interface Cluster {
  /** Its nodes, all running at first. Each keeps its URL, its name and its data when it is stopped and started again. */
  readonly nodes: ReadonlyArray<RabbitMQNode>
  readonly version: string
  /** Ends all nodes, whatever state they are in, and removes their data. */
  readonly stop: () => Promise<void>
}

/** The number of clusters that this process has started: each node needs a unique name. */
let count = 0

/** Whether this machine has a RabbitMQ to start. */
export const canStartCluster = canStartNode

const startNodes = async (home: NodeHome, options: ClusterOptions): Promise<Omit<Cluster, "stop">> => {
  const size = options.size ?? 3
  const number = ++count
  const names = Array.from(
    { length: size },
    (_, index) => `effect-amqp-${process.pid}-${number}-${index + 1}@localhost`
  )
  const config = [
    // Each node joins those that run when it starts for the first time.
    "cluster_formation.peer_discovery_backend = classic_config",
    ...names.map((name, index) => `cluster_formation.classic_config.nodes.${index + 1} = ${name}`),
    ...options.config ?? []
  ]
  const nodes: Array<RabbitMQNode> = []
  for (const [index, name] of names.entries()) {
    nodes.push(await makeNode(home, name, { config, port: options.ports?.[index] }))
  }
  try {
    // The first one forms the cluster; several at once would first agree on who does.
    const [first, ...others] = nodes
    if (first === undefined) throw new Error("a cluster needs a node")
    const version = await first.start()
    await Promise.all(others.map((node) => node.start()))
    await rabbitmqctlFor(first, "await_online_nodes", String(size), "--timeout", "60")
    return { nodes, version }
  } catch (error) {
    await Promise.all(nodes.map((node) => node.kill()))
    throw error
  }
}

/** Starts a cluster. Resolves when all nodes accept clients and know each other. */
export const startCluster = async (options: ClusterOptions = {}): Promise<Cluster> => {
  const home = await makeNodeHome()
  try {
    const { nodes, version } = await startNodes(home, options)
    const stop = async (): Promise<void> => {
      await Promise.all(nodes.map((node) => node.kill()))
      await home.stop()
    }
    return { nodes, version, stop }
  } catch (error) {
    await home.stop()
    throw error
  }
}

/** The names of the nodes of its cluster that a node sees running, itself included. */
export const runningNodes = async (node: RabbitMQNode): Promise<ReadonlyArray<string>> => {
  const status: unknown = JSON.parse(await rabbitmqctlFor(node, "cluster_status", "--formatter", "json"))
  return (status as { readonly running_nodes: ReadonlyArray<string> }).running_nodes // as rabbitmqctl prints it
}
