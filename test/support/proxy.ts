/**
 * A TCP proxy on loopback that injects network faults between a client and a broker.
 *
 * Faults of traffic (`stall`, `trickle`) and of new connections (`refuse`, `closeAtOnce`, `silence`) last until `restore`. The
 * others (`cut`, `reset`, `cutAfter`, `halfOpen`) hit the connections that exist at the moment.
 */
import * as net from "node:net"
import { freePorts } from "./childProcess.ts"

/** A direction of bytes. */
export type Side = "client" | "broker"

/** How a connection ends: in order (FIN), or with a reset (RST). */
export type Ending = "cut" | "reset"

export interface FaultProxy {
  readonly port: number
  /** The number of connections of clients that are open. */
  readonly connections: number
  /** The number of connections that were accepted so far. */
  readonly accepted: number
  /** The number of bytes that were forwarded from each side so far. */
  readonly forwarded: Readonly<Record<Side, number>>
  /** Ends all connections, in order. Bytes that wait to be forwarded are lost. */
  readonly cut: () => void
  /** Resets all connections. */
  readonly reset: () => void
  /** Ends each connection when this many further bytes of a side were forwarded, often in the middle of a frame. */
  readonly cutAfter: (bytes: number, from: Side, ending: Ending) => void
  /** Closes one side of all connections. The other side stays open: what it sends is accepted, and nothing arrives. */
  readonly halfOpen: (lost: Side) => void
  /** Forwards nothing. Both sides can send until the buffers of the sockets are full. */
  readonly stall: () => void
  /** Forwards at most this many bytes in each direction and interval. */
  readonly trickle: (bytes: number, everyMillis: number) => void
  /** Does not listen: new connections are refused. */
  readonly refuse: () => void
  /** Accepts new connections, and closes them at once. */
  readonly closeAtOnce: () => void
  /** Accepts new connections, and never answers. */
  readonly silence: () => void
  /** Ends the faults. Bytes that were held are forwarded, and half-open connections stay as they are. */
  readonly restore: () => Promise<void>
  /** Destroys all connections, and stops listening. */
  readonly close: () => Promise<void>
}

/** What happens to bytes. */
type Traffic =
  | { readonly _tag: "Forward" }
  | { readonly _tag: "Stall" }
  | { readonly _tag: "Trickle"; readonly bytes: number }

/** What happens to new connections. */
type Door = "open" | "closed" | "closesAtOnce" | "silent"

/** No more is read from a side while this many bytes wait to be forwarded. */
const maxPendingBytes = 64 * 1024

/** The bytes in one direction of a connection. */
class Flow {
  private readonly from: net.Socket
  private readonly to: net.Socket
  private readonly traffic: () => Traffic
  private readonly count: (bytes: number) => void
  private pending: Array<Buffer> = []
  private pendingBytes = 0
  private hasEnded = false
  private isDiscarding = false
  private limit: { left: number; readonly reached: () => void } | undefined

  constructor(from: net.Socket, to: net.Socket, traffic: () => Traffic, count: (bytes: number) => void) {
    this.from = from
    this.to = to
    this.traffic = traffic
    this.count = count
    // A paused socket stays paused when it gets a listener.
    from.pause()
    from.on("data", (chunk: Buffer) => {
      if (this.isDiscarding) return
      this.pending.push(chunk)
      this.pendingBytes += chunk.length
      this.update()
    })
    from.on("end", () => {
      this.hasEnded = true
      this.update()
    })
    to.on("drain", () => this.update())
  }

  /** Accepts all further bytes, and forwards none. */
  discard(): void {
    this.isDiscarding = true
    this.pending = []
    this.pendingBytes = 0
    this.from.resume()
  }

  /** Calls back when this many further bytes were forwarded. */
  endAfter(bytes: number, reached: () => void): void {
    this.limit = { left: bytes, reached }
    this.update()
  }

  /** Forwards what the traffic allows, and reads on if there is room. */
  update(): void {
    if (this.isDiscarding) return
    const { _tag } = this.traffic()
    if (_tag === "Forward") {
      while (this.pending.length > 0 && !this.to.writableNeedDrain) this.forward(Infinity)
      this.forwardEnd()
    }
    if (_tag !== "Stall" && !this.to.writableNeedDrain && this.pendingBytes < maxPendingBytes) this.from.resume()
    else this.from.pause()
  }

  /** Forwards the bytes of one interval. */
  trickle(bytes: number): void {
    if (this.isDiscarding) return
    this.forward(bytes)
    this.forwardEnd()
    this.update()
  }

  private forwardEnd(): void {
    if (this.hasEnded && this.pending.length === 0) this.to.end()
  }

  private forward(maxBytes: number): void {
    const [chunk] = this.pending
    if (chunk === undefined || this.to.destroyed) {
      this.pending = []
      this.pendingBytes = 0
      return
    }
    const length = Math.min(chunk.length, maxBytes, this.limit?.left ?? Infinity)
    if (length === chunk.length) this.pending.shift()
    else this.pending[0] = chunk.subarray(length)
    this.pendingBytes -= length
    this.to.write(chunk.subarray(0, length))
    this.count(length)
    if (this.limit === undefined) return
    this.limit.left -= length
    if (this.limit.left > 0) return
    const { reached } = this.limit
    this.discard()
    reached()
  }
}

/** A connection of a client, and the one to the broker that belongs to it. */
class Link {
  readonly client: net.Socket
  readonly broker: net.Socket
  readonly flows: Readonly<Record<Side, Flow>>

  constructor(client: net.Socket, broker: net.Socket, traffic: () => Traffic, count: (from: Side, n: number) => void) {
    this.client = client
    this.broker = broker
    this.flows = {
      client: new Flow(client, broker, traffic, (bytes) => count("client", bytes)),
      broker: new Flow(broker, client, traffic, (bytes) => count("broker", bytes))
    }
    client.on("error", () => this.lost(broker))
    broker.on("error", () => this.lost(client))
  }

  /** A side has failed. */
  private lost(other: net.Socket): void {
    if (!other.destroyed) reset(other)
  }

  update(): void {
    this.flows.client.update()
    this.flows.broker.update()
  }

  end(ending: Ending): void {
    this.flows.client.discard()
    this.flows.broker.discard()
    for (const socket of [this.client, this.broker]) {
      if (ending === "reset") reset(socket)
      // The other end may never close its side, for example because it is frozen.
      else socket.end(() => socket.destroy())
    }
  }

  halfOpen(lost: Side): void {
    this.flows.client.discard()
    this.flows.broker.discard()
    const [gone, left] = lost === "client" ? [this.client, this.broker] : [this.broker, this.client]
    gone.removeAllListeners("error").on("error", ignore)
    reset(gone)
    left.on("end", () => left.destroy())
  }

  destroy(): void {
    this.client.destroy()
    this.broker.destroy()
  }
}

/** The connections of proxies to their brokers, which are no connections of clients. */
export const proxySockets = new WeakSet<net.Socket>()

const ignore = (): void => {}

/** A socket that is not connected yet can't be reset. */
const reset = (socket: net.Socket): void => {
  if (socket.connecting) socket.destroy()
  else socket.resetAndDestroy()
}

class Proxy implements FaultProxy {
  readonly port: number
  accepted = 0
  readonly forwarded = { client: 0, broker: 0 }
  private readonly target: { readonly host: string; readonly port: number }
  private readonly links = new Set<Link>()
  /** Connections of clients without one to the broker. */
  private readonly silent = new Set<net.Socket>()
  private server: net.Server | undefined
  private traffic: Traffic = { _tag: "Forward" }
  private door: Door = "open"
  private timer: NodeJS.Timeout | undefined

  constructor(port: number, target: { readonly host: string; readonly port: number }) {
    this.port = port
    this.target = target
  }

  get connections(): number {
    return [...this.links].filter(({ client }) => !client.destroyed).length + this.silent.size
  }

  listen(): Promise<void> {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.accept(client))
    this.server = server
    return new Promise((resolve, reject) => {
      server.once("error", reject)
      server.listen(this.port, "127.0.0.1", resolve)
    })
  }

  private accept(client: net.Socket): void {
    this.accepted++
    if (this.door === "closesAtOnce") {
      client.on("error", ignore)
      client.end(() => client.destroy())
      return
    }
    if (this.door === "silent") {
      client.on("error", ignore)
      client.on("close", () => this.silent.delete(client))
      client.on("end", () => client.destroy())
      client.resume()
      this.silent.add(client)
      return
    }
    const broker = new net.Socket({ allowHalfOpen: true }).setNoDelay()
    proxySockets.add(broker)
    const link = new Link(client, broker, () => this.traffic, (from, bytes) => (this.forwarded[from] += bytes))
    this.links.add(link)
    const forget = () => {
      if (client.destroyed && broker.destroyed) this.links.delete(link)
    }
    client.on("close", forget)
    broker.on("close", forget)
    broker.connect(this.target, () => link.update())
  }

  private setTraffic(traffic: Traffic): void {
    clearInterval(this.timer)
    this.timer = undefined
    this.traffic = traffic
    for (const link of this.links) link.update()
  }

  private stopListening(): void {
    this.server?.close()
    this.server = undefined
  }

  cut(): void {
    for (const link of this.links) link.end("cut")
  }

  reset(): void {
    for (const link of this.links) link.end("reset")
  }

  cutAfter(bytes: number, from: Side, ending: Ending): void {
    for (const link of this.links) link.flows[from].endAfter(bytes, () => link.end(ending))
  }

  halfOpen(lost: Side): void {
    for (const link of this.links) link.halfOpen(lost)
  }

  stall(): void {
    this.setTraffic({ _tag: "Stall" })
  }

  trickle(bytes: number, everyMillis: number): void {
    this.setTraffic({ _tag: "Trickle", bytes })
    this.timer = setInterval(() => {
      for (const { flows } of this.links) {
        flows.client.trickle(bytes)
        flows.broker.trickle(bytes)
      }
    }, everyMillis)
  }

  refuse(): void {
    this.door = "closed"
    this.stopListening()
  }

  closeAtOnce(): void {
    this.door = "closesAtOnce"
  }

  silence(): void {
    this.door = "silent"
  }

  async restore(): Promise<void> {
    this.door = "open"
    for (const socket of this.silent) socket.destroy()
    this.setTraffic({ _tag: "Forward" })
    if (this.server === undefined) await this.listen()
  }

  async close(): Promise<void> {
    clearInterval(this.timer)
    for (const socket of this.silent) socket.destroy()
    for (const link of this.links) link.destroy()
    const { server } = this
    if (server === undefined) return
    this.server = undefined
    await new Promise((resolve) => server.close(resolve))
  }
}

/** Starts a proxy for a broker. */
export const startProxy = async (target: { readonly host: string; readonly port: number }): Promise<FaultProxy> => {
  const [port] = await freePorts(1)
  const proxy = new Proxy(port, target)
  await proxy.listen()
  return proxy
}
