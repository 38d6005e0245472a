/** What clients must not leave behind: sockets, timers, and at the broker connections and channels. */
import * as diagnostics from "node:diagnostics_channel"
import type * as net from "node:net"
import { proxySockets } from "../support/proxy.ts"
import { eventually } from "./site.ts"
import type { Site } from "./site.ts"

/** Counts the sockets of clients that this process has open. */
export class ClientSockets {
  private readonly open = new Set<net.Socket>()

  private readonly opened = (message: unknown): void => {
    // As Node.js documents `net.client.socket`.
    const { socket } = message as { readonly socket: net.Socket }
    if (proxySockets.has(socket)) return
    this.open.add(socket)
    socket.once("close", () => this.open.delete(socket))
  }

  constructor() {
    diagnostics.subscribe("net.client.socket", this.opened)
  }

  get count(): number {
    return this.open.size
  }

  /** The bytes that wait in the sockets to be sent. */
  get bytes(): number {
    let bytes = 0
    for (const { writableLength } of this.open) bytes += writableLength
    return bytes
  }

  stop(): void {
    diagnostics.unsubscribe("net.client.socket", this.opened)
  }
}

/** Counts what keeps this process alive, by its kind. */
export const resources = (): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  return counts
}

const watchedResources = ["Timeout", "Immediate", "TCPSocketWrap", "TCPServerWrap", "TLSWrap"]

/** What is there and was not there before. */
export const newResources = (before: ReadonlyMap<string, number>): ReadonlyArray<string> => {
  const now = resources()
  return watchedResources.flatMap((kind) => {
    const more = (now.get(kind) ?? 0) - (before.get(kind) ?? 0)
    return more > 0 ? [`${more} × ${kind}`] : []
  })
}

/** The rows of a list of `rabbitmqctl`. */
const list = async (
  { control }: Site,
  what: ReadonlyArray<string>
): Promise<ReadonlyArray<Readonly<Record<string, unknown>>>> => {
  const rows: unknown = JSON.parse(await control([...what.slice(0, 1), "--formatter", "json", ...what.slice(1)]))
  return rows as ReadonlyArray<Readonly<Record<string, unknown>>> // as rabbitmqctl prints it
}

/** The connections and channels that the broker still has. */
export const leftAtBroker = async (site: Site): Promise<ReadonlyArray<string>> => {
  const connections = await list(site, ["list_connections", "name", "client_properties"])
  const channels = await list(site, ["list_channels", "name"])
  return [
    ...connections.map(({ name }) => `connection ${String(name)}`),
    ...channels.map(({ name }) => `channel ${String(name)}`)
  ]
}

/** The queues that are not empty, with their counts. The messages of streams stay. */
export const notEmpty = async (site: Site): Promise<ReadonlyArray<string>> =>
  (await eventually(
    20_000,
    () => list(site, ["list_queues", "name", "type", "messages_ready", "messages_unacknowledged"])
  ))
    .filter(({ messages_ready, messages_unacknowledged, type }) =>
      type !== "stream" && (messages_ready !== 0 || messages_unacknowledged !== 0)
    )
    .map(({ messages_ready, messages_unacknowledged, name }) =>
      `${String(name)} has ${String(messages_ready)} ready and ${
        String(messages_unacknowledged)
      } unacknowledged messages`
    )

/** Errors by which brokers say that a client violated the protocol, or settled a delivery of another channel. */
const protocolErrors =
  /unknown delivery tag|FRAME_ERROR|UNEXPECTED_FRAME|COMMAND_INVALID|SYNTAX_ERROR|CHANNEL_ERROR|NOT_IMPLEMENTED|INTERNAL_ERROR|NOT_ALLOWED/

/** The lines of the brokers' logs that complain of a client. */
export const complaints = ({ logLines }: Site): ReadonlyArray<string> =>
  logLines().filter((line) => protocolErrors.test(line))
