/** What clients must not leave behind: sockets, timers, and at the broker connections and channels. */
import * as diagnostics from "node:diagnostics_channel"
import * as net from "node:net"
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
    return more > 0 ? [`${more} × ${kind}${kind === "TCPSocketWrap" ? ` (${openSockets().join(", ")})` : ""}`] : []
  })
}

/** The ports of all open sockets of this process, to see whose they are. */
const openSockets = (): ReadonlyArray<string> => {
  // Node.js has no documented way to reach them.
  const handles: unknown = Reflect.apply(Reflect.get(process, "_getActiveHandles"), process, [])
  return (Array.isArray(handles) ? handles : []).flatMap((handle: unknown) =>
    handle instanceof net.Socket && handle.remotePort !== undefined
      ? [`${handle.localPort} to ${handle.remotePort}${proxySockets.has(handle) ? " of a proxy" : ""}`]
      : []
  )
}

/** The lines of a text, without empty ones. */
export const linesOf = (text: string): ReadonlyArray<string> => text.split("\n").filter((line) => line !== "")

/** The connections and channels that the broker still has. */
export const leftAtBroker = async ({ evaluate }: Site): Promise<ReadonlyArray<string>> => {
  const text = await evaluate(`iolist_to_binary(
    [["connection ", Name, "\n"] || [{name, Name}] <- rabbit_networking:connection_info_all([name])] ++
    [["channel ", Name, "\n"] || [{name, Name}] <- rabbit_channel:info_all([name])])`)
  return linesOf(text)
}

/** The queues that are not empty, with their counts. The messages of streams stay. */
export const notEmpty = async ({ evaluate }: Site): Promise<ReadonlyArray<string>> => {
  const items = "[name, messages_ready, messages_unacknowledged]"
  const text = await eventually(20_000, () =>
    evaluate(`iolist_to_binary(
      [io_lib:format("~s has ~p ready and ~p unacknowledged messages~n", [Name, Ready, Unacknowledged]) ||
        Queue <- rabbit_amqqueue:list(), amqqueue:get_type(Queue) =/= rabbit_stream_queue,
        [{name, {resource, _, _, Name}}, {_, Ready}, {_, Unacknowledged}] <- [rabbit_amqqueue:info(Queue, ${items})],
        {Ready, Unacknowledged} =/= {0, 0}])`))
  return linesOf(text)
}

/** Errors by which brokers say that a client violated the protocol, or settled a delivery of another channel. */
const protocolErrors =
  /unknown delivery tag|FRAME_ERROR|UNEXPECTED_FRAME|COMMAND_INVALID|SYNTAX_ERROR|CHANNEL_ERROR|NOT_IMPLEMENTED|INTERNAL_ERROR|NOT_ALLOWED/

/** The lines of the brokers' logs that complain of a client. */
export const complaints = ({ logLines }: Site): ReadonlyArray<string> =>
  logLines().filter((line) => protocolErrors.test(line))
