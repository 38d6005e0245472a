/** Starts a RabbitMQ of a version with what this machine offers. */
import * as path from "node:path"
import { startCluster } from "../../test/support/cluster.ts"
import { debianProblem, installFromDebian } from "./debian.ts"
import { dockerProblem, startInDocker } from "./docker.ts"
import { findOnMachine } from "./machine.ts"
import { quoted, writeProgram } from "./running.ts"
import type { RunningBrokers } from "./running.ts"
import { debianReleases } from "./versions.ts"
import type { Version } from "./versions.ts"

export interface StartOptions {
  /** How many nodes the cluster has. */
  readonly nodes: number
  /** The port of the first node; the others have the next ones. */
  readonly port: number | undefined
  readonly log: (line: string) => void
}

/** The variables by which `rabbitmqctl` finds the nodes. */
const controlVariables = [
  "HOME",
  "ERL_CRASH_DUMP_SECONDS",
  "ERL_EPMD_ADDRESS",
  "ERL_EPMD_PORT",
  "ERL_FLAGS",
  "RABBITMQ_CONF_ENV_FILE",
  "RABBITMQ_CTL_DIST_PORT_MIN",
  "RABBITMQ_CTL_DIST_PORT_MAX"
]

const startPrograms = async (programs: string, { nodes: size, port, log }: StartOptions): Promise<RunningBrokers> => {
  log(size === 1 ? "Starting RabbitMQ ..." : `Starting ${size} nodes of RabbitMQ ...`)
  const ports = port === undefined ? undefined : Array.from({ length: size }, (_, index) => port + index)
  const { folder, nodes, stop, version } = await startCluster({ programs, size, ports })
  const nodename = nodes[0]?.nodename ?? ""
  const env = nodes[0]?.env ?? {}
  const own = path.join(folder, "bin")
  writeProgram(
    own,
    "rabbitmqctl",
    [
      ...controlVariables.flatMap((name) => {
        const value = env[name]
        return value === undefined ? [] : [`export ${name}=${quoted(value)}`]
      }),
      `export RABBITMQ_NODENAME="\${RABBITMQ_NODENAME:-${nodename}}"`,
      `exec ${quoted(path.join(programs, "rabbitmqctl"))} "$@"`
    ].join("\n")
  )
  return {
    version,
    urls: nodes.map(({ url }) => url),
    nodename,
    searchPath: [own, programs],
    isRunning: () => Promise.resolve(nodes.some((node) => node.isRunning())),
    stop: async () => {
      await Promise.all(nodes.map((node) => node.stop()))
      await stop()
    }
  }
}

/** Fails with all that would be needed if this machine has no way to run this version. */
export const startBrokers = async (version: Version, options: StartOptions): Promise<RunningBrokers> => {
  const machine = await findOnMachine(version)
  if ("programs" in machine) return startPrograms(machine.programs, options)
  const isCluster = options.nodes > 1
  const docker = isCluster ? "a cluster is not started in Docker" : await dockerProblem()
  if (docker === undefined) return startInDocker(version, options)
  const debian = await debianProblem(version)
  if (debian === undefined) return startPrograms(await installFromDebian(version, options.log), options)
  throw new Error(
    `There is no way to run ${isCluster ? "a cluster of " : ""}RabbitMQ ${version} here. It needs one of these:
  - a rabbitmq-server ${version} on the PATH; ${machine.problem}
  - Docker; ${docker}
  - Debian as root, to install that of Debian ${debianReleases[version]} in a folder; ${debian}`
  )
}
