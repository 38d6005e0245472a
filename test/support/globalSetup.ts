import * as net from "node:net"
import type { TestProject } from "vitest/node"
import { rabbitmqctlFor } from "./command.ts"
import { canStartPrivateBroker, startPrivateBroker } from "./privateBroker.ts"
import { probe } from "./probe.ts"
import type { AdministrableBroker } from "./provided.ts"

/**
 * Finds the RabbitMQ for the integration tests, in this order: the one that `AMQP_URL` names, one on the standard port of this
 * machine, or a private one that is started for this run and stopped after it.
 */

const localUrl = "amqp://guest:guest@127.0.0.1:5672"

const isLoopback = (hostname: string): boolean =>
  hostname === "localhost" || hostname === "[::1]" || (net.isIPv4(hostname) && hostname.startsWith("127."))

/** The default node of this machine, if `rabbitmqctl` reaches it and it listens at `url`. */
const administrationOf = async (url: string): Promise<AdministrableBroker | undefined> => {
  const { hostname, port, protocol } = new URL(url)
  if (!isLoopback(hostname)) return undefined
  const node = { nodename: process.env["RABBITMQ_NODENAME"] ?? "rabbit@localhost", env: {} }
  const listeningPort = Number(port) || (protocol === "amqps:" ? 5671 : 5672)
  try {
    const status: unknown = JSON.parse(await rabbitmqctlFor(node, "status", "--formatter", "json"))
    const { listeners } = status as { readonly listeners: ReadonlyArray<{ readonly port: number }> } // as rabbitmqctl prints it
    return listeners.some((listener) => listener.port === listeningPort) ? { url, ...node } : undefined
  } catch {
    return undefined
  }
}

const withoutPassword = (url: string): string => {
  const { hostname, port, pathname, protocol } = new URL(url)
  return `${protocol}//${hostname}${port === "" ? "" : `:${port}`}${pathname === "/" ? "" : pathname}`
}

const howToGetOne = `The integration tests need a RabbitMQ, but found none:
  - AMQP_URL is not set,
  - no broker that accepts guest/guest listens at 127.0.0.1:5672,
  - there is no rabbitmq-server on the PATH to start.
Set AMQP_URL=amqp://user:password@host:port, or install RabbitMQ (Debian: apt install rabbitmq-server;
macOS: brew install rabbitmq), or run one: docker run --rm -p 127.0.0.1:5672:5672 rabbitmq`

interface FoundBroker {
  readonly url: string
  readonly version: string
  readonly origin: string
}

const findGivenBroker = async (): Promise<FoundBroker | undefined> => {
  const given = process.env["AMQP_URL"]
  if (given !== undefined && given !== "") {
    if (!URL.canParse(given)) throw new Error("AMQP_URL is not a URL like amqp://user:password@host:port")
    const version = await probe(given).catch((error: Error) => {
      throw new Error(`AMQP_URL is set, but there is ${error.message}`)
    })
    return { url: given, version, origin: "from AMQP_URL" }
  }
  return probe(localUrl).then(
    (version) => ({ url: localUrl, version, origin: "found on this machine" }),
    () => undefined
  )
}

/** Runs before the first integration test; what it returns runs after the last. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = await findGivenBroker()
  const administrable = given === undefined ? undefined : await administrationOf(given.url)
  const started = administrable === undefined && canStartPrivateBroker() ? await startPrivateBroker() : undefined
  const main: FoundBroker | undefined = given ?? (started && { ...started, origin: "started for this run" })
  if (main === undefined) throw new Error(howToGetOne)

  const own = started && { url: started.url, nodename: started.nodename, env: started.env }
  const administered = administrable ?? own
  project.provide("amqpUrl", main.url)
  project.provide("version", main.version)
  project.provide("administrableBroker", administered)

  const administration = administered === undefined
    ? "; no rabbitmqctl, so tests that administer a broker are skipped"
    : administered.url === main.url
    ? ""
    : `; ${withoutPassword(administered.url)} started for administration`
  console.log(`RabbitMQ ${main.version}: ${withoutPassword(main.url)}, ${main.origin}${administration}`)

  return async () => started?.stop()
}
