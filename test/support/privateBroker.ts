import { spawn } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { probe } from "./probe.ts"
import type { AdministrableBroker } from "./provided.ts"

/** A RabbitMQ that this run has started. */
export interface PrivateBroker extends AdministrableBroker {
  readonly version: string
  /** Its port with TLS; 0 without a certificate. */
  readonly tlsPort: number
  readonly stop: () => Promise<void>
}

export interface PrivateBrokerOptions {
  /** Its certificates for TLS, in PEM format. Clients must present a certificate of this authority. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string } | undefined
  readonly plugins?: ReadonlyArray<string> | undefined
  /** More lines for its `rabbitmq.conf`. */
  readonly config?: ReadonlyArray<string> | undefined
  /** Its `advanced.config`, a list of Erlang terms. */
  readonly advancedConfig?: string | undefined
}

/** The number of brokers that this process has started: each needs a unique name. */
let count = 0

/**
 * Debian's commands on the PATH are wrappers that require a user `rabbitmq` and the system's folders. The scripts behind them
 * run as the calling user, with all files where the environment variables point.
 */
const scriptFolder = "/usr/lib/rabbitmq/bin"

const withScripts = (searchPath: string): string =>
  fs.existsSync(path.join(scriptFolder, "rabbitmq-server"))
    ? `${scriptFolder}${path.delimiter}${searchPath}`
    : searchPath

const isOnPath = (program: string, searchPath: string): boolean =>
  searchPath.split(path.delimiter).some((folder) => {
    try {
      fs.accessSync(path.join(folder, program), fs.constants.X_OK)
      return true
    } catch {
      return false
    }
  })

/** Whether this machine has a RabbitMQ to start. */
export const canStartPrivateBroker = (): boolean => isOnPath("rabbitmq-server", withScripts(process.env["PATH"] ?? ""))

/** Ports that were just free. All are held until the last is found, so that they differ. */
const freePorts = async (count: number): Promise<ReadonlyArray<number>> => {
  const servers = await Promise.all(Array.from({ length: count }, () =>
    new Promise<net.Server>((resolve, reject) => {
      const server: net.Server = net.createServer().on("error", reject)
      server.listen(0, "127.0.0.1", () => resolve(server))
    })))
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port) // a TCP server has no other kind
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null

const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    if (hasEnded(child) || child.pid === undefined) resolve()
    else child.once("exit", () => resolve())
  })

/** Terminates a process group, and kills it after a grace period. */
const terminate = async (child: ChildProcess, graceMillis: number): Promise<void> => {
  if (child.pid === undefined) return
  child.ref()
  const signal = (name: NodeJS.Signals) => {
    try {
      process.kill(-child.pid!, name)
    } catch {
      // The group has already ended.
    }
  }
  signal("SIGTERM")
  await Promise.race([ended(child), sleep(graceMillis, undefined, { ref: false })])
  signal("SIGKILL")
  await ended(child)
}

/**
 * Starts a RabbitMQ on free loopback ports that shares nothing with any other on the machine: it has its own node name, port
 * mapper, cookie, configuration, log and data, all in a temporary folder that is removed with it.
 */
export const startPrivateBroker = async (options: PrivateBrokerOptions = {}): Promise<PrivateBroker> => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "effect-amqp-broker-"))
  const [port, distributionPort, mapperPort, freePort] = await freePorts(4)
  const tlsPort = options.tls === undefined ? 0 : freePort
  const nodename = `effect-amqp-${process.pid}-${++count}@localhost`
  const searchPath = withScripts(process.env["PATH"] ?? "")
  const hasOwnMapper = isOnPath("epmd", searchPath)
  const file = (name: string): string => path.join(folder, name)

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
    PATH: searchPath,
    HOME: folder,
    ERL_EPMD_ADDRESS: "127.0.0.1",
    ...(hasOwnMapper ? { ERL_EPMD_PORT: String(mapperPort) } : {}),
    // No command may start another mapper, which would outlive this run.
    ERL_FLAGS: `-kernel inet_dist_use_interface {127,0,0,1}${hasOwnMapper ? " -start_epmd false" : ""}`,
    RABBITMQ_CONF_ENV_FILE: file("none"),
    RABBITMQ_CONFIG_FILE: file("rabbitmq.conf"),
    // The file is optional.
    RABBITMQ_ADVANCED_CONFIG_FILE: file("advanced.config"),
    RABBITMQ_ENABLED_PLUGINS_FILE: file("enabled_plugins"),
    RABBITMQ_NODENAME: nodename,
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_DIST_PORT: String(distributionPort),
    // By default these follow the distribution port, beyond the range of ports.
    RABBITMQ_CTL_DIST_PORT_MIN: "30000",
    RABBITMQ_CTL_DIST_PORT_MAX: "32000",
    RABBITMQ_MNESIA_BASE: file("data"),
    RABBITMQ_LOG_BASE: file("log"),
    RABBITMQ_PID_FILE: file("pid"),
    RABBITMQ_GENERATED_CONFIG_DIR: file("generated")
  }

  // Each has its own process group: it is killed as a whole, and does not receive the Ctrl-C that is meant for the tests.
  const start = (program: string, args: ReadonlyArray<string>, output: "ignore" | number): ChildProcess => {
    const child = spawn(program, args, {
      cwd: folder,
      detached: true,
      env: { ...process.env, ...env },
      stdio: ["ignore", output, output]
    })
    child.on("error", () => {}) // a program that does not start is detected by the probe
    child.unref() // a run that fails to stop it still exits, and `killAtExit` kills it
    return child
  }
  const outputFile = fs.openSync(file("output"), "a")
  const mapper = hasOwnMapper
    ? start("epmd", ["-port", String(mapperPort), "-address", "127.0.0.1"], "ignore")
    : undefined
  const server = start("rabbitmq-server", [], outputFile)
  fs.closeSync(outputFile)

  const children = mapper === undefined ? [server] : [server, mapper]
  const removeFolder = () => fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  // An interrupted run exits without its teardown.
  const killAtExit = () => {
    for (const child of children) {
      try {
        if (child.pid !== undefined && !hasEnded(child)) process.kill(-child.pid, "SIGKILL")
      } catch {
        // It has already ended.
      }
    }
    removeFolder()
  }
  process.once("exit", killAtExit)

  const stop = async (): Promise<void> => {
    for (const child of children) await terminate(child, 15_000)
    process.off("exit", killAtExit)
    removeFolder()
  }

  const url = `amqp://guest:guest@127.0.0.1:${port}`
  const deadline = Date.now() + 90_000
  for (;;) {
    try {
      const version = await probe(url)
      return { url, version, nodename, env, tlsPort, stop }
    } catch (error) {
      if (hasEnded(server) || server.pid === undefined || Date.now() > deadline) {
        const output = fs.readFileSync(file("output"), "utf8").trim()
        await stop()
        throw new Error(`rabbitmq-server did not start. Its output:\n${output}`, { cause: error })
      }
      await sleep(250)
    }
  }
}
