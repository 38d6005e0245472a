/**
 * A cluster of RabbitMQ nodes on this machine, for tests that stop, kill or freeze some of them. Its nodes listen on loopback
 * ports of their own and are unknown to any other RabbitMQ; everything that they write is removed with the cluster.
 */
import { rabbitmqctlFor } from "./command.ts"
import { canStartNode, makeNode, makeNodeHome } from "./rabbitmqNode.ts"
import type { NodeHome, RabbitMQNode } from "./rabbitmqNode.ts"

export interface ClusterOptions {
  /** The folder with the programs of the RabbitMQ to run: by default that of the first `rabbitmq-server` on the PATH. */
  readonly programs?: string | undefined
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
  /** The folder with everything that the nodes write, which is removed with the cluster. */
  readonly folder: string
  /** Ends all nodes, whatever state they are in, and removes their data. */
  readonly stop: () => Promise<void>
}

/** The number of clusters that this process has started: each node needs a unique name. */
let count = 0

/** Whether this machine has a RabbitMQ to start. */
export const canStartCluster = canStartNode

const startNodes = async (home: NodeHome, options: ClusterOptions): Promise<Pick<Cluster, "nodes" | "version">> => {
  const size = options.size ?? 3
  const number = ++count
  const names = Array.from(
    { length: size },
    (_, index) => `effect-amqp-${process.pid}-${number}-${index + 1}@localhost`
  )
  // When they start for the first time, they agree on one that forms the cluster, and the others join it.
  const formation = size === 1 ? [] : [
    "cluster_formation.peer_discovery_backend = classic_config",
    ...names.map((name, index) => `cluster_formation.classic_config.nodes.${index + 1} = ${name}`)
  ]
  const config = [...formation, ...options.config ?? []]
  const nodes: Array<RabbitMQNode> = []
  for (const [index, name] of names.entries()) {
    nodes.push(await makeNode(home, name, { config, port: options.ports?.[index] }))
  }
  try {
    const [first] = nodes
    const [version] = await Promise.all(nodes.map((node) => node.start()))
    if (first === undefined || version === undefined) throw new Error("a cluster needs a node")
    if (size > 1) await rabbitmqctlFor(first, "await_online_nodes", String(size), "--timeout", "60")
    return { nodes, version }
  } catch (error) {
    await Promise.all(nodes.map((node) => node.kill()))
    throw error
  }
}

/** Starts a cluster. Resolves when all nodes accept clients and know each other. */
export const startCluster = async (options: ClusterOptions = {}): Promise<Cluster> => {
  const home = await makeNodeHome(options.programs)
  try {
    const { nodes, version } = await startNodes(home, options)
    const stop = async (): Promise<void> => {
      await Promise.all(nodes.map((node) => node.kill()))
      await home.stop()
    }
    return { nodes, version, folder: home.folder, stop }
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
