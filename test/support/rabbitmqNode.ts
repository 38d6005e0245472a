/**
 * One node of RabbitMQ that shares nothing with any other on the machine, except those of its own cluster: it has its own name,
 * ports, configuration, log and data, all in its folder.
 */
import { randomBytes } from "node:crypto"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { freePorts, startInBackground } from "./childProcess.ts"
import type { BackgroundProgram } from "./childProcess.ts"
import { probe } from "./probe.ts"
import type { AdministrableBroker } from "./provided.ts"

export interface NodeOptions {
  /** Its certificates for TLS, in PEM format. Clients must present a certificate of this authority. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string } | undefined
  readonly plugins?: ReadonlyArray<string> | undefined
  /** More lines for its `rabbitmq.conf`. */
  readonly config?: ReadonlyArray<string> | undefined
  /** Its `advanced.config`, a list of Erlang terms. */
  readonly advancedConfig?: string | undefined
}

export interface RabbitMQNode extends AdministrableBroker {
  /** Its port with TLS; 0 without a certificate. */
  readonly tlsPort: number
  /** Starts it, again on the same ports with the same data if it ran before. Returns its version once it accepts clients. */
  readonly start: () => Promise<string>
  readonly isRunning: () => boolean
  /** Stops it in order: it tells its clients, which get a `connection.close`. */
  readonly stop: () => Promise<void>
  /** Ends it like a power failure (SIGKILL): its connections are reset. */
  readonly kill: () => Promise<void>
  /** Suspends it (SIGSTOP): its connections stay open, and nothing answers. */
  readonly freeze: () => void
  /** Lets a frozen node go on (SIGCONT). */
  readonly thaw: () => void
}

/**
 * What nodes of one cluster share: the secret by which they accept each other, and the port mapper that tells them each
 * other's ports.
 */
export interface NodeHome {
  readonly folder: string
  readonly env: Readonly<Record<string, string>>
  readonly stop: () => Promise<void>
}

const searchPath = (): ReadonlyArray<string> =>
  (process.env["PATH"] ?? "").split(path.delimiter).filter((folder) => folder !== "")

const folderOf = (program: string, folders: ReadonlyArray<string>): string | undefined =>
  folders.find((folder) => {
    try {
      fs.accessSync(path.join(folder, program), fs.constants.X_OK)
      return true
    } catch {
      return false
    }
  })

/**
 * Debian's commands on the PATH are wrappers that require a user `rabbitmq` and the system's folders. The scripts behind them
 * run as the calling user, with all files where the environment variables point.
 */
const debianWrappers = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
const debianScripts = "/usr/lib/rabbitmq/bin"

/** The folder with the programs of the RabbitMQ of this machine: that of the first `rabbitmq-server` on the PATH. */
export const rabbitmqPrograms = (): string | undefined => {
  const found = folderOf("rabbitmq-server", searchPath())
  const isDebian = found === undefined || debianWrappers.includes(found)
  return isDebian && folderOf("rabbitmq-server", [debianScripts]) !== undefined ? debianScripts : found
}

/** Whether this machine has a RabbitMQ to start. */
export const canStartNode = (): boolean => rabbitmqPrograms() !== undefined

/** Makes a folder for nodes, and starts their port mapper. */
export const makeNodeHome = async (programs = rabbitmqPrograms()): Promise<NodeHome> => {
  if (programs === undefined) throw new Error("there is no rabbitmq-server on the PATH")
  const folders = [programs, ...searchPath()]
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "effect-amqp-broker-"))
  fs.writeFileSync(path.join(folder, ".erlang.cookie"), randomBytes(20).toString("hex"), { mode: 0o400 })
  const hasOwnMapper = folderOf("epmd", folders) !== undefined
  const [mapperPort = 0] = await freePorts(1)
  const env: Record<string, string> = {
    PATH: folders.join(path.delimiter),
    HOME: folder,
    ERL_EPMD_ADDRESS: "127.0.0.1",
    ...(hasOwnMapper ? { ERL_EPMD_PORT: String(mapperPort) } : {}),
    // No command may start another mapper, which would outlive this run.
    ERL_FLAGS: `-kernel inet_dist_use_interface {127,0,0,1}${hasOwnMapper ? " -start_epmd false" : ""}`,
    // A command that is interrupted would write its memory into the working directory.
    ERL_CRASH_DUMP_SECONDS: "0",
    RABBITMQ_CONF_ENV_FILE: path.join(folder, "none"),
    // By default these follow the distribution port, beyond the range of ports.
    RABBITMQ_CTL_DIST_PORT_MIN: "30000",
    RABBITMQ_CTL_DIST_PORT_MAX: "32000"
  }
  const mapper = hasOwnMapper
    ? startInBackground("epmd", ["-port", String(mapperPort), "-address", "127.0.0.1"], {
      folder,
      env,
      output: "ignore"
    })
    : undefined
  return {
    folder,
    env,
    stop: async () => {
      await mapper?.kill()
      fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
    }
  }
}

/** How long a node may take to start: on a busy machine a cluster of three takes most of a minute. */
const startMillis = 120_000

/** Makes a node, which does not run yet. */
export const makeNode = async (
  home: NodeHome,
  nodename: string,
  options: NodeOptions & { readonly port?: number | undefined } = {}
): Promise<RabbitMQNode> => {
  const folder = path.join(home.folder, nodename)
  const file = (name: string): string => path.join(folder, name)
  const [freePort, distributionPort, freeTlsPort = 0] = await freePorts(3)
  const port = options.port ?? freePort
  const tlsPort = options.tls === undefined ? 0 : freeTlsPort

  fs.mkdirSync(folder)
  const config = [`listeners.tcp.1 = 127.0.0.1:${port}`, "log.file.level = info", ...options.config ?? []]
  if (options.tls !== undefined) {
    for (const [name, pem] of Object.entries(options.tls)) fs.writeFileSync(file(`${name}.pem`), pem)
    config.push(
      `listeners.ssl.1 = 127.0.0.1:${tlsPort}`,
      `ssl_options.cacertfile = ${file("ca.pem")}`,
      `ssl_options.certfile = ${file("cert.pem")}`,
      `ssl_options.keyfile = ${file("key.pem")}`,
      "ssl_options.verify = verify_peer",
      "ssl_options.fail_if_no_peer_cert = true"
    )
  }
  fs.writeFileSync(file("rabbitmq.conf"), `${config.join("\n")}\n`)
  fs.writeFileSync(file("enabled_plugins"), `[${(options.plugins ?? []).join(",")}].\n`)
  if (options.advancedConfig !== undefined) fs.writeFileSync(file("advanced.config"), `${options.advancedConfig}.\n`)

  const env: Record<string, string> = {
    ...home.env,
    RABBITMQ_CONFIG_FILE: file("rabbitmq.conf"),
    // The file is optional.
    RABBITMQ_ADVANCED_CONFIG_FILE: file("advanced.config"),
    RABBITMQ_ENABLED_PLUGINS_FILE: file("enabled_plugins"),
    RABBITMQ_NODENAME: nodename,
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_DIST_PORT: String(distributionPort),
    RABBITMQ_MNESIA_BASE: file("data"),
    RABBITMQ_LOG_BASE: file("log"),
    RABBITMQ_PID_FILE: file("pid"),
    RABBITMQ_GENERATED_CONFIG_DIR: file("generated")
  }

  const url = `amqp://guest:guest@127.0.0.1:${port}`
  let server: BackgroundProgram | undefined
  const isRunning = (): boolean => server !== undefined && !server.hasEnded()

  const start = async (): Promise<string> => {
    if (isRunning()) throw new Error(`${nodename} runs already`)
    const output = fs.openSync(file("output"), "w")
    const started = startInBackground("rabbitmq-server", [], { folder: home.folder, env, output })
    fs.closeSync(output)
    server = started
    const deadline = Date.now() + startMillis
    for (;;) {
      try {
        return await probe(url)
      } catch (error) {
        if (started.hasEnded() || Date.now() > deadline) {
          await started.kill()
          const output = fs.readFileSync(file("output"), "utf8").trim()
          throw new Error(`rabbitmq-server did not start. Its output:\n${output}`, { cause: error })
        }
        await sleep(250)
      }
    }
  }

  return {
    url,
    nodename,
    env,
    tlsPort,
    start,
    isRunning,
    stop: async () => server?.terminate(15_000),
    kill: async () => server?.kill(),
    freeze: () => server?.signal("SIGSTOP"),
    thaw: () => server?.signal("SIGCONT")
  }
}
